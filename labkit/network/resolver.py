"""resolver: pass on the questions that are about the world, and let in only the answers to them.

Chapter 12. RFC 1035, RFC 5452 (what makes a forged answer hard), RFC 7766 (DNS
over TCP). The servers are asked one after the other, in the order of their list.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence

from labkit.network import names
from labkit.network.names import Rcode
from labkit.network.upstreams import Upstream

PATIENCE_SECONDS = 4.0  # with one server: glibc asks again after 5, resolv.conf(5)
MOST_AT_ONCE = 256  # questions of one container that wait for an answer; each has a socket
MOST_FORGERIES = 64  # wrong answers to one question, after which its server is given up
_LONGEST_BYTES = 65535

OpenInside = Callable[[Callable[[], socket.socket]], socket.socket]
"""Calls a function in the container's network namespace."""


class Resolver:
    """Asks the servers of one container."""

    def __init__(self, servers: Sequence[Upstream], open_inside: OpenInside) -> None:
        self.servers = tuple(servers)
        self.waiting = 0
        """How many questions are on their way."""
        self._open_inside = open_inside

    @property
    def is_full(self) -> bool:
        """Whether one more question is too many."""
        return self.waiting >= MOST_AT_ONCE

    async def ask(self, query: bytes, *, tcp: bool) -> bytes:
        """The answer for a query that `names.answer` gave None for; SERVFAIL where no server has one.

        `tcp` says how the container asked: then the whole answer is fetched,
        however long. Over UDP it hears that there is more, and asks again.
        """
        if self.is_full:
            return names.failure(query, Rcode.REFUSED)
        self.waiting += 1
        try:
            for server in self.servers:
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        found = await self._ask_one(server, query, tcp=tcp)
                except (OSError, EOFError):  # a TimeoutError is an OSError
                    continue
                if found[3] & 0x0F not in (Rcode.SERVFAIL, Rcode.REFUSED):
                    return query[:2] + found[2:]
        finally:
            self.waiting -= 1
        return names.failure(query)

    async def _ask_one(self, server: Upstream, query: bytes, *, tcp: bool) -> bytes:
        sent = os.urandom(2) + query[2:]  # the container's own number could be guessed
        found = await self._over_udp(server, sent)
        is_cut = bool(found[2] & 0x02)
        return await self._over_tcp(server, sent) if is_cut and tcp else found

    async def _over_udp(self, server: Upstream, sent: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with self._open(server, socket.SOCK_DGRAM) as peer:  # from a port that nobody can know
            peer.connect((server.address, server.port))  # others are not heard
            await loop.sock_sendall(peer, sent)
            for _ in range(MOST_FORGERIES):
                found = await loop.sock_recv(peer, _LONGEST_BYTES)
                if is_answer(found, sent):
                    return found
        raise ConnectionAbortedError(f"{server.address} answers what was not asked")

    async def _over_tcp(self, server: Upstream, sent: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with self._open(server, socket.SOCK_STREAM) as peer:
            await loop.sock_connect(peer, (server.address, server.port))
            await loop.sock_sendall(peer, len(sent).to_bytes(2) + sent)
            found = await receive_message(loop, peer)
        if not is_answer(found, sent):
            raise ConnectionAbortedError(f"{server.address} answers what was not asked")
        return found

    def _open(self, server: Upstream, kind: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET

        def make() -> socket.socket:
            return socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

        return self._open_inside(make) if server.inside else make()


def is_answer(found: bytes, sent: bytes) -> bool:
    """Whether a packet answers this query: the same number, the same question, an answer."""
    end = names.question_end(sent)
    kind = slice(end - 4, end)
    return (
        len(found) >= end
        and found[:2] == sent[:2]
        and found[2] & 0xF8 == 0x80
        and found[4:6] == b"\0\1"
        and found[kind] == sent[kind]
        and found[12 : end - 4].lower() == sent[12 : end - 4].lower()
    )


async def receive_message(loop: asyncio.AbstractEventLoop, peer: socket.socket) -> bytes:
    """One message over TCP: two bytes of length, then itself. EOFError where the peer closes before."""
    length = int.from_bytes(await _receive_exactly(loop, peer, 2))
    return await _receive_exactly(loop, peer, length)


async def _receive_exactly(loop: asyncio.AbstractEventLoop, peer: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = await loop.sock_recv(peer, length - len(data))
        if not more:
            raise EOFError
        data += more
    return data
