"""requests: what the network service is asked, and how the question travels.

      client (any engine)              service (one for LABKIT_RUN)
         │   ── SERVE ──────────────────►  │ opens sockets inside and on the host, writes it down
         │  ◄──────────────── DONE ──────  │
         │   ── RELEASE, LIST, STOP ────►  │
         │  ◄──── DONE, or REFUSED ──────  │ with the error's kind and words

One JSON text is one packet. unix(7), SOCK_SEQPACKET.
"""

import dataclasses
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from labkit import errors
from labkit.errors import Invalid, LabkitError
from labkit.kernel import packets
from labkit.network import addresses
from labkit.network.firewall import Published
from labkit.network.upstreams import Upstream
from labkit.paths import Paths

MOST_BYTES = 1 << 20  # a few thousand published ports
_ID = re.compile(r"[0-9a-zA-Z][0-9a-zA-Z_.-]{0,127}")


class Message(StrEnum):
    """What the two sides can say."""

    SERVE = "serve"
    RELEASE = "release"
    LIST = "list"
    STOP = "stop"
    DONE = "done"
    REFUSED = "refused"


def socket_of(paths: Paths) -> Path:
    """Where the service of an engine listens."""
    return paths.run / "network.sock"


def place_of(paths: Paths) -> Path:
    """Its `lock`, its `log`, and in `served` a record for each container."""
    return paths.run / "network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """All that is to be done for one running container; also the record of it."""

    container_id: str
    name: str
    pid: int
    start_ticks: int
    names: bool = True  # whether it has a name server, as on every network but the default one
    ndots: bool = False  # whether it chose that option: then bare names are not asked of others, as in Docker
    servers: tuple[Upstream, ...] = ()  # who is asked for what the name server does not know
    ports: tuple[Published, ...] = ()  # to be held on the host; each has its number
    addresses: tuple[str, ...] = ()  # the container's, to which those ports lead
    listens: tuple[int, int] = (0, 0)  # the name server's ports inside, told by the service


def parse(content: Mapping[str, Any]) -> Served:
    """From JSON. Invalid where it is not a request that makes sense."""
    try:
        found = Served(
            **{
                **content,
                "servers": tuple(Upstream(**row) for row in content.get("servers", ())),
                "ports": tuple(Published(**row) for row in content.get("ports", ())),
                "addresses": tuple(content.get("addresses", ())),
                "listens": tuple(content.get("listens", (0, 0))),
            }
        )
        _check(found)
    except (TypeError, ValueError, AttributeError) as failure:
        raise Invalid(f"not a request to serve a container: {failure}") from failure
    return found


def _check(found: Served) -> None:
    if not (isinstance(found.container_id, str) and _ID.fullmatch(found.container_id)):
        raise ValueError(f"container id {found.container_id!r}")
    for what in ("pid", "start_ticks"):
        _whole(what, getattr(found, what), 1, 2**63)
    if not isinstance(found.name, str) or {type(found.names), type(found.ndots)} != {bool}:
        raise ValueError("name is a text; names and ndots are true or false")
    for address in (*found.addresses, *(one.address for one in found.servers)):
        _address(address)
    udp, tcp = found.listens
    for port in (udp, tcp):
        _whole("listens", port, 0, 65535)
    for server in found.servers:
        _whole("a server's port", server.port, 1, 65535)
    for one in found.ports:
        _whole("host port", one.host_port, 1, 65535)
        _whole("container port", one.container_port, 1, 65535)
        if one.protocol not in ("tcp", "udp", "sctp"):
            raise ValueError(f"protocol {one.protocol!r}")
        if one.host_address != "":
            _address(one.host_address)
    if found.ports and not found.addresses:
        raise ValueError("ports lead to no address")


def _address(value: object) -> None:
    if not isinstance(value, str):  # a number would be an address, too
        raise ValueError(f"address {value!r}")
    addresses.parse_address(value)


def _whole(what: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{what} {value!r} is not a whole number from {least} to {most}")


def send(peer: socket.socket, message: Message, content: Any = None) -> None:
    """One message as one packet."""
    packet = json.dumps({"message": message, "content": content}, default=dataclasses.asdict).encode()
    if len(packet) > MOST_BYTES:
        raise Invalid(f"{len(packet)} bytes are too long for a request to the network service")
    packets.make_room(peer, len(packet))
    peer.sendall(packet)


def receive(peer: socket.socket) -> tuple[Message, Any] | None:
    """The next message; None once the other side is closed; Invalid where it is no message."""
    packet = peer.recv(MOST_BYTES)
    if not packet:
        return None
    try:
        content = json.loads(packet)
        return Message(content["message"]), content["content"]
    except (ValueError, KeyError, TypeError, RecursionError) as failure:
        raise Invalid("not a message to the network service") from failure


def refusal(failure: Exception) -> dict[str, str]:
    """An error, to be raised again on the other side."""
    text = str(failure)
    if isinstance(failure, OSError) and failure.filename:
        text = f"{failure.strerror}: {failure.filename}"
    notes = [note for note in getattr(failure, "__notes__", ()) if not note.startswith("hint: ")]
    return {
        "kind": type(failure).__name__,
        "text": "; ".join([text, *notes]),
        "hint": getattr(failure, "hint", ""),
    }


def as_error(content: Mapping[str, str]) -> LabkitError:
    """What `refusal` packed."""
    kind = getattr(errors, content["kind"], LabkitError)
    known = isinstance(kind, type) and issubclass(kind, LabkitError)
    return (kind if known else LabkitError)(content["text"], hint=content["hint"])
