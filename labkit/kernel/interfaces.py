"""interfaces: wake the loopback of a fresh network namespace, and take an interface away.

Chapters 2 and 11. netdevice(7), rtnetlink(7), network_namespaces(7). What must work
between fork and exec, and in an undo; links between namespaces are made in labkit.network.
"""

import errno
import fcntl
import os
import socket
import struct

from labkit.kernel import trace

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_SIOCGIFMTU, _SIOCGIFHWADDR = 0x8921, 0x8927
_RTM_DELLINK, _IFLA_IFNAME, _REQUEST_ACK = 17, 3, 0x1 | 0x4


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


def mtu(name: str) -> int:
    """The largest packet that an interface takes, in bytes; OSError where there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        answer = fcntl.ioctl(control, _SIOCGIFMTU, struct.pack("16si12x", name.encode(), 0))
    found: int = struct.unpack("16si12x", answer)[1]
    return found


def hardware_address(name: str) -> str:
    """As 02:42:ac:11:00:02; OSError where there is no such interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        answer: bytes = fcntl.ioctl(control, _SIOCGIFHWADDR, struct.pack("16s16x", name.encode()))
    return answer[18:24].hex(":")


def delete(name: str) -> bool:
    """Remove an interface of this network namespace, and the other end of its cable; whether it was there."""
    attribute = struct.pack("=HH16s", 20, _IFLA_IFNAME, name.encode())
    link = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 0, 0, 0)
    head = struct.pack("=IHHII", 16 + len(link) + len(attribute), _RTM_DELLINK, _REQUEST_ACK, 1, 0)
    with (
        trace.operation("link", f"delete {name}"),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as rtnetlink,
    ):
        rtnetlink.send(head + link + attribute)
        (code,) = struct.unpack_from(
            "=i", rtnetlink.recv(4096), 16
        )  # the error of an NLMSG_ERROR, 0 or -errno
        if -code == errno.ENODEV:
            return False
        if code:
            raise OSError(-code, f"RTM_DELLINK: {os.strerror(-code)}", name)
    return True
