"""Run every benchmark: `python -m bench [--rounds N] [--write]`."""

from bench.start import main

main()
