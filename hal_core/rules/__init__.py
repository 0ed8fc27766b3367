"""Pure verbs: how messages become events and events become state. No trio, no clock, no disk, no randomness."""
