"""namespaces: give a process its own view of one kernel resource.

Chapter 2. namespaces(7), unshare(2), setns(2), user_namespaces(7), time_namespaces(7).
"""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from enum import IntFlag
from pathlib import Path
from typing import TypeVar

from labkit.kernel import libc, trace

T = TypeVar("T")


class Namespace(IntFlag):
    """The eight kinds, by the bits that clone(2) uses for them."""

    MOUNT = 0x0002_0000
    UTS = 0x0400_0000
    IPC = 0x0800_0000
    PID = 0x2000_0000
    NETWORK = 0x4000_0000
    USER = 0x1000_0000
    CGROUP = 0x0200_0000
    TIME = 0x0000_0080

    @property
    def link(self) -> str:
        """Its name under /proc/PID/ns."""
        return {Namespace.MOUNT: "mnt", Namespace.NETWORK: "net"}.get(self, self.oci)

    @property
    def oci(self) -> str:
        """Its name in an OCI config.json."""
        return str(self.name).lower()

    @classmethod
    def named(cls, name: str) -> "Namespace":
        """The kind of an OCI or /proc name; ValueError names the ones there are."""
        for kind in cls:
            if name in (kind.oci, kind.link):
                return kind
        raise ValueError(
            f"no kind of namespace is called {name!r}; there are {', '.join(k.oci for k in cls)}"
        )


def _words(kinds: Namespace) -> str:
    return " ".join(kind.oci for kind in Namespace if kind in kinds)


def unshare(kinds: Namespace) -> None:
    """Move this process into fresh namespaces of these kinds.

    PID and TIME work one generation later: only children born after the call
    live in the new namespace, and the first of them is its process 1.
    """
    libc.call("unshare", int(kinds), said=f"fresh namespaces: {_words(kinds)}")


def enter(pid: int, kinds: Namespace) -> None:
    """Move this process into the namespaces that `pid` lives in (PID: its next child).

    A pidfd joins several kinds in one call, since Linux 5.8.
    """
    pidfd = os.pidfd_open(pid)
    try:
        enter_pidfd(pidfd, kinds, said=f"process {pid}'s {_words(kinds)}")
    finally:
        os.close(pidfd)


def enter_pidfd(pidfd: int, kinds: Namespace, *, said: str = "") -> None:
    """As `enter`, for a process that is held by its pidfd and so cannot be another."""
    libc.call("setns", pidfd, int(kinds), said=said or _words(kinds))


def enter_path(path: "os.PathLike[str] | str", kind: Namespace) -> None:
    """Move this process into the namespace that a file names, such as /run/netns/blue."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.call("setns", descriptor, int(kind), said=f"{kind.oci} namespace {path}", path=path)
    finally:
        os.close(descriptor)


def in_network(descriptor: int, work: Callable[[], T]) -> T:
    """Call `work` inside a network namespace, from a thread that lives no longer than that.

    A network namespace is a thread's own, setns(2), so the other threads stay
    where they are; and what `work` opens there stays open everywhere.
    """
    outcome: list[T] = []
    failures: list[BaseException] = []

    def move_and_work() -> None:
        try:
            libc.call("setns", descriptor, int(Namespace.NETWORK), said="a thread into a network namespace")
            outcome.append(work())
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=move_and_work)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return outcome[0]


def identity(pid: "int | str", kind: Namespace) -> int:
    """Two processes share a namespace exactly when these numbers are equal (`pid` may be "self")."""
    return os.stat(f"/proc/{pid}/ns/{kind.link}").st_ino


def identities(pid: "int | str") -> dict[Namespace, int]:
    """The namespaces a process lives in; the kinds this kernel has."""
    found = {}
    for kind in Namespace:
        try:
            found[kind] = identity(pid, kind)
        except FileNotFoundError:
            if not Path(f"/proc/{pid}/ns").exists():
                raise ProcessLookupError(3, "no such process", str(pid)) from None
    return found


def members(kind: Namespace, pids: "Iterable[int] | None" = None) -> dict[int, list[int]]:
    """Who shares what: the processes of each namespace of a kind, by its identity."""
    shared: dict[int, list[int]] = defaultdict(list)
    for pid in pids if pids is not None else all_pids():
        try:
            shared[identity(pid, kind)].append(pid)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or is not ours to see
    return dict(shared)


def all_pids() -> list[int]:
    """Every process that this /proc shows."""
    return sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208


def set_time_offsets(
    pid: "int | str" = "self", *, monotonic_seconds: int = 0, boottime_seconds: int = 0
) -> None:
    """Shift the clocks of the time namespace that the next child is born in.

    Only before that child exists, time_namespaces(7).
    """
    text = f"monotonic {monotonic_seconds} 0\nboottime {boottime_seconds} 0\n"
    with trace.operation("timens_offsets", f"monotonic {monotonic_seconds} s, boottime {boottime_seconds} s"):
        Path(f"/proc/{pid}/timens_offsets").write_text(text)
