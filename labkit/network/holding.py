"""holding: keep the published ports of a container, so that nobody else takes them.

Chapter 11. A rule of nft leads packets away from a port without anybody knowing
that it is in use; a socket makes it known, to ss(8) and to the next who asks.
"""

import errno
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from labkit.errors import Conflict, Invalid
from labkit.network import sockets
from labkit.network.firewall import Published
from labkit.network.proxy import Target, TcpProxy, UdpProxy

BACKLOG = 128
_KINDS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, socket.IPPROTO_SCTP),
}

WhoElse = Callable[[str, int], str]
"""The name of the container for which a protocol's port is held already, empty for none."""


@dataclass(slots=True)
class Held:
    """One socket on the host, and what carries from there; nothing does for SCTP."""

    place: tuple[str, str, int]  # protocol, address, port
    held: socket.socket
    proxy: TcpProxy | UdpProxy | None

    def close(self) -> None:
        """Let go."""
        if self.proxy:
            self.proxy.close()
        self.held.close()


def places(port: Published) -> list[tuple[str, str, int]]:
    """What one published port takes on the host: for every address, there are two versions of IP."""
    addresses = [port.host_address] if port.host_address else ["0.0.0.0", "::"]
    return [(port.protocol, address, port.host_port) for address in addresses]


def hold(
    place: tuple[str, str, int], container_port: int, addresses: Sequence[str], who: WhoElse
) -> Held | None:
    """Take one place; None where the machine lacks the protocol, so that nobody can have it.

    Conflict names who has it; Invalid an address that is not this machine's.
    """
    protocol, address, port = place
    try:
        held = _open(protocol, address, port)
    except OSError as refusal:
        lacking = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
        if refusal.errno in lacking or (refusal.errno == errno.EADDRNOTAVAIL and address == "::"):
            return None
        raise _in_words(refusal, place, who) from refusal
    return Held(place, held, _proxy(held, protocol, target(address, container_port, addresses)))


def target(address: str, port: int, addresses: Sequence[str]) -> Target:
    """The container's address of the same version of IP, or else the one it has."""
    same = [one for one in addresses if (":" in one) == (":" in address)]
    return (same or list(addresses))[0], port


def _proxy(held: socket.socket, protocol: str, wanted: Target) -> TcpProxy | UdpProxy | None:
    if protocol == "sctp":
        return None
    return TcpProxy(held, wanted) if protocol == "tcp" else UdpProxy(held, wanted)


def _open(protocol: str, address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind, number = _KINDS[protocol]
    held = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, number)
    try:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # 0.0.0.0 has a socket of its own
        if kind == socket.SOCK_STREAM:
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # old connections do not count
        held.bind((address, port))
        if kind == socket.SOCK_STREAM:
            held.listen(BACKLOG)
    except OSError:
        held.close()
        raise
    return held


def _in_words(refusal: OSError, place: tuple[str, str, int], who: WhoElse) -> Conflict | Invalid:
    protocol, address, port = place
    if refusal.errno == errno.EADDRNOTAVAIL:
        return Invalid(f"cannot publish port {port}/{protocol}: {address} is no address of this machine")
    if refusal.errno != errno.EADDRINUSE:
        return Invalid(f"cannot publish port {port}/{protocol} at {address}: {refusal.strerror}")
    if container := who(protocol, port):
        return Conflict(f"port {port}/{protocol} is taken by container {container}")
    owner = sockets.owner_of(protocol, address, port, but=os.getpid())
    return Conflict(
        f"port {port}/{protocol} is taken by {owner or 'a socket that does not listen yet'}",
        hint="publish another port, or end what has this one",
    )
