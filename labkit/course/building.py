"""building: make a chapter's two notebooks from its source.

Every chapter. `labkit course build`. The solved one is run from cold in a
kernel of its own, under a time-out, and not written when a cell fails.
"""

import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.course import notebooks, sources
from labkit.course.chapter import reset
from labkit.course.chapters import Chapter, Course
from labkit.errors import LabkitError

CELL_TIMEOUT_SECONDS = 300


class ChapterFailed(LabkitError):
    """A cell of a chapter raised an error, hung, or took the kernel with it."""


@contextmanager
def progress_apart() -> Iterator[None]:
    """A run by the machine is nobody's progress: keep the record elsewhere for as long as it takes."""
    before = os.environ.get("LABKIT_PROGRESS")
    with tempfile.TemporaryDirectory(prefix="labkit-progress-") as apart:
        os.environ["LABKIT_PROGRESS"] = apart
        try:
            yield
        finally:
            if before is None:
                del os.environ["LABKIT_PROGRESS"]
            else:
                os.environ["LABKIT_PROGRESS"] = before


def build(
    course: Course, chapter: Chapter, *, afresh: bool = False, told: Callable[[str], None] = print
) -> list[Path]:
    """Write both notebooks of a chapter; the files that have changed.

    `afresh` takes new outputs for every cell, also where they are no facts.
    """
    source = sources.read(course, chapter)
    told(f"{chapter.name}: running {sum(cell.kind == 'code' for cell in source.cells)} cells")
    target = course.solved_notebook(chapter)
    run = execute(notebooks.solved(source), chapter, target.parent)
    if target.exists() and not afresh:
        notebooks.keep_old_outputs(run, notebooks.load(target))
    made = {course.student_notebook(chapter): notebooks.student(source), target: run}
    return [file for file, notebook in made.items() if _write(file, notebook)]


def _write(file: Path, notebook: Any) -> bool:
    text = notebooks.text_of(notebook)
    if file.exists() and file.read_text() == text:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return True


def private_kernel() -> type:
    """The class of managers whose kernels are reached by Unix sockets: no port is open while chapters run."""
    from jupyter_client.manager import AsyncKernelManager

    class PrivateKernel(AsyncKernelManager):
        def __init__(self, **options: Any) -> None:
            place = tempfile.mkdtemp(prefix="labkit-kernel-")
            weakref.finalize(self, shutil.rmtree, place, ignore_errors=True)
            files = {"ip": f"{place}/socket", "connection_file": f"{place}/connection.json"}
            super().__init__(transport="ipc", **files, **options)

    return PrivateKernel


def execute(notebook: Any, chapter: Chapter, folder: Path) -> Any:
    """Run all cells from cold; the notebook with its outputs, normalised."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    folder.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        kernel_manager_class=private_kernel(),
        timeout=CELL_TIMEOUT_SECONDS,
        resources={"metadata": {"path": str(folder)}},
    )
    try:
        with progress_apart():
            client.execute()
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as failure:
        reset(chapter.number)
        raise ChapterFailed(f"{chapter.name}: {failure}") from None
    return notebooks.normalise(notebook)


def fresh(course: Course, number: str) -> tuple[Path | None, Path]:
    """Give a chapter's notebook anew; where the old one went, and the new one."""
    chapter = course.chapter(number)
    new = course.student_notebook(chapter)
    text = notebooks.text_of(notebooks.student(sources.read(course, chapter)))
    old = None
    if new.exists() and new.read_text() != text:
        old = _dated(new)
        new.rename(old)
    new.write_text(text)
    return old, new


def _dated(file: Path) -> Path:
    """A name beside it with the date, and a number where one day has seen several."""
    stem = f"{file.stem}.{time.strftime('%Y-%m-%d')}"
    names = [f"{stem}.ipynb", *(f"{stem}.{count}.ipynb" for count in range(2, 1000))]
    return next(place for name in names if not (place := file.with_name(name)).exists())
