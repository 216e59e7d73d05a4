"""work: what the stages of one build share: the context, the trees they copy from, the way to stop.

Chapter 9.
"""

import contextlib
import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from labkit.build import cache, results
from labkit.build.context import Context
from labkit.build.events import Teller, Telling
from labkit.build.results import Ground
from labkit.build.sources import Tree
from labkit.build.stages import Plan
from labkit.engine.attached import Stopped
from labkit.engine.engine import Engine
from labkit.errors import LabkitError
from labkit.images.configs import RunConfig
from labkit.paths import Paths

_AT_ONCE = max(4, os.cpu_count() or 1)
"""So many steps run at once: some of them wait for a disk or the network."""


class BuildFailed(LabkitError):
    """A step went wrong: in which file, on which line, and of a RUN how it ended."""

    def __init__(
        self,
        message: str,
        *,
        file: str,
        line: int,
        instruction: str,
        command_exit_code: int | None = None,
        output: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(f"{file}:{line}: {instruction}: {message}", hint=hint)
        self.file, self.line, self.instruction = file, line, instruction
        self.command_exit_code, self.output = command_exit_code, output


Fill = Callable[[Path, Telling], Path | None]
"""Does a step: fills a directory within a draft, and returns it; None where nothing has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A step before it is done: how it is told, what its result depends on, and how to do it."""

    said: str  # as the history has it
    material: tuple[object, ...]
    run: RunConfig  # the config after it
    author: str = ""
    work: Fill | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What can be asked of a build, in the words of docker build."""

    tags: tuple[str, ...] = ()
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    no_cache: bool = False
    cache_from: tuple[str, ...] = ()
    platform: str = ""
    secrets: Mapping[str, Path] = field(default_factory=dict)  # the file of each, by its id
    network: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Work:
    """One build that is under way. Every stage has a thread of its own."""

    engine: Engine
    context: Context
    options: Options
    plan: Plan
    teller: Teller
    platform_values: Mapping[str, str]
    place: Path  # a draft for the length of the build
    ground_of: Callable[[int], Ground]  # the result of a stage, which is built now if it is not yet
    cached: dict[str, cache.Result] = field(default_factory=dict)  # what the images of --cache-from tell
    turn: threading.Semaphore = field(
        default_factory=lambda: threading.Semaphore(max(4, os.cpu_count() or 1))
    )
    stop: int = field(default_factory=lambda: os.eventfd(0, os.EFD_CLOEXEC))
    used_args: set[str] = field(default_factory=set)
    _stopped: bool = False
    _trees: dict[str, Tree] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def paths(self) -> Paths:
        """Where the engine keeps things."""
        return self.engine.paths

    def give_up(self) -> None:
        """Let every stage stop, and kill what runs."""
        self._stopped = True
        os.eventfd_write(self.stop, 1)

    def check(self) -> None:
        """Stopped once the build has been given up."""
        if self._stopped:
            raise Stopped("the build has been given up")

    def ground(self, name: str, before: int) -> Ground:
        """What COPY --from and RUN --mount from= name: a stage above, or an image."""
        index = self.plan.find(name, before)
        return self.ground_of(index) if index is not None else results.image(self.paths, name)

    def tree(self, name: str, before: int) -> tuple[Ground, Tree]:
        """The files of it."""
        ground = self.ground(name, before)
        key = "/".join(layer.name for layer in ground.layers)
        with self._lock:
            if key not in self._trees:
                root = results.open_view(self.paths, ground.layers)
                self._trees[key] = Tree(name, root, keeps_owners=True, is_closed=False)
            return ground, self._trees[key]

    def new_place(self) -> Path:
        """An empty directory for the length of the build."""
        return Path(tempfile.mkdtemp(dir=self.place))

    def keep_tree(self, tree: Tree) -> Tree:
        """Close a tree at the end of the build."""
        with self._lock:
            self._trees[f"kept {len(self._trees)}"] = tree
        return tree

    def close(self) -> None:
        """Let go of the trees."""
        with contextlib.ExitStack() as all_of_them:
            for tree in self._trees.values():
                all_of_them.callback(tree.close)
            all_of_them.callback(os.close, self.stop)
        self._trees.clear()
