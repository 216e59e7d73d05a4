"""build: make an image from a Dockerfile and a directory of files."""
