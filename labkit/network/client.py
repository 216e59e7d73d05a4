"""client: ask the network service for something, and start it where there is none.

Chapters 11 and 12. Whoever starts it opens the socket on which it will listen,
so the first request can be sent before it runs. unix(7), flock(2).
"""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from typing import Any

from labkit import records
from labkit.errors import LabkitError
from labkit.kernel import trace
from labkit.network import background, requests
from labkit.network.requests import Message, Served, place_of, socket_of
from labkit.paths import Paths

ANSWER_SECONDS = 30.0
TRIES = 3


def serve(paths: Paths, wanted: Served) -> Served:
    """Have a container's names answered and its ports held, or go over to what is wanted now.

    All or nothing: Conflict names who has a port, NotFound a container that has
    ended. What is served stays so until the container ends.
    """
    with trace.operation("sendmsg", f"serve container {wanted.name}, to the network service"):
        return requests.parse(_ask(paths, Message.SERVE, wanted))


def release(paths: Paths, container_id: str) -> None:
    """Serve a container no more; happy to be called twice."""
    record = place_of(paths) / "served" / f"{container_id}.json"
    if record.exists():
        _ask(paths, Message.RELEASE, container_id)


def ensure(paths: Paths) -> None:
    """Start the service again where it was killed while there was something to serve."""
    if any((place_of(paths) / "served").glob("[!.]*.json")):
        _ask(paths, Message.LIST)


def record(paths: Paths, container_id: str) -> Served | None:
    """What is served for a container, by the service's own record; None where nothing is."""
    try:
        return requests.parse(records.load(place_of(paths) / "served" / f"{container_id}.json"))
    except FileNotFoundError:
        return None


def served(paths: Paths) -> tuple[int, list[Served]]:
    """The service's pid and what it serves; 0 and nothing where none runs."""
    try:
        with _connect(paths) as peer:
            answer = _exchange(peer, Message.LIST, None)
    except (FileNotFoundError, ConnectionError):
        return 0, []
    return answer["pid"], [requests.parse(row) for row in answer["containers"]]


def stop(paths: Paths) -> None:
    """End the service, whatever it serves, and wait for that; a labkit that is taken away does so."""
    with contextlib.suppress(FileNotFoundError, ConnectionError), _connect(paths) as peer:
        _exchange(peer, Message.STOP, None)
        requests.receive(peer)  # it closes when it has ended


def _ask(paths: Paths, message: Message, content: Any = None) -> Any:
    """A service that ends while it is asked, or was killed before, is followed by another."""
    for _ in range(TRIES):
        try:
            with _connect_or_start(paths) as peer:
                return _exchange(peer, message, content)
        except ConnectionError:
            continue
    raise LabkitError(
        f"the network service ended {TRIES} times before it answered", hint=f"see {place_of(paths) / 'log'}"
    )


def _exchange(peer: socket.socket, message: Message, content: Any) -> Any:
    requests.send(peer, message, content)
    try:
        answer = requests.receive(peer)
    except TimeoutError:
        raise LabkitError(f"the network service has not answered for {ANSWER_SECONDS:.0f} s") from None
    if answer is None:
        raise ConnectionResetError("the network service has ended")
    kind, found = answer
    if kind is Message.REFUSED:
        raise requests.as_error(found)
    return found


@contextlib.contextmanager
def _address(paths: Paths) -> Iterator[str]:
    """The socket by way of its directory, for the whole path may be longer than unix(7) takes."""
    directory = os.open(paths.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{socket_of(paths).name}"
    finally:
        os.close(directory)


def _new_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)


def _connect(paths: Paths) -> socket.socket:
    peer = _new_socket()
    try:
        peer.settimeout(ANSWER_SECONDS)
        with _address(paths) as address:
            peer.connect(address)
    except BaseException:
        peer.close()
        raise
    return peer


def _connect_or_start(paths: Paths) -> socket.socket:
    """Without the lock where a service runs; with it, one of many who find none starts one."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        return _connect(paths)
    place_of(paths).mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(place_of(paths) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            return _connect(paths)
        _start(paths)
        return _connect(paths)
    finally:
        os.close(lock)


def _start(paths: Paths) -> None:
    socket_of(paths).unlink(missing_ok=True)  # of a service that was killed
    with _new_socket() as listener, _address(paths) as address:
        os.fchmod(listener.fileno(), 0o600)  # the mode that bind(2) gives the file
        listener.bind(address)
        listener.listen(64)
        number, root, run = listener.fileno(), str(paths.root), str(paths.run)
        background.start(
            f"from labkit.network import service; service.main({number}, {root!r}, {run!r})",
            keep=number,
            log=place_of(paths) / "log",
            said="the network service, labkit:net",
        )
