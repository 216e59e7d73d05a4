"""images: what a container's root is made of."""
