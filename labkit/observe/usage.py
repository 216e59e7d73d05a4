"""usage: what a control group uses, at one moment and between two.

Chapter 4. cgroups(7), docs.kernel.org/admin-guide/cgroup-v2.html.

`kernel.cgroups` reads the files of version 1 and 2 into one `Usage`; here it
gets a time, and two of them become rates.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from labkit.kernel.cgroup_usage import Usage


class Group(Protocol):
    """What can be measured: a cgroup of either version, or a test's own."""

    @property
    def path(self) -> str:
        """Its name below the roots of the hierarchies."""

    @property
    def all_directories(self) -> list[Path]:
        """Where its files are."""

    def usage(self) -> Usage:
        """What it uses now."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a group had used by one moment of CLOCK_MONOTONIC."""

    at_seconds: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One sample: amounts as they are, and rates since the sample before."""

    at_seconds: float
    memory_bytes: int | None  # None where this kernel does not count it
    memory_limit_bytes: int | None
    cpu_fraction: float  # of one CPU: 1.5 is one and a half
    cpu_limit: float | None  # in CPUs
    throttled_fraction: float  # of the periods that passed, those in which it had to wait
    processes: int | None
    processes_limit: int | None
    read_bytes_per_second: float
    written_bytes_per_second: float
    oom_kills: int  # since the group was made
    oom_kills_new: int  # since the sample before
    frozen: bool


def snapshot(group: Group) -> Snapshot:
    """Measure once; FileNotFoundError where the group is gone."""
    if not any(directory.is_dir() for directory in group.all_directories):
        raise FileNotFoundError(2, "no such cgroup", group.path)
    return Snapshot(time.monotonic(), group.usage())


def row(before: Snapshot, after: Snapshot) -> UsageRow:
    """The sample `after`, with what happened per second since `before`."""
    elapsed = after.at_seconds - before.at_seconds
    old, new = before.usage, after.usage

    def rate(then: float, now: float) -> float:
        # A counter that went back belongs to a group that was removed and made again.
        return max(0.0, now - then) / elapsed if elapsed > 0 else 0.0

    periods, throttled = new.periods - old.periods, new.throttled_periods - old.throttled_periods
    return UsageRow(
        at_seconds=after.at_seconds,
        memory_bytes=new.memory_bytes,
        memory_limit_bytes=new.memory_limit_bytes,
        cpu_fraction=rate(old.cpu_seconds, new.cpu_seconds),
        cpu_limit=new.cpu_limit,
        throttled_fraction=max(0, throttled) / periods if periods > 0 else 0.0,
        processes=new.processes,
        processes_limit=new.processes_limit,
        read_bytes_per_second=rate(old.io_read_bytes, new.io_read_bytes),
        written_bytes_per_second=rate(old.io_write_bytes, new.io_write_bytes),
        oom_kills=new.oom_kills,
        oom_kills_new=max(0, new.oom_kills - old.oom_kills),
        frozen=new.frozen,
    )


class Sampler:
    """Rows from one group, each measured against the one before."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._last = snapshot(group)

    def sample(self) -> UsageRow:
        """The row from the last call (or the beginning) until now."""
        before, self._last = self._last, snapshot(self._group)
        return row(before, self._last)
