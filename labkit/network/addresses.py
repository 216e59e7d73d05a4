"""addresses: which subnet a network gets, and which address of it a container.

Chapter 11. RFC 1918, RFC 4193, route(8). What the host itself can reach by a
route is never given to containers: packets for one of the two would be lost.
"""

import ipaddress
import secrets
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from labkit.errors import Conflict, Invalid, LabkitError

IPNetwork = IPv4Network | IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

POOLS = (
    *(f"172.{number}.0.0/16" for number in range(17, 32)),
    *(f"192.168.{number}.0/20" for number in range(0, 256, 16)),
)
"""What is tried where nobody chooses, in this order: the pools of dockerd(8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One range of addresses of a network, and what of it is spoken for."""

    subnet: str  # 172.18.0.0/16
    gateway: str  # of the host's end, without a prefix
    ip_range: str = ""  # only addresses of this part are given out unasked
    auxiliary: dict[str, str] = field(default_factory=dict)  # name: an address that is never given out

    @property
    def net(self) -> IPNetwork:
        """The range as a number and a prefix."""
        return ipaddress.ip_network(self.subnet)

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.net.version

    @property
    def gateway_interface(self) -> str:
        """The gateway with its prefix, as it stands on the bridge."""
        return f"{self.gateway}/{self.net.prefixlen}"


def parse_network(text: str) -> IPNetwork:
    """A subnet as 10.5.0.0/16; Invalid names what is wrong with another one."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as wrong:
        try:
            whole = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise Invalid(f"invalid subnet {text}: {wrong}") from None
        raise Invalid(f"invalid subnet {text}: it should be {whole}") from None


def parse_address(text: str) -> IPAddress:
    """One address; Invalid names the text."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise Invalid(f"invalid IP address: {text!r}") from None


def check(
    subnet: str, *, gateway: str = "", ip_range: str = "", auxiliary: Mapping[str, str] | None = None
) -> Subnet:
    """A subnet as somebody chose it; what does not fit into it is refused."""
    net = parse_network(subnet)
    if net.num_addresses < 4:
        raise Invalid(f"invalid subnet {subnet}: there is no room for a gateway and a container")
    part = parse_network(ip_range) if ip_range else net
    if part.version != net.version or not part.subnet_of(net):  # type: ignore[arg-type]
        raise Invalid(f"no matching subnet for range {ip_range}: it is not part of {subnet}")
    chosen = parse_address(gateway) if gateway else _gateway_of(net, part, ip_range)
    for name, address in {"gateway": str(chosen), **(auxiliary or {})}.items():
        if parse_address(address) not in net:
            raise Invalid(f"no matching subnet for {name} {address}: it is not part of {subnet}")
    return Subnet(
        subnet=str(net),
        gateway=str(chosen),
        ip_range=ip_range,
        auxiliary=dict(sorted((auxiliary or {}).items())),
    )


def _gateway_of(net: IPNetwork, part: IPNetwork, ip_range: str) -> IPAddress:
    """The first that can be given out, of the range where there is one."""
    first = part.network_address if ip_range else net.network_address
    return first + 1 if first == net.network_address else first


def free_subnet(taken: Iterable[IPNetwork], pools: Iterable[str] = POOLS) -> Subnet:
    """The first pool that clashes with nothing."""
    others = [net for net in taken if net.version == 4 and net.prefixlen > 0]
    for pool in pools:
        if not any(ipaddress.ip_network(pool).overlaps(net) for net in others):
            return check(pool)
    raise LabkitError(
        "all predefined address pools have been fully subnetted",
        hint="remove networks (labkit network prune), or choose a --subnet",
    )


def fresh_ipv6_subnet() -> Subnet:
    """A unique local /64: 40 random bits make a clash with anybody's unlikely, RFC 4193."""
    prefix = (0xFD << 120) | (secrets.randbits(40) << 80)
    return check(str(IPv6Network((prefix, 64))))


def check_free(net: IPNetwork, taken: Mapping[IPNetwork, str]) -> None:
    """Conflict names whom a chosen subnet would clash with."""
    for other, owner in taken.items():
        if other.version == net.version and other.prefixlen > 0 and net.overlaps(other):
            raise Conflict(
                f"invalid pool request: Pool {net} overlaps with other one on this address space: "
                f"{other} of {owner}",
                hint="choose another subnet, or none",
            )


def host_routes(process: "int | str" = "self") -> dict[IPNetwork, str]:
    """What the host reaches by a route of its own, and by which interface, proc(5) /proc/net/route."""
    found: dict[IPNetwork, str] = {}
    for line in Path(f"/proc/{process}/net/route").read_text().splitlines()[1:]:
        name, destination, _, _, _, _, _, mask = line.split()[:8]
        length = int(mask, 16).bit_count()
        number = socket.ntohl(int(destination, 16))
        found[IPv4Network((number, length))] = f"the host's interface {name}"
    return found | dict(_host_routes_6(process))


def _host_routes_6(process: "int | str") -> Iterator[tuple[IPNetwork, str]]:
    try:
        lines = Path(f"/proc/{process}/net/ipv6_route").read_text().splitlines()
    except FileNotFoundError:
        return  # a kernel without IPv6
    for line in lines:
        words = line.split()
        net = IPv6Network((int(words[0], 16), int(words[1], 16)))
        if words[-1] != "lo" and 0 < net.prefixlen < 128 and not (net.is_link_local or net.is_multicast):
            yield net, f"the host's interface {words[-1]}"


def choose(subnet: Subnet, taken: Collection[str], wanted: str = "", *, after: str = "") -> str:
    """An address that nobody has: the one that is wanted, or the lowest. Conflict where there is none.

    With `after` it is the next one after that, and from the lowest on where there is none.
    """
    used = {subnet.gateway, *subnet.auxiliary.values(), *taken}
    if wanted:
        return _wanted(subnet, used, wanted)
    net = subnet.net
    part = parse_network(subnet.ip_range) if subnet.ip_range else net
    first, last = int(part.network_address), int(part.broadcast_address)
    kind = type(net.network_address)
    numbers = {int(parse_address(address)) for address in used}
    numbers |= {int(net.network_address)}
    if net.version == 4:
        numbers.add(int(net.broadcast_address))
    begin = int(parse_address(after)) + 1 if after else first
    for start in (begin, first) if first < begin <= last else (first,):
        for number in range(start, min(last, start + len(numbers) + 1) + 1):
            if number not in numbers:
                return str(kind(number))
    raise Conflict(
        f"no available IPv{net.version} addresses on this network's address pools: {subnet.subnet}"
    )


def _wanted(subnet: Subnet, used: Collection[str], wanted: str) -> str:
    address = parse_address(wanted)
    if address not in subnet.net:
        raise Invalid(
            f"invalid address {wanted}: It does not belong to any of this network's subnets ({subnet.subnet})"
        )
    edges = {subnet.net.network_address} | ({subnet.net.broadcast_address} if subnet.version == 4 else set())
    if str(address) in used or address in edges:
        raise Conflict(f"Address already in use: {wanted}")
    return str(address)


def mac_of(address: str) -> str:
    """A hardware address that follows from the IP address, so one that is given again has the same.

    02 says that it is local, IEEE 802; 42 is what Docker puts after it.
    """
    packed = parse_address(address).packed
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x42, *packed[-4:]))


def check_mac(text: str) -> str:
    """A unicast hardware address in lower case; Invalid names the text."""
    try:
        data = bytes(int(part, 16) for part in text.split(":") if len(part) == 2)
        (first,) = struct.unpack_from("B", data)
    except (ValueError, struct.error):
        first, data = 1, b""
    if len(data) != 6 or first & 1:
        raise Invalid(
            f"{text!r} is not a hardware address of one interface", hint="such as 02:42:ac:11:00:02"
        )
    return data.hex(":")


def rows(subnets: Iterable[Mapping[str, Any]]) -> tuple[Subnet, ...]:
    """Subnets as they come out of a record."""
    return tuple(Subnet(**row) for row in subnets)
