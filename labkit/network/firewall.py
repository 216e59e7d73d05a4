"""firewall: who may send packets where, as one nft table of labkit's own.

Chapter 11. nft(8), netfilter's hooks. Its rules never change: what differs from
network to network and from port to port stands in sets and maps, so that one
more container is one more element, whatever the number of those there are.

Accepting a packet here ends this table alone: another one, such as that of a
dockerd on the same machine, may still drop it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from labkit.errors import Conflict
from labkit.kernel import nft
from labkit.ledger import Ledger
from labkit.network import networks
from labkit.network.networks import Network
from labkit.paths import Paths

FAMILY = "inet"

_RULES = """
table inet {table} {{
  set bridges {{ type ifname; }}
  set internal {{ type ifname; }}
  set together {{ type ifname . ifname; }}
  set homes_4 {{ type ipv4_addr . ifname; flags interval; }}
  set homes_6 {{ type ipv6_addr . ifname; flags interval; }}
  set hidden_4 {{ type ipv4_addr; flags interval; }}
  set hidden_6 {{ type ipv6_addr; flags interval; }}
  map ports_4 {{ type inet_proto . inet_service : ipv4_addr . inet_service; }}
  map ports_6 {{ type inet_proto . inet_service : ipv6_addr . inet_service; }}
  map ports_at_4 {{ type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; }}
  map ports_at_6 {{ type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service; }}

  chain published {{
    dnat ip to ip daddr . meta l4proto . th dport map @ports_at_4
    dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports_at_6
    meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports_4
    meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports_6
  }}
  chain guard_loopback {{
    type filter hook prerouting priority raw
    iifname @bridges ip daddr 127.0.0.0/8 drop
  }}
  chain to_containers {{
    type nat hook prerouting priority dstnat
    fib daddr type local jump published
  }}
  chain from_host {{
    type nat hook output priority -100
    fib daddr type local jump published
  }}
  chain forward {{
    type filter hook forward priority filter
    iifname @bridges ct state established,related accept
    oifname @bridges ct state established,related accept
    iifname . oifname @together accept
    iifname @internal drop
    oifname @internal drop
    oifname @bridges ct status dnat accept
    oifname @bridges drop
  }}
  chain behind_host {{
    type nat hook postrouting priority srcnat
    ct status dnat ip saddr . oifname @homes_4 masquerade
    ct status dnat ip6 saddr . oifname @homes_6 masquerade
    ip saddr 127.0.0.0/8 oifname @bridges masquerade
    ip saddr @hidden_4 oifname != @bridges masquerade
    ip6 saddr @hidden_6 oifname != @bridges masquerade
  }}
}}
"""
# guard_loopback: a bridge that routes 127.0.0.1 (see links) must not let a container reach the host's own.
# forward: answers come first, for they are most; a network's own containers; nothing else enters a bridge
# but what asked for a published port. behind_host: one that asks a neighbour by the host's address hears the
# answer from that address only if the neighbour takes the host for the asker.


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One port of the host that leads into a container."""

    protocol: str  # tcp, udp or sctp
    host_port: int
    container_port: int
    host_address: str = ""  # empty: every address of the host

    def __str__(self) -> str:
        address = f"[{self.host_address}]" if ":" in self.host_address else self.host_address or "0.0.0.0"
        return f"{address}:{self.host_port}->{self.container_port}/{self.protocol}"

    def elements(self, addresses: Iterable[str]) -> list[str]:
        """The map, the key and the value for each of a container's addresses that it can lead to."""
        found = []
        for address in addresses:
            version = 6 if ":" in address else 4
            value = f"{address} . {self.container_port}"
            if not self.host_address:
                found.append(f"ports_{version} {self.protocol} . {self.host_port} : {value}")
            elif (":" in self.host_address) == (version == 6):
                key = f"{self.host_address} . {self.protocol} . {self.host_port}"
                found.append(f"ports_at_{version} {key} : {value}")
        return found


def table(paths: Paths) -> str:
    """The name of an engine's table: `labkit`, and for one that lies elsewhere something of its own."""
    if str(paths.run) == "/run/labkit":
        return "labkit"
    return f"labkit-{hashlib.sha256(str(paths.run).encode()).hexdigest()[:8]}"


def ensure(paths: Paths) -> None:
    """The table with its rules, made where it is not; call it with the networks locked."""
    name = table(paths)
    if not nft.has_table(FAMILY, name):
        Ledger.of(paths, "firewall").enter("nft", f"{FAMILY} {name}")
        nft.run(_RULES.format(table=name))


def drop_if_unused(paths: Paths) -> None:
    """Take the table away once no network has anything in it."""
    with networks.locked(paths):
        if not any(ledger.owner.startswith("network-") for ledger in Ledger.all(paths)):
            Ledger.of(paths, "firewall").undo()


def _add(paths: Paths, ledger: Ledger, elements: Sequence[str]) -> None:
    """All or none. In the ledger, an element stands with its value, so nobody else's is ever removed."""
    name = table(paths)
    for element in elements:
        ledger.enter("element", f"{FAMILY} {name} {element}")
    lines = [element.split(" ", 1) for element in elements]
    nft.run("\n".join(f"add element {FAMILY} {name} {kind} {{ {element} }}" for kind, element in lines))


def admit_network(paths: Paths, ledger: Ledger, network: Network) -> None:
    """The rules of one network, by its bridge."""
    bridge = f'"{network.bridge}"'
    elements = [f"bridges {bridge}"]
    if network.has(networks.ICC_OPTION):
        elements.append(f"together {bridge} . {bridge}")
    if network.internal:
        elements.append(f"internal {bridge}")
    for subnet in network.subnets:
        elements.append(f"homes_{subnet.version} {subnet.subnet} . {bridge}")
        if not network.internal and network.has(networks.MASQUERADE_OPTION):
            elements.append(f"hidden_{subnet.version} {subnet.subnet}")
    _add(paths, ledger, elements)


def publish(
    paths: Paths, ledger: Ledger, ports: Sequence[Published], addresses: Sequence[str], owner: str
) -> None:
    """Lead ports of the host to a container; Conflict where one leads elsewhere already."""
    elements = [element for port in ports for element in port.elements(addresses)]
    for element in elements:
        if taken := nft.find_element(FAMILY, table(paths), *_split(element)):
            raise Conflict(
                f"driver failed programming external connectivity on endpoint {owner}: "
                f"port is already allocated: it leads to {taken}"
            )
    if elements:
        _add(paths, ledger, elements)


def _split(element: str) -> tuple[str, str]:
    """The map, and the key without its value."""
    name, _, rest = element.partition(" ")
    return name, rest.partition(" : ")[0]
