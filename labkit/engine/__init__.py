"""engine: images, runtime and state brought together: every verb that a client can ask for."""
