"""proxy: carry what comes to a port of the host into a container, and back.

Chapter 11. The rules of labkit.network.firewall lead most packets there by
themselves. What they never see, such as a caller from ::1 to a container that
has IPv4 alone, comes to the socket that holds the port. ip(7), shutdown(2).
"""

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.network.door import Door

CONNECT_SECONDS = 10.0
SESSION_SECONDS = 90.0  # UDP has no end; this long nothing is one, as in Docker's proxy
MOST_CONNECTIONS = 1024  # of one port
CHUNK_BYTES = 64 * 1024
_IP_PKTINFO = 8  # Python has no name for it before 3.14, ip(7)

Target = tuple[str, int]


class TcpProxy:
    """Takes callers from a listening socket; `target` is where they wanted to go."""

    def __init__(self, listener: socket.socket, target: Target) -> None:
        self.target = target
        self._loop = asyncio.get_running_loop()
        self._door = Door(listener, self._connect, MOST_CONNECTIONS)

    def close(self) -> None:
        """Let go of the port and of all that came by it."""
        self._door.close()

    async def _connect(self, caller: socket.socket) -> None:
        host, port = self.target
        with caller, socket.socket(_family(host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as callee:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await self._loop.sock_connect(callee, (host, port))
                for end in (caller, callee):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._carry(caller, callee))
                    both.create_task(self._carry(callee, caller))
            except (OSError, ExceptionGroup):
                return  # one of the two is gone, so both are

    async def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        """One way, to its end; the other way may go on: a caller may close after its question."""
        buffer = memoryview(bytearray(CHUNK_BYTES))
        while length := await self._loop.sock_recv_into(source, buffer):
            await self._loop.sock_sendall(sink, buffer[:length])
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@dataclass(slots=True)
class _Session:
    """One caller over UDP, and the socket that stands for it on the container's side."""

    callee: socket.socket
    caller: Any  # its address as recvmsg(2) gave it
    called: list[tuple[int, int, bytes]]  # the address that it called, from which it must hear the answer
    used_at: float


class UdpProxy:
    """Takes packets from a bound socket. Each caller gets a socket of its own towards the container."""

    def __init__(self, listener: socket.socket, target: Target) -> None:
        self.target = target
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._sessions: OrderedDict[Any, _Session] = OrderedDict()  # who was silent for longest first
        self._sweep: asyncio.TimerHandle | None = None
        if listener.family == socket.AF_INET:
            listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        self._loop.add_reader(listener, self._take_packets)

    def close(self) -> None:
        """Let go of the port and of all sessions."""
        if self._sweep:
            self._sweep.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for key in list(self._sessions):
            self._end(key)

    def _take_packets(self) -> None:
        for _ in range(64):
            try:
                data, control, _, caller = self._listener.recvmsg(CHUNK_BYTES, 256)
            except OSError:
                return
            called = [
                _as_source(*one) for one in control if one[0] in (socket.IPPROTO_IP, socket.IPPROTO_IPV6)
            ]
            with contextlib.suppress(OSError):  # UDP may lose packets
                self._session(caller, called).callee.send(data)

    def _session(self, caller: Any, called: list[tuple[int, int, bytes]]) -> _Session:
        key = (caller, *(one[2] for one in called))
        session = self._sessions.get(key)
        if session is None:
            if len(self._sessions) >= MOST_CONNECTIONS:
                self._end(next(iter(self._sessions)))
            callee = socket.socket(_family(self.target[0]), socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                callee.connect(self.target)
            except OSError:
                callee.close()
                raise
            session = self._sessions[key] = _Session(callee, caller, called, 0.0)
            self._loop.add_reader(callee, self._bring_back(key, session))
            if self._sweep is None:
                self._sweep = self._loop.call_later(SESSION_SECONDS / 2, self._end_the_silent)
        self._touch(key, session)
        return session

    def _touch(self, key: Any, session: _Session) -> None:
        session.used_at = self._loop.time()
        self._sessions.move_to_end(key)

    def _bring_back(self, key: Any, session: _Session) -> Callable[[], None]:
        def bring() -> None:
            for _ in range(64):
                try:
                    data = session.callee.recv(CHUNK_BYTES)
                    self._listener.sendmsg([data], session.called, 0, session.caller)
                except OSError:  # nothing more, or the container does not listen
                    return
                self._touch(key, session)

        return bring

    def _end_the_silent(self) -> None:
        self._sweep = None
        deadline = self._loop.time() - SESSION_SECONDS
        while self._sessions:
            key, session = next(iter(self._sessions.items()))
            if session.used_at > deadline:
                self._sweep = self._loop.call_later(SESSION_SECONDS / 2, self._end_the_silent)
                return
            self._end(key)

    def _end(self, key: Any) -> None:
        callee = self._sessions.pop(key).callee
        self._loop.remove_reader(callee)
        callee.close()


def _as_source(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """The packet information of what came, turned round: the address that was called sends the answer."""
    if level == socket.IPPROTO_IP:
        _, called, _ = struct.unpack("=i4s4s", data[:12])  # struct in_pktinfo
        return level, kind, struct.pack("=i4s4s", 0, called, bytes(4))
    called, interface = struct.unpack("=16sI", data[:20])  # struct in6_pktinfo
    scoped = ipaddress.IPv6Address(called).is_link_local
    return level, socket.IPV6_PKTINFO, struct.pack("=16sI", called, interface if scoped else 0)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
