"""gradebook: what has been started, tried and passed, in one JSON record of the student's.

Every chapter. LABKIT_PROGRESS moves it, so that a test run is nobody's progress.
"""

import os
import time
from pathlib import Path
from typing import Any

from labkit import records
from labkit.errors import NotFound
from labkit.paths import Paths


def folder() -> Path:
    """Where the record and the passed answers are."""
    moved = os.environ.get("LABKIT_PROGRESS")
    return Path(moved) if moved else Paths.from_environment().root / "course"


def load() -> dict[str, Any]:
    """The whole record; a fresh one where none is."""
    try:
        return records.load(folder() / "progress.json")  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {"chapters": {}, "exercises": {}}


def _save(record: dict[str, Any]) -> None:
    folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    records.save(folder() / "progress.json", record)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def chapter_started(number: str) -> None:
    """Note when a chapter was begun, and when last."""
    record = load()
    chapter = record["chapters"].setdefault(number, {"started": _now(), "finished": None})
    chapter["last_started"] = _now()
    _save(record)


def chapter_finished(number: str) -> None:
    """Note when a chapter was first left clean."""
    record = load()
    chapter = record["chapters"].setdefault(number, {"started": _now(), "finished": None})
    chapter["finished"] = chapter["finished"] or _now()
    _save(record)


def tried(exercise: str, *, passed: bool, source: str = "", function: str = "") -> None:
    """Count one try; keep the source of an answer that passed."""
    record = load()
    entry = record["exercises"].setdefault(exercise, {"tries": 0, "passed": None, "function": ""})
    entry["tries"] += 1
    if passed:
        entry["passed"] = entry["passed"] or _now()
    if passed and source:
        entry["function"] = function
        answers = folder() / "answers"
        answers.mkdir(parents=True, exist_ok=True, mode=0o700)
        (answers / f"{exercise}.py").write_text(source)
    _save(record)


def passed(number: str) -> set[str]:
    """The exercises of a chapter that have been passed."""
    exercises = load()["exercises"]
    return {name for name, entry in exercises.items() if name.startswith(f"{number}.") and entry["passed"]}


def answer(exercise: str) -> tuple[str, str]:
    """The source and the function's name of a passed answer; NotFound where none was kept."""
    entry = load()["exercises"].get(exercise)
    file = folder() / "answers" / f"{exercise}.py"
    if not entry or not entry["passed"] or not entry["function"] or not file.exists():
        raise NotFound(f"no passed answer to {exercise} has been kept")
    return file.read_text(), entry["function"]


def forget(number: str) -> None:
    """Begin a chapter's progress anew."""
    record = load()
    record["chapters"].pop(number, None)
    for name in [name for name in record["exercises"] if name.startswith(f"{number}.")]:
        del record["exercises"][name]
        (folder() / "answers" / f"{name}.py").unlink(missing_ok=True)
    _save(record)
