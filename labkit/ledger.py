"""ledger: what labkit made in the kernel, written down before it is made, undone backwards.

One file for each owner (a container, a chapter) below LABKIT_RUN/ledger: one
line of JSON for each object. An owner that was killed in the middle leaves its
file behind, and whoever comes next undoes it. Undoing twice is fine.
"""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import Invalid
from labkit.kernel import cgroups, mounts, process
from labkit.paths import Paths

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
        return [cls.of(paths, file.name) for file in sorted(paths.ledger.iterdir())]

    def enter(self, kind: str, name: "str | os.PathLike[str]", *, start_ticks: int = 0) -> None:
        """Write an object down; call it before the object is made."""
        if kind not in UNDO:
            raise Invalid(f"the ledger knows no {kind!r}, only {', '.join(UNDO)}")
        line = json.dumps([kind, os.fspath(name), start_ticks]) + "\n"
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
        self.file.unlink(missing_ok=True)
        for entry in stay:
            self.enter(entry.kind, entry.name, start_ticks=entry.start_ticks)
        if failures:
            raise ExceptionGroup(f"{self.owner} is only partly undone", failures)
        return removed

    def hold(self) -> int:
        """A descriptor that says: somebody looks after these. The kernel drops it when all holders die.

        It can be handed to other processes: the lock is the open file's, flock(2).
        """
        descriptor = os.open(self.file, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def is_held(self) -> bool:
        """Whether anybody still looks after these objects."""
        try:
            descriptor = os.open(self.file, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    def close(self) -> None:
        """Forget an owner whose objects have all been removed in good order."""
        self.file.unlink(missing_ok=True)


def marked(owner: str) -> Iterator[int]:
    """The processes that carry an owner's mark in the environment they were started with."""
    wanted = f"{MARK}={owner}".encode()
    for pid in os.listdir("/proc"):  # noqa: PTH208
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        if wanted in environment:
            yield int(pid)


def end_marked(owner: str, timeout_seconds: float = 5.0) -> list[int]:
    """Kill an owner's marked processes and wait until none is left; return their pids."""
    ended: list[int] = []
    deadline = time.monotonic() + timeout_seconds
    while pids := list(marked(owner)):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"processes {pids} of {owner} do not die; they may wait for a disk or a debugger"
            )
        for pid in pids:
            try:
                process.kill(pid, process.started_at(pid))
            except ProcessLookupError:
                continue
            if pid not in ended:
                ended.append(pid)
        time.sleep(0.005)
    return ended


def _end_marked(entry: Entry) -> bool:
    return bool(end_marked(entry.name))


def _end_process(entry: Entry) -> bool:
    return process.kill(int(entry.name), entry.start_ticks, signal.SIGKILL)


def _unmount(entry: Entry) -> bool:
    found = False
    while any(mount.mount_point == entry.name for mount in mounts.mounts()):
        mounts.unmount(entry.name, mounts.DETACH)
        found = True
    return found


def _remove_cgroup(entry: Entry) -> bool:
    return cgroups.remove_everywhere(entry.name)


def _remove_link(entry: Entry) -> bool:
    return _tool("ip", "link", "show", "dev", entry.name) and _must("ip", "link", "delete", "dev", entry.name)


def _remove_netns(entry: Entry) -> bool:
    return Path("/run/netns", entry.name).exists() and _must("ip", "netns", "delete", entry.name)


def _remove_table(entry: Entry) -> bool:
    family, _, table = entry.name.partition(" ")
    return _tool("nft", "list", "table", family, table) and _must("nft", "delete", "table", family, table)


def _remove_tree(entry: Entry) -> bool:
    directory = Path(entry.name)
    inside = [m.mount_point for m in mounts.mounts() if Path(m.mount_point).is_relative_to(directory)]
    if inside:
        raise OSError(16, "something is mounted in it, and a removal would reach through", inside[0])
    if not os.path.lexists(directory):
        return False
    if directory.is_dir() and not directory.is_symlink():
        shutil.rmtree(directory)
    else:
        directory.unlink()
    return True


def _detach_loop(entry: Entry) -> bool:
    return bool(_output("losetup", "--noheadings", "--output", "NAME", entry.name)) and _must(
        "losetup", "--detach", entry.name
    )


UNDO: dict[str, Callable[[Entry], bool]] = {
    "process": _end_process,  # name: pid
    "marked": _end_marked,  # name: an owner; every process that carries its mark
    "mount": _unmount,  # name: where
    "cgroup": _remove_cgroup,  # name: its path below the hierarchies' roots
    "link": _remove_link,  # name: the interface
    "netns": _remove_netns,  # name: below /run/netns
    "nft": _remove_table,  # name: family and table
    "tree": _remove_tree,  # name: a directory or file
    "loop": _detach_loop,  # name: /dev/loopN
}
"""How each kind is undone; the answer is whether it was still there."""


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _tool(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _must(*command: str) -> bool:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return True
