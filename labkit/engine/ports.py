"""ports: what -p says, and which port of the host is free.

Chapter 11. docker-run(1) --publish: [[address:]host port:]container port[/protocol],
where a port may be a range. ip(7) ip_local_port_range.
"""

import re
import socket
from collections.abc import Sequence
from dataclasses import replace

from labkit.errors import Invalid
from labkit.network import addresses
from labkit.network.firewall import Published

PROTOCOLS = ("tcp", "udp", "sctp")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")
MOST_PORTS = 4096
"""Of one container: each is an element of a map in the kernel and a socket that holds its place."""


def parse(texts: Sequence[str]) -> tuple[Published, ...]:
    """All ports that are asked for; Invalid names the text that makes no sense."""
    found: dict[Published, None] = {}
    for text in texts:
        for one in _parse_one(text):
            found[one] = None
    if len(found) > MOST_PORTS:
        raise Invalid(f"a container publishes at most {MOST_PORTS} ports, not {len(found)}")
    return tuple(found)


def _parse_one(text: str) -> list[Published]:
    rest, _, protocol = text.partition("/")
    protocol = protocol.lower() or "tcp"
    if protocol not in PROTOCOLS:
        raise Invalid(f"invalid publish {text!r}: invalid protocol {protocol}", hint="tcp, udp or sctp")
    rest, _, inner = rest.rpartition(":")
    address, outer = _address_and_port(rest, text)
    inside = _range(inner, text)
    outside = _range(outer, text) if outer else [0] * len(inside)
    if len(outside) == len(inside):
        pairs = list(zip(outside, inside, strict=True))
    else:
        raise Invalid(f"invalid publish {text!r}: the two ranges must have the same length")
    return [
        Published(protocol=protocol, host_port=host, container_port=port, host_address=address)
        for host, port in pairs
    ]


def _address_and_port(text: str, whole: str) -> tuple[str, str]:
    """`127.0.0.1:80`, `[::1]:80`, `80`, or nothing; 0.0.0.0 and :: mean every address."""
    if text.startswith("["):
        address, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif ":" in text:
        address, _, port = text.rpartition(":")
    else:
        return "", text
    try:
        found = addresses.parse_address(address)
    except Invalid:
        raise Invalid(f"invalid publish {whole!r}: {address!r} is not an address of the host") from None
    return "" if found.is_unspecified else str(found), port


def _range(text: str, whole: str) -> list[int]:
    found = _RANGE.fullmatch(text)
    first = int(found[1]) if found else 0
    last = int(found[2] or first) if found else 0
    if not found or not 0 < first <= last <= 65535:
        raise Invalid(f"invalid publish {whole!r}: {text!r} is no port or range", hint="1 to 65535, as 80-90")
    return list(range(first, last + 1))


def choose(asked: Sequence[Published]) -> list[Published]:
    """Every port with a number of the host's: where none was asked for, one that nobody listens on."""
    return [one if one.host_port else replace(one, host_port=_free_port(one)) for one in asked]


def _free_port(port: Published) -> int:
    family = socket.AF_INET6 if ":" in port.host_address else socket.AF_INET
    kind = socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind | socket.SOCK_CLOEXEC) as probe:
        probe.bind((port.host_address, 0))
        found: int = probe.getsockname()[1]
    return found
