"""exercises: the checks of the chapters, one file for each, found by exercise id."""
