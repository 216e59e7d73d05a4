"""trace: watch every operation that labkit asks of the kernel.

Chapter 0. The one seam through which libc.call, the cgroup writer and the
senders of netlink and nft report. Costs a comparison where nobody listens.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Which chapter explains an operation; the first word of its name decides.
CHAPTER = {
    "clone3": "02", "unshare": "02", "setns": "02", "sethostname": "02", "uid_map": "02", "gid_map": "02",
    "setgroups": "02", "timens_offsets": "02", "prctl": "02", "wait": "02", "kill": "02",
    "mount": "03", "umount2": "03", "pivot_root": "03", "chroot": "03", "mount_setattr": "03", "chdir": "03",
    "mknod": "03", "symlink": "03", "open_tree": "03", "move_mount": "03", "fsopen": "05", "fsmount": "05",
    "cgroup.mkdir": "04", "cgroup.write": "04", "cgroup.rmdir": "04", "overlay": "05",
    "ioctl": "11", "link": "11", "nft": "11", "capset": "15", "setuid": "15", "execve": "06", "fork": "06",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Operation:
    """One request to the kernel.

    `at_seconds` is CLOCK_MONOTONIC, which all processes of a machine share.
    """

    process: str  # engine, launcher, monitor or init
    call: str
    said: str  # its arguments in words
    at_seconds: float
    took_seconds: float
    error: str = ""

    @property
    def chapter(self) -> str:
        """The chapter that explains it, `""` where none does."""
        return CHAPTER.get(self.call, "")


@dataclass(slots=True)
class Trace:
    """The operations of one stretch of work, oldest first once `sort` ran."""

    operations: list[Operation] = field(default_factory=list)

    def sort(self) -> None:
        """Put what several processes reported into the order of time."""
        self.operations.sort(key=lambda operation: operation.at_seconds)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def __str__(self) -> str:
        if not self.operations:
            return "no kernel operation"
        start = self.operations[0].at_seconds
        return "\n".join(
            f"{(op.at_seconds - start) * 1e3:8.2f} ms  {op.process:<8} {op.call:<14} {op.said}"
            + (f"  → {op.error}" if op.error else "")
            + (f"  (chapter {op.chapter})" if op.chapter else "")
            for op in self.operations
        )


_listener: Trace | None = None
_process = "engine"


def listening() -> bool:
    """Whether somebody wants to know."""
    return _listener is not None


def become(process: str, trace: "Trace | None") -> None:
    """After a fork: report under another name, into a trace of one's own (or none)."""
    global _listener, _process
    _listener, _process = trace, process


def take_rows() -> list[list[object]]:
    """What was recorded here so far, as rows for `extend` in another process; the record starts anew."""
    if _listener is None:
        return []
    rows = [[op.process, op.call, op.said, op.at_seconds, op.took_seconds, op.error] for op in _listener]
    _listener.operations.clear()
    return rows


def extend(rows: list[list[object]]) -> None:
    """Take in what another process reported, as lists of the fields of Operation."""
    if _listener is not None:
        _listener.operations.extend(Operation(*row) for row in rows)  # type: ignore[arg-type]


@contextmanager
def record() -> Iterator[Trace]:
    """Listen for the length of a with block; the inner of two listeners wins."""
    global _listener
    outer, _listener = _listener, Trace()
    try:
        yield _listener
    finally:
        _listener.sort()
        _listener = outer


@contextmanager
def operation(call: str, said: str) -> Iterator[None]:
    """Report what happens in the block as one operation."""
    if _listener is None:
        yield
        return
    began = time.monotonic()
    error = ""
    try:
        yield
    except OSError as failure:
        error = failure.strerror or str(failure)
        raise
    finally:
        if _listener is not None:
            _listener.operations.append(
                Operation(_process, call, said, began, time.monotonic() - began, error)
            )


def note(call: str, said: str) -> None:
    """Report something that is about to happen and does not come back, such as execve."""
    if _listener is not None:
        _listener.operations.append(Operation(_process, call, said, time.monotonic(), 0.0))
