"""running: all chapters from cold through papermill, one after the other.

Every chapter. Kernel objects are global, so no two chapters run at once. Each
run ends at its first failing cell, and each cell has a time-out.
"""

import copy
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from labkit.course import notebooks, sources
from labkit.course.building import CELL_TIMEOUT_SECONDS, private_kernel, progress_apart
from labkit.course.chapter import reset
from labkit.course.chapters import Chapter, Course
from labkit.errors import Invalid


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one chapter went."""

    chapter: Chapter
    notebook: Any  # with its outputs, as far as it came
    seconds: float
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether every cell ran."""
        return not self.error


def parse_parameters(texts: Iterable[str]) -> dict[str, Any]:
    """NAME=VALUE, the value as JSON where it is, else as text."""
    parameters: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise Invalid(f"{text!r} is not a parameter: write NAME=VALUE")
        try:
            parameters[name] = json.loads(value)
        except ValueError:
            parameters[name] = value
    return parameters


def ordered(
    chapters: list[Chapter], *, shuffle: bool, seed: int | None = None, told: Callable[[str], None] = print
) -> list[Chapter]:
    """The chapters in their order, or in a random one that its seed gives again."""
    if not shuffle:
        return chapters
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    mixed = random.Random(seed).sample(chapters, len(chapters))
    told(f"order {' '.join(chapter.number for chapter in mixed)} (--seed {seed})")
    return mixed


def run_all(
    course: Course, chapters: list[Chapter], parameters: dict[str, Any], *, twice: bool = False,
    console: Console | None = None,
) -> list[Outcome]:  # fmt: skip
    """Run the chapters and show how far they are; a failure does not keep the others from running."""
    console = console or Console(quiet=True)
    _refuse_unknown(course, chapters, parameters)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    outcomes = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        everything = bars.add_task("all chapters", total=len(chapters))
        for chapter in chapters:
            bar = bars.add_task(f"{chapter.number} {chapter.title}", total=None)

            def tell(done: int, total: int, bar: Any = bar) -> None:
                bars.update(bar, completed=done, total=total)

            outcome = run(course, chapter, parameters, twice=twice, tell=tell)
            bars.remove_task(bar)
            bars.advance(everything)
            console.print(line(outcome), style="red" if outcome.error else "green", markup=False)
            outcomes.append(outcome)
    return outcomes


def line(outcome: Outcome) -> str:
    """One chapter's outcome, for people."""
    verdict = "passed" if outcome.passed else "FAILED"
    text = f"{outcome.chapter.number}  {verdict}  {outcome.seconds:6.1f} s  {outcome.chapter.title}"
    return text + (f"\n{outcome.error}" if outcome.error else "")


def run(
    course: Course, chapter: Chapter, parameters: dict[str, Any] | None = None, *, twice: bool = False,
    tell: Callable[[int, int], None] | None = None,
) -> Outcome:  # fmt: skip
    """Run one chapter with its solutions from cold; on a failure clear what it had made."""
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    source = sources.read(course, chapter)
    notebook = notebooks.solved(source)
    given = {name: value for name, value in (parameters or {}).items() if name in _parameters(source)}
    if twice:
        _repeat(notebook, without_parameters=bool(given))
    papermill_engines.register("labkit", _engine(tell))
    began, error = time.monotonic(), ""
    with tempfile.TemporaryDirectory(prefix="labkit-run-") as folder, progress_apart():
        result = Path(folder, f"{chapter.name}.ipynb")
        try:
            papermill.execute_notebook(
                notebook, result, parameters=given, engine_name="labkit", kernel_name="python3",
                progress_bar=False, execution_timeout=CELL_TIMEOUT_SECONDS, cwd=course.sources.parent,
            )  # fmt: skip
        except PapermillExecutionError as failure:
            error = f"cell {failure.cell_index}: {failure.ename}: {failure.evalue}"
        except (CellTimeoutError, DeadKernelError) as failure:
            error = str(failure)
        seconds = time.monotonic() - began
        done = notebooks.load(result) if result.exists() else notebook
    if error:
        reset(chapter.number)
    return Outcome(chapter, done, seconds, error)


def _engine(tell: Callable[[int, int], None] | None) -> Any:
    """Papermill's own engine, which also tells how many cells are done."""
    from papermill.engines import NBClientEngine

    class Telling(NBClientEngine):  # type: ignore[misc]
        @classmethod
        def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, **options: Any) -> Any:
            finished = nb_man.cell_complete

            def cell_complete(cell: Any, cell_index: int | None = None, **more: Any) -> None:
                finished(cell, cell_index, **more)
                if tell is not None:
                    tell((cell_index or 0) + 1, len(nb_man.nb.cells))

            nb_man.cell_complete = cell_complete
            options["kernel_manager_class"] = private_kernel()
            return super().execute_managed_notebook(nb_man, kernel_name, **options)

    return Telling


def _parameters(source: sources.Source) -> set[str]:
    """The names that the chapter's parameters cell sets."""
    import ast

    cells = [cell.text for cell in source.cells if "parameters" in cell.tags]
    nodes = [node for text in cells for node in ast.parse(text).body if isinstance(node, ast.Assign)]
    return {target.id for node in nodes for target in node.targets if isinstance(target, ast.Name)}


def _refuse_unknown(course: Course, chapters: list[Chapter], parameters: dict[str, Any]) -> None:
    if not parameters:
        return
    known = set().union(*(_parameters(sources.read(course, chapter)) for chapter in chapters))
    if unknown := parameters.keys() - known:
        names = ", ".join(sorted(unknown))
        raise Invalid(
            f"no chosen chapter has a parameter {names}; there is {', '.join(sorted(known)) or 'none'}"
        )


def _repeat(notebook: Any, *, without_parameters: bool) -> None:
    """All cells a second time, for the same kernel."""
    for cell in copy.deepcopy(notebook.cells):
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            if without_parameters:
                continue
            cell.metadata["tags"] = [tag for tag in tags if tag != "parameters"]
        cell.id = f"{cell.id}-again"
        notebook.cells.append(cell)
