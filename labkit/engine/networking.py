"""networking: which networks a container is on, and what it reads of them: names, ports, files.

Chapter 11. docker-run(1) --network, --publish, --dns, --add-host; hosts(5),
resolv.conf(5). A container has one mode (a network, `host`, `none`, or the
network of another container), and can be on further networks beside it.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from labkit.engine import ports
from labkit.errors import Conflict, Invalid
from labkit.kernel import process
from labkit.ledger import Ledger
from labkit.network import addresses, client, connections, firewall, networks, upstreams
from labkit.network.driver import Socket
from labkit.network.endpoints import Endpoint, Wish
from labkit.network.firewall import Published
from labkit.network.requests import Served
from labkit.paths import Paths

OTHERS = "container:"
"""The beginning of a mode that is another container's network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """One network that a container was put on, and what it asked of it."""

    network: str  # as it was named
    ipv4: str = ""
    ipv6: str = ""
    mac: str = ""
    aliases: tuple[str, ...] = ()

    @classmethod
    def checked(
        cls, network: str, *, aliases: Sequence[str] = (), ip: str = "", ip6: str = "", mac: str = ""
    ) -> "Attachment":
        """As somebody asked for it; Invalid names what is no address."""
        return cls(
            network=network,
            ipv4=str(addresses.parse_address(ip)) if ip else "",
            ipv6=str(addresses.parse_address(ip6)) if ip6 else "",
            mac=addresses.check_mac(mac) if mac else "",
            aliases=tuple(dict.fromkeys(aliases)),
        )

    @property
    def wish(self) -> Wish:
        """What the network is asked for."""
        return Wish(ipv4=self.ipv4, ipv6=self.ipv6, mac=self.mac, aliases=self.aliases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Networking:
    """All that a container was told of networks."""

    mode: str = "none"  # none, host, container:ID, or the name of its first network
    attachments: tuple[Attachment, ...] = ()
    ports: tuple[Published, ...] = ()  # a host port of 0 is chosen at the start
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # name:address
    has_files: bool = True  # hosts, hostname and resolv.conf are made for it

    @property
    def has_cables(self) -> bool:
        """Whether anything is to be plugged in at the start."""
        return bool(self.attachments)


NO_NETWORK = Networking()
"""The loopback alone."""


class Options(TypedDict, total=False):
    """What can be asked for of networks."""

    network_aliases: Sequence[str]  # further names on that network
    ip: str
    ip6: str
    mac_address: str
    publish: Sequence[str]  # as after docker run -p: "8080:80", "127.0.0.1:53:53/udp", "8000-8010:80-90"
    dns: Sequence[str]  # addresses
    dns_search: Sequence[str]
    dns_options: Sequence[str]
    extra_hosts: Sequence[str]  # "name:address", or "name:host-gateway"


def plan(
    paths: Paths,
    mode: str,
    *,
    network_aliases: Sequence[str] = (),
    ip: str = "",
    ip6: str = "",
    mac_address: str = "",
    publish: Sequence[str] = (),
    dns: Sequence[str] = (),
    dns_search: Sequence[str] = (),
    dns_options: Sequence[str] = (),
    extra_hosts: Sequence[str] = (),
) -> Networking:
    """What was asked for, checked; nothing is made. NotFound where there is no such network."""
    mode = networks.DEFAULT if mode in ("", "default") else mode
    wish = Attachment.checked(mode, aliases=network_aliases, ip=ip, ip6=ip6, mac=mac_address)
    asked = ports.parse(publish)
    shares = mode in networks.MODES or mode.startswith(OTHERS)
    if shares:
        _check_shared(mode, wish, asked)
    else:
        network = networks.find(paths, mode)
        mode = network.name
        wish = dataclasses.replace(wish, network=mode)
        check_wish(network, wish)
        if asked and network.driver == "macvlan":
            raise Invalid(
                f"conflicting options: port publishing and the macvlan network {network.name}",
                hint="the outside reaches such a container by its own address",
            )
    return Networking(
        mode=mode,
        attachments=() if shares else (wish,),
        ports=asked,
        dns=tuple(str(addresses.parse_address(one)) for one in dns),
        dns_search=tuple(dns_search),
        dns_options=tuple(dns_options),
        extra_hosts=tuple(_checked_host(one) for one in extra_hosts),
    )


def _check_shared(mode: str, wish: Attachment, asked: Sequence[Published]) -> None:
    """What only a network of one's own can have."""
    if wish.aliases or wish.ipv4 or wish.ipv6:
        raise Invalid(
            f"conflicting options: an address or alias and the network mode {mode}",
            hint="give --network the name of a network",
        )
    if wish.mac:
        raise Invalid(f"conflicting options: mac-address and the network mode {mode}")
    if asked and mode.startswith(OTHERS):
        raise Invalid("conflicting options: port publishing and the container type network mode")


def check_wish(network: networks.Network, wish: Attachment) -> None:
    """Invalid or Conflict where a network cannot give what is asked of it."""
    if not network.has_names and (wish.aliases or wish.ipv4 or wish.ipv6):
        what = "network-scoped alias" if wish.aliases else "user specified IP address"
        raise Invalid(f"{what} is supported only for containers in user defined networks")
    for version, address in ((4, wish.ipv4), (6, wish.ipv6)):
        subnet = network.subnet(version)
        if address and subnet is None:
            raise Invalid(f"network {network.name} has no subnet of IPv{version}, so no address {address}")
        if address and subnet is not None:
            addresses.choose(subnet, (), address)


def _checked_host(text: str) -> str:
    name, _, address = text.partition(":")
    name, address = (name, address) if address else (text.partition("=")[0], text.partition("=")[2])
    address = address.strip("[]")
    if not name or not address:
        raise Invalid(f"invalid extra host {text!r}", hint="name:address")
    if address != "host-gateway":
        addresses.parse_address(address)
    return f"{name}:{address}"


# ------------------------------------------------------------------ at a start


@dataclass(slots=True)
class Plugs:
    """The networks of one start: addresses that are reserved, then cables."""

    paths: Paths
    networking: Networking
    ledger: Ledger
    container_id: str
    name: str
    endpoints: list[Endpoint] = field(default_factory=list)

    def reserve(self) -> None:
        """Take an address on each network."""
        for one in self.networking.attachments:
            network = networks.find(self.paths, one.network)
            wish = with_short_id(one, self.container_id)
            self.endpoints.append(
                connections.reserve(self.paths, network, self.ledger, self.container_id, self.name, wish)
            )

    def connect(self, pid: int) -> None:
        """Plug in the process that waits for it."""
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            gateway = gateway_among(self.endpoints)
            for number, endpoint in enumerate(self.endpoints):
                socket = Socket(
                    namespace=namespace,
                    interface=f"eth{number}",
                    gateway=endpoint is gateway,
                )
                connections.plug(self.paths, endpoint, socket)
        finally:
            os.close(namespace)
        serve(self.paths, self.networking, self.container_id, self.name, pid, self.endpoints, self._publish())

    def _publish(self) -> tuple[Published, ...]:
        """Lead the host's ports to the container; those there are, each with its number."""
        inside = exposed_addresses(self.endpoints)
        if not self.networking.ports or not inside:
            return ()
        with networks.locked(self.paths):
            given = ports.choose(self.networking.ports)
            firewall.publish(self.paths, self.ledger, given, inside, self.name)
        return tuple(given)


def exposed_addresses(present: Sequence[Endpoint]) -> tuple[str, ...]:
    """To which addresses published ports lead: those on the first network that has an outside."""
    exposed = next((one for one in present if one.through_host and not one.internal), None)
    if exposed is None:
        return ()
    return tuple(text.partition("/")[0] for text in (exposed.ipv4, exposed.ipv6) if text)


def serve(
    paths: Paths,
    networking: Networking,
    container_id: str,
    name: str,
    pid: int,
    present: Sequence[Endpoint],
    given: Sequence[Published],
) -> None:
    """Have names answered inside, and the ports held on the host, until the container ends.

    Conflict names who has a port already. A container on the default network
    without ports needs nobody for it.
    """
    names = any(one.has_names for one in present)
    if not names and not given:
        return
    wanted = Served(
        container_id=container_id,
        name=name,
        pid=pid,
        start_ticks=process.started_at(pid),
        names=names,
        ndots=any(option.startswith("ndots:") for option in networking.dns_options),
        servers=upstreams.upstreams(
            host_resolver()[0], networking.dns, internal=all(one.internal for one in present)
        ),
        ports=tuple(given),
        addresses=exposed_addresses(present) if given else (),
    )
    client.serve(paths, wanted)


def ports_now(paths: Paths, container_id: str) -> tuple[Published, ...]:
    """The host's ports that lead to a running container, each with its number."""
    served = client.record(paths, container_id)
    return served.ports if served else ()


def with_short_id(attachment: Attachment, container_id: str) -> Wish:
    """What is asked of a network; the first twelve digits of the id are a name there, too."""
    names = (*attachment.aliases, container_id[:12])
    return dataclasses.replace(attachment.wish, aliases=tuple(dict.fromkeys(names)))


def gateway_among(present: Sequence[Endpoint]) -> Endpoint | None:
    """The network by which a container reaches everything else: the first that leads anywhere."""
    return next((one for one in present if one.gateway or one.gateway_6), None)


# ------------------------------------------------------------------ what it reads


def write_files(place: Path, networking: Networking, hostname: str, present: Sequence[Endpoint]) -> None:
    """hosts, hostname and resolv.conf, as they are true now. In place: they are mounted inside."""
    for name, text in {
        "hostname": f"{hostname}\n",
        "hosts": _hosts(networking, hostname, present),
        "resolv.conf": _resolv_conf(networking, present),
    }.items():
        file = place / name
        descriptor = os.open(
            file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
        )
        with open(descriptor, "w") as writer:
            writer.write(text)


def files(place: Path) -> Iterator[tuple[str, str]]:
    """Each file of ours and where it is seen inside."""
    for name in ("hosts", "hostname", "resolv.conf"):
        yield str(place / name), f"/etc/{name}"


def _hosts(networking: Networking, hostname: str, present: Sequence[Endpoint]) -> str:
    if networking.mode == "host":
        lines = [Path("/etc/hosts").read_text().rstrip("\n")]
    else:
        lines = [
            "127.0.0.1\tlocalhost",
            "::1\tlocalhost ip6-localhost ip6-loopback",
            "fe00::0\tip6-localnet",
            "ff00::0\tip6-mcastprefix",
            "ff02::1\tip6-allnodes",
            "ff02::2\tip6-allrouters",
        ]
    for text in networking.extra_hosts:
        name, _, address = text.partition(":")
        if address == "host-gateway":
            address = next((one.gateway for one in present if one.gateway), "127.0.0.1")
        lines.append(f"{address}\t{name}")
    for one in present:
        lines += [f"{text.partition('/')[0]}\t{hostname}" for text in (one.ipv4, one.ipv6) if text]
    return "\n".join(lines) + "\n"


def _resolv_conf(networking: Networking, present: Sequence[Endpoint]) -> str:
    servers, others = host_resolver()
    servers, options = list(networking.dns) or servers, networking.dns_options
    if any(one.has_names for one in present):
        servers, options = [upstreams.OUR_ADDRESS], options or ("ndots:0",)
    elif networking.mode != "host":
        servers = [one for one in servers if not addresses.parse_address(one).is_loopback]
    lines = [f"nameserver {server}" for server in servers]
    if networking.dns_search != (".",):  # a dot: in none, not even in the host's
        lines += _line("search", networking.dns_search, others)
    lines += _line("options", options, others)
    return "\n".join(lines) + "\n"


def _line(word: str, chosen: Sequence[str], others: Sequence[str]) -> list[str]:
    """What was chosen for the container, or else the host's own lines."""
    return [" ".join((word, *chosen))] if chosen else [o for o in others if o.startswith(f"{word} ")]


def host_resolver() -> tuple[list[str], list[str]]:
    """The name servers that the host itself asks, and the other lines of its resolv.conf.

    Where that is systemd's stub on the loopback, the file behind it has the real ones.
    """
    servers: list[str] = []
    others: list[str] = []
    for file in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        with contextlib.suppress(FileNotFoundError):
            lines = [line.split("#")[0].strip() for line in Path(file).read_text().splitlines()]
            servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
            others = [line for line in lines if line and not line.startswith("nameserver")]
        if servers and not all(one.startswith("127.") for one in servers):
            break
    return [one.partition("%")[0] for one in servers], others


def rows(found: Mapping[str, object]) -> Networking:
    """A record's part as it comes out of JSON."""
    content = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    content["attachments"] = tuple(
        Attachment(**{**row, "aliases": tuple(row["aliases"])})
        for row in content.get("attachments", ())  # type: ignore[attr-defined]
    )
    content["ports"] = tuple(Published(**row) for row in content.get("ports", ()))  # type: ignore[attr-defined]
    return Networking(**content)  # type: ignore[arg-type]


def check_on_a_network(networking: Networking, name: str) -> None:
    """Conflict for a container that has no interfaces of its own to plug anything into."""
    if networking.mode == "host" or networking.mode.startswith(OTHERS):
        raise Conflict(f"container {name} shares a network namespace (mode {networking.mode})")
