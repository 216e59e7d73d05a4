"""kernel: what Linux offers, one file a feature, with the standard library alone."""
