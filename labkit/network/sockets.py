"""sockets: find out whose a port is.

Chapter 11. proc_pid_net(5): /proc/net/tcp and the others have a line for each
socket, with its inode; /proc/PID/fd says which process holds that inode.
"""

import contextlib
import ipaddress
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h, in hexadecimal


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that has a port."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command})"


def owner_of(protocol: str, address: str, port: int, *, but: int = 0) -> Owner | None:
    """The process that has a port at this address, listeners first; None where none is found.

    `but` is a process that does not count. A socket that is bound but does not
    listen yet is in no list of the kernel's.
    """
    inodes = [inode for inode in _inodes(protocol, address, port) if inode]
    if not inodes:
        return None
    holders = {inode: pid for pid in _processes() if pid != but for inode in _sockets(pid)}
    for inode in inodes:
        if pid := holders.get(inode):
            with contextlib.suppress(OSError):
                return Owner(pid, Path(f"/proc/{pid}/comm").read_text().strip())
    return None


def _inodes(protocol: str, address: str, port: int) -> list[int]:
    """The sockets that stand in the way, those that listen first."""
    found: list[tuple[bool, int]] = []
    for table in (protocol, f"{protocol}6"):
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                theirs, _, number = words[1].rpartition(":")
                if int(number, 16) == port and _overlap(_address(theirs), address):
                    found.append((words[3] != _LISTEN, int(words[9])))
    return [inode for _, inode in sorted(found)]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The kernel writes each four bytes as one number of this machine's byte order."""
    numbers = [int(text[place : place + 8], 16) for place in range(0, len(text), 8)]
    return ipaddress.ip_address(struct.pack(f"={len(numbers)}I", *numbers))


def _overlap(theirs: ipaddress.IPv4Address | ipaddress.IPv6Address, ours: str) -> bool:
    """Whether both cannot be bound; one of every IPv6 address may take IPv4 too, ipv6(7)."""
    address = ipaddress.ip_address(ours)
    if theirs.version == 4 and address.version == 6:
        return False
    mapped = getattr(theirs, "ipv4_mapped", None)
    return theirs.is_unspecified or address.is_unspecified or address in (theirs, mapped)


def _processes() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208


def _sockets(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):  # it ended while we looked
        for name in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{name}")  # noqa: PTH115
                if target.startswith("socket:["):
                    yield int(target[8:-1])
