"""nameserver: listen inside one container at 127.0.0.11, and answer.

Chapter 12. The sockets are opened in the container's network namespace and used
from outside; a rule inside leads port 53 to them, so that the container's own
name server, if it has one, finds port 53 free. nft(8), setns(2), RFC 7766.
"""

import asyncio
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from labkit.kernel import nft
from labkit.network import names
from labkit.network.door import Door
from labkit.network.names import SILENCE, Answer, Book, Rcode
from labkit.network.register import Register
from labkit.network.resolver import Resolver, receive_message
from labkit.network.upstreams import OUR_ADDRESS, Upstream
from labkit.network.visits import Home

T = TypeVar("T")

AT_A_TIME = 64  # how many questions of one container before another's turn
MOST_PREPARED = 256  # answers kept for one container
MOST_TALKS, IDLE_SECONDS = 32, 10.0  # of one container, over TCP

TABLE = "ip labkit_dns"
RULES = """
table {table} {{
  chain output {{
    type nat hook output priority -100
    ip daddr {address} udp dport 53 dnat to {address}:{udp}
    ip daddr {address} tcp dport 53 dnat to {address}:{tcp}
  }}
}}
"""


class Clerk:
    """Answers for one container. Who asks, asks the same again: what was prepared is kept until a change."""

    def __init__(self, container_id: str, register: Register) -> None:
        self._container_id = container_id
        self._register = register
        self.keeps_bare_names = False
        """Names without a dot are not asked of others: the asker tries again with its search domain."""
        self._version = -1
        self._book = Book()
        # By whether it was asked over TCP, and by all of the query but its number.
        self._prepared: tuple[dict[bytes, tuple[Answer, Iterator[int]]], ...] = ({}, {})

    def answer(self, query: bytes, *, tcp: bool) -> bytes | None:
        """As `names.answer`, from the book as it is now; several addresses take turns."""
        version = self._register.catch_up()
        if version != self._version:
            self._version = version
            self._book = self._register.book_of(self._container_id)
            self._prepared = ({}, {})
        prepared = self._prepared[tcp]
        known = prepared.get(query[2:])
        if known is None:
            found = names.prepare(query, self._book, tcp=tcp)
            if not isinstance(found, Answer):
                if found is None and self.keeps_bare_names and names.is_bare(query):
                    return names.failure(query, Rcode.NOERROR)
                return found
            if len(prepared) >= MOST_PREPARED:
                prepared.clear()
            known = prepared[query[2:]] = (found, itertools.count())
        answer, turns = known
        return answer.packet(query, next(turns))


class NameServer:
    """The sockets of one container and the work on them. OSError where they cannot be opened."""

    def __init__(
        self,
        pidfd: int,
        container_id: str,
        register: Register,
        home: Home,
        ports: tuple[int, int] = (0, 0),
    ) -> None:
        self._home = home
        self._pidfd = pidfd
        self._clerk = Clerk(container_id, register)
        self._resolver = Resolver((), self._inside)
        self._loop = asyncio.get_running_loop()
        self._forwarding: set[asyncio.Task[None]] = set()
        self._udp, self._tcp = self._inside(lambda: _listen(ports))
        self._loop.add_reader(self._udp, self._take_queries)
        self._door = Door(self._tcp, self._talk, MOST_TALKS)

    @property
    def ports(self) -> tuple[int, int]:
        """Where it listens, UDP and TCP; the next service takes the same, for the sake of open sockets."""
        return self._udp.getsockname()[1], self._tcp.getsockname()[1]

    def use(self, servers: Sequence[Upstream], *, keeps_bare_names: bool) -> None:
        """Ask these from now on; what is under way goes on with those before."""
        self._clerk.keeps_bare_names = keeps_bare_names
        if tuple(servers) != self._resolver.servers:
            self._resolver = Resolver(servers, self._inside)

    def close(self, *, take_rules: bool = False) -> None:
        """Answer no more; `take_rules` where the network namespace goes on without us."""
        self._door.close()
        self._loop.remove_reader(self._udp)
        self._udp.close()
        for task in self._forwarding:
            task.cancel()
        if take_rules:
            self._inside(lambda: nft.run(f"table {TABLE}\ndelete table {TABLE}"))

    def _inside(self, work: Callable[[], T]) -> T:
        return self._home.visit(self._pidfd, work)

    # ------------------------------------------------------------ UDP

    def _take_queries(self) -> None:
        for _ in range(AT_A_TIME):
            try:
                query, asker = self._udp.recvfrom(names.MOST_QUERY_BYTES + 1)
            except OSError:  # nothing more for now
                return
            found = self._clerk.answer(query, tcp=False)
            if found is None:
                if self._resolver.is_full:
                    found = names.failure(query, Rcode.REFUSED)
                else:
                    task = self._loop.create_task(self._ask_others(query, asker))
                    self._forwarding.add(task)
                    task.add_done_callback(self._forwarding.discard)
                    continue
            self._send(found, asker)

    async def _ask_others(self, query: bytes, asker: tuple[str, int]) -> None:
        self._send(await self._resolver.ask(query, tcp=False), asker)

    def _send(self, packet: bytes, asker: tuple[str, int]) -> None:
        if packet != SILENCE:
            try:
                self._udp.sendto(packet, asker)
            except OSError:
                return  # the asker takes no more, and will ask again

    # ------------------------------------------------------------ TCP

    async def _talk(self, peer: socket.socket) -> None:
        """Question and answer in turn, until the peer closes or has nothing to say for a while."""
        try:
            with peer:
                while True:
                    async with asyncio.timeout(IDLE_SECONDS):
                        query = await receive_message(self._loop, peer)
                    found = self._clerk.answer(query, tcp=True)
                    if found is None:
                        found = await self._resolver.ask(query, tcp=True)
                    if found == SILENCE:
                        return
                    async with asyncio.timeout(IDLE_SECONDS):
                        await self._loop.sock_sendall(peer, len(found).to_bytes(2) + found)
        except (OSError, EOFError):
            return


def _listen(ports: tuple[int, int]) -> tuple[socket.socket, socket.socket]:
    """Both sockets and the rules that lead to them, in the namespace of the calling thread."""
    opened: list[socket.socket] = []
    try:
        for kind, port in zip((socket.SOCK_DGRAM, socket.SOCK_STREAM), ports, strict=True):
            one = socket.socket(socket.AF_INET, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            opened.append(one)
            _bind(one, port)
        udp, tcp = opened
        tcp.listen(MOST_TALKS)
        found = udp.getsockname()[1], tcp.getsockname()[1]
        if found != ports:
            _lead_to(*found)  # otherwise the service before us has
    except BaseException:
        for one in opened:
            one.close()
        raise
    return udp, tcp


def _lead_to(udp: int, tcp: int) -> None:
    """Load the rules. Only where there are some already are those removed: the kernel takes 15 ms for it."""
    rules = RULES.format(table=TABLE, address=OUR_ADDRESS, udp=udp, tcp=tcp)
    try:
        nft.run(f"create table {TABLE}{rules}")
    except FileExistsError:
        nft.run(f"delete table {TABLE}{rules}")


def _bind(one: socket.socket, port: int) -> None:
    if one.type == socket.SOCK_STREAM:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind((OUR_ADDRESS, port))
    except OSError:
        if port == 0:
            raise
        one.bind((OUR_ADDRESS, 0))  # somebody inside has taken it meanwhile
