"""overlay: the driver of networks that several hosts share: one switch for all, by VXLAN.

Chapter 13. vxlan in ip-link(8). On each host a bridge, and on it a device that
carries what is for containers of other hosts to those. What the hosts must
agree on stands in etcd, see labkit.network.shared.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from labkit.errors import Conflict, Invalid, LabkitError, NotFound
from labkit.kernel import interfaces, nft
from labkit.network import (
    addresses,
    bridge,
    driver,
    endpoints,
    firewall,
    links,
    membership,
    networks,
    peers,
    vxlan,
)
from labkit.network.driver import Socket
from labkit.network.endpoints import Endpoint
from labkit.network.membership import Host
from labkit.network.networks import Network
from labkit.paths import Paths

if TYPE_CHECKING:
    from labkit.network.etcd import Etcd

SILENCE_SECONDS = 2.0
"""How long nobody asks again, after etcd did not answer, what networks there are."""

_silent_until: dict[Paths, float] = {}


@contextlib.contextmanager
def store_of(host: Host) -> "Iterator[Etcd]":
    """A connection to what the hosts agree on; the client is loaded only where a host is a member."""
    from labkit.network import shared

    with contextlib.closing(shared.client(host)) as store:
        yield store


class AllHosts:
    """Every host that is a member has to agree, by way of etcd."""

    def admit(self, paths: Paths, network: Network) -> Network:
        """Give it a number that no other has, if its name and subnets are free on all hosts."""
        from labkit.network import shared

        with store_of(membership.require(paths)) as store:
            return shared.admit(store, network)

    def dismiss(self, paths: Paths, network: Network) -> None:
        """Remove it from all hosts, if no container of theirs is on it; where this one left, its copy."""
        from labkit.network import shared

        host = membership.load(paths)
        if host is None:
            return
        with store_of(host) as store:
            rows, _ = store.below(f"{shared.NETWORKS}{network.id}/")
            shared.withdraw(store, host, rows, set())  # nobody is on it here
            shared.dismiss(store, network)

    def taken(self, paths: Paths, network: Network) -> set[str]:
        """The addresses that other hosts have given out."""
        from labkit.network import shared

        host = membership.require(paths)
        with store_of(host) as store:
            rows, _ = store.below(f"{shared.NETWORKS}{network.id}/leases/")
        return shared.addresses_elsewhere(rows, host, network.id)

    def last(self, paths: Paths, network: Network, version: int) -> str:
        """The address that some host has given out last."""
        from labkit.network import shared

        with store_of(membership.require(paths)) as store:
            return shared.last(store, network.id, version)

    def claim(self, paths: Paths, network: Network, address: str, container_id: str) -> bool:
        """Hang an address on this host's lease, if no other host has it."""
        from labkit.network import shared

        host = membership.require(paths)
        with store_of(host) as store:
            return shared.retry_with_lease(
                lambda but: peers.lease(paths, but=but),
                lambda lease: shared.claim(store, host, lease, network.id, address, container_id),
            )


class Overlay:
    """A bridge on each host, and a wire to the bridges of the others."""

    authority = AllHosts()

    def validate(self, paths: Paths, network: Network) -> None:
        """Refuse on a host that is no member, a number that no VXLAN has, too large a packet."""
        from labkit.network import shared

        host = membership.require(paths)
        number = network.options.get(shared.VNI_OPTION)
        if number is not None and not (number.isdecimal() and 1 <= int(number) <= shared.LAST_VNI):
            raise Invalid(f"{shared.VNI_OPTION}={number}: it is a number from 1 to {shared.LAST_VNI}")
        if network.mtu > _largest(host):
            raise Invalid(
                f"{network.mtu} bytes and the {vxlan.OVERHEAD_BYTES} of VXLAN do not go through "
                f"{uplink(host)}: at most {_largest(host)} do"
            )

    def attach(self, paths: Paths, network: Network, endpoint: Endpoint, socket: Socket) -> None:
        """A cable as on any bridge; the other hosts hear where the container is."""
        from labkit.network import shared

        host = membership.require(paths)
        mtu = network.mtu or _largest(host)
        with networks.locked(paths):
            _ensure(paths, network, host, mtu)
        bridge.plug_in(network, endpoint, socket, mtu)
        with store_of(host) as store:
            shared.retry_with_lease(
                lambda but: peers.lease(paths, but=but),
                lambda lease: shared.publish(store, host, lease, endpoint),
            )
            rows, _ = store.below(f"{shared.NETWORKS}{network.id}/endpoints/")
        _see_others(paths, network.id, shared.remote_endpoints(rows, host))

    def detach(self, endpoint: Endpoint, _: Socket, /) -> None:
        """Take the cable away; this host's peer tells the others when the record has gone."""
        interfaces.delete(endpoint.host_interface)

    def remove(self, paths: Paths, network: Network) -> None:
        """Take away this host's part."""
        driver.ledger_of(paths, network).undo()


def uplink(host: Host) -> str:
    """The interface that has the address by which other hosts know this one; Conflict where none has."""
    name = links.name_of(host.address)
    if not name:
        raise Conflict(
            f"{host.address}, by which other hosts know this one, is no address of it any more",
            hint="give it back, or: labkit host leave, and join with another",
        )
    return name


def _largest(host: Host) -> int:
    return interfaces.mtu(uplink(host)) - vxlan.OVERHEAD_BYTES


def _ensure(paths: Paths, network: Network, host: Host, mtu: int) -> None:
    """Bridge, wire and rules; that the last of them is there says that all are."""
    from labkit.network import shared

    firewall.ensure(paths)
    if nft.find_element(firewall.FAMILY, firewall.table(paths), "bridges", f'"{network.bridge}"'):
        return
    ledger, device = driver.ledger_of(paths, network), vxlan.device(network.id)
    if not links.index(network.bridge):  # chosen on another host, which does not know this one's routes
        for subnet in network.subnets:
            addresses.check_free(subnet.net, addresses.host_routes("thread-self"))
    ledger.enter("link", network.bridge)
    links.make_bridge(network.bridge, [subnet.gateway_interface for subnet in network.subnets], mtu)
    ledger.enter("link", device)
    number = shared.vni_of(network)
    try:
        vxlan.ensure(
            device, network.bridge, number=number, local=host.address, mtu=mtu,
            isolated=not network.has(networks.ICC_OPTION),
        )  # fmt: skip
    except FileExistsError as refused:
        raise Conflict(f"this host has another VXLAN with the number {number}") from refused
    firewall.admit_network(paths, ledger, network)


def _see_others(paths: Paths, network_id: str, present: list[Endpoint]) -> None:
    """Let names and the kernel know the containers of other hosts; call it with the network locked."""
    endpoints.keep_remote(paths, network_id, present)
    vxlan.match(vxlan.device(network_id), present)


# ------------------------------------------------------------------ in step with the others


def catch_up(paths: Paths) -> str:
    """Learn which networks there are. What hinders it is returned: this host then knows what it knew."""
    host = membership.load(paths)
    if host is None:
        return ""
    if time.monotonic() < _silent_until.get(paths, 0):
        return f"etcd at {', '.join(host.etcd)} did not answer a moment ago"
    try:
        with store_of(host) as store:
            strange = take_in(paths, store)
    except LabkitError as failure:
        _silent_until[paths] = time.monotonic() + SILENCE_SECONDS
        return str(failure)
    return f"no networks are described by {', '.join(strange)} of etcd" if strange else ""


def take_in(paths: Paths, store: "Etcd") -> list[str]:
    """Have the records that the hosts agree on, and nothing of networks that are no more.

    Keys that should be records and are none are returned.
    """
    from labkit.network import shared

    gone, strange = shared.take_in(paths, store)
    for network in gone:
        with endpoints.locked(paths, network.id):
            if endpoints.of_network(paths, network.id):
                continue  # its containers lose their cables first, see keep_in_step
            driver.ledger_of(paths, network).undo()
            networks.forget(paths, network)
            endpoints.forget(paths, network.id)
    return strange


def keep_in_step(paths: Paths, host: Host, store: "Etcd", lease: int, network_id: str) -> list[str]:
    """Bring one network's keys in step with this host's files, and its copies in step with the keys.

    A container whose address another host has got, while this one was cut off,
    loses its cable: two must never have the same. It is told in words.
    """
    from labkit.network import shared

    with endpoints.locked(paths, network_id):
        rows, _ = store.below(f"{shared.NETWORKS}{network_id}/")
        leases, present = shared.keys_here(paths, network_id)
        shared.withdraw(store, host, rows, leases.keys() | present.keys())
        hanging = {row.key for row in rows if row.lease == lease}
        lost = {
            container: reason
            for key, (address, container) in leases.items()
            if key not in hanging
            and (reason := _claim_again(store, host, lease, network_id, address, container))
        }
        for key, endpoint in present.items():
            if endpoint.container_id in lost:
                interfaces.delete(endpoint.host_interface)
                endpoints.leave(paths, endpoint)
            elif key not in hanging:
                shared.publish(store, host, lease, endpoint)
        _see_others(paths, network_id, shared.remote_endpoints(rows, host))
    return [
        f"{one.container_name} was taken off {one.network_name}: {lost[one.container_id]}"
        for one in present.values()
        if one.container_id in lost
    ]


def _claim_again(
    store: "Etcd", host: Host, lease: int, network_id: str, address: str, container_id: str
) -> str:
    """Hang an address on another lease than before; why that is not possible, in words."""
    from labkit.network import shared

    try:
        held = shared.claim(store, host, lease, network_id, address, container_id, is_new=False)
    except NotFound:  # while this host was away
        return "the network was removed"
    return "" if held else f"{address} was given to another"
