"""macvlan: the driver of networks that are the host's own: each container a further interface of a parent.

Chapter 13. ip-link(8) TYPE macvlan. The container has a hardware address of its own on
the wire of the parent, so the LAN sees one more machine. The host itself does
not reach it by that parent: the kernel never sends a frame up to where it came from.
"""

import errno
import time

from labkit.errors import Conflict, Invalid, Unsupported
from labkit.kernel import interfaces
from labkit.network import driver, endpoints, links, networks
from labkit.network.authority import THIS_HOST
from labkit.network.driver import Socket
from labkit.network.endpoints import Endpoint
from labkit.network.networks import PARENT_OPTION, Network
from labkit.paths import Paths

MODE_OPTION = "macvlan_mode"
MODES = ("bridge", "private", "vepa", "passthru")
LAST_VLAN = 4094
LEAVING_SECONDS = 2.0
"""How long the kernel may take to end the namespace of a container that was on the network before."""


class Macvlan:
    """Further interfaces of one of the host's; without a gateway, rules or names of the host."""

    authority = THIS_HOST

    def validate(self, paths: Paths, network: Network) -> None:
        """Refuse a parent that is not there or is taken, an unknown mode, too large a packet."""
        parent = network.options.get(PARENT_OPTION, "")
        if not parent:
            raise Invalid(
                f"a macvlan network needs a parent: {_there()}", hint=f"-o {PARENT_OPTION}=INTERFACE"
            )
        mode = _mode(network)
        if mode not in MODES:
            raise Invalid(f"{MODE_OPTION}={mode}: there are {', '.join(MODES)}")
        below = parent if links.index(parent) else _vlan(parent)[0]
        for other in networks.all_networks(paths):
            if other.driver == "macvlan" and other.options.get(PARENT_OPTION) == parent:
                raise Conflict(
                    f"network {other.name} is already using parent interface {parent}",
                    hint=f"put the container on {other.name}, or use a VLAN of the interface: {parent}.10",
                )
        if network.mtu > interfaces.mtu(below):
            raise Invalid(f"{network.mtu} bytes do not go through {below}: it takes {interfaces.mtu(below)}")

    def attach(self, paths: Paths, network: Network, endpoint: Endpoint, socket: Socket) -> None:
        """The interface inside, its address and way out; the parent's VLAN where that is not there yet."""
        parent = network.options[PARENT_OPTION]
        _ensure_parent(paths, network, parent)
        deadline = time.monotonic() + LEAVING_SECONDS
        while not _added(network, parent, endpoint, socket):
            if len(endpoints.of_network(paths, network.id)) > 1 or time.monotonic() > deadline:
                raise Conflict(
                    f"{parent} takes no further interface in mode {_mode(network)}: "
                    "one in passthru stays alone"
                )
            time.sleep(0.01)  # that of a container that has ended is about to go with its namespace
        links.set_up_inside(
            socket.namespace,
            socket.interface,
            [address for address in (endpoint.ipv4, endpoint.ipv6) if address],
            gateways=[g for g in (endpoint.gateway, endpoint.gateway_6) if g and socket.gateway],
            has_ipv6=bool(endpoint.ipv6),
        )

    def detach(self, _: Endpoint, socket: Socket, /) -> None:
        """Take the interface away, from within: the host does not see it."""
        if socket.interface:
            links.delete_inside(socket.namespace, socket.interface)

    def remove(self, paths: Paths, network: Network) -> None:
        """The VLAN of the parent, where it was made for this network."""
        driver.ledger_of(paths, network).undo()


def _added(network: Network, parent: str, endpoint: Endpoint, socket: Socket) -> bool:
    """Make the interface inside, unless the parent refuses it for those that it has."""
    try:
        # No ledger: it is made inside, and goes with the container's namespace.
        links.add_macvlan(
            parent, socket.namespace, socket.interface,
            mode=_mode(network), mac=endpoint.mac, mtu=network.mtu or interfaces.mtu(parent),
        )  # fmt: skip
    except OSError as refused:
        if refused.errno in (errno.EBUSY, errno.EINVAL):
            return False
        raise
    return True


def _mode(network: Network) -> str:
    return network.options.get(MODE_OPTION, MODES[0])


def _there() -> str:
    return f"there are {', '.join(links.names())}"


def _vlan(parent: str) -> tuple[str, int]:
    """`eth0.50` as the interface below and the number of a VLAN; Invalid where it cannot be one."""
    below, _, number = parent.rpartition(".")
    if not below or not links.index(below):
        raise Invalid(f"parent={parent}: no such interface; {_there()}")
    if not number.isdecimal() or not 1 <= int(number) <= LAST_VLAN:
        raise Invalid(f"parent={parent}: a VLAN has a number from 1 to {LAST_VLAN}")
    return below, int(number)


def _ensure_parent(paths: Paths, network: Network, parent: str) -> None:
    if links.index(parent):
        return
    below, number = _vlan(parent)
    driver.ledger_of(paths, network).enter("link", parent)
    try:
        links.add_vlan(parent, below, number)
    except OSError as refused:
        if refused.errno == errno.EOPNOTSUPP:
            raise Unsupported(
                f"{parent}: this kernel has no VLANs", hint="modprobe 8021q, or use a parent that is there"
            ) from refused
        raise
