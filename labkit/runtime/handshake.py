"""handshake: how the monitor and the new process take turns.

      monitor (host)                      init (inside)
           │   ── clone3 ──────────────────►  │ waits, perhaps for long: it is born before it is needed
           │   ── ORDER, stdio ────────────►  │ join the cgroup, build and enter the root
           │   ── GO ──────────────────────►  │ only where the order says so: somebody plugs in a network
           │  ◄──────────────────── READY ──  │ with the operations it traced
           │  ◄──────────── socket closes ──  │ the command runs

Closing after READY means that exec worked: the socket is close-on-exec.
FAILED carries what went wrong instead. unix(7): SOCK_SEQPACKET, SCM_RIGHTS.
"""

import fcntl
import json
import socket
import struct
import termios
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from labkit.kernel import packets

MOST_BYTES = 4 << 20  # more than execve(2) takes in arguments and environment
MSG_CMSG_CLOEXEC = 0x4000_0000
MOST_FILES = 253  # SCM_MAX_FD of the kernel, unix(7)


class Message(StrEnum):
    """What the two sides can say."""

    ORDER = "order"
    GO = "go"
    READY = "ready"
    FAILED = "failed"


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends; both close on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def send(peer: socket.socket, message: str, *, files: Sequence[int] = (), **content: Any) -> None:
    """One message as one packet, with descriptors that stay open here."""
    packet = json.dumps({"message": message, **content}).encode()
    if len(packet) > MOST_BYTES:
        raise OSError(7, f"{len(packet)} bytes of command, environment and options are too long", message)
    packets.make_room(peer, len(packet))
    socket.send_fds(peer, [packet], list(files))


def receive(peer: socket.socket) -> dict[str, Any] | None:
    """The next message, its descriptors as `files`; None once the other side is closed."""
    peer.recv(1, socket.MSG_PEEK)  # waits until there is one
    size = struct.unpack("i", fcntl.ioctl(peer, termios.FIONREAD, bytes(4)))[0]
    packet, files, _, _ = socket.recv_fds(peer, min(size, MOST_BYTES), MOST_FILES, MSG_CMSG_CLOEXEC)
    if not packet:
        return None
    content: dict[str, Any] = json.loads(packet)
    content["files"] = files
    return content
