"""packets: let a message be longer than what a socket's buffer holds as it is.

Chapter 6. unix(7), socket(7): a packet goes whole or not at all.
"""

import socket

_ROOM_BYTES = 128 << 10  # what fits into a socket's buffer as it is, net.core.wmem_default
_SO_SNDBUFFORCE = 32  # Python has no name for it, socket(7)


def make_room(peer: socket.socket, length: int) -> None:
    """So much is about to be sent as one packet."""
    if length > _ROOM_BYTES:
        peer.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 2 * length)
