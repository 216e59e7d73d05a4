"""reset: undo what chapters and killed engines have left in the kernel.

`labkit reset [NN|all]`.
"""

import click
from rich.console import Console

from labkit.course.chapter import reset as undo


@click.command()
@click.argument("chapter", default="all", metavar="[NN|all]")
def reset(chapter: str) -> None:
    """Remove what a chapter, or every chapter, has left: processes, mounts, cgroups, links, files.

    The notebooks stay as they are; `labkit course fresh NN` gives a new copy of one.
    """
    console = Console(highlight=False)
    removed = undo(None if chapter == "all" else chapter)
    for line in removed:
        console.print(f"removed {line}", markup=False)
    if not removed:
        console.print("nothing was left behind", markup=False)
