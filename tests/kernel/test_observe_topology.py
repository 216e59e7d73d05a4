"""What labkit.observe says of networks, held against what iproute2 and nft have made."""

import json
import os
import subprocess

import pytest
from boxes import boxes

from labkit.observe import packet_trace, topology
from labkit.observe.topology import Port

pytestmark = pytest.mark.requires("root", "veth", "bridge", "nft")

RULES = """
table ip box {
  set hidden { type ipv4_addr; flags interval; elements = { 10.5.0.0/24 } }
  map ports {
    type inet_proto . inet_service : ipv4_addr . inet_service
    elements = { udp . 53 : 10.5.0.2 . 5353 }
  }
  chain come {
    type nat hook prerouting priority dstnat
    tcp dport 8080 dnat to 10.5.0.2:80
    dnat ip to meta l4proto . th dport map @ports
  }
  chain leave { type nat hook postrouting priority srcnat; ip saddr @hidden oifname != br0 masquerade; }
  chain follow { type filter hook output priority -350; ip daddr 10.5.0.2 meta nftrace set 1; }
  chain refuse { type filter hook postrouting priority 300; ip daddr 10.5.0.2 icmp type echo-request drop; }
}
"""


def nsenter(box, *words: str, text: str = "") -> None:
    subprocess.run(
        ["nsenter", "-t", str(box.pid), "-n", *words], input=text, text=True, check=True, capture_output=True
    )


@pytest.fixture
def three():
    """A host, a container on its switch, and one more namespace that has nothing."""
    with boxes(3) as (host, web, alone):
        nsenter(host, "ip", "link", "add", "br0", "type", "bridge")
        nsenter(host, *f"ip link add port2 type veth peer name eth0 netns {web.pid}".split())
        for words in ("link set port2 master br0 up", "address add 10.5.0.1/24 dev br0", "link set br0 up"):
            nsenter(host, "ip", *words.split())
        for words in (
            "address add 10.5.0.2/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.5.0.1",
        ):
            nsenter(web, "ip", *words.split())
        nsenter(host, "nft", "--file", "-", text=RULES)
        yield host, web, alone


def test_cables_switches_addresses_and_ports_are_as_they_were_made(three):
    host, web, alone = three
    (seen, container, nothing) = topology.look({"host": host.pid, "web": web.pid, "alone": alone.pid})

    assert seen.interface("port2").peer == ("web", "eth0")
    assert container.interface("eth0").peer == ("host", "port2")
    assert (seen.interface("port2").bridge, seen.interface("br0").kind) == ("br0", "bridge")
    assert seen.interface("br0").addresses == ("10.5.0.1/24",)
    assert (container.gateway, container.gateway_interface) == ("10.5.0.1", "eth0")
    (card,) = json.loads(web.run("ip", "--json", "link", "show", "eth0"))
    assert (container.interface("eth0").mac, container.interface("eth0").index) == (
        card["address"],
        card["ifindex"],
    )
    assert seen.masqueraded == ("10.5.0.0/24",)
    assert set(seen.ports) == {
        Port(protocol="tcp", port=8080, to_address="10.5.0.2", to_port=80),
        Port(protocol="udp", port=53, to_address="10.5.0.2", to_port=5353),
    }
    assert {one.kind for one in nothing.interfaces if one.addresses} == {""}
    assert (nothing.gateway, nothing.ports) == ("", ())
    assert seen.identity == os.stat(f"/proc/{host.pid}/ns/net").st_ino


def test_an_end_that_is_out_of_sight_has_no_peer_and_one_namespace_is_one_place(three):
    host, web, _ = three

    (seen,) = topology.look({"host": host.pid, "again": host.pid})
    assert seen.interface("port2").peer is None
    assert [place.name for place in topology.look({"web": web.pid, "gone": 2**22 - 1})] == ["web"]


def test_the_counters_are_the_kernels(three):
    _, web, _ = three
    before = topology.counters(web.pid)["eth0"]
    nsenter(web, "busybox", "ping", "-c", "3", "-i", "0.1", "-s", "1000", "10.5.0.1")
    after = topology.counters(web.pid)["eth0"]

    assert after[0] - before[0] >= 3000 and after[1] - before[1] >= 3000
    assert topology.counters(2**22 - 1) == {}


def test_a_packet_is_followed_to_the_rule_that_drops_it(three):
    host, _, _ = three
    with packet_trace.follow(host.pid) as trace:
        subprocess.run(
            ["nsenter", "-t", str(host.pid), "-n", "busybox", "ping", "-c", "1", "-W", "1", "10.5.0.2"],
            check=False, capture_output=True,
        )  # fmt: skip
        hops = trace.hops()

    assert [hop.chain for hop in hops] == ["follow", "leave", "refuse"]
    assert (hops[-1].source, hops[-1].destination, hops[-1].oif) == ("10.5.0.1", "10.5.0.2", "br0")
    assert (hops[-1].verdict, hops[-1].rule) == ("drop", "ip daddr 10.5.0.2 icmp type 8 drop")
