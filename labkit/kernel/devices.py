"""devices: the nodes that every container has.

Chapter 3. mknod(2), null(4), random(4), tty(4); OCI config-linux.md, "Default Devices".
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from labkit.kernel import mounts, trace


@dataclass(frozen=True, slots=True)
class Device:
    """A character device by its numbers."""

    name: str
    major: int
    minor: int


DEFAULT = (
    Device("null", 1, 3),
    Device("zero", 1, 5),
    Device("full", 1, 7),
    Device("random", 1, 8),
    Device("urandom", 1, 9),
    Device("tty", 5, 0),
)


def make(device: Device, directory: Path) -> None:
    """Make the node; where the kernel refuses (in a user namespace), show the host's node there instead."""
    node = directory / device.name
    try:
        with trace.operation("mknod", f"{node} c {device.major}:{device.minor}"):
            os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(device.major, device.minor))
    except PermissionError:
        node.touch()
        mounts.bind(Path("/dev") / device.name, node)
    else:
        node.chmod(0o666)  # whatever the umask took away
