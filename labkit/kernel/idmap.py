"""idmap: root inside, nobody outside: user ids as two sides of one table.

Chapters 2 and 15. user_namespaces(7), mount_setattr(2), subuid(5).
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.kernel import process, trace
from labkit.kernel.namespaces import Namespace


@dataclass(frozen=True, slots=True)
class IdMap:
    """A run of `count` ids: `inside`, inside+1, … are `outside`, outside+1, … to the parent."""

    inside: int
    outside: int
    count: int = 1

    def __str__(self) -> str:
        return f"{self.inside} {self.outside} {self.count}"

    def to_outside(self, number: int) -> int | None:
        """The id that the parent namespace sees, None where this run has no such id."""
        offset = number - self.inside
        return self.outside + offset if 0 <= offset < self.count else None


def parse(text: str) -> list[IdMap]:
    """The lines of /proc/PID/uid_map."""
    return [IdMap(*map(int, line.split())) for line in text.splitlines() if line.strip()]


def write(pid: "int | str", uids: Sequence[IdMap], gids: Sequence[IdMap]) -> None:
    """Give a fresh user namespace its two tables; each can be written once.

    setgroups is denied first where the writer has no CAP_SETGID outside: the
    kernel demands it, lest a group that takes rights away be dropped.
    """
    base = Path(f"/proc/{pid}")
    if os.geteuid() != 0:
        with trace.operation("setgroups", "deny"):
            (base / "setgroups").write_text("deny")
    for name, table in (("uid_map", uids), ("gid_map", gids)):
        with trace.operation(name, "; ".join(map(str, table))):
            (base / name).write_text("\n".join(map(str, table)) + "\n")


@contextmanager
def user_namespace(uids: Sequence[IdMap], gids: Sequence[IdMap]) -> Iterator[int]:
    """A descriptor of a user namespace with these tables, for an id-mapped mount.

    It is born with a child that does nothing and goes when the last descriptor
    is closed. For single-threaded processes, as `process.clone` is.
    """
    pid, pidfd = process.clone(int(Namespace.USER), said="a child that only holds a user namespace")
    if pid == 0:
        signal.pause()
        os._exit(0)
    try:
        write(pid, uids, gids)
        descriptor = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        process.wait(pidfd)
        os.close(pidfd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
