"""bridge: the driver of networks within one host: a switch in the kernel, a cable to each container.

Chapter 11. bridge(8), veth(4).
"""

from labkit.kernel import interfaces, nft
from labkit.network import driver, firewall, links, networks
from labkit.network.authority import THIS_HOST
from labkit.network.driver import Socket
from labkit.network.endpoints import Endpoint
from labkit.network.networks import Network
from labkit.paths import Paths


class Bridge:
    """A bridge on the host, whose address is the gateway of all that is plugged into it."""

    authority = THIS_HOST

    def validate(self, _: Paths, __: Network, /) -> None:
        """Every bridge that has a record can be made."""

    def attach(self, paths: Paths, network: Network, endpoint: Endpoint, socket: Socket) -> None:
        """A cable, addresses and routes; the bridge itself where it is not there yet."""
        mtu = network.mtu or links.uplink_mtu()
        with networks.locked(paths):
            _ensure(paths, network, mtu)
        plug_in(network, endpoint, socket, mtu)

    def detach(self, endpoint: Endpoint, _: Socket, /) -> None:
        """Take the cable away, at the host's end."""
        interfaces.delete(endpoint.host_interface)

    def remove(self, paths: Paths, network: Network) -> None:
        """Its rules first, so that no packet meets a bridge without any."""
        driver.ledger_of(paths, network).undo()


def plug_in(network: Network, endpoint: Endpoint, socket: Socket, mtu: int) -> None:
    """A container's cable to the bridge of its network, its addresses and routes."""
    # No ledger: both ends go with the container's namespace, which is the kernel's to end.
    links.plug(
        network.bridge, endpoint.host_interface, socket.namespace, socket.interface,
        mac=endpoint.mac, mtu=mtu, isolated=not network.has(networks.ICC_OPTION),
    )  # fmt: skip
    links.set_up_inside(
        socket.namespace,
        socket.interface,
        [address for address in (endpoint.ipv4, endpoint.ipv6) if address],
        gateways=[g for g in (endpoint.gateway, endpoint.gateway_6) if g and socket.gateway],
        has_ipv6=bool(endpoint.ipv6),
    )


def _ensure(paths: Paths, network: Network, mtu: int) -> None:
    """The bridge and its rules; that the last of them is there says that all are."""
    firewall.ensure(paths)
    if nft.find_element(firewall.FAMILY, firewall.table(paths), "bridges", f'"{network.bridge}"'):
        return
    ledger = driver.ledger_of(paths, network)
    ledger.enter("link", network.bridge)
    links.make_bridge(network.bridge, [subnet.gateway_interface for subnet in network.subnets], mtu)
    firewall.admit_network(paths, ledger, network)
