"""processes: who runs here, as one row each, from /proc.

Chapters 0, 2 and 6. proc(5), proc_pid_stat(5), proc_pid_status(5), proc_pid_cgroup(5).

A process may end between two files of its directory: then it has no row.
"""

import os
import pwd
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from labkit.kernel import namespaces

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
THREAD_OF_THE_KERNEL = 0x0020_0000  # PF_KTHREAD of linux/sched.h


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One process, in the words of ps(1) and proc(5)."""

    pid: int
    parent_pid: int
    name: str  # what ps calls comm, at most 15 bytes
    command: str  # its arguments, or [name] where it has none, as a kernel thread
    user: str
    state: str  # R S D T Z …, proc_pid_stat(5)
    started_at: float  # seconds since 1970
    start_ticks: int  # with the pid, its identity
    ns_pids: tuple[int, ...]  # its pid in each pid namespace, ours first
    cgroup: str
    is_kernel_thread: bool


def rows(pids: "Iterable[int] | None" = None, *, proc: Path = PROC) -> list[ProcessRow]:
    """A row for each of these processes that is still there; None means all that /proc shows."""
    wanted = namespaces.all_pids() if pids is None else pids
    found = (row(pid, proc=proc) for pid in wanted)
    return [process for process in found if process is not None]


def row(pid: int, *, proc: Path = PROC) -> ProcessRow | None:
    """What /proc says of one process; None where it ended before we had read it all."""
    home = proc / str(pid)
    try:
        name, fields = _split_stat(_read(home / "stat"))
        status = _status(_read(home / "status"))
        arguments = _read(home / "cmdline")
        group = cgroup_path(_read(home / "cgroup"))
    except (FileNotFoundError, ProcessLookupError):
        return None
    start_ticks = int(fields[19])
    return ProcessRow(
        pid=pid,
        parent_pid=int(fields[1]),
        name=name,
        command=_command(arguments) or f"[{name}]",
        user=user_name(int(status["Uid"].split()[0])),
        state=fields[0],
        started_at=_boot_time(proc) + start_ticks / TICKS_PER_SECOND,
        start_ticks=start_ticks,
        ns_pids=tuple(int(number) for number in status.get("NSpid", str(pid)).split()),
        cgroup=group,
        is_kernel_thread=bool(int(fields[6]) & THREAD_OF_THE_KERNEL),
    )


def _read(file: Path) -> str:
    return os.fsdecode(file.read_bytes())


def _split_stat(text: str) -> tuple[str, list[str]]:
    """The name and the fields from the state on: a name may hold blanks and brackets, so from outside in."""
    before, _, after = text.rpartition(")")
    return before.partition("(")[2], after.split()


def _status(text: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {key: value.strip() for key, _, value in pairs}


def _command(cmdline: str) -> str:
    return " ".join(cmdline.rstrip("\0").split("\0")) if cmdline.strip("\0") else ""


def cgroup_path(text: str) -> str:
    """The group of a /proc/PID/cgroup: of version 2, or where that says `/`, of a version 1 controller.

    On a hybrid machine the version 2 tree often has no controllers and all
    processes lie in its root, so the version 1 trees say more.
    """
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    paths = {controllers: path for _, controllers, path in lines}
    unified = paths.pop("", "/")
    if unified != "/":
        return unified
    return next((paths[name] for name in ("memory", "pids") if paths.get(name, "/") != "/"), unified)


def own_cgroup(*, proc: Path = PROC) -> str:
    """The group that this process itself lies in."""
    return cgroup_path(_read(proc / "self/cgroup"))


@lru_cache(maxsize=256)
def user_name(uid: int) -> str:
    """The name of a user id on this machine, or the number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@lru_cache(maxsize=4)
def _boot_time(proc: Path) -> int:
    """When the machine started, in seconds since 1970: btime of proc_stat(5)."""
    for line in (proc / "stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1])
    raise ValueError(f"no btime in {proc / 'stat'}")
