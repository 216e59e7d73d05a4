"""limits: what a group of processes may use, and the knob of each kernel generation that says so.

Chapter 4. docs.kernel.org/admin-guide/cgroup-v2.html, cgroup-v1/ beside it. A
plan is plain rows that can be printed; kernel.cgroups writes them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from labkit.errors import Invalid

CPU_PERIOD_US = 100_000
UNLIMITED = -1
"""For memory_swap_bytes: as much as there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IoLimit:
    """How fast one block device may be used; None leaves a way unlimited."""

    device: str  # major:minor
    read_bytes_per_second: int | None = None
    write_bytes_per_second: int | None = None
    read_operations_per_second: int | None = None
    write_operations_per_second: int | None = None

    def __post_init__(self) -> None:
        major, _, minor = self.device.partition(":")
        if not (major.isdigit() and minor.isdigit()):
            raise Invalid(f"an I/O limit is for a device by its numbers, such as 8:0, not {self.device!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a container may use. None leaves the kernel's default, which is no limit."""

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None  # memory and swap together, as in docker run --memory-swap
    memory_reservation_bytes: int | None = None
    cpus: float | None = None  # 0.5 is half of one CPU's time
    cpu_weight: int | None = None  # 1 to 10000, 100 is the default of version 2
    cpuset_cpus: str | None = None  # such as 0-1,3
    cpuset_mems: str | None = None
    processes: int | None = None
    io: tuple[IoLimit, ...] = ()

    def __post_init__(self) -> None:
        _within("memory_bytes", self.memory_bytes, 6 * 2**20, 2**62, "docker refuses less than 6 MiB too")
        _within("cpus", self.cpus, 0.01, 4096, "0.5 is half of one CPU's time")
        _within("cpu_weight", self.cpu_weight, 1, 10_000, "100 is the kernel's default")
        _within("processes", self.processes, 1, 4_194_304, "the container's own first process counts")
        _within("memory_reservation_bytes", self.memory_reservation_bytes, 0, 2**62, "bytes")
        for name in ("cpuset_cpus", "cpuset_mems"):
            value = getattr(self, name)
            if value is not None and not (value and set(value) <= set("0123456789,-")):
                raise Invalid(f"{name} is {value!r}, but must be a list such as 0-1,3, see cpuset(7)")
        total = self.memory_swap_bytes
        if (
            total is not None
            and total != UNLIMITED
            and (self.memory_bytes is None or total < self.memory_bytes)
        ):
            raise Invalid(
                f"memory_swap_bytes is {total}, but counts memory and swap together, so it needs "
                "a memory_bytes that is not larger"
            )


def _within(name: str, value: float | None, lowest: float, highest: float, hint: str) -> None:
    if value is not None and not (lowest <= value <= highest):
        raise Invalid(f"{name} is {value}, but must be from {lowest} to {highest}", hint=hint)


class Write(NamedTuple):
    """One knob to turn."""

    controller: str
    file: str
    value: str


def _v1_swap(limits: Limits) -> str | None:
    return None if limits.memory_swap_bytes is None else str(limits.memory_swap_bytes)


def _v2_swap(limits: Limits) -> str | None:
    total = limits.memory_swap_bytes
    if total is None or limits.memory_bytes is None:
        return None if total is None else "max"
    return "max" if total == UNLIMITED else str(total - limits.memory_bytes)


def _v1_quota(limits: Limits) -> str | None:
    return None if limits.cpus is None else str(_quota_us(limits.cpus))


def _v2_quota(limits: Limits) -> str | None:
    return None if limits.cpus is None else f"{_quota_us(limits.cpus)} {CPU_PERIOD_US}"


def _quota_us(cpus: float) -> int:
    return max(1000, math.ceil(cpus * CPU_PERIOD_US))  # the kernel takes no quota below 1 ms


def _v1_shares(limits: Limits) -> str | None:
    """Version 1 counts from 2 to 262144; the same straight line that runc draws between the two."""
    if limits.cpu_weight is None:
        return None
    return str(2 + (limits.cpu_weight - 1) * 262_142 // 9_999)


def _plain(field: str) -> Callable[[Limits], str | None]:
    def value(limits: Limits) -> str | None:
        found = getattr(limits, field)
        return None if found is None else str(found)

    return value


class Knob(NamedTuple):
    """Where one limit lives in each generation, in the order in which the kernel wants them written."""

    field: str
    v1: tuple[str, str, Callable[[Limits], str | None]]
    v2: tuple[str, str, Callable[[Limits], str | None]]


# fmt: off
KNOBS = (
    # limit                            version 1: controller, file, value                       version 2
    Knob("cpuset_cpus",              ("cpuset", "cpuset.cpus", _plain("cpuset_cpus")),         ("cpuset", "cpuset.cpus", _plain("cpuset_cpus"))),
    Knob("cpuset_mems",              ("cpuset", "cpuset.mems", _plain("cpuset_mems")),         ("cpuset", "cpuset.mems", _plain("cpuset_mems"))),
    Knob("memory_bytes",             ("memory", "memory.limit_in_bytes", _plain("memory_bytes")), ("memory", "memory.max", _plain("memory_bytes"))),
    Knob("memory_swap_bytes",        ("memory", "memory.memsw.limit_in_bytes", _v1_swap),      ("memory", "memory.swap.max", _v2_swap)),
    Knob("memory_reservation_bytes", ("memory", "memory.soft_limit_in_bytes", _plain("memory_reservation_bytes")),
                                                                                               ("memory", "memory.low", _plain("memory_reservation_bytes"))),
    Knob("cpus",                     ("cpu", "cpu.cfs_quota_us", _v1_quota),                   ("cpu", "cpu.max", _v2_quota)),
    Knob("cpu_weight",               ("cpu", "cpu.shares", _v1_shares),                        ("cpu", "cpu.weight", _plain("cpu_weight"))),
    Knob("processes",                ("pids", "pids.max", _plain("processes")),                ("pids", "pids.max", _plain("processes"))),
)
IO_KNOBS = (
    # field of IoLimit                  version 1 file                          key in version 2's io.max
    ("read_bytes_per_second",       "blkio.throttle.read_bps_device",       "rbps"),
    ("write_bytes_per_second",      "blkio.throttle.write_bps_device",      "wbps"),
    ("read_operations_per_second",  "blkio.throttle.read_iops_device",      "riops"),
    ("write_operations_per_second", "blkio.throttle.write_iops_device",     "wiops"),
)
# fmt: on


def plan(limits: Limits, version: int) -> list[Write]:
    """The knobs to turn for these limits, in the order of writing."""
    writes = []
    for knob in KNOBS:
        controller, file, value = knob.v1 if version == 1 else knob.v2
        if (text := value(limits)) is not None:
            writes.append(Write(controller, file, text))
    for device in limits.io:
        writes += _plan_io(device, version)
    return writes


def _plan_io(limit: IoLimit, version: int) -> list[Write]:
    set_ones = [(v1, v2, value) for field, v1, v2 in IO_KNOBS if (value := getattr(limit, field)) is not None]
    if version == 1:
        return [Write("blkio", file, f"{limit.device} {value}") for file, _, value in set_ones]
    keys = " ".join(f"{key}={value}" for _, key, value in set_ones)
    return [Write("io", "io.max", f"{limit.device} {keys}")] if keys else []
