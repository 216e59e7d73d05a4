"""The chapters under test, and a lab of their own for each test: directories, cgroup, progress."""

import os
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.course.chapters import OWN, Chapter, Course
from labkit.paths import Paths

MINI = Path(__file__).parent / "data" / "mini"
LABKIT = str(Path(sys.executable).with_name("labkit"))
SEED = int(os.environ.get("LABKIT_SEED", random.SystemRandom().randrange(10**6)))
"""Of the order in which the chapters run; it stands in each test's name, and LABKIT_SEED gives it again."""


@dataclass(frozen=True, slots=True)
class Case:
    """One chapter, and the folder of its course where that is not labkit's own."""

    chapter: Chapter
    folder: Path | None = None

    @property
    def course(self) -> Course:
        return Course.below(self.folder) if self.folder else OWN


def cases() -> list[Case]:
    """The small chapter that proves the machinery, then every chapter that is written."""
    return [Case(chapter, MINI) for chapter in Course.below(MINI).written()] + [
        Case(chapter) for chapter in OWN.written()
    ]


def in_random_order(cases: list[Case]) -> list[Case]:
    return random.Random(SEED).sample(cases, len(cases))


def every_chapter(*, shuffled: bool = False) -> pytest.MarkDecorator:
    """Parametrise a test by the chapters, with what each needs of the machine."""
    chosen = in_random_order(cases()) if shuffled else cases()
    names = f"{{}}-seed{SEED}" if shuffled else "{}"
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case,
                id=names.format(case.chapter.number),
                marks=pytest.mark.requires("root", *case.chapter.needs),
            )
            for case in chosen
        ],
    )


@dataclass(frozen=True, slots=True)
class Lab:
    """What a lab's processes are given in their environment."""

    paths: Paths
    environment: dict[str, str]


@pytest.fixture
def lab(paths: Paths, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab that meets no student's: other directories, another progress (the cgroup is the test run's)."""
    ours = {
        "LABKIT_ROOT": str(paths.root),
        "LABKIT_RUN": str(paths.run),
        "LABKIT_PROGRESS": str(paths.root / "course"),
    }
    case = request.node.callspec.params.get("case") if hasattr(request.node, "callspec") else None
    if case is None or case.folder:
        ours["LABKIT_COURSE"] = str(MINI)
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    share_cache(paths)
    yield Lab(paths, {**os.environ})


def share_cache(paths: Paths) -> None:
    """The kernel and the images that were downloaded are looked for where the machine's own lab keeps them.

    What builds have kept is not: their records speak of layers that this lab has not.
    """
    for name in ("kernel", "images"):
        kept = Path("/var/lib/labkit/cache", name)
        if kept.is_dir():
            (paths.cache / name).symlink_to(kept)
