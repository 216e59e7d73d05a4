"""ports: whether a TCP port is free, and who holds it where it is not.

proc_net_tcp(5), proc_pid_fd(5): a socket is known by its inode in both.
"""

import os
import socket
from pathlib import Path

LISTEN = "0A"  # TCP_LISTEN of linux/tcp_states.h, as /proc/net/tcp writes it


def is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    with socket.socket() as attempt:
        attempt.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections that are closing do not count
        try:
            attempt.bind((address, port))
        except PermissionError:
            raise
        except OSError:
            return False
        return True


def owner(port: int) -> str:
    """The program that listens on a port, such as `process 812 (python3)`, or that it cannot be seen."""
    wanted = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(descriptor.readlink()) in wanted for descriptor in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
        except OSError:
            continue  # it ended while we looked, or is not ours to see
    return "a process that cannot be seen from here"


def _inodes(port: int) -> list[str]:
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if not os.path.exists(table):  # noqa: PTH110 (a machine without IPv6)
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                found.append(columns[9])
    return found
