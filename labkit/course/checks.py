"""checks: each exercise's check by its id, and what is said when it passes or fails.

Every chapter. A check asks the kernel, never the printed text. It lives in
labkit/course/exercises/chNN.py under its id, so that a copied, split or
renamed cell still works, and instructors grade with the same one.
"""

import signal
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from labkit.course import chapter as chapters
from labkit.course import gradebook, luggage, pages
from labkit.course.chapters import Course
from labkit.course.facts import FactFailed, Facts
from labkit.course.probes import AnswerFailed
from labkit.errors import Invalid, LabkitError, NotFound
from labkit.ledger import Ledger
from labkit.paths import Paths

Check = Callable[..., None]


@dataclass(frozen=True, slots=True)
class Exercise:
    """One exercise, and how it is checked."""

    id: str
    title: str
    points: int
    hint: str
    timeout_seconds: float
    check: Check


class CheckFailed(LabkitError):
    """An exercise is not passed yet; shown short, without a traceback."""

    def __init__(
        self, exercise: str, *, fact: str = "", found: str = "", wanted: str = "", hint: str = ""
    ) -> None:
        rows = (("fact", fact), ("found", found), ("wanted", wanted), ("hint", hint))
        lines = [f"  {name + ':':8}{text}" for name, text in rows if text]
        super().__init__("\n".join([f"{exercise}: {self.verdict}", *lines]))
        self.exercise, self.fact, self.found, self.wanted, self.hint = exercise, fact, found, wanted, hint

    verdict = "not passed yet"

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


class NotAnswered(CheckFailed):
    """The stub is still there."""

    verdict = "not answered yet"


class CheckCrashed(CheckFailed):
    """The check met an error that it did not foresee: the answer is of a kind it cannot use."""

    verdict = "the check could not use this answer"


_REGISTRY: dict[str, Exercise] = {}


def exercise(
    exercise_id: str,
    *,
    title: str,
    points: int = 1,
    hint: str,
    timeout_seconds: float = 60.0,
) -> Callable[[Check], Check]:
    """Register a check: a function of `facts` and the answers."""
    number, dot, name = exercise_id.partition(".")
    if not (number.isdigit() and dot and name.replace("-", "").replace("_", "").isalnum()):
        raise Invalid(f"{exercise_id!r} is not an exercise id, such as 02.pid")

    def register(check: Check) -> Check:
        _REGISTRY[exercise_id] = Exercise(exercise_id, title, points, hint, timeout_seconds, check)
        return check

    return register


def find(exercise_id: str) -> Exercise:
    """The exercise of an id; its chapter's checks are loaded where they are not."""
    if exercise_id not in _REGISTRY:
        Course.from_environment().load_exercises(exercise_id.partition(".")[0])
    if exercise_id not in _REGISTRY:
        there = ", ".join(e.id for e in of_chapter(exercise_id.partition(".")[0])) or "none in this chapter"
        raise NotFound(f"no exercise {exercise_id!r}; there is {there}")
    return _REGISTRY[exercise_id]


def of_chapter(number: str) -> list[Exercise]:
    """The exercises of a chapter, in the order in which their checks are written."""
    Course.from_environment().load_exercises(number)
    return [e for e in _REGISTRY.values() if e.id.startswith(f"{number}.")]


def check(exercise_id: str, *answers: Any) -> None:
    """Check an exercise: a line when it passes, else CheckFailed with the first fact that fails."""
    wanted = find(exercise_id)
    function, text = _function_and_source(answers)
    try:
        count = _judge(wanted, answers)
    except CheckFailed:
        gradebook.tried(exercise_id, passed=False)
        raise
    gradebook.tried(exercise_id, passed=True, source=text, function=function)
    facts = "1 fact" if count == 1 else f"{count} facts"
    pages.card(f"{exercise_id}: public checks passed ({facts})", colour=pages.GREEN)


def _judge(wanted: Exercise, answers: tuple[Any, ...]) -> int:
    """Run the check, clean up after it, and put every failure into one form; the number of facts."""
    if not answers or any(answer is ... or answer is None for answer in answers):
        raise NotAnswered(wanted.id, hint=wanted.hint)
    owner = f"course-{wanted.id.partition('.')[0]}-check"
    paths = Paths.from_environment()
    paths.prepare()
    facts = Facts(Ledger.of(paths, owner), chapters.mark_of(paths, owner), paths.root / "scratch" / owner)
    try:
        with _time_limit(wanted.timeout_seconds):
            wanted.check(facts, *answers)
        if facts.count == 0:
            raise Invalid(f"the check of {wanted.id} states no fact")
    except CheckFailed:
        raise
    except FactFailed as failed:
        raise CheckFailed(
            wanted.id, fact=failed.sentence, found=failed.found, wanted=failed.wanted, hint=wanted.hint
        ) from None
    except AnswerFailed as failed:
        if failed.kind == "NotImplementedError":
            raise NotAnswered(wanted.id, hint=wanted.hint) from None
        raise CheckFailed(
            wanted.id, fact="the answer runs and returns", found=str(failed), hint=wanted.hint
        ) from None
    except NotImplementedError:
        raise NotAnswered(wanted.id, hint=wanted.hint) from None
    except (Exception, SystemExit) as error:
        found = f"{type(error).__name__}: {error}" + (
            f" (after the fact: {facts.last})" if facts.last else ""
        )
        raise CheckCrashed(wanted.id, found=found, hint=wanted.hint) from error
    finally:
        chapters.undo(paths, owner)
    return facts.count


def _function_and_source(answers: tuple[Any, ...]) -> tuple[str, str]:
    """The first answer's name and text, to be kept where it is a function."""
    if not answers or not isinstance(answers[0], types.FunctionType):
        return "", ""
    try:
        return answers[0].__name__, luggage.pack(answers[0])
    except Invalid:
        return "", ""


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End a check that hangs in this process; only the main thread can be interrupted so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(_number: int, _frame: types.FrameType | None) -> None:
        raise AnswerFailed(f"the check was not done after {seconds:g} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
