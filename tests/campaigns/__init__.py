"""Long checks, started by hand: they take minutes and data that is not part of the project."""
