"""cli: the `labkit` command, one file for each group of verbs."""
