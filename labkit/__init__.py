"""labkit: how Docker works inside, as a course, and the container engine that the course builds."""
