"""Shell 1: the trio kernel around the pure core: loop, effects, journal, inbox."""
