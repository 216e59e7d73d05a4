"""links: bridges, and what plugs containers into them or into the wire itself.

Chapters 11 and 13. rtnetlink(7), veth(4), bridge(8). Everything goes over one socket that
stays open, so no program is started; what lies inside a container is set up
over a second one, which a short-lived thread opens in there.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.kernel import interfaces, namespaces, trace

if TYPE_CHECKING:
    from pyroute2 import IPRoute  # it takes longer to load than a container without a network to start

_NODAD = 0x02  # IFA_F_NODAD: nobody else can have the address, so it need not be asked for first
_lock = threading.Lock()
_open: dict[int, "IPRoute"] = {}


@contextmanager
def _apart_from_a_notebook() -> "Iterator[None]":
    """A notebook's cells run within an event loop, where asyncio refuses to turn pyroute2's own as well."""
    import asyncio  # pyroute2 loads it in any case, and nobody else here

    running = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)


@contextmanager
def host() -> "Iterator[IPRoute]":
    """The socket of this process's own network namespace, for one user at a time."""
    with _lock, _apart_from_a_notebook():
        if os.getpid() not in _open:  # a fork must not share its parent's
            from pyroute2 import IPRoute

            _open.clear()
            _open[os.getpid()] = IPRoute()
        yield _open[os.getpid()]


@contextmanager
def inside(namespace: int) -> "Iterator[IPRoute]":
    """A socket in the network namespace behind a descriptor."""

    def open_there() -> socket.socket:
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        return socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)

    from pyroute2 import IPRoute

    with (
        _apart_from_a_notebook(),
        IPRoute(fileno=namespaces.in_network(namespace, open_there).detach()) as rtnetlink,
    ):
        yield rtnetlink


def ask(rtnetlink: "IPRoute", said: str, what: str, *words: str, **values: Any) -> None:
    """One request, told in words; a refusal is an OSError that repeats them."""
    from pyroute2.netlink.exceptions import NetlinkError

    with trace.operation("link", said):
        try:
            getattr(rtnetlink, what)(*words, **values)
        except NetlinkError as refused:
            raise OSError(refused.code, f"rtnetlink: {os.strerror(refused.code)}", said) from refused


def index(name: str) -> int:
    """The number of an interface of this thread's network namespace; 0 where there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def names() -> list[str]:
    """The interfaces of this thread's network namespace, without the loopback."""
    return sorted(name for _, name in socket.if_nameindex() if name != "lo")


def addresses() -> dict[str, str]:
    """The addresses of IPv4 of this thread's network namespace but the loopback's, with their interfaces."""
    with host() as rtnetlink:
        names = {number: name for number, name in socket.if_nameindex() if name != "lo"}
        rows = rtnetlink.get_addr(family=socket.AF_INET)
        return {row.get_attr("IFA_LOCAL"): names[row["index"]] for row in rows if row["index"] in names}


def name_of(address: str) -> str:
    """The interface that has an address of IPv4; empty where none has."""
    return addresses().get(address, "")


def uplink_mtu() -> int:
    """The largest packet of the interface by which the host reaches the world, in bytes; 1500 without one."""
    for line in Path("/proc/thread-self/net/route").read_text().splitlines()[1:]:
        words = line.split()
        if words[1] == "00000000":
            return interfaces.mtu(words[0])
    return 1500


def sysctl(name: str, value: int) -> None:
    """Set one switch of this thread's network namespace, as net/ipv4/ip_forward; only if it is another."""
    file = Path("/proc/sys", name)
    if file.read_text().strip() != str(value):
        with trace.operation("sysctl", f"{name} = {value}"):
            file.write_text(str(value))


def make_bridge(name: str, addresses: list[str], mtu: int) -> None:
    """A bridge that has the gateways' addresses and is up."""
    with host() as rtnetlink:
        if not index(name):
            ask(rtnetlink, f"add bridge {name}", "link", "add", ifname=name, kind="bridge", mtu=mtu)
        number = index(name)
        has_ipv6 = any(":" in address for address in addresses)
        if Path("/proc/sys/net/ipv6").exists():
            sysctl(f"net/ipv6/conf/{name}/disable_ipv6", int(not has_ipv6))
        for address in addresses:
            _add_address(rtnetlink, number, address, name)
        ask(rtnetlink, f"set {name} up", "link", "set", index=number, state="up")
    sysctl("net/ipv4/ip_forward", 1)
    sysctl(f"net/ipv4/conf/{name}/route_localnet", 1)  # so that 127.0.0.1:PORT can lead to a container
    if has_ipv6:
        sysctl("net/ipv6/conf/all/forwarding", 1)


def _add_address(rtnetlink: "IPRoute", number: int, address: str, name: str) -> None:
    ip, _, length = address.partition("/")
    values: dict[str, Any] = {"index": number, "address": ip, "prefixlen": int(length)}
    if ":" in ip:
        values["flags"] = _NODAD
    with suppress(FileExistsError):  # the bridge has it already
        ask(rtnetlink, f"add {address} to {name}", "addr", "add", **values)


def plug(
    bridge: str, name: str, namespace: int, inner: str, *, mac: str, mtu: int, isolated: bool = False
) -> None:
    """A cable from a bridge to an interface inside, a veth pair; isolated from all but the bridge itself."""
    with host() as rtnetlink:
        master = index(bridge)
        ask(
            rtnetlink, f"add veth {name} on {bridge}, {inner} inside", "link", "add",
            ifname=name, kind="veth", mtu=mtu, master=master, state="up",
            peer={"ifname": inner, "net_ns_fd": namespace, "address": mac, "mtu": mtu},
        )  # fmt: skip
        # Hairpin: who asks for its own published port gets its packet back by the way it came.
        ask(
            rtnetlink, f"set {name} hairpin{', isolated' * isolated}", "brport", "set",
            index=index(name), mode=1, isolated=int(isolated),
        )  # fmt: skip


def add_macvlan(parent: str, namespace: int, inner: str, *, mode: str, mac: str, mtu: int) -> None:
    """A further interface of a parent, made inside: no name of the host is needed for it."""
    with host() as rtnetlink:
        ask(
            rtnetlink, f"add macvlan of {parent}, {mode}, {inner} inside", "link", "add",
            ifname=inner, kind="macvlan", link=index(parent), net_ns_fd=namespace,
            macvlan_mode=mode, address=mac, mtu=mtu,
        )  # fmt: skip


def add_vlan(name: str, below: str, number: int) -> None:
    """An interface for the frames of one VLAN of another, IEEE 802.1Q."""
    with host() as rtnetlink:
        ask(
            rtnetlink, f"add {name}, VLAN {number} of {below}", "link", "add",
            ifname=name, kind="vlan", link=index(below), vlan_id=number,
        )  # fmt: skip
        ask(rtnetlink, f"set {name} up", "link", "set", index=index(name), state="up")


def delete_inside(namespace: int, inner: str) -> None:
    """Take an interface inside away; happy to be called twice."""
    if number := namespaces.in_network(namespace, lambda: index(inner)):
        with inside(namespace) as rtnetlink:
            ask(rtnetlink, f"delete {inner} inside", "link", "del", index=number)


def set_up_inside(
    namespace: int, inner: str, addresses: list[str], *, gateways: list[str], has_ipv6: bool
) -> None:
    """Give the interface its addresses, wake it, and lead what goes elsewhere to the gateways."""

    def switch() -> int:
        interfaces.bring_up("lo")  # the init may not have come to that yet
        sysctl(f"net/ipv4/conf/{inner}/arp_notify", 1)  # who had the address a moment ago is forgotten
        if not has_ipv6 and Path("/proc/sys/net/ipv6").exists():
            sysctl(f"net/ipv6/conf/{inner}/disable_ipv6", 1)
        return index(inner)

    number = namespaces.in_network(namespace, switch)
    with inside(namespace) as rtnetlink:
        for address in addresses:
            _add_address(rtnetlink, number, address, f"{inner} inside")
        ask(rtnetlink, f"set {inner} up inside", "link", "set", index=number, state="up")
        set_gateways(rtnetlink, number, gateways)


def set_gateways(rtnetlink: "IPRoute", number: int, gateways: list[str]) -> None:
    """The way to everywhere, one for each version of IP; in the place of another."""
    for gateway in gateways:
        ask(
            rtnetlink, f"default route by {gateway}", "route", "replace",
            dst="::/0" if ":" in gateway else "0.0.0.0/0", gateway=gateway, oif=number,
            family=socket.AF_INET6 if ":" in gateway else socket.AF_INET,
        )  # fmt: skip
