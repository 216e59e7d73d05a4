"""ledger: what labkit made in the kernel, written down before it is made, undone backwards.

One file for each owner (a container, a chapter) below LABKIT_RUN/ledger: one
line of JSON for each object. An owner that was killed in the middle leaves its
file behind, and whoever comes next undoes it. Undoing twice is fine.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import Invalid
from labkit.paths import Paths

KINDS = ("process", "marked", "mount", "cgroup", "link", "netns", "nft", "element", "tree", "loop")
"""What can be written down; labkit.undo says how each is removed, and what its name is."""

MARK = "LABKIT_OWNER"
"""The environment variable by which an owner's processes are known, and their children's too."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One kernel object, by the name that the kernel knows it by."""

    kind: str
    name: str
    start_ticks: int = 0  # of a process: a pid is reused, a pid with its start time is not

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The objects of one owner."""

    file: Path
    owner: str

    @classmethod
    def of(cls, paths: Paths, owner: str) -> "Ledger":
        """The ledger of an owner, such as `course-04` or `container-1f0c…`."""
        if not owner or "/" in owner or owner.startswith("."):
            raise Invalid(f"{owner!r} cannot own anything: it must be a plain file name")
        return cls(paths.ledger / owner, owner)

    @classmethod
    def all(cls, paths: Paths) -> "list[Ledger]":
        """Every owner that has something to undo."""
        if not paths.ledger.is_dir():
            return []
        return [cls.of(paths, file.name) for file in sorted(paths.ledger.iterdir()) if file.name[0] != "."]

    def enter(self, kind: str, name: "str | os.PathLike[str]", *, start_ticks: int = 0) -> None:
        """Write an object down; call it before the object is made."""
        if kind not in KINDS:
            raise Invalid(f"the ledger knows no {kind!r}, only {', '.join(KINDS)}")
        line = _line(Entry(kind, os.fspath(name), start_ticks))
        descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def entries(self) -> list[Entry]:
        """What was written down, oldest first; a line torn by a kill is not an object yet."""
        try:
            lines = self.file.read_text().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            try:
                kind, name, start_ticks = json.loads(line)
            except ValueError:
                continue
            found.append(Entry(kind, name, start_ticks))
        return found

    def undo(self) -> list[str]:
        """Remove every object, the newest first; return what was still there and now is gone.

        One that cannot be removed hides no other: all failures come in one
        ExceptionGroup, and those objects stay in the ledger.
        """
        from labkit.undo import UNDO  # what undoes is loaded where something is undone, and slows no start

        removed: list[str] = []
        failures: list[Exception] = []
        stay: list[Entry] = []
        for entry in reversed(self.entries()):
            try:
                if UNDO[entry.kind](entry):
                    removed.append(str(entry))
            except Exception as failure:
                failure.add_note(f"while removing the {entry} of {self.owner}")
                failures.append(failure)
                stay.insert(0, entry)
        self._keep_only(stay)
        if failures:
            raise ExceptionGroup(f"{self.owner} is only partly undone", failures)
        return removed

    def _keep_only(self, entries: list[Entry]) -> None:
        """Let the file say what still stands: written beside and renamed, or gone where nothing does."""
        if not entries:
            self.close()
            return
        draft = self.file.with_name(f".{self.owner}.{os.getpid()}")
        draft.write_text("".join(map(_line, entries)))
        draft.chmod(0o600)
        draft.replace(self.file)

    def hold(self) -> int:
        """A descriptor that says: somebody looks after these. The kernel drops it when all holders die.

        It can be handed to other processes: the lock is the open file's, flock(2).
        """
        while True:
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self.file.stat()):
                    return descriptor
            os.close(descriptor)  # it was undone and removed just before we had the lock

    @contextlib.contextmanager
    def abandoned(self) -> Iterator[bool]:
        """Whether nobody looks after these objects any more; nobody else can begin to in the block."""
        try:
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        try:
            yield free
        finally:
            os.close(descriptor)

    def is_held(self) -> bool:
        """Whether anybody looks after these objects, at this moment."""
        with self.abandoned() as free:
            return self.file.exists() and not free

    def close(self) -> None:
        """Forget an owner whose objects have all been removed in good order."""
        self.file.unlink(missing_ok=True)


def _line(entry: Entry) -> str:
    """One object; it begins on a line of its own, since a kill may have torn the one before."""
    return "\n" + json.dumps([entry.kind, entry.name, entry.start_ticks]) + "\n"
