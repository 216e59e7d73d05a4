"""chapters: which chapters there are, and where their files lie.

Every chapter. One table, chapters.toml. LABKIT_COURSE names another folder
with a table of its own, so that an instructor can add a course.
"""

import functools
import importlib
import importlib.util
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from labkit.errors import Invalid, NotFound

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


@dataclass(frozen=True, slots=True)
class Chapter:
    """One row of chapters.toml."""

    number: str
    slug: str
    title: str
    needs: tuple[str, ...]
    minutes: int
    widgets: tuple[str, ...]
    module: str

    @property
    def name(self) -> str:
        """The stem of its files."""
        return f"{self.number}_{self.slug}"

    @property
    def owner(self) -> str:
        """The name under which its kernel objects stand in the ledger."""
        return f"course-{self.number}"


@dataclass(frozen=True, slots=True)
class Course:
    """A table of chapters and the folders of their files."""

    table: Path
    exercises: Path
    sources: Path
    student: Path
    solved: Path
    wrong: Path

    @classmethod
    def from_environment(cls) -> "Course":
        """The course of LABKIT_COURSE, or labkit's own."""
        other = os.environ.get("LABKIT_COURSE")
        return cls.below(Path(other)) if other else OWN

    @classmethod
    def below(cls, folder: Path) -> "Course":
        """A course whose files all lie below one folder."""
        return cls(
            table=folder / "chapters.toml",
            exercises=folder / "exercises",
            sources=folder / "source",
            student=folder,
            solved=folder / "solved",
            wrong=folder / "wrong",
        )

    def chapters(self) -> list[Chapter]:
        """All chapters, in order."""
        return _read(self.table)

    def chapter(self, number: str) -> Chapter:
        """The chapter of a number, such as "03"; NotFound names the ones there are."""
        for chapter in self.chapters():
            if number in (chapter.number, chapter.name):
                return chapter
        there = " ".join(chapter.number for chapter in self.chapters())
        raise NotFound(f"no chapter {number!r} in {self.table.name}, only {there}")

    def written(self) -> list[Chapter]:
        """The chapters that have a source."""
        return [chapter for chapter in self.chapters() if self.source(chapter).exists()]

    def source(self, chapter: Chapter) -> Path:
        """Where the chapter is written."""
        return self.sources / f"{chapter.name}.py"

    def student_notebook(self, chapter: Chapter) -> Path:
        """What a student opens."""
        return self.student / f"{chapter.name}.ipynb"

    def solved_notebook(self, chapter: Chapter) -> Path:
        """The same with the solutions and all outputs."""
        return self.solved / f"{chapter.name}.ipynb"

    def load_exercises(self, number: str) -> ModuleType | None:
        """Import the checks of a chapter; None where it has none."""
        file = self.exercises / f"ch{number}.py"
        if not file.exists():
            return None
        if self.exercises == HERE / "exercises":
            return importlib.import_module(f"labkit.course.exercises.ch{number}")
        return _load_file(file)


def _load_file(file: Path) -> ModuleType:
    name = f"labkit_exercises_{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise Invalid(f"{file} is not a Python module")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@functools.cache
def _read(table: Path) -> list[Chapter]:
    try:
        rows = tomllib.loads(table.read_text())["chapter"]
    except FileNotFoundError:
        raise NotFound(f"no course at {table.parent}: {table.name} is missing") from None
    return [
        Chapter(
            number=row["number"],
            slug=row["slug"],
            title=row["title"],
            needs=tuple(row["needs"]),
            minutes=row["minutes"],
            widgets=tuple(row["widgets"]),
            module=row["module"],
        )
        for row in rows
    ]


OWN = Course(
    table=HERE / "chapters.toml",
    exercises=HERE / "exercises",
    sources=REPOSITORY / "notebooks" / "source",
    student=REPOSITORY / "notebooks",
    solved=REPOSITORY / "notebooks" / "solved",
    wrong=REPOSITORY / "tests" / "notebooks" / "wrong",
)
