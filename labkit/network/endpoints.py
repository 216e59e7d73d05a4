"""endpoints: who is on a network, with which addresses, and never two with the same one.

Chapters 11 and 13. Below LABKIT_RUN/networks/ID: `leases` has an empty file for each
address, ADDRESS@CONTAINER, and `endpoints` a record for each container. They
are in the container's ledger before they are made, so whoever undoes that
gives them back. `remote` has copies of the records of other hosts' containers.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit import records
from labkit.kernel import locks, trees
from labkit.ledger import Ledger
from labkit.network import addresses
from labkit.network.addresses import Subnet
from labkit.network.authority import THIS_HOST, Authority
from labkit.network.networks import Network
from labkit.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a container may ask of one network; what is empty is chosen for it."""

    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One container on one network."""

    network_id: str
    network_name: str
    container_id: str
    container_name: str
    aliases: tuple[str, ...] = ()
    ipv4: str = ""  # with its prefix, 172.18.0.2/16
    ipv6: str = ""
    gateway: str = ""  # empty on an internal network
    gateway_6: str = ""
    mac: str = ""
    has_names: bool = True
    internal: bool = False
    through_host: bool = True  # so that ports of the host can lead to it
    host: str = ""  # the address of the other host that it is on

    @property
    def host_interface(self) -> str:
        """The host's end of its cable."""
        return host_interface(self.network_id, self.container_id)


def host_interface(network_id: str, container_id: str) -> str:
    """`lkv`, then enough of both ids to be the only one of that name within 15 bytes, netdevice(7)."""
    return f"lkv{container_id[:7]}{network_id[:5]}"


def _place(paths: Paths, network_id: str) -> Path:
    return paths.endpoints / network_id


def _file(paths: Paths, network_id: str, container_id: str) -> Path:
    return _place(paths, network_id) / "endpoints" / f"{container_id}.json"


@contextlib.contextmanager
def locked(paths: Paths, network_id: str) -> Iterator[None]:
    """One change of a network at a time, whichever engine makes it."""
    place = _place(paths, network_id)
    for directory in (place / "leases", place / "endpoints"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locks.held(place):
        yield


def join(
    paths: Paths,
    network: Network,
    ledger: Ledger,
    container_id: str,
    container_name: str,
    wish: Wish,
    *,
    authority: Authority = THIS_HOST,
) -> Endpoint:
    """Take addresses for a container; call it with the network locked. Conflict where one is taken."""
    given = {
        version: _take(paths, network, ledger, container_id, subnet, wanted, authority)
        for version, wanted in ((4, wish.ipv4), (6, wish.ipv6))
        if (subnet := network.subnet(version))
    }
    first, second = network.subnet(4), network.subnet(6)
    endpoint = Endpoint(
        network_id=network.id,
        network_name=network.name,
        container_id=container_id,
        container_name=container_name,
        aliases=wish.aliases,
        ipv4=f"{given[4]}/{first.net.prefixlen}" if first else "",
        ipv6=f"{given[6]}/{second.net.prefixlen}" if second else "",
        gateway=first.gateway if first and not network.internal else "",
        gateway_6=second.gateway if second and not network.internal else "",
        mac=wish.mac or addresses.mac_of(given.get(4) or given[6]),
        has_names=network.has_names,
        internal=network.internal,
        through_host=network.driver != "macvlan",
    )
    file = _file(paths, network.id, container_id)
    ledger.enter("tree", file)
    records.save(file, endpoint, durable=False)
    return endpoint


def _take(
    paths: Paths,
    network: Network,
    ledger: Ledger,
    container_id: str,
    subnet: Subnet,
    wanted: str,
    authority: Authority,
) -> str:
    """One address that is free here and, as far as others have a say in it, everywhere."""
    here = {address for address, _ in leases(paths, network.id)}
    while True:
        taken = here | authority.taken(paths, network)
        address = addresses.choose(
            subnet, taken, wanted, after=authority.last(paths, network, subnet.version)
        )
        lease = _place(paths, network.id) / "leases" / f"{address}@{container_id}"
        # First the file, then the others' consent: what a killed process leaves is seen from the file.
        ledger.enter("tree", lease)
        lease.touch(mode=0o600)
        try:
            if authority.claim(paths, network, address, container_id):
                return address
        except BaseException:
            lease.unlink(missing_ok=True)
            raise
        lease.unlink(missing_ok=True)


def leases(paths: Paths, network_id: str) -> list[tuple[str, str]]:
    """The addresses that this host has given out, each with the container that has it."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(_place(paths, network_id) / "leases"):  # noqa: PTH208
            address, _, container_id = name.partition("@")
            found.append((address, container_id))
    return found


def leave(paths: Paths, endpoint: Endpoint) -> None:
    """Give the addresses back."""
    _file(paths, endpoint.network_id, endpoint.container_id).unlink(missing_ok=True)
    for lease in (_place(paths, endpoint.network_id) / "leases").glob(f"*@{endpoint.container_id}"):
        lease.unlink(missing_ok=True)


def forget(paths: Paths, network_id: str) -> None:
    """Remove a network's own directory; nobody is on it."""
    trees.remove(_place(paths, network_id))


def load(file: Path) -> Endpoint:
    """One record; FileNotFoundError where there is none."""
    found: dict[str, Any] = records.load(file)
    return Endpoint(**{**found, "aliases": tuple(found["aliases"])})


def of_network(paths: Paths, network_id: str) -> list[Endpoint]:
    """Who is on a network now."""
    return _existing((_place(paths, network_id) / "endpoints").glob("[!.]*.json"))


def of_container(paths: Paths, container_id: str) -> list[Endpoint]:
    """The networks that a container is on now."""
    return _existing(paths.endpoints.glob(f"*/endpoints/{container_id}.json"))


def remote_of_network(paths: Paths, network_id: str) -> list[Endpoint]:
    """Who is on a network that hosts share, on other hosts; below LABKIT_RUN/networks/ID/remote."""
    return _existing((_place(paths, network_id) / "remote").glob("[!.]*.json"))


def keep_remote(paths: Paths, network_id: str, present: Iterable[Endpoint]) -> None:
    """Make these the copies of other hosts' records; call it with the network locked."""
    place = _place(paths, network_id) / "remote"
    place.mkdir(mode=0o700, exist_ok=True)
    wanted = {one.container_id: one for one in present}
    here = {one.container_id: one for one in remote_of_network(paths, network_id)}
    for container_id in here.keys() - wanted.keys():
        (place / f"{container_id}.json").unlink(missing_ok=True)
    for container_id, one in wanted.items():
        if here.get(container_id) != one:
            records.save(place / f"{container_id}.json", one, durable=False)


def _existing(files: Iterator[Path]) -> list[Endpoint]:
    found = []
    for file in sorted(files):
        with contextlib.suppress(FileNotFoundError):  # it left while we looked
            found.append(load(file))
    return found
