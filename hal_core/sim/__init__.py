"""Shell 2: the simulator. The same core as the daemon's, driven by a heap instead of by trio."""
