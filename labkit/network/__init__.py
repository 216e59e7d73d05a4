"""network: containers that talk, to each other by name, to the world, and across hosts. Chapters 11 to 13."""
