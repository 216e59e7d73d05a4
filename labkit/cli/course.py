"""course: build the notebooks, run them as tests, see how far one has come.

`labkit course build|run|progress|fresh|list`.
"""

import sys
from pathlib import Path

import click
from rich.console import Console

from labkit.course.chapters import Chapter, Course
from labkit.errors import LabkitError

console = Console(highlight=False)


def _chosen(course_: Course, numbers: tuple[str, ...]) -> list[Chapter]:
    return [course_.chapter(number) for number in numbers] if numbers else course_.written()


@click.group()
def course() -> None:
    """The chapters: build, run, progress."""


@course.command("list")
def list_chapters() -> None:
    """The chapters there are, and which are written."""
    ours = Course.from_environment()
    written = ours.written()
    for chapter in ours.chapters():
        state = f"about {chapter.minutes} minutes" if chapter in written else "not written yet"
        console.print(f"{chapter.number}  {chapter.title}  [dim]{state}[/]")


@course.command()
@click.argument("chapters", nargs=-1)
@click.option("--afresh", is_flag=True, help="Take new outputs also where they are no facts.")
def build(chapters: tuple[str, ...], afresh: bool) -> None:
    """Make the student's and the solved notebook from each source (all chapters, or NN …)."""
    from labkit.course import building

    ours = Course.from_environment()
    failed = False
    for chapter in _chosen(ours, chapters):
        try:
            changed = building.build(
                ours, chapter, afresh=afresh, told=lambda line: console.print(f"[dim]{line}[/]")
            )
        except LabkitError as error:
            failed = True
            console.print(str(error), style="red", markup=False)
            continue
        for file in changed:
            console.print(f"wrote {file}", markup=False)
        if not changed:
            console.print(f"{chapter.name}: up to date", markup=False)
    sys.exit(1 if failed else 0)


@course.command()
def progress() -> None:
    """How far you have come."""
    from labkit.course import standing

    console.print(standing.plain(), markup=False)


@course.command()
@click.argument("chapter")
def fresh(chapter: str) -> None:
    """Replace a chapter's notebook by a fresh copy; the old one is kept beside it with the date."""
    from labkit.course import building

    old, new = building.fresh(Course.from_environment(), chapter)
    if old is not None:
        console.print(f"kept   {old}", markup=False)
    console.print(f"fresh  {new}", markup=False)


@course.command()
@click.option(
    "--chapter", "chapters", multiple=True, metavar="NN", help="Only this chapter; may be given again."
)
@click.option(
    "--parameters", "-p", multiple=True, metavar="NAME=VALUE", help="A value for the parameters cell."
)
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML report.")
@click.option("--shuffle", is_flag=True, help="In random order; the seed is printed.")
@click.option("--seed", type=int, help="The order of an earlier --shuffle.")
@click.option("--twice", is_flag=True, help="Each chapter twice in one kernel.")
def run(
    chapters: tuple[str, ...],
    parameters: tuple[str, ...],
    report: Path | None,
    shuffle: bool,
    seed: int | None,
    twice: bool,
) -> None:
    """Run the solved chapters from cold, one after the other; exit code 1 when one fails."""
    from labkit.course import report as reports
    from labkit.course import running

    ours = Course.from_environment()
    order = running.ordered(
        _chosen(ours, chapters), shuffle=shuffle or seed is not None, seed=seed, told=console.print
    )
    outcomes = running.run_all(
        ours, order, running.parse_parameters(parameters), twice=twice, console=console
    )
    if report is not None:
        console.print(f"report {reports.write(report, outcomes)}", markup=False)
    sys.exit(0 if all(outcome.passed for outcome in outcomes) else 1)
