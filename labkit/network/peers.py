"""peers: become one of the hosts that share networks, stay so, and leave.

Chapter 13. What keeps a host a member is a small process, labkit:peer: it holds
a lock, flock(2), for as long as it lives, so whoever finds the lock free starts
another. See labkit.network.peering for what it does.
"""

import contextlib
import fcntl
import os
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

from labkit import records
from labkit.errors import Conflict, Invalid, LabkitError
from labkit.kernel import locks, process
from labkit.network import background, endpoints, links, membership, networks
from labkit.network.membership import Host, place_of
from labkit.paths import Paths

READY_SECONDS = 8.0


def join(paths: Paths, *, etcd: Sequence[str], address: str, name: str = "") -> Host:
    """Share networks with the hosts that use the same etcd; they send to `address` what is for here.

    Invalid for an address that this host has not got, Conflict where it is a
    member already or another host has the address, Unreachable without etcd.
    """
    from labkit.network import shared
    from labkit.network.etcd import parse_endpoint

    for text in etcd:
        parse_endpoint(text)
    _check_address(address)
    host = Host(id=secrets.token_hex(8), name=name or os.uname().nodename, address=address, etcd=tuple(etcd))
    with _alone(paths):
        if known := membership.load(paths):
            raise Conflict(f"this host is a member already, as {known.address}", hint="labkit host leave")
        with contextlib.closing(shared.client(host)) as store:
            for other in shared.hosts(store):
                if other["address"] == address:
                    raise Conflict(
                        f"{address} is the address of another host: {other['name']}",
                        hint=f"one that is gone is forgotten after {membership.LEASE_SECONDS} seconds",
                    )
        membership.save(paths, host)
    try:
        lease(paths)
    except BaseException:
        stop(paths)
        membership.forget(paths)
        raise
    return host


def _check_address(address: str) -> None:
    there = links.addresses()
    if address not in there:
        raise Invalid(
            f"{address!r} is no address of this host of IPv4",
            hint=f"there are {', '.join(there) or 'none'}",
        )


def leave(paths: Paths) -> None:
    """Share nothing any more; Conflict while a container is on a network that hosts share."""
    from labkit.network import driver

    membership.require(paths)
    shared = [one for one in networks.recorded(paths) if one.driver == networks.SHARED_DRIVER]
    present = [endpoint for one in shared for endpoint in endpoints.of_network(paths, one.id)]
    if present:
        told = ", ".join(f"{one.container_name} ({one.network_name})" for one in present)
        raise Conflict(
            "containers are on networks that this host shares with others", hint=f"stop or disconnect {told}"
        )
    stop(paths)
    for network in shared:
        with endpoints.locked(paths, network.id):
            driver.ledger_of(paths, network).undo()
            networks.forget(paths, network)
            endpoints.forget(paths, network.id)
    membership.forget(paths)  # last: whoever is killed before is a member still, and can leave again


# ------------------------------------------------------------------ the process


def lease(paths: Paths, *, but: int = 0) -> int:
    """On which lease to hang what is written: of a peer that runs, started where none does.

    `but` is one that has run out. LabkitError where etcd gives no other in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        ensure(paths)
        found = membership.lease(paths)
        if found and found != but and not _starts(paths):
            return found
        if time.monotonic() > deadline:
            host = membership.require(paths)
            raise LabkitError(
                f"this host has no lease from etcd at {', '.join(host.etcd)}",
                hint=f"is it running, and does a route lead there? see {place_of(paths) / 'log'}",
            )
        time.sleep(0.02)


def ensure(paths: Paths) -> None:
    """Start the peer of a host that is a member, where it was killed; it does not wait for it."""
    host = membership.load(paths)
    if host is None:
        return
    with _lock(paths) as lock:
        if lock < 0:
            return
        if membership.load(paths) is None:  # it has left meanwhile
            return
        (place_of(paths) / "ready").unlink(missing_ok=True)
        _start(paths, lock)


def _starts(paths: Paths) -> bool:
    """Whether the peer has not looked at its lease yet."""
    return not (place_of(paths) / "ready").exists()


def stop(paths: Paths) -> None:
    """End the peer; it gives its lease back, so the others know at once."""
    deadline, asked = time.monotonic() + READY_SECONDS, (0, 0)
    while True:
        with _lock(paths) as lock:
            if lock >= 0:
                return
        found = _process(paths)  # one that has just begun has not said yet who it is
        late = time.monotonic() > deadline  # etcd is silent: the lease runs out by itself
        if found[0] and (found != asked or late):
            process.kill(*found, signal.SIGKILL if late else signal.SIGTERM)
            asked = found
        time.sleep(0.01)


def _process(paths: Paths) -> tuple[int, int]:
    try:
        found: Any = records.load(place_of(paths) / "process")
        return int(found["pid"]), int(found["start_ticks"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0, 0


@contextlib.contextmanager
def _lock(paths: Paths) -> Iterator[int]:
    """The lock that a peer holds; -1 where one does."""
    place_of(paths).mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(place_of(paths) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        yield -1
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _alone(paths: Paths) -> Iterator[None]:
    """One join at a time."""
    place_of(paths).mkdir(mode=0o700, parents=True, exist_ok=True)
    with locks.held(place_of(paths)):
        yield


def _start(paths: Paths, lock: int) -> None:
    """The lock goes with it."""
    background.start(
        f"from labkit.network import peering; peering.main({str(paths.root)!r}, {str(paths.run)!r})",
        keep=lock,
        log=place_of(paths) / "log",
        said="what keeps this host a member, labkit:peer",
    )
