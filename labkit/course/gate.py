"""gate: each exercise from both sides: the reference passes, the stub fails, wrong answers fail.

Every chapter. One process runs a chapter's parameters, imports, definitions,
set-up and exercises, not its experiments: `python -m labkit.course.gate 03`
prints one line of JSON for each variant of each exercise.
"""

import ast
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from labkit.course import chapter as chapters
from labkit.course import checks, sources
from labkit.course.building import progress_apart
from labkit.course.chapters import Chapter, Course
from labkit.course.sources import Cell, Source
from labkit.errors import Invalid

PASSED, NOT_ANSWERED, FAILED, CRASHED = "passed", "not answered", "failed", "crashed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check said of one variant of an answer."""

    exercise: str
    variant: str  # reference, stub, or the title of a wrong answer
    outcome: str
    message: str
    seconds: float


def wrong_answers(course: Course, chapter: Chapter) -> list[tuple[str, str, str]]:
    """Exercise, title and text of each wrong answer of a chapter, `# %% 03.root: only prints that it did`."""
    file = course.wrong / f"{chapter.number}.py"
    if not file.exists():
        return []
    found = []
    for cell in sources.parse(file.read_text(), file):
        exercise, colon, title = cell.title.partition(":")
        if cell.kind == "code" and not (colon and exercise.strip()):
            raise Invalid(f"{file.name}: {cell.title!r} does not read `NN.name: what is wrong`")
        if cell.kind == "code":
            found.append((exercise.strip(), title.strip(), cell.text))
    return found


def judge(course: Course, chapter: Chapter) -> Iterator[Verdict]:
    """Every variant of every exercise, the reference last, so that later exercises can build on it."""
    from IPython.core.interactiveshell import InteractiveShell

    source = sources.read(course, chapter)
    wrong = wrong_answers(course, chapter)
    shell = InteractiveShell.instance()
    shell.run_line_magic("colors", "nocolor")
    solutions: list[Cell] = []
    for cell in source.cells:
        if cell.solution:
            solutions.append(cell)
        elif cell.check:
            yield from _judge_exercise(shell, cell, solutions, wrong)
            solutions = []
        elif cell.kind == "code":
            _must(shell, _needed(cell, source), cell)


def _judge_exercise(
    shell: Any, check: Cell, solutions: list[Cell], wrong: list[tuple[str, str, str]]
) -> Iterator[Verdict]:
    variants = [("stub", [cell.stub for cell in solutions])]
    variants += [(title, [text]) for exercise, title, text in wrong if exercise == check.check]
    variants.append(("reference", [cell.text for cell in solutions]))
    for variant, texts in variants:
        began = time.monotonic()
        outcome, message = _outcome(shell, texts, check.text)
        yield Verdict(check.check, variant, outcome, message, round(time.monotonic() - began, 2))


def _outcome(shell: Any, answers: list[str], check: str) -> tuple[str, str]:
    """Run the answer's cells and its check, and put what comes of it into a word."""
    for text in [*answers, check]:
        done = shell.run_cell(text)
        error = done.error_before_exec or done.error_in_exec
        if isinstance(error, (NotImplementedError, checks.NotAnswered)):
            return NOT_ANSWERED, str(error)
        if isinstance(error, checks.CheckCrashed):
            return CRASHED, str(error)
        if isinstance(error, checks.CheckFailed):
            return FAILED, str(error)
        if error is not None:
            return CRASHED, f"{type(error).__name__}: {error}"
    return PASSED, ""


def _must(shell: Any, text: str, cell: Cell) -> None:
    done = shell.run_cell(text)
    if not done.success:
        raise Invalid(f"a cell that exercises may need failed: {cell.text[:200]}")


def _needed(cell: Cell, source: Source) -> str:
    """What of a cell the exercises may need: all of one tagged parameters or setup, else what it defines."""
    if {"parameters", "setup"} & set(cell.tags) or _starts(cell, source):
        return cell.text
    if cell.text.startswith("%"):
        return ""
    return "\n".join(ast.unparse(node) for node in ast.parse(cell.text).body if _defines(node))


def _starts(cell: Cell, source: Source) -> bool:
    return f'course.start("{source.chapter.number}")' in cell.text


def _defines(node: ast.stmt) -> bool:
    """Imports, functions, classes, and names of plain values."""
    if isinstance(node, ast.Assign):
        with contextlib.suppress(ValueError, TypeError, SyntaxError):
            ast.literal_eval(node.value)
            return True
        return False
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef))


def main() -> None:
    """Print the verdicts on one chapter; what the cells print goes to standard error."""
    course = Course.from_environment()
    chapter = course.chapter(sys.argv[1])
    with progress_apart():
        try:
            with contextlib.redirect_stdout(sys.stderr):
                verdicts = list(judge(course, chapter))
        finally:
            chapters.reset(chapter.number)
    for verdict in verdicts:
        print(json.dumps(asdict(verdict)))


if __name__ == "__main__":
    main()
