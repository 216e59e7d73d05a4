"""network: make, list, look at, join, leave and remove networks.

Chapter 11. The verbs and options are those of docker-network(1) that the engine has.
"""

import json
from collections.abc import Sequence

import click

from labkit.cli import words
from labkit.engine import networks as verbs
from labkit.engine.default import engine
from labkit.errors import Invalid, LabkitError
from labkit.network import addresses, connections, endpoints, networks
from labkit.network.addresses import Subnet
from labkit.network.networks import Network
from labkit.paths import Paths


@click.group()
def network() -> None:
    """Make, list and remove networks, and put containers on them."""


def _paths() -> Paths:
    return engine().paths


@network.command()
@click.option("-d", "--driver", default="bridge", show_default=True, help="What it is made of.")
@click.option("--subnet", "subnets", multiple=True, help="Its addresses, 10.5.0.0/16; again for IPv6.")
@click.option("--ip-range", "ranges", multiple=True, help="The part of a subnet that is given out unasked.")
@click.option("--gateway", "gateways", multiple=True, help="The host's address on a subnet.")
@click.option("--aux-address", "reserved", multiple=True, help="name=address that is never given out.")
@click.option("--internal", is_flag=True, help="Nobody outside is reached, nor reaches in.")
@click.option("--ipv6", is_flag=True, help="Also addresses of IPv6.")
@click.option("-o", "--opt", "options", multiple=True, help="An option of the driver, NAME=value.")
@click.option("--label", "labels", multiple=True, help="NAME=value; again for more.")
@click.argument("name")
def create(
    name: str,
    driver: str,
    subnets: tuple[str, ...],
    ranges: tuple[str, ...],
    gateways: tuple[str, ...],
    reserved: tuple[str, ...],
    internal: bool,
    ipv6: bool,
    options: tuple[str, ...],
    labels: tuple[str, ...],
) -> None:
    """Make a network and print its id."""
    made = connections.create(
        _paths(),
        name,
        driver=driver,
        subnets=_subnets(subnets, ranges, gateways, reserved),
        internal=internal,
        ipv6=ipv6,
        options=dict(words.pair(text) for text in options),
        labels=dict(words.pair(text) for text in labels),
    )
    click.echo(made.id)


def _subnets(
    subnets: Sequence[str], ranges: Sequence[str], gateways: Sequence[str], reserved: Sequence[str]
) -> list[Subnet]:
    """Each subnet with what lies in it; Invalid where something lies in none."""
    nets = {text: addresses.parse_network(text) for text in subnets}

    def home(address: str, what: str) -> str:
        for text, net in nets.items():
            if addresses.parse_network(address.partition("/")[0]).subnet_of(net):  # type: ignore[arg-type]
                return text
        raise Invalid(f"no matching subnet for {what} {address}", hint="give its --subnet too")

    chosen: dict[str, dict[str, str]] = {text: {} for text in nets}
    aside: dict[str, dict[str, str]] = {text: {} for text in nets}
    for what, texts in (("ip_range", ranges), ("gateway", gateways)):
        for text in texts:
            place = chosen[home(text, what.replace("_", "-"))]
            if what in place:
                raise Invalid(f"{text}: one subnet takes one {what.replace('_', '-')}, and has {place[what]}")
            place[what] = text
    for text in reserved:
        name, address = words.pair(text)
        aside[home(address, "aux-address")][name] = address
    return [addresses.check(text, **chosen[text], auxiliary=aside[text]) for text in nets]


@network.command("ls")
@click.option("-q", "--quiet", is_flag=True, help="Only the ids.")
def list_networks(quiet: bool) -> None:
    """List networks."""
    trouble, found = networks.catch_up(_paths()), networks.recorded(_paths())
    if trouble:
        click.echo(f"labkit: {trouble}; networks of several hosts are shown as last known", err=True)
    if quiet:
        for one in found:
            click.echo(one.short)
        return
    width = max([len(one.name) for one in found] + [4])
    click.echo(f"NETWORK ID    {'NAME':{width}}  DRIVER    SUBNET")
    for one in found:
        subnets = ", ".join(subnet.subnet for subnet in one.subnets)
        click.echo(f"{one.short}  {one.name:{width}}  {one.driver:8}  {subnets}")


@network.command()
@click.argument("names", nargs=-1, required=True)
def inspect(names: tuple[str, ...]) -> None:
    """Show all that is known of networks, as JSON in Docker's words."""
    click.echo(json.dumps([_shown(networks.find(_paths(), name)) for name in names], indent=4))


def _shown(one: Network) -> dict[str, object]:
    present = endpoints.of_network(_paths(), one.id)
    remote = endpoints.remote_of_network(_paths(), one.id)
    return {
        "Name": one.name,
        "Id": one.id,
        "Created": words.moment(one.created_at),
        "Driver": one.driver,
        "EnableIPv6": one.ipv6,
        "IPAM": {
            "Driver": "default",
            "Config": [
                {"Subnet": subnet.subnet, "Gateway": subnet.gateway}
                | ({"IPRange": subnet.ip_range} if subnet.ip_range else {})
                | ({"AuxiliaryAddresses": subnet.auxiliary} if subnet.auxiliary else {})
                for subnet in one.subnets
            ],
        },
        "Internal": one.internal,
        "Containers": {
            endpoint.container_id: {
                "Name": endpoint.container_name,
                "MacAddress": endpoint.mac,
                "IPv4Address": endpoint.ipv4,
                "IPv6Address": endpoint.ipv6,
            }
            | ({"Host": endpoint.host} if endpoint.host else {})
            for endpoint in (*present, *remote)
        },
        "Options": one.options,
        "Labels": one.labels,
    }


@network.command()
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...]) -> None:
    """Remove networks that no container is on."""
    failures: list[LabkitError] = []
    for name in names:
        try:
            verbs.remove(_paths(), name)
        except LabkitError as failure:
            failures.append(failure)
        else:
            click.echo(name)
    if failures:
        for other in failures[1:]:
            click.echo(f"labkit: {other}", err=True)
        raise failures[0]


@network.command()
def prune() -> None:
    """Remove the networks that no container, running or not, was put on."""
    for one in verbs.prune(_paths()):
        click.echo(one.name)


@network.command()
@click.option("--alias", "aliases", multiple=True, help="A further name of the container on this network.")
@click.option("--ip", default="", help="Its address of IPv4.")
@click.option("--ip6", default="", help="Its address of IPv6.")
@click.argument("name")
@click.argument("container")
def connect(name: str, container: str, aliases: tuple[str, ...], ip: str, ip6: str) -> None:
    """Put a container on a network, while it runs too."""
    verbs.connect(_paths(), name, container, aliases=aliases, ip=ip, ip6=ip6)


@network.command()
@click.option("-f", "--force", is_flag=True, help="Also where there is no such container any more.")
@click.argument("name")
@click.argument("container")
def disconnect(name: str, container: str, force: bool) -> None:
    """Take a container off a network."""
    verbs.disconnect(_paths(), name, container, force=force)
