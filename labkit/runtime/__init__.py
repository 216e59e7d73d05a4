"""runtime: start a process in a container, stay with it, and say how it ended."""
