"""sources: read a chapter as it is written, and know its cells by what they are for.

Every chapter. The py:percent form of jupytext, with nbgrader's plain markers.
"""

import ast
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from labkit.course.chapters import Chapter, Course
from labkit.errors import Invalid, NotFound

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
STUB = ("# your code here", "raise NotImplementedError()")
CHECK = re.compile(r"""^\s*(?:course\.)?check\(\s*["'](?P<id>\d+\.[\w-]+)["']""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a source."""

    kind: str  # code or markdown
    text: str
    tags: tuple[str, ...] = ()
    solution: str = ""  # the exercise that it answers
    check: str = ""  # the exercise that it checks
    title: str = ""  # what stands after the %%

    @property
    def stub(self) -> str:
        """The text with its solution taken out, and its hidden tests."""
        return _without(_stubbed(self.text), BEGIN_HIDDEN, END_HIDDEN)


@dataclass(frozen=True, slots=True)
class Source:
    """A chapter as it is written."""

    chapter: Chapter
    cells: tuple[Cell, ...]
    sha256: str

    @property
    def exercises(self) -> list[str]:
        """The exercise ids, in order."""
        return [cell.check for cell in self.cells if cell.check]


def read(course: Course, chapter: Chapter) -> Source:
    """The source of a chapter."""
    file = course.source(chapter)
    try:
        text = file.read_text()
    except FileNotFoundError:
        raise NotFound(f"chapter {chapter.number} has no source {file}") from None
    cells = _assign(parse(text, file))
    return Source(chapter, cells, hashlib.sha256(text.encode()).hexdigest())


def parse(text: str, file: Path | None = None) -> list[Cell]:
    """The cells of a py:percent text, as jupytext reads it."""
    import jupytext  # slow to import and rarely needed

    # Its own way with magics also takes `# ls …`, a comment in Python, for a commented command.
    form = {"extension": ".py", "format_name": "percent", "comment_magics": False}
    return [_cell(cell, file) for cell in jupytext.reads(text, fmt=form).cells]


def _cell(cell: Any, file: Path | None) -> Cell:
    text = _with_magics(cell.source) if cell.cell_type == "code" else cell.source
    if text.count(BEGIN) != text.count(END) or text.count(BEGIN_HIDDEN) != text.count(END_HIDDEN):
        where = file.name if file else "source"
        raise Invalid(f"{where}: a marker is not closed in the cell {text[:60]!r}")
    metadata = cell.metadata
    return Cell(cell.cell_type, text, tuple(metadata.get("tags", ())), title=metadata.get("title", ""))


def _with_magics(text: str) -> str:
    """`# %%name` and `# %name` as the magics they stand for; lines below that are all comments too."""
    first, _, rest = text.partition("\n")
    if not first.startswith("# %%"):
        return re.sub(r"^# (?=%[a-z])", "", text, flags=re.MULTILINE)
    lines = rest.splitlines()
    if all(line.startswith("#") or not line.strip() for line in lines):
        lines = [line.removeprefix("#").removeprefix(" ") for line in lines]
    return "\n".join([first.removeprefix("# "), *lines])


def _assign(cells: list[Cell]) -> tuple[Cell, ...]:
    """Tie solutions to exercises: those since the last check belong to the next one."""
    found: list[Cell] = []
    waiting: list[int] = []
    for cell in cells:
        checked = CHECK.search(cell.text) if cell.kind == "code" else None
        if cell.kind == "code" and BEGIN in cell.text:
            waiting.append(len(found))
        if checked:
            for index in waiting:
                found[index] = replace(found[index], solution=checked["id"])
            waiting = []
            cell = replace(cell, check=checked["id"])
        found.append(cell)
    if waiting:
        raise Invalid(f"a solution has no check after it: {found[waiting[0]].text[:60]!r}")
    return tuple(found)


def _stubbed(text: str) -> str:
    """Each solution region replaced by a stub at its own indentation.

    At the left margin the stub raises nothing: the line before it gives a bare `...`.
    """
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if line.strip() == BEGIN:
            inside = True
            indentation = line[: len(line) - len(line.lstrip())]
            lines += [indentation + stub for stub in STUB[: 2 if indentation else 1]]
        elif line.strip() == END:
            inside = False
        elif not inside:
            lines.append(line)
    return "\n".join(lines)


def _without(text: str, begin: str, end: str) -> str:
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        inside = inside or line.strip() == begin
        if not inside:
            lines.append(line)
        inside = inside and line.strip() != end
    return "\n".join(lines).strip("\n")


def without_markers(text: str) -> str:
    """A solution as a reader would write it."""
    return "\n".join(line for line in text.splitlines() if line.strip() not in (BEGIN, END))


def reference(exercise: str) -> tuple[str, str]:
    """The reference answer to an exercise: its source and the name of the function that is checked."""
    course = Course.from_environment()
    source = read(course, course.chapter(exercise.partition(".")[0]))
    solutions = [without_markers(cell.text) for cell in source.cells if cell.solution == exercise]
    if not solutions:
        raise NotFound(f"{course.source(source.chapter).name} has no solution to {exercise}")
    checking = next(cell.text for cell in source.cells if cell.check == exercise)
    return "\n\n".join(solutions), _answer_name(checking, exercise)


def _answer_name(checking: str, exercise: str) -> str:
    """The first answer that a check is given, as `check("03.pivot", enter_root)` names it."""
    for node in ast.walk(ast.parse(checking)):
        if isinstance(node, ast.Call) and len(node.args) > 1:
            first, second = node.args[:2]
            if isinstance(first, ast.Constant) and first.value == exercise and isinstance(second, ast.Name):
                return second.id
    raise NotFound(f"the check of {exercise} is given no function by its name")
