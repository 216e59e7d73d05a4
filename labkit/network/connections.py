"""connections: put a container on a network and take it off again, whatever the network's driver.

Chapter 11. Addresses come first, since the files that a container reads at its
start speak of them; the cable follows once there is a process to plug it into.
"""

import contextlib
import random
import time
from collections.abc import Mapping, Sequence

from labkit.errors import Conflict, Invalid, NotFound
from labkit.kernel import interfaces, namespaces
from labkit.ledger import Ledger
from labkit.network import client, endpoints, firewall, links, networks
from labkit.network.addresses import Subnet
from labkit.network.bridge import Bridge
from labkit.network.driver import Driver, Socket, ledger_of
from labkit.network.endpoints import Endpoint, Wish
from labkit.network.macvlan import Macvlan
from labkit.network.networks import Network
from labkit.network.overlay import Overlay
from labkit.paths import Paths

DRIVERS: Mapping[str, Driver] = {"bridge": Bridge(), "macvlan": Macvlan(), "overlay": Overlay()}
MOST_TRIES = 50


def driver_of(network: Network) -> Driver:
    """What makes a network's kernel objects."""
    return driver_named(network.driver)


def driver_named(name: str) -> Driver:
    """One kind of network; Invalid names those there are."""
    try:
        return DRIVERS[name]
    except KeyError:
        raise Invalid(f"could not find plugin {name}", hint=f"drivers: {', '.join(DRIVERS)}") from None


def create(
    paths: Paths,
    name: str,
    *,
    driver: str = "bridge",
    subnets: Sequence[Subnet] = (),
    internal: bool = False,
    ipv6: bool = False,
    options: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Network:
    """A new network of a kind that there is; its addresses are chosen where nobody did."""
    wanted = driver_named(driver)

    def settle(network: Network) -> Network:
        wanted.validate(paths, network)
        return wanted.authority.admit(paths, network)

    for _ in range(MOST_TRIES):
        with contextlib.suppress(networks.Overtaken):
            return networks.make(
                paths,
                name,
                settle,
                driver=driver,
                subnets=subnets,
                internal=internal,
                ipv6=ipv6,
                options=options,
                labels=labels,
            )
        time.sleep(random.uniform(0, 0.05))  # not in step with the host that was faster
    raise Conflict(f"other hosts make networks all the time: {MOST_TRIES} tries", hint="try again")


def reserve(
    paths: Paths, network: Network, ledger: Ledger, container_id: str, container_name: str, wish: Wish
) -> Endpoint:
    """Addresses for a container that is about to start."""
    with endpoints.locked(paths, network.id):
        if not networks.file_of(paths, network.id).exists():
            raise NotFound(f"network {network.name} not found", hint="it was removed")
        return endpoints.join(
            paths, network, ledger, container_id, container_name, wish, authority=driver_of(network).authority
        )


def plug(paths: Paths, endpoint: Endpoint, socket: Socket) -> None:
    """The cable that goes with reserved addresses."""
    network = networks.load(paths, endpoint.network_id)
    with endpoints.locked(paths, network.id):
        driver_of(network).attach(paths, network, endpoint, socket)


def unplug(paths: Paths, endpoint: Endpoint, socket: Socket) -> None:
    """Take a running container off a network."""
    network = networks.load(paths, endpoint.network_id)
    with endpoints.locked(paths, network.id):
        driver_of(network).detach(endpoint, socket)
        endpoints.leave(paths, endpoint)


def free_interface(namespace: int) -> str:
    """The lowest ethN that a network namespace has not got yet."""
    taken = namespaces.in_network(namespace, links.names)
    return next(name for number in range(len(taken) + 1) if (name := f"eth{number}") not in taken)


def interface_of(namespace: int, endpoint: Endpoint) -> str:
    """By which interface a container is on a network; empty where it is not."""

    def look() -> str:
        return next((name for name in links.names() if interfaces.hardware_address(name) == endpoint.mac), "")

    return namespaces.in_network(namespace, look)


def lead(namespace: int, endpoint: Endpoint) -> None:
    """Make a network that a container is on its way to everywhere else."""
    name = interface_of(namespace, endpoint)
    number = namespaces.in_network(namespace, lambda: links.index(name))
    with links.inside(namespace) as rtnetlink:
        links.set_gateways(rtnetlink, number, [g for g in (endpoint.gateway, endpoint.gateway_6) if g])


def take_down_unused(paths: Paths) -> list[str]:
    """Remove from the kernel what was made for networks that nobody is on; their records stay."""
    removed: list[str] = []
    for network in networks.recorded(paths):
        with endpoints.locked(paths, network.id):
            if not endpoints.of_network(paths, network.id) and ledger_of(paths, network).file.exists():
                driver_of(network).remove(paths, network)
                removed.append(f"what the kernel had of network {network.name}")
    firewall.drop_if_unused(paths)
    if not any(paths.endpoints.glob("*/endpoints/*.json")):
        client.stop(paths)
    return removed


def remove(paths: Paths, network: Network) -> None:
    """Remove a network and all that was made for it. Conflict while a container is on it."""
    if network.name == networks.DEFAULT:
        raise Conflict(f"{network.name} is a pre-defined network and cannot be removed")
    with endpoints.locked(paths, network.id):
        present = endpoints.of_network(paths, network.id)
        if present:
            raise Conflict(
                f"error while removing network: network {network.name} id {network.id} has active endpoints",
                hint=f"stop or disconnect {', '.join(one.container_name for one in present)}",
            )
        driver_of(network).authority.dismiss(paths, network)
        driver_of(network).remove(paths, network)
        networks.forget(paths, network)
        endpoints.forget(paths, network.id)
    firewall.drop_if_unused(paths)
