"""capabilities: root's power in forty-one pieces, and which of them a process holds.

Chapter 15. capabilities(7), capset(2), prctl(2).
"""

import ctypes
from collections.abc import Iterable
from pathlib import Path

from labkit.kernel import libc

NAMES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE "
    "NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT "
    "SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE "
    "AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ "
    "PERFMON BPF CHECKPOINT_RESTORE"
).split()
"""By their numbers, linux/capability.h."""

_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
_PR_CAPBSET_DROP, _PR_SET_KEEPCAPS = 24, 8


def number(name: str) -> int:
    """The bit of a capability, with or without CAP_; ValueError where there is none."""
    try:
        return NAMES.index(name.upper().removeprefix("CAP_"))
    except ValueError:
        raise ValueError(f"no capability is called {name!r}, see capabilities(7)") from None


def mask(names: Iterable[str]) -> int:
    """Names as the 64 bits that the kernel keeps."""
    return sum(1 << bit for bit in {number(name) for name in names})


def names(bits: int) -> list[str]:
    """The other way about: CAP_CHOWN and so on, by number."""
    return [f"CAP_{name}" for bit, name in enumerate(NAMES) if bits >> bit & 1]


def of_process(pid: "int | str" = "self") -> dict[str, int]:
    """The five sets of a process as /proc/PID/status has them: CapInh, CapPrm, CapEff, CapBnd, CapAmb."""
    lines = (line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {pair[0]: int(pair[1], 16) for pair in lines if pair[0] in _SETS}


def last() -> int:
    """The highest capability that this kernel knows."""
    return int(Path("/proc/sys/kernel/cap_last_cap").read_text())


def drop_bounding(keep: Iterable[str]) -> None:
    """Take all others out of the bounding set, for this process and all it will become."""
    kept, known = mask(keep), last()
    for bit in range(known + 1):
        if not kept >> bit & 1:
            libc.call("prctl", _PR_CAPBSET_DROP, bit, 0, 0, 0, said=f"{NAMES[bit]} can never be had again")


def keep_over_setuid(keep: bool) -> None:
    """Whether the permitted set outlives the change from root to a user, PR_SET_KEEPCAPS."""
    libc.call("prctl", _PR_SET_KEEPCAPS, int(keep), 0, 0, 0, said="keep" if keep else "no longer keep")


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


def set_own(effective: int, permitted: int, inheritable: int) -> None:
    """Set this process's three classic sets, capset(2) version 3."""
    header = _Header(0x2008_0522, 0)
    sets = (effective, permitted, inheritable)
    halves = (_Data * 2)(*(_Data(*(bits >> shift & 0xFFFF_FFFF for bits in sets)) for shift in (0, 32)))
    libc.call("capset", ctypes.byref(header), halves, said=" ".join(names(permitted)) or "none")
