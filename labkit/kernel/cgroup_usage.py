"""cgroup_usage: read back what a group of processes has used.

Chapter 4. The files and their units: docs.kernel.org/admin-guide/cgroup-v2.html
(memory.stat, cpu.stat, io.stat, PSI), cgroup-v1/memory.html, cgroup-v1/cpuacct.html.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_UNLIMITED_V1 = 2**62  # version 1 writes "no limit" as the largest multiple of a page
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One reading. None where this kernel does not count it, or where there is no limit."""

    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    swap_bytes: int | None = None
    cpu_seconds: float = 0.0
    cpu_user_seconds: float = 0.0
    cpu_system_seconds: float = 0.0
    cpu_limit: float | None = None  # in CPUs
    periods: int = 0
    throttled_periods: int = 0
    throttled_seconds: float = 0.0
    processes: int | None = None
    processes_limit: int | None = None
    io_read_bytes: int = 0
    io_write_bytes: int = 0
    oom_kills: int = 0
    frozen: bool = False
    pressure: dict[str, float] = field(default_factory=dict)  # some avg10 in percent, by resource


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except FileNotFoundError:
        return ""


def _number(file: Path) -> int | None:
    """A file of one number; `max` and what is not there are None."""
    text = _text(file)
    return int(text) if text.lstrip("-").isdigit() else None


def table(file: Path) -> dict[str, int]:
    """A file of lines `key number`."""
    pairs = (line.split() for line in _text(file).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def value_of(file: Path, key: str) -> int:
    """One number of such a file, 0 where it is not there."""
    return table(file).get(key, 0)


def read_v2(directory: Path) -> Usage:
    """A group of the unified tree."""
    cpu = table(directory / "cpu.stat")
    quota = _text(directory / "cpu.max").split()
    io = [
        dict(pair.split("=") for pair in line.split()[1:])
        for line in _text(directory / "io.stat").splitlines()
    ]
    return Usage(
        memory_bytes=_number(directory / "memory.current"),
        memory_limit_bytes=_number(directory / "memory.max"),
        memory_peak_bytes=_number(directory / "memory.peak"),
        swap_bytes=_number(directory / "memory.swap.current"),
        cpu_seconds=cpu.get("usage_usec", 0) / 1e6,
        cpu_user_seconds=cpu.get("user_usec", 0) / 1e6,
        cpu_system_seconds=cpu.get("system_usec", 0) / 1e6,
        cpu_limit=int(quota[0]) / int(quota[1]) if quota and quota[0] != "max" else None,
        periods=cpu.get("nr_periods", 0),
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_seconds=cpu.get("throttled_usec", 0) / 1e6,
        processes=_number(directory / "pids.current"),
        processes_limit=_number(directory / "pids.max"),
        io_read_bytes=sum(int(device.get("rbytes", 0)) for device in io),
        io_write_bytes=sum(int(device.get("wbytes", 0)) for device in io),
        oom_kills=value_of(directory / "memory.events", "oom_kill"),
        frozen="frozen 1" in _text(directory / "cgroup.events"),
        pressure=_pressure(directory),
    )


def _pressure(directory: Path) -> dict[str, float]:
    """PSI, where the kernel was started with it: the share of the last 10 s in which some task waited."""
    found = {}
    for resource in ("cpu", "memory", "io"):
        try:
            words = (directory / f"{resource}.pressure").read_text().split()
        except OSError:
            continue  # not built in, or switched off (EOPNOTSUPP)
        if words[:1] == ["some"]:
            found[resource] = float(words[1].removeprefix("avg10="))
    return found


def read_v1(directories: Mapping[str, Path]) -> Usage:
    """A group that has a directory for each controller."""
    nowhere = Path("/nonexistent")
    memory, cpu = directories.get("memory", nowhere), directories.get("cpu", nowhere)
    account, pids = directories.get("cpuacct", nowhere), directories.get("pids", nowhere)
    throttling, ticks = table(cpu / "cpu.stat"), table(account / "cpuacct.stat")
    limit, quota = _number(memory / "memory.limit_in_bytes"), _number(cpu / "cpu.cfs_quota_us")
    used, used_with_swap = (
        _number(memory / "memory.usage_in_bytes"),
        _number(memory / "memory.memsw.usage_in_bytes"),
    )
    blocks = _v1_io(directories.get("blkio", nowhere) / "blkio.throttle.io_service_bytes")
    return Usage(
        memory_bytes=used,
        memory_limit_bytes=None if limit is None or limit >= _UNLIMITED_V1 else limit,
        memory_peak_bytes=_number(memory / "memory.max_usage_in_bytes"),
        swap_bytes=None if used is None or used_with_swap is None else max(0, used_with_swap - used),
        cpu_seconds=(_number(account / "cpuacct.usage") or 0) / 1e9,
        cpu_user_seconds=ticks.get("user", 0) / _TICKS_PER_SECOND,
        cpu_system_seconds=ticks.get("system", 0) / _TICKS_PER_SECOND,
        cpu_limit=quota / (_number(cpu / "cpu.cfs_period_us") or 1) if quota and quota > 0 else None,
        periods=throttling.get("nr_periods", 0),
        throttled_periods=throttling.get("nr_throttled", 0),
        throttled_seconds=throttling.get("throttled_time", 0) / 1e9,
        processes=_number(pids / "pids.current"),
        processes_limit=_number(pids / "pids.max"),
        io_read_bytes=blocks["Read"],
        io_write_bytes=blocks["Write"],
        oom_kills=value_of(memory / "memory.oom_control", "oom_kill"),
        frozen=_text(directories.get("freezer", nowhere) / "freezer.state") == "FROZEN",
    )


def _v1_io(file: Path) -> dict[str, int]:
    """Lines `major:minor Read bytes`, summed over the devices."""
    totals = {"Read": 0, "Write": 0}
    for line in _text(file).splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in totals:
            totals[words[1]] += int(words[2])
    return totals
