"""Run the benchmarks: `python -m bench [NAME …] [--rounds N] [--write]`; all where none is named."""

import argparse
import importlib

NAMES = ("start", "build", "images", "network")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description="labkit beside its peers")
    parser.add_argument(
        "names", nargs="*", choices=[[], *NAMES], default=[], help="which; all where none is named"
    )
    parser.add_argument("--rounds", type=int, default=0, help="how often; each benchmark has its own default")
    parser.add_argument("--write", action="store_true", help="put the table into bench/README.md")
    asked = parser.parse_args()
    for name in asked.names or NAMES:
        module = importlib.import_module(f"bench.{name}")
        module.main(asked.rounds or module.ROUNDS, asked.write)
        print()


if __name__ == "__main__":
    main()
