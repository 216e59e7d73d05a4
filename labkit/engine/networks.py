"""networks: the verbs of docker-network(1) over the engine's containers.

Chapter 11. A container that does not run is put on a network by its record
alone; one that runs gets a cable as well, and its hosts file is written anew.
"""

import contextlib
import dataclasses
import os
from collections.abc import Sequence

from labkit.engine import containers, networking, starting
from labkit.engine.containers import Record
from labkit.engine.networking import Attachment
from labkit.errors import Conflict, NotFound
from labkit.network import connections, endpoints, networks
from labkit.network.driver import Socket
from labkit.network.endpoints import Endpoint
from labkit.network.networks import Network
from labkit.paths import Paths
from labkit.runtime import status
from labkit.runtime.status import Status


def connect(
    paths: Paths, name: str, container: str, *, aliases: Sequence[str] = (), ip: str = "", ip6: str = ""
) -> None:
    """Put a container on one more network, now if it runs, and at every start from here on."""
    record, network = containers.find(paths, container), networks.find(paths, name)
    networking.check_on_a_network(record.networking, record.name)
    if any(one.network == network.name for one in record.networking.attachments):
        raise Conflict(f"endpoint with name {record.name} already exists in network {network.name}")
    attachment = Attachment.checked(network.name, aliases=aliases, ip=ip, ip6=ip6)
    networking.check_wish(network, attachment)
    mode = network.name if record.networking.mode == "none" else record.networking.mode
    told = dataclasses.replace(
        record.networking, mode=mode, attachments=(*record.networking.attachments, attachment)
    )
    if pid := _pid_of(paths, record):
        _plug(paths, record, attachment, pid)
    _keep(paths, record, told)


def disconnect(paths: Paths, name: str, container: str, *, force: bool = False) -> None:
    """Take a container off a network, now if it runs, and for every start from here on."""
    network = networks.find(paths, name)
    try:
        record = containers.find(paths, container)
    except NotFound:
        if not force:
            raise
        return
    left = tuple(one for one in record.networking.attachments if one.network != network.name)
    if len(left) == len(record.networking.attachments):
        raise Conflict(f"container {record.id} is not connected to network {network.name}")
    present = endpoints.of_container(paths, record.id)
    pid = _pid_of(paths, record)
    for one in present:
        if one.network_id == network.id and pid:
            _unplug(paths, one, pid, [other for other in present if other is not one])
    mode = record.networking.mode
    if not left:
        mode = "none"
    elif mode == network.name:
        mode = left[0].network
    _keep(paths, record, dataclasses.replace(record.networking, mode=mode, attachments=left))


def remove(paths: Paths, name: str) -> None:
    """Remove a network; Conflict while a container is on it. One that is stopped misses it at its start."""
    connections.remove(paths, networks.find(paths, name))


def prune(paths: Paths) -> list[Network]:
    """Remove every network that no container, running or not, was put on; which they were."""
    used = {one.network for record in containers.all_records(paths) for one in record.networking.attachments}
    unused = [
        network
        for network in networks.all_networks(paths)
        if network.name not in used | {networks.DEFAULT} and not endpoints.of_network(paths, network.id)
    ]
    removed = []
    for network in unused:
        with contextlib.suppress(Conflict):  # a container of another host is on it
            connections.remove(paths, network)
            removed.append(network)
    return removed


def _pid_of(paths: Paths, record: Record) -> int:
    """The first process of a container that runs; else 0."""
    state = status.load(containers.bundle(paths, record.id))
    return state.pid if state.status in (Status.RUNNING, Status.PAUSED) else 0


def _keep(paths: Paths, record: Record, told: networking.Networking) -> None:
    """The record, and for a container that runs the files and the servers that go by it."""
    containers.save(paths, dataclasses.replace(record, networking=told))
    if pid := _pid_of(paths, record):
        present = endpoints.of_container(paths, record.id)
        given = networking.ports_now(paths, record.id)
        networking.serve(paths, told, record.id, record.name, pid, present, given)
        networking.write_files(containers.directory(paths, record.id), told, record.hostname, present)


def _plug(paths: Paths, record: Record, attachment: Attachment, pid: int) -> None:
    """A cable into a running container. What fails in the middle is taken back."""
    ledger = starting.ledger_of(paths, record)
    if not ledger.file.exists() or not ledger.is_held():
        raise Conflict(f"container {record.name} is not running")
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    before = endpoints.of_container(paths, record.id)
    try:
        network = networks.find(paths, attachment.network)
        wish = networking.with_short_id(attachment, record.id)
        endpoint = connections.reserve(paths, network, ledger, record.id, record.name, wish)
        socket = Socket(
            namespace=namespace,
            interface=connections.free_interface(namespace),
            gateway=networking.gateway_among(before) is None,
        )
        try:
            connections.plug(paths, endpoint, socket)
        except BaseException:
            connections.unplug(paths, endpoint, socket)
            raise
    finally:
        os.close(namespace)


def _unplug(paths: Paths, endpoint: Endpoint, pid: int, others: Sequence[Endpoint]) -> None:
    """Pull the cable; another network leads to everywhere else, where this one did."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        interface = connections.interface_of(namespace, endpoint)
        socket = Socket(namespace=namespace, interface=interface, gateway=False)
        connections.unplug(paths, endpoint, socket)
        if (heir := networking.gateway_among(others)) is not None:
            connections.lead(namespace, heir)
    finally:
        os.close(namespace)
