"""cgroups: count and limit what a group of processes uses.

Chapter 4. cgroups(7), docs.kernel.org/admin-guide/cgroup-v2.html. Version 1
has a tree for each controller, version 2 one tree for all; a hybrid machine
has both, and the controllers are where version 1 keeps them.
"""

import abc
import contextlib
import os
import select
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import Invalid, Unsupported
from labkit.kernel import cgroup_tree, cgroup_usage, limits, mounts, trace
from labkit.kernel.cgroup_usage import Usage
from labkit.kernel.limits import Limits

HOME = os.environ.get("LABKIT_CGROUP", "labkit")
"""The group below which all of labkit's groups lie; under systemd, the unit's delegated one."""

V1_CONTROLLERS = ("cpuset", "cpu", "cpuacct", "memory", "devices", "freezer", "blkio", "pids")
V2_CONTROLLERS = ("cpuset", "cpu", "io", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted cgroup file system."""

    version: int
    mount_point: Path
    controllers: frozenset[str]

    def has(self, controller: str) -> bool:
        """Whether a controller works here."""
        return controller in self.controllers


def hierarchies(table: "list[mounts.Mount] | None" = None) -> list[Hierarchy]:
    """The cgroup file systems that are mounted, each once, as mountinfo has them."""
    found: dict[str, Hierarchy] = {}
    for mount in table if table is not None else mounts.mounts():
        point = Path(mount.mount_point)
        if mount.kind == "cgroup2":
            found.setdefault(mount.device, Hierarchy(2, point, _available(point)))
        elif mount.kind == "cgroup":
            words = frozenset(mount.super_options.split(",")) & {
                *V1_CONTROLLERS,
                "net_cls",
                "net_prio",
                "hugetlb",
                "perf_event",
                "rdma",
            }
            found.setdefault(mount.device, Hierarchy(1, point, words))
    return list(found.values())


def _available(point: Path) -> frozenset[str]:
    try:
        return frozenset((point / "cgroup.controllers").read_text().split())
    except FileNotFoundError:
        return frozenset()


def layout(found: "list[Hierarchy] | None" = None) -> str:
    """`2` for one unified tree, `1`, `hybrid` for both, `none`."""
    versions = {h.version for h in (found if found is not None else hierarchies())}
    return {frozenset(): "none", frozenset({1}): "1", frozenset({2}): "2"}.get(frozenset(versions), "hybrid")


def version_in_use(found: Sequence[Hierarchy]) -> int:
    """The version that has the controllers a container needs: groups are made there. 0 where none has.

    Version 1 with other controllers alone, such as net_cls beside a whole version 2, does not count.
    """
    if any(h.version == 1 and h.controllers & set(V1_CONTROLLERS) for h in found):
        return 1
    return 2 if any(h.version == 2 for h in found) else 0


def write(file: Path, value: object) -> None:
    """Turn one kernel knob; a refusal names the knob and the value."""
    with trace.operation("cgroup.write", f"{value} to {file}"):
        try:
            knob = os.open(file, os.O_WRONLY | os.O_CLOEXEC)  # the kernel made the file: never create it
            try:
                os.write(knob, str(value).encode())
            finally:
                os.close(knob)
        except OSError as error:
            error.add_note(f"while writing {value!r} to {file}")
            raise


def can_limit_swap() -> bool:
    """Whether this kernel counts swap by group (version 2 always does, since it is on by default)."""
    found = [h for h in hierarchies() if h.version == 1 and h.has("memory")]
    return all((h.mount_point / "memory.memsw.limit_in_bytes").exists() for h in found)


@dataclass(frozen=True, slots=True)
class Cgroup(abc.ABC):
    """One group of processes, wherever the kernel's generation keeps its parts.

    `path` is relative to the roots of the hierarchies, such as `labkit/web`.
    """

    path: str
    directories: dict[str, Path]  # for each controller, the directory with its files

    version = 0

    def directory(self, controller: str) -> Path:
        """Where a controller's files of this group are; Unsupported where there is none."""
        try:
            return self.directories[controller]
        except KeyError:
            raise Unsupported(
                f"no cgroup controller {controller!r} here, only {' '.join(sorted(self.directories))}",
                hint="a kernel parameter such as cgroup_enable=memory may switch it on; see labkit doctor",
            ) from None

    @property
    def all_directories(self) -> list[Path]:
        """Every directory of this group, each once."""
        return list(dict.fromkeys(self.directories.values()))

    def limit(self, wanted: Limits) -> None:
        """Set limits, also on a group that runs; those that are None stay as they are."""
        for row in limits.plan(wanted, self.version):
            knob = self.directory(row.controller) / row.file
            if not knob.exists():
                raise Unsupported(
                    f"this kernel has no {row.file}, so it cannot hold the limit {row.value}",
                    hint="swap accounting may be off: swapaccount=1"
                    if "sw" in row.file
                    else "see labkit doctor",
                )
            write(knob, row.value)

    def add(self, pid: int) -> None:
        """Move a process, with all its threads, into the group."""
        for directory in self.all_directories:
            write(directory / "cgroup.procs", pid)

    def join(self) -> None:
        """Move this process itself, which must have one thread, into the group.

        The file of version 1 is `tasks`: a thread that moves itself need not
        stop every fork of the machine, as a write to cgroup.procs does. That is
        the difference between some microseconds and some milliseconds.
        """
        name = "tasks" if self.version == 1 else "cgroup.procs"
        for directory in self.all_directories:
            write(directory / name, 0)  # 0 is the writer

    def processes(self) -> list[int]:
        """The processes of this group and of those below it."""
        found: set[int] = set()
        for directory in self.all_directories:
            for group in cgroup_tree.tree(directory):
                with contextlib.suppress(FileNotFoundError, OSError):
                    found.update(map(int, (group / "cgroup.procs").read_text().split()))
        return sorted(found - {0})  # 0 is a process of another pid namespace

    def freeze(self, frozen: bool = True, timeout_seconds: float = 5.0) -> None:
        """Stop (or let go on) all processes at once; returns when the kernel says so."""
        self._write_frozen(frozen)
        deadline = time.monotonic() + timeout_seconds
        while self.is_frozen() != frozen:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"cgroup {self.path} is not {'frozen' if frozen else 'thawed'} after {timeout_seconds} s"
                )
            time.sleep(0.001)

    @abc.abstractmethod
    def is_frozen(self) -> bool:
        """Whether the kernel reports the group as frozen."""

    @abc.abstractmethod
    def _write_frozen(self, frozen: bool) -> None:
        """Ask for it; `freeze` waits."""

    def kill(self, timeout_seconds: float = 5.0) -> None:
        """End every process of the group and wait until it is empty, however fast it forks."""
        deadline = time.monotonic() + timeout_seconds
        while self.processes():
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes {self.processes()} of cgroup {self.path} do not die")
            with contextlib.suppress(FileNotFoundError):  # somebody else removes it at this moment
                self._kill_once()
            time.sleep(0.001)

    @abc.abstractmethod
    def _kill_once(self) -> None:
        """Send SIGKILL to all that are in the group now."""

    @abc.abstractmethod
    def usage(self) -> Usage:
        """What the group uses now, and has used."""

    @abc.abstractmethod
    def oom_kills(self) -> int:
        """How many of its processes the OOM killer has taken."""

    @abc.abstractmethod
    def oom_notifier(self) -> tuple[int, int]:
        """A descriptor, and the poll(2) event on it that tells that memory ran out. The caller closes it."""

    def remove(self, timeout_seconds: float = 2.0) -> bool:
        """Remove the group and those below it; whether it was there. EBUSY while processes are in it."""
        there = [cgroup_tree.remove_tree(directory, timeout_seconds) for directory in self.all_directories]
        return any(there)

    def end(self) -> bool:
        """End what is in the group and remove it; whether it was there. Most often all have ended already."""
        try:
            return self.remove(timeout_seconds=0)
        except OSError:
            self.kill()
            return self.remove()


class UnifiedCgroup(Cgroup):
    """Version 2: one tree for all controllers."""

    version = 2
    __slots__ = ()

    @property
    def main(self) -> Path:
        """The one directory."""
        return next(iter(self.directories.values()))

    def is_frozen(self) -> bool:
        """By cgroup.events, since the kernel freezes in its own time."""
        return "frozen 1" in (self.main / "cgroup.events").read_text()

    def _write_frozen(self, frozen: bool) -> None:
        write(self.main / "cgroup.freeze", int(frozen))

    def _kill_once(self) -> None:
        if (self.main / "cgroup.kill").exists():  # Linux 5.14
            write(self.main / "cgroup.kill", 1)
        else:
            _signal_all(self.processes())

    def usage(self) -> Usage:
        """From the files of the one directory."""
        return cgroup_usage.read_v2(self.main)

    def oom_kills(self) -> int:
        """From memory.events."""
        return cgroup_usage.value_of(self.main / "memory.events", "oom_kill")

    def oom_notifier(self) -> tuple[int, int]:
        """memory.events changes: POLLPRI, after each read anew."""
        descriptor = os.open(self.directory("memory") / "memory.events", os.O_RDONLY | os.O_CLOEXEC)
        os.read(descriptor, 4096)
        return descriptor, select.POLLPRI


class VersionOneCgroup(Cgroup):
    """Version 1: a tree for each controller, the same path in each."""

    version = 1
    __slots__ = ()

    def is_frozen(self) -> bool:
        """By freezer.state, which passes through FREEZING."""
        return (self.directory("freezer") / "freezer.state").read_text().strip() == "FROZEN"

    def _write_frozen(self, frozen: bool) -> None:
        write(self.directory("freezer") / "freezer.state", "FROZEN" if frozen else "THAWED")

    def _kill_once(self) -> None:
        """Freeze first, so that none forks away between the list and the signal."""
        if "freezer" not in self.directories or not self.directories["freezer"].exists():
            _signal_all(self.processes())
            return
        self._write_frozen(True)
        _signal_all(self.processes())
        self._write_frozen(False)  # a frozen process dies only once it is thawed

    def usage(self) -> Usage:
        """From each controller's directory."""
        return cgroup_usage.read_v1(self.directories)

    def oom_kills(self) -> int:
        """From memory.oom_control, Linux 4.13."""
        if "memory" not in self.directories:
            return 0
        return cgroup_usage.value_of(self.directories["memory"] / "memory.oom_control", "oom_kill")

    def oom_notifier(self) -> tuple[int, int]:
        """An eventfd tied to memory.oom_control through cgroup.event_control."""
        directory = self.directory("memory")
        event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        control = os.open(directory / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write(directory / "cgroup.event_control", f"{event} {control}")
        except OSError:
            os.close(event)
            raise
        finally:
            os.close(control)
        return event, select.POLLIN


def _signal_all(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def checked_path(path: str) -> str:
    """A relative path of plain names; Invalid where it could reach other people's groups."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise Invalid(f"{path!r} is not a cgroup path: plain names with / between, such as {HOME}/web")
    return path


def create(path: str, wanted: Limits | None = None, found: "list[Hierarchy] | None" = None) -> Cgroup:
    """Make a group (and those above it), with limits. FileExistsError where it is there already."""
    found = found if found is not None else hierarchies()
    group = _locate(checked_path(path), found)
    if any(directory.exists() for directory in group.all_directories):
        raise FileExistsError(17, "this cgroup is there already", path)
    try:
        for directory in group.all_directories:
            _make_with_parents(directory, _root_of(directory, found))
        if wanted is not None:
            group.limit(wanted)
    except BaseException:
        group.remove()
        raise
    return group


def open_existing(path: str, found: "list[Hierarchy] | None" = None) -> Cgroup:
    """A group that is there; FileNotFoundError where none of its directories is."""
    group = _locate(checked_path(path), found if found is not None else hierarchies())
    there = {name: directory for name, directory in group.directories.items() if directory.is_dir()}
    if not there:
        raise FileNotFoundError(2, "no such cgroup", path)
    return type(group)(path, there)


def _locate(path: str, found: list[Hierarchy]) -> Cgroup:
    """Where each controller's directory of this path is: version 1 first, as on a hybrid machine."""
    if version_in_use(found) == 1:
        v1 = {c: h.mount_point / path for h in found if h.version == 1 for c in V1_CONTROLLERS if h.has(c)}
        return VersionOneCgroup(path, v1)
    unified = next((h for h in found if h.version == 2), None)
    if unified is None:
        raise Unsupported(
            "no cgroup file system is mounted",
            hint="mount -t cgroup2 none /sys/fs/cgroup, or start the machine with systemd",
        )
    names = [c for c in V2_CONTROLLERS if unified.has(c)] or ["cgroup"]
    return UnifiedCgroup(path, dict.fromkeys(names, unified.mount_point / path))


def _root_of(directory: Path, found: list[Hierarchy]) -> Hierarchy:
    return next(h for h in found if directory.is_relative_to(h.mount_point))


def _make_with_parents(directory: Path, hierarchy: Hierarchy) -> None:
    above = hierarchy.mount_point
    for name in directory.relative_to(hierarchy.mount_point).parts:
        if hierarchy.version == 2:
            _let_children_use(above, hierarchy.controllers)
        here = above / name
        if cgroup_tree.make_directory(here) and hierarchy.has("cpuset") and hierarchy.version == 1:
            _inherit_cpuset(here)
        above = here


def _let_children_use(directory: Path, controllers: frozenset[str]) -> None:
    """Version 2 hands a controller down one level at a time."""
    on = set((directory / "cgroup.subtree_control").read_text().split())
    offered = set((directory / "cgroup.controllers").read_text().split())
    for controller in V2_CONTROLLERS:
        if controller in controllers & offered and controller not in on:
            write(directory / "cgroup.subtree_control", f"+{controller}")


def _inherit_cpuset(directory: Path) -> None:
    """A new cpuset of version 1 is empty, and no process may enter an empty one."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        write(directory / file, (directory.parent / file).read_text().strip())


def remove_home() -> bool:
    """Remove labkit's own top group where nothing is in it any more; whether one was there."""
    removed = False
    for hierarchy in hierarchies():
        with contextlib.suppress(OSError):  # not there, or still of use to someone
            (hierarchy.mount_point / HOME).rmdir()
            removed = True
    return removed


def remove_everywhere(path: str) -> bool:
    """End what is in a group of labkit's and remove it, in every hierarchy; whether it was there.

    Only below HOME: other people's groups are not ours to end.
    """
    if not checked_path(path).startswith(f"{HOME}/"):
        raise Invalid(f"{path!r} is not below {HOME}, so labkit will not remove it")
    try:
        group = open_existing(path)
    except FileNotFoundError:
        return False
    return group.end()
