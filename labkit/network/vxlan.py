"""vxlan: a wire between hosts: frames of a bridge, packed into UDP, to the host that the receiver is on.

Chapter 13. RFC 7348, ip-link(8) TYPE vxlan, bridge(8) fdb. The device learns
nothing by itself and floods nothing: an entry of the forwarding database says
behind which host a hardware address is, a neighbour entry answers for it when
somebody here asks who has an address of IP.
"""

import socket
from typing import TYPE_CHECKING

from labkit.network import links

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyroute2 import IPRoute

    from labkit.network.endpoints import Endpoint

PORT = 4789
OVERHEAD_BYTES = 50
"""What the way costs of each packet: Ethernet 14, VXLAN 8, UDP 8 and IPv4 20."""

_PERMANENT = 0x80  # NUD_PERMANENT, of linux/neighbour.h

Forwarding = set[tuple[str, str]]
"""Hardware address, and the host that it is behind."""


def device(network_id: str) -> str:
    """The name of a network's device; at most 15 bytes, netdevice(7)."""
    return f"lkx-{network_id[:11]}"


def ensure(name: str, bridge: str, *, number: int, local: str, mtu: int, isolated: bool) -> None:
    """The device, plugged into its bridge and up."""
    with links.host() as rtnetlink:
        if not links.index(name):
            links.ask(
                rtnetlink, f"add vxlan {name}, number {number}, from {local}", "link", "add",
                ifname=name, kind="vxlan", vxlan_id=number, vxlan_local=local, vxlan_port=PORT,
                vxlan_learning=0, vxlan_proxy=1, mtu=mtu,
            )  # fmt: skip
        number = links.index(name)
        links.ask(
            rtnetlink, f"set {name} on {bridge}, up", "link", "set",
            index=number, master=links.index(bridge), state="up",
        )  # fmt: skip
        # Containers that are kept apart from one another are so from those of other hosts, too.
        links.ask(rtnetlink, f"set {name} isolated", "brport", "set", index=number, isolated=int(isolated))


def match(name: str, present: "Iterable[Endpoint]") -> None:
    """Make the device know these containers of other hosts, and no others; nothing where it is not there."""
    number = links.index(name)
    if not number:
        return
    forwarding = {(one.mac, one.host) for one in present}
    neighbours = {
        (text.partition("/")[0], one.mac) for one in present for text in (one.ipv4, one.ipv6) if text
    }
    with links.host() as rtnetlink:
        before, known = _forwarding(rtnetlink, number), _neighbours(rtnetlink, number)
        for mac, host in before - forwarding:
            _forward(rtnetlink, "del", name, number, mac, host)
        for mac, host in forwarding - before:
            _forward(rtnetlink, "append", name, number, mac, host)
        for address, mac in known - neighbours:
            _answer_for(rtnetlink, "del", name, number, address, mac)
        for address, mac in neighbours - known:
            _answer_for(rtnetlink, "replace", name, number, address, mac)


def _forwarding(rtnetlink: "IPRoute", number: int) -> Forwarding:
    rows = rtnetlink.fdb("dump", ifindex=number)
    pairs = {(row.get_attr("NDA_LLADDR"), row.get_attr("NDA_DST")) for row in rows}
    return {(mac, host) for mac, host in pairs if mac and host}


def _neighbours(rtnetlink: "IPRoute", number: int) -> set[tuple[str, str]]:
    found = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        for row in rtnetlink.neigh("dump", ifindex=number, family=family):
            if row["ifindex"] == number and row["state"] == _PERMANENT:
                found.add((row.get_attr("NDA_DST"), row.get_attr("NDA_LLADDR")))
    return found


def _forward(rtnetlink: "IPRoute", what: str, name: str, number: int, mac: str, host: str) -> None:
    links.ask(
        rtnetlink, f"{what} {mac} at {name}, behind {host}", "fdb", what,
        ifindex=number, lladdr=mac, dst=host,
    )  # fmt: skip


def _answer_for(rtnetlink: "IPRoute", what: str, name: str, number: int, address: str, mac: str) -> None:
    links.ask(
        rtnetlink, f"{what} {address} is {mac} at {name}", "neigh", what,
        ifindex=number, dst=address, lladdr=mac,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        **({} if what == "del" else {"state": "permanent"}),
    )  # fmt: skip
