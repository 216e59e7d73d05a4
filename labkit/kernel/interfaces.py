"""interfaces: wake the loopback of a fresh network namespace.

Chapter 2. netdevice(7), network_namespaces(7). Links between namespaces are made in labkit.network.
"""

import fcntl
import socket
import struct

from labkit.kernel import trace

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def bring_up(name: str = "lo") -> None:
    """Set an interface's IFF_UP; `lo` is there in every network namespace, but down."""
    with (
        trace.operation("ioctl", f"{name} up"),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control,
    ):
        request = struct.pack("16sH14x", name.encode(), 0)
        _, flags = struct.unpack("16sH14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        if not flags & _IFF_UP:  # to set it waits for all others who change an interface just now
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags | _IFF_UP))
