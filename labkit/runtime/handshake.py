"""handshake: how the monitor and the new process take turns.

      monitor (host)                      init (inside)
           │   ── clone3 ──────────────────►  │ join the cgroup, build and enter the root
           │  ◄──────────────────── READY ──  │ with the operations it traced
           │  ◄──────────── socket closes ──  │ the command runs

Closing after READY means that exec worked: the socket is close-on-exec.
FAILED carries what went wrong instead. unix(7), SOCK_SEQPACKET.
"""

import json
import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MOST_BYTES = 1 << 20


class Message(StrEnum):
    """What init can say."""

    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no command running, and the exit code that docker-run(1) gives it."""

    message: str
    exit_code: int


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends; both close on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send(peer: socket.socket, message: str, **content: Any) -> None:
    """One message as one packet."""
    peer.sendall(json.dumps({"message": message, **content}).encode())


def receive(peer: socket.socket) -> dict[str, Any] | None:
    """The next message; None once the other side is closed."""
    packet = peer.recv(MOST_BYTES)
    content: dict[str, Any] | None = json.loads(packet) if packet else None
    return content
