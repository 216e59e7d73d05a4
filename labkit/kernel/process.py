"""process: be born with namespaces of one's own, be waited for, be told apart from a reused pid.

Chapters 2 and 6. clone3(2), pidfd_open(2), waitid(2), prctl(2), proc_pid_stat(5).
"""

import ctypes
import os
import signal
from itertools import pairwise
from pathlib import Path

from labkit.kernel import libc, trace

CLONE_PIDFD = 0x1000
CLONE_INTO_CGROUP = 0x2_0000_0000

PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 15, 36, 38


class _CloneArgs(ctypes.Structure):
    """struct clone_args of linux/sched.h, in its form since Linux 5.7."""

    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
            "set_tid", "set_tid_size", "cgroup",
        )
    )  # fmt: skip


def clone(namespaces: int = 0, *, cgroup: int | None = None, said: str = "") -> tuple[int, int]:
    """Fork into fresh namespaces; return (0, -1) in the child and (pid, pidfd) in the parent.

    `cgroup` is a descriptor of a version 2 cgroup directory: the child is born
    in it. For single-threaded processes only, as fork(2) is; Python's own
    bookkeeping around a fork is kept.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(
        flags=namespaces | CLONE_PIDFD | (0 if cgroup is None else CLONE_INTO_CGROUP),
        pidfd=ctypes.addressof(pidfd),
        exit_signal=signal.SIGCHLD,
        cgroup=0 if cgroup is None else cgroup,
    )
    began_as = os.getpid()
    ctypes.pythonapi.PyOS_BeforeFork()
    result, errno = -1, 0
    try:
        result = libc._libc.syscall(
            ctypes.c_long(libc.CLONE3), ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args))
        )
        errno = ctypes.get_errno()
    finally:
        if result == 0:
            ctypes.pythonapi.PyOS_AfterFork_Child()
        else:
            ctypes.pythonapi.PyOS_AfterFork_Parent()
    if result == 0:
        return 0, -1
    if result < 0:
        raise OSError(errno, f"clone3: {os.strerror(errno)}")
    trace.note("clone3", said or f"pid {result}, child of {began_as}")
    os.set_inheritable(pidfd.value, False)
    return result, pidfd.value


def wait(pidfd: int) -> int:
    """Wait for a child by its pidfd and reap it; return its exit code, 128 + n for signal n."""
    ended = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert ended is not None  # only WNOHANG gives None
    return exit_code(ended)


def exit_code(ended: "os.waitid_result") -> int:
    """The shell's exit code of an ended child: its own, or 128 + the signal that killed it."""
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def started_at(pid: int) -> int:
    """When a process began, in clock ticks since boot; ProcessLookupError where there is none.

    A pid is reused; a pid with its start time is not.
    """
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(3, "no such process", str(pid)) from None
    return int(after_name[19])


def is_alive(pid: int, start_ticks: int) -> bool:
    """Whether the very process is there and not a zombie."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return int(after_name[19]) == start_ticks and after_name[0] not in "ZX"


def kill(pid: int, start_ticks: int, number: int = signal.SIGKILL) -> bool:
    """Signal the very process; False where it is gone already."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        if started_at(pid) != start_ticks:  # the pid belongs to someone else by now
            return False
        with trace.operation("kill", f"{signal.Signals(number).name} to process {pid}"):
            signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def _prctl(option: int, value: int, said: str) -> None:
    libc.call("prctl", option, value, 0, 0, 0, said=said)


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this signal when the parent ends, PR_SET_PDEATHSIG."""
    _prctl(PR_SET_PDEATHSIG, number, f"die with {signal.Signals(number).name} when the parent ends")


def adopt_orphans() -> None:
    """Become the parent of all descendants whose own parents end, PR_SET_CHILD_SUBREAPER."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1, "adopt orphans among the descendants")


def no_new_privileges() -> None:
    """Let no execve grant what this process lacks, PR_SET_NO_NEW_PRIVS."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1, "no execve grants privileges from here on")


def set_name(name: str) -> None:
    """The name that ps shows in its comm column, at most 15 bytes, PR_SET_NAME."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    _prctl(PR_SET_NAME, ctypes.addressof(buffer), f"this process is called {name}")


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor from 3 on but these, close_range(2)."""
    for lower, upper in pairwise([2, *sorted(keep), 2**32]):
        if upper - lower > 1:
            libc.syscall(
                "close_range",
                libc.CLOSE_RANGE,
                ctypes.c_uint(lower + 1),
                ctypes.c_uint(min(upper - 1, 2**32 - 1)),
                ctypes.c_uint(0),
            )
