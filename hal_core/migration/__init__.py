"""Coming from another scheduler: its configuration becomes HAL's, with a table of what was lost on the way."""
