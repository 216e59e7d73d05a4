"""service: one small process that answers and holds ports for all containers of an engine.

Chapters 11 and 12. It listens inside network namespaces that are not its own,
and sees by pidfd_open(2) when a container has ended. What it serves is written
down, so that a service that was killed is followed by one that does the same.
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import socket
import sys
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labkit import records
from labkit.errors import Invalid, LabkitError, NotFound
from labkit.kernel import process
from labkit.network import holding, requests
from labkit.network.holding import Held
from labkit.network.nameserver import NameServer
from labkit.network.register import Register
from labkit.network.requests import Message, Served, place_of, socket_of
from labkit.network.visits import Home
from labkit.paths import Paths

LINGER_SECONDS = 5.0
"""How long it waits for another container after the last one."""

MOST_LOGGED = 200  # errors of one service; a log is no place for a flood


def main(descriptor: int, root: str, run: str) -> None:
    """Serve at a listening socket until no container has been there for a while."""
    process.set_name("labkit:net")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # three and more for each container
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    asyncio.run(Service(Paths(Path(root), Path(run)), listener).serve())


@dataclass(slots=True)
class Container:
    """What is open for one container."""

    served: Served
    pidfd: int
    names: NameServer | None = None
    held: dict[tuple[str, str, int], Held] = field(default_factory=dict)

    def close(self, *, lives_on: bool) -> None:
        """Let go of everything."""
        for one in self.held.values():
            one.close()
        if self.names:
            with contextlib.suppress(OSError):  # it may have ended this very moment
                self.names.close(take_rules=lives_on)
        os.close(self.pidfd)


class Service:
    """The containers that are served, and the clients that ask for it."""

    def __init__(self, paths: Paths, listener: socket.socket) -> None:
        self._paths = paths
        self._listener = listener
        self._records = place_of(paths) / "served"
        self._containers: dict[str, Container] = {}
        self._clients: set[socket.socket] = set()
        self._logged = 0

    async def serve(self) -> None:
        """Take up what a service before this one left, then take requests."""
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(
            lambda _, context: self._log(context.get("exception") or RuntimeError(context["message"]))
        )
        self._ended = self._loop.create_future()
        self._farewell: asyncio.TimerHandle | None = None
        self._records.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._register = Register(self._paths)
        self._home = Home()
        for file in sorted(self._records.iterdir()):
            self._restore(file)
        self._loop.add_reader(self._listener, self._take_client)
        self._consider_leaving()
        await self._ended

    # ------------------------------------------------------------ containers

    def _serve(self, wanted: Served, *, again: bool = False) -> Container:
        """Begin, or go over to what is wanted now. Where it fails, nothing has changed.

        `again` where a service before this one did it: the rules inside are there,
        and a port of the host that another has taken meanwhile is done without.
        """
        present = self._containers.get(wanted.container_id)
        if present and not _same_process(present.served, wanted):
            self._release(wanted.container_id)
            present = None
        container = present or Container(wanted, _open_process(wanted))
        try:
            held = self._hold(wanted, container, again=again)
            try:
                if wanted.names and not container.names:
                    listens = wanted.listens if again else (0, 0)
                    container.names = NameServer(
                        container.pidfd, wanted.container_id, self._register, self._home, listens
                    )
            except BaseException:
                for place, one in held.items():
                    if place not in container.held:
                        one.close()
                raise
        except BaseException:
            if not present:
                os.close(container.pidfd)
            raise
        self._settle(container, wanted, held)
        return container

    def _hold(self, wanted: Served, container: Container, *, again: bool) -> dict[Any, Held]:
        """The sockets of all ports, those that are open already among them."""
        held: dict[tuple[str, str, int], Held] = {}
        try:
            for port in wanted.ports:
                for place in holding.places(port):
                    one = container.held.get(place) or held.get(place)
                    try:
                        one = one or holding.hold(
                            place, port.container_port, wanted.addresses, self._holder_of
                        )
                    except LabkitError as refusal:
                        if not again:
                            raise
                        self._log(refusal)
                    if one:
                        held[place] = one
        except BaseException:
            for place, one in held.items():
                if place not in container.held:
                    one.close()
            raise
        return held

    def _settle(self, container: Container, wanted: Served, held: dict[Any, Held]) -> None:
        """All is open: from here on nothing fails."""
        for place, one in container.held.items():
            if place not in held:
                one.close()
        container.held = held
        for port in wanted.ports:
            for place in holding.places(port):
                if place in held and (proxy := held[place].proxy):
                    proxy.target = holding.target(place[1], port.container_port, wanted.addresses)
        if container.names and not wanted.names:
            container.names.close(take_rules=True)
            container.names = None
        if container.names:
            container.names.use(wanted.servers, keeps_bare_names=wanted.ndots)
            wanted = replace(wanted, listens=container.names.ports)
        container.served = wanted
        if wanted.container_id not in self._containers:
            self._containers[wanted.container_id] = container
            self._loop.add_reader(container.pidfd, self._release, wanted.container_id)
        records.save(self._records / f"{wanted.container_id}.json", wanted, durable=False)

    def _holder_of(self, protocol: str, port: int) -> str:
        for container in self._containers.values():
            for held_protocol, _, held_port in container.held:
                if (held_protocol, held_port) == (protocol, port):
                    return container.served.name
        return ""

    def _release(self, container_id: str) -> None:
        """It has ended, or is to be served no more."""
        container = self._containers.pop(container_id)
        self._loop.remove_reader(container.pidfd)
        (self._records / f"{container_id}.json").unlink(missing_ok=True)
        lives_on = process.is_alive(container.served.pid, container.served.start_ticks)
        container.close(lives_on=lives_on)
        self._consider_leaving()

    def _restore(self, file: Path) -> None:
        if file.name.startswith("."):
            file.unlink()  # one that was killed while it wrote
            return
        try:
            self._serve(requests.parse(records.load(file)), again=True)
        except (NotFound, Invalid, ValueError):
            file.unlink()  # the container has ended, or it is no record
        except (LabkitError, OSError) as failure:
            self._log(failure)

    # ------------------------------------------------------------ clients

    def _take_client(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        self._clients.add(client)
        self._loop.add_reader(client, self._hear, client)

    def _hear(self, client: socket.socket) -> None:
        """One request and its answer; whatever is wrong with it, the next one is heard."""
        try:
            try:
                request = requests.receive(client)
                if request is None:
                    self._dismiss(client)
                    return
                requests.send(client, Message.DONE, self._do(*request))
            except (LabkitError, OSError) as failure:
                requests.send(client, Message.REFUSED, requests.refusal(failure))
            except Exception as failure:
                self._log(failure)
                requests.send(client, Message.REFUSED, requests.refusal(failure))
        except OSError:  # it did not wait for the answer
            self._dismiss(client)

    def _dismiss(self, client: socket.socket) -> None:
        self._loop.remove_reader(client)
        self._clients.discard(client)
        client.close()
        self._consider_leaving()

    def _do(self, message: Message, content: Any) -> Any:
        if message is Message.SERVE:
            if not isinstance(content, dict):
                raise Invalid("a request to serve a container is an object")
            return self._serve(requests.parse(content)).served
        if message is Message.RELEASE:
            if not isinstance(content, str):
                raise Invalid("a container is released by its id")
            if content in self._containers:
                self._release(content)
            return None
        if message is Message.LIST:
            served = [container.served for container in self._containers.values()]
            return {"pid": os.getpid(), "containers": served}
        if message is Message.STOP:
            for container_id in list(self._containers):
                self._release(container_id)
            self._leave_for_good()
            return None
        raise Invalid(f"{message} is no request")

    # ------------------------------------------------------------ the end

    def _consider_leaving(self) -> None:
        if self._farewell:
            self._farewell.cancel()
        self._farewell = self._loop.call_later(LINGER_SECONDS, self._leave)

    def _leave(self) -> None:
        """End if nothing is left to do. A client that starts a service holds the lock: it may be for us."""
        if self._containers or self._clients:
            return
        lock = os.open(place_of(self._paths) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._consider_leaving()
        else:
            self._take_client()  # who has come meanwhile is heard
            if self._clients:
                self._consider_leaving()
            else:
                self._leave_for_good()
        finally:
            os.close(lock)

    def _leave_for_good(self) -> None:
        socket_of(self._paths).unlink(missing_ok=True)  # while it is ours: nobody starts another before
        self._loop.remove_reader(self._listener)
        if not self._ended.done():
            self._ended.set_result(None)

    def _log(self, failure: BaseException) -> None:
        self._logged += 1
        if self._logged <= MOST_LOGGED:
            traceback.print_exception(failure, file=sys.stderr)


def _same_process(one: Served, other: Served) -> bool:
    return (one.pid, one.start_ticks) == (other.pid, other.start_ticks)


def _open_process(wanted: Served) -> int:
    """A pidfd of the very process; NotFound where it has ended."""
    gone = NotFound(f"container {wanted.name} has ended: its process {wanted.pid} is not there")
    try:
        pidfd = os.pidfd_open(wanted.pid)
    except ProcessLookupError:
        raise gone from None
    if not process.is_alive(wanted.pid, wanted.start_ticks):
        os.close(pidfd)
        raise gone
    return pidfd
