"""topology: network namespaces, what is in each, and which cable leads where.

Chapter 11. rtnetlink(7), veth(4), bridge(8), nft(8), network_namespaces(7).
The two ends of a cable name each other by a number and by the namespace that
the number belongs to; the ports that are published stand in nft's rules.
"""

import functools
import ipaddress
import os
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.errors import Unsupported
from labkit.kernel import namespaces, nft
from labkit.kernel.namespaces import Namespace

if TYPE_CHECKING:
    from pyroute2 import IPRoute

_UP, _LOWER_UP = 0x1, 0x10000  # IFF_UP and IFF_LOWER_UP, netdevice(7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One network card, real or not."""

    index: int
    name: str
    kind: str = ""  # veth, bridge, …; empty for one of the machine's own
    is_up: bool = False
    has_carrier: bool = False
    mac: str = ""
    addresses: tuple[str, ...] = ()  # of IPv4, with their prefix
    bridge: str = ""  # the bridge that it is a port of
    peer: tuple[str, str] | None = None  # of a cable: the place and the name of the other end
    received_bytes: int = 0
    received_packets: int = 0
    transmitted_bytes: int = 0
    transmitted_packets: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a place that leads to another address."""

    protocol: str
    port: int
    to_address: str
    to_port: int
    address: str = ""  # empty: all addresses of the place


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One network namespace."""

    name: str
    pid: int  # a process that lives there
    identity: int
    interfaces: tuple[Interface, ...] = ()
    gateway: str = ""  # of the default route; empty without one
    gateway_interface: str = ""
    forwards: bool = False  # net.ipv4.ip_forward
    masqueraded: tuple[str, ...] = ()  # ranges of addresses that rules hide behind the place's own
    ports: tuple[Port, ...] = ()

    def interface(self, name: str) -> Interface | None:
        """One of its interfaces."""
        return next((one for one in self.interfaces if one.name == name), None)

    def hides(self, address: str) -> bool:
        """Whether an address is exchanged for the place's own on the way out."""
        return any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in self.masqueraded)

    def owner_of(self, address: str) -> Interface | None:
        """The interface that has an address."""
        return next(
            (one for one in self.interfaces if address in (own.partition("/")[0] for own in one.addresses)),
            None,
        )


def look(places: Mapping[str, int]) -> list[Place]:
    """The namespaces of these processes, by names of the caller's; one that has ended is left out.

    Two names for one namespace are one place, called by the first.
    """
    opened: dict[str, int] = {}
    known: dict[str, tuple[int, int]] = {}  # name: pid, inode
    try:
        for name, pid in places.items():
            try:
                identity = namespaces.identity(pid, Namespace.NETWORK)
                descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            except (FileNotFoundError, ProcessLookupError):
                continue
            opened[name] = descriptor
            if identity not in (other for _, other in known.values()):
                known[name] = (pid, identity)
        found, ends = [], {}
        descriptors = {name: opened[name] for name in known}
        for name, (pid, identity) in known.items():
            here = functools.partial(_look_here, name, pid, identity, descriptors)
            place, far = namespaces.in_network(opened[name], here)
            found.append(place)
            ends[name] = far
    finally:
        for descriptor in opened.values():
            os.close(descriptor)
    return _joined(found, ends)


def _look_here(
    name: str, pid: int, identity: int, all_places: Mapping[str, int]
) -> tuple[Place, dict[str, tuple[str, int]]]:
    """This thread's namespace, and for each cable the place and the number of its other end."""
    from pyroute2 import IPRoute

    with IPRoute() as rtnetlink:
        numbers = {link["index"]: link.get_attr("IFLA_IFNAME") for link in rtnetlink.get_links()}
        addresses: dict[int, list[str]] = {}
        for row in rtnetlink.get_addr(family=socket.AF_INET):
            addresses.setdefault(row["index"], []).append(f"{row.get_attr('IFA_LOCAL')}/{row['prefixlen']}")
        names = _names_of_others(rtnetlink, name, all_places)
        interfaces, ends = [], {}
        for link in rtnetlink.get_links():
            interfaces.append(_interface(link, tuple(addresses.get(link["index"], ())), numbers))
            if interfaces[-1].kind == "veth" and (far := link.get_attr("IFLA_LINK")):
                ends[interfaces[-1].name] = (names.get(link.get_attr("IFLA_LINK_NETNSID"), ""), far)
        gateway, device = _default_route(rtnetlink)
    masqueraded, ports = _rules()
    place = Place(
        name=name, pid=pid, identity=identity, interfaces=tuple(interfaces),
        gateway=gateway, gateway_interface=numbers.get(device, ""),
        forwards=Path("/proc/sys/net/ipv4/ip_forward").read_text().strip() == "1",
        masqueraded=masqueraded, ports=ports,
    )  # fmt: skip
    return place, ends


def _names_of_others(rtnetlink: "IPRoute", own: str, others: Mapping[str, int]) -> dict[int | None, str]:
    """Each namespace counts the others by itself: whose number is whose, RTM_GETNSID."""
    found: dict[int | None, str] = {None: own}
    for name, descriptor in others.items():
        answer = rtnetlink.get_netnsid(fd=descriptor)
        number = answer and answer["nsid"]
        if number is not None and 0 <= number < 1 << 31:  # -1: it has none
            found.setdefault(number, name)
    return found


def _interface(link: Any, addresses: tuple[str, ...], numbers: Mapping[int, str]) -> Interface:
    info, counted = link.get_attr("IFLA_LINKINFO"), link.get_attr("IFLA_STATS64") or {}
    return Interface(
        index=link["index"],
        name=link.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else "") or "",
        is_up=bool(link["flags"] & _UP),
        has_carrier=bool(link["flags"] & _LOWER_UP),
        mac=link.get_attr("IFLA_ADDRESS") or "",
        addresses=addresses,
        bridge=numbers.get(link.get_attr("IFLA_MASTER") or 0, ""),
        received_bytes=counted.get("rx_bytes", 0),
        received_packets=counted.get("rx_packets", 0),
        transmitted_bytes=counted.get("tx_bytes", 0),
        transmitted_packets=counted.get("tx_packets", 0),
    )


def _default_route(rtnetlink: "IPRoute") -> tuple[str, int]:
    routes = rtnetlink.get_default_routes(family=socket.AF_INET, table=254)
    for route in sorted(routes, key=lambda one: one.get_attr("RTA_PRIORITY") or 0):
        return route.get_attr("RTA_GATEWAY") or "", route.get_attr("RTA_OIF") or 0
    return "", 0


def _joined(places: Iterable[Place], ends: Mapping[str, Mapping[str, tuple[str, int]]]) -> list[Place]:
    """Every cable with the name of its other end, where that is in a place that we look at."""
    found = list(places)
    names = {(place.name, one.index): one.name for place in found for one in place.interfaces}
    joined = []
    for place in found:
        interfaces = []
        for one in place.interfaces:
            far = ends[place.name].get(one.name)
            named = (far[0], names[far]) if far and far in names else None
            interfaces.append(replace(one, peer=named))
        joined.append(replace(place, interfaces=tuple(interfaces)))
    return joined


# ------------------------------------------------------------------ rules


def _rules() -> tuple[tuple[str, ...], tuple[Port, ...]]:
    try:
        return addresses_exchanged(nft.listing("list ruleset"))
    except (Unsupported, OSError):  # no nft here, or rules that its library cannot say
        return (), ()


def addresses_exchanged(ruleset: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, ...], tuple[Port, ...]]:
    """The ranges that rules masquerade, and the ports that rules or their maps lead elsewhere.

    `ruleset` is what libnftables-json(5) lists. Rules of other forms than a
    publisher of ports writes are passed over.
    """
    entries = list(ruleset)
    named = {
        (one["family"], one["table"], one["name"]): one.get("elem", [])
        for entry in entries
        for kind in ("set", "map")
        if (one := entry.get(kind))
    }
    ranges: list[str] = []
    found: list[Port] = []
    for rule in (entry["rule"] for entry in entries if "rule" in entry):
        here = (rule["family"], rule["table"])
        matches = [part["match"] for part in rule["expr"] if "match" in part]
        for part in rule["expr"]:
            if "masquerade" in part:
                ranges += _hidden(matches, named, here)
            if isinstance(part.get("dnat"), dict):
                asked = {name: value for match in matches for name, value in _matched(match).items()}
                found += _led(part["dnat"], asked, named, here)
    return tuple(dict.fromkeys(ranges)), tuple(_once(found))


def _hidden(
    matches: Iterable[Mapping[str, Any]], named: Mapping[Any, Any], here: tuple[str, str]
) -> list[str]:
    """The sources of a masquerade; none where it is for some connections only, as for a hairpin."""
    for match in matches:
        left, right = match["left"], match["right"]
        if "ct" in left or "concat" in left:
            return []
        if left.get("payload", {}).get("field") == "saddr":
            if isinstance(right, str) and right.startswith("@"):
                right = named.get((*here, right[1:]), [])
            return [one for part in (right if isinstance(right, list) else [right]) for one in _ranges(part)]
    return ["0.0.0.0/0"]


def _ranges(element: Any) -> list[str]:
    """A prefix, a range or an address of libnftables-json(5) as prefixes."""
    if isinstance(element, str):
        return [element]
    if isinstance(element, dict) and "prefix" in element:
        return [f"{element['prefix']['addr']}/{element['prefix']['len']}"]
    if isinstance(element, dict) and "range" in element:
        first, last = (ipaddress.ip_address(one) for one in element["range"])
        return [str(one) for one in ipaddress.summarize_address_range(first, last)]
    return []


def _matched(match: Mapping[str, Any]) -> dict[str, Any]:
    """What a rule asks of the destination: `{"port": 8080, "protocol": "tcp", "address": …}`."""
    payload = match["left"].get("payload", {}) if isinstance(match["left"], dict) else {}
    right = match["right"]
    if payload.get("field") == "dport" and isinstance(right, int):
        return {"port": right, "protocol": payload["protocol"]}
    if payload.get("field") == "daddr" and isinstance(right, str):
        return {"address": right}
    return {}


def _led(
    dnat: Mapping[str, Any], matches: Mapping[str, Any], named: Mapping[Any, Any], here: tuple[str, str]
) -> Iterator[Port]:
    target = dnat.get("addr")
    if isinstance(target, str):
        if "port" in matches:
            to_port = dnat.get("port", matches["port"])
            yield Port(**matches, to_address=target, to_port=to_port)
        return
    name = target.get("map", {}).get("data") if isinstance(target, dict) else None
    if isinstance(name, str):
        for key, value in named.get((*here, name.removeprefix("@")), []):
            if port := _element(key, value):
                yield port


def _element(key: Any, value: Any) -> Port | None:
    """An element of a map: in its key a protocol, a port and maybe an address, in its value where to."""
    keys, values = (part.get("concat", []) if isinstance(part, dict) else [part] for part in (key, value))
    numbers = [part for part in keys if isinstance(part, int)]
    words = [part for part in keys if isinstance(part, str)]
    addresses = [word for word in words if re.search(r"[.:]", word)]
    if len(numbers) != 1 or len(values) != 2:
        return None
    protocol = next((word for word in words if word not in addresses), "tcp")
    address = addresses[0] if addresses else ""
    return Port(protocol=protocol, port=numbers[0], address=address, to_address=values[0], to_port=values[1])


def _once(ports: Iterable[Port]) -> list[Port]:
    """A port that two rules lead to the same place is one; the rule for more addresses says it."""
    found: dict[tuple[object, ...], Port] = {}
    for port in ports:
        key = (port.protocol, port.port, port.to_address, port.to_port)
        if key not in found or not port.address:
            found[key] = port
    return list(found.values())


# ------------------------------------------------------------------ traffic


def counters(pid: int) -> dict[str, tuple[int, int]]:
    """Bytes received and transmitted by each interface of a process's namespace, proc_pid_net(5).

    Empty where the process has ended.
    """
    try:
        lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    except OSError:
        return {}
    found = {}
    for line in lines:
        name, _, numbers = line.partition(":")
        words = numbers.split()
        found[name.strip()] = (int(words[0]), int(words[8]))
    return found
