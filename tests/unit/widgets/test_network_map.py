"""The map of networks: where everything lies, which way a packet goes, and what a text says of it."""

import itertools
from dataclasses import replace

import pytest

from labkit.observe import packet_path, topology
from labkit.observe.topology import Interface, Place, Port
from labkit.widgets import NetworkMap, network_layout

EVIL = "<img src=x>"


def end(name: str, bridge: str = "", peer: tuple[str, str] | None = None, addresses: tuple[str, ...] = ()):
    return Interface(
        index=2, name=name, kind="veth", is_up=True, has_carrier=True,
        bridge=bridge, peer=peer, addresses=addresses,
    )  # fmt: skip


HOST = Place(
    name="host", pid=1, identity=1, forwards=True, masqueraded=("10.5.0.0/24", "127.0.0.0/8"),
    interfaces=(
        Interface(index=3, name="br0", kind="bridge", addresses=("10.5.0.1/24",)),
        end("port2", "br0", ("web", "eth0")), end("port3", "br0", (EVIL, "eth0")),
        end("up0", peer=("outside", "eth0"), addresses=("203.0.113.1/24",)),
    ),
    ports=(Port(protocol="tcp", port=8080, to_address="10.5.0.2", to_port=80),),
)  # fmt: skip


def inner(name: str, address: str, port: str) -> Place:
    return Place(
        name=name, pid=1, identity=2, gateway="10.5.0.1", gateway_interface="eth0",
        interfaces=(end("eth0", peer=("host", port), addresses=(f"{address}/24",)),),
    )  # fmt: skip


WEB, OTHER = inner("web", "10.5.0.2", "port2"), inner(EVIL, "10.5.0.3", "port3")
OUTSIDE = Place(
    name="outside", pid=1, identity=4,
    interfaces=(end("eth0", peer=("host", "up0"), addresses=("203.0.113.80/24",)),),
)  # fmt: skip
PLACES = [HOST, WEB, OTHER, OUTSIDE]


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr(topology, "look", lambda places: PLACES)
    return NetworkMap({})


def words(steps) -> str:
    return " | ".join(step.said for step in steps)


def test_the_way_out_names_every_hop_and_the_address_that_is_put_in_place():
    steps = packet_path.out_of(PLACES, "web")

    assert [key for step in steps for key in step.keys if not key.endswith("/")] == [
        "web/eth0", "host/port2", "host/br0", "host/up0", "outside/eth0",
    ]  # fmt: skip
    assert "masquerade, from here on it comes from 203.0.113.1" in words(steps)


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"forwards": False}, "ip_forward is off: dropped"),
        ({"masqueraded": ()}, "it still comes from 10.5.0.2"),
        ({"masqueraded": ("10.6.0.0/24",)}, "it still comes from 10.5.0.2"),
        ({"interfaces": HOST.interfaces[:3]}, "no interface leads any further"),
        ({"interfaces": HOST.interfaces[1:]}, "nobody here has the address 10.5.0.1"),
    ],
)
def test_a_way_ends_where_something_is_missing(changed, said):
    steps = packet_path.out_of([replace(HOST, **changed), WEB, OUTSIDE], "web")

    assert said in words(steps)
    assert ("arrives" in words(steps)) == ("masqueraded" in changed)


def test_without_a_cable_or_a_default_route_no_packet_gets_far():
    alone = Place(name="alone", pid=1, identity=9)
    near = replace(WEB, gateway="", gateway_interface="")

    assert words(packet_path.out_of([alone], "alone")) == "alone has no cable: no packet leaves"
    assert len(packet_path.out_of([HOST, near, OUTSIDE], "web")) == 2
    assert "there is no default route" in words(packet_path.out_of([HOST, near], "web"))


def test_the_way_in_leads_by_the_rule_and_the_switch_to_the_server():
    steps = packet_path.into(PLACES, "host", HOST.ports[0])

    assert "no longer to 203.0.113.1:8080 but to 10.5.0.2:80" in words(steps)
    assert [key for step in steps for key in step.keys if not key.endswith("/")] == [
        "outside/eth0", "host/:8080/tcp", "host/up0", "host/br0", "host/port2", "web/eth0",
    ]  # fmt: skip
    gone = packet_path.into([HOST, OUTSIDE], "host", HOST.ports[0])
    assert words(gone).endswith("nobody on this map has the address 10.5.0.2")


def test_what_is_outside_lies_above_the_host_and_what_is_plugged_in_below():
    layout = network_layout.lay(PLACES)
    box = {one.key: one for one in layout.boxes}

    assert box["outside/"].y + box["outside/"].height < box["host/"].y
    assert box["web/"].y > box["host/"].y + box["host/"].height
    for key in ("host/br0", "host/up0", "host/:8080/tcp", "host/port2"):
        assert box["host/"].y < box[key].y < box["host/"].y + box["host/"].height
    assert {wire.ends for wire in layout.wires} == {
        ("outside/eth0", "host/up0"), ("host/port2", "web/eth0"), ("host/port3", f"{EVIL}/eth0"),
    }  # fmt: skip
    for wire in layout.wires:  # between the cards, where the traffic can be read
        assert wire.y2 - wire.y1 > 30
        assert wire.y2 == box[wire.ends[1].replace("/eth0", "/")].y or wire.ends[1] == "host/up0"
    assert box["web/"].hue == box["host/br0"].hue == box["host/:8080/tcp"].hue == 1
    assert box["outside/"].hue == 0


def test_boxes_in_a_row_do_not_overlap_however_many_there_are():
    many = [inner(f"c{n}", f"10.5.0.{n + 2}", f"p{n}") for n in range(11)]
    ends = tuple(end(f"p{n}", "br0", (f"c{n}", "eth0")) for n in range(11))
    layout = network_layout.lay([replace(HOST, interfaces=(HOST.interfaces[0], *ends)), *many])
    cards = sorted((box.x, box.x + box.width) for box in layout.boxes if box.kind == "container")

    assert len(cards) == 8 and layout.left_out == 3
    assert all(one[1] < other[0] for one, other in itertools.pairwise(cards))
    assert cards[-1][1] < 860


def test_a_port_that_leads_to_the_places_own_loopback_makes_it_no_host():
    names = Port(protocol="udp", port=53, address="127.0.0.11", to_address="127.0.0.11", to_port=40000)
    layout = network_layout.lay([HOST, replace(WEB, ports=(names,))])

    assert [box.kind for box in layout.boxes if box.key == "web/"] == ["container"]
    assert [box.key for box in layout.boxes if box.kind == "port"] == ["host/:8080/tcp"]


def test_two_places_and_a_cable_need_no_host():
    left = replace(OUTSIDE, name="left", interfaces=(end("eth0", peer=("right", "eth0")),))
    right = replace(OUTSIDE, name="right", interfaces=(end("eth0", peer=("left", "eth0")),))
    layout = network_layout.lay([left, right])
    (wire,) = layout.wires

    assert wire.y1 == wire.y2 and wire.x1 < wire.x2
    assert wire.ends == ("left/eth0", "right/eth0")


def test_the_text_says_where_each_interface_leads(network):
    text = network.text()

    assert "  port2  veth                    into br0, to web eth0" in text
    assert "any address:8080/tcp leads to 10.5.0.2:80" in text
    assert "host: hides 10.5.0.0/24" in text
    assert network.summary() == "Network map: 4 namespaces, 1 switch, 3 cables, 1 published port"


def test_each_card_and_port_has_a_way_and_the_outside_none(network):
    assert set(network.paths) == {"web/", f"{EVIL}/", "host/:8080/tcp"}


def test_traffic_is_the_growth_of_the_counters_per_second(network, monkeypatch):
    counted = iter([{"eth0": (1000, 5000)}, {"eth0": (1500, 5000)}])
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(topology, "counters", lambda pid: {})
    monkeypatch.setattr(network, "_count", lambda: {"web/eth0": next(counted)["eth0"]})
    monkeypatch.setattr("labkit.widgets.network_map.time.monotonic", lambda: next(clock))
    assert network._tick() and network._tick()

    assert network.traffic == {"web/eth0": [1000, 0]}


def test_watching_ends_by_itself_and_leaves_no_thread(network, monkeypatch):
    monkeypatch.setattr(topology, "counters", lambda pid: {"eth0": (1, 1)})
    network.watch(0.4)
    network._ticker.wait(5)

    assert not network.watching and not network._ticker.is_running
    assert network.traffic == {}


TABLE = {"family": "inet", "table": "t"}


def rule(*parts):
    return {"rule": {**TABLE, "expr": list(parts)}}


def match(field, value, protocol="ip"):
    return {"match": {"left": {"payload": {"protocol": protocol, "field": field}}, "right": value}}


HIDDEN = [{"prefix": {"addr": "10.1.0.0", "len": 16}}, {"range": ["10.2.0.0", "10.2.1.255"]}]
AT = [[{"concat": ["10.0.0.1", "udp", 53]}, {"concat": ["10.1.0.9", 5353]}]]
TO_8000 = {"dnat": {"addr": "10.1.0.2", "port": 8000}}
RULES = [
    {"set": {**TABLE, "name": "hidden", "elem": HIDDEN}},
    {"map": {**TABLE, "name": "at", "elem": AT}},
    rule(match("saddr", "@hidden"), {"masquerade": None}),
    rule({"match": {"left": {"ct": {"key": "status"}}, "right": "dnat"}}, {"masquerade": None}),
    rule({"dnat": {"family": "ip", "addr": {"map": {"key": {}, "data": "@at"}}}}),
    rule(match("daddr", "127.0.0.1"), match("dport", 80, "tcp"), TO_8000),
    rule(match("dport", 80, "tcp"), TO_8000),
]


def test_ports_and_ranges_are_read_from_rules_sets_and_maps():
    ranges, ports = topology.addresses_exchanged(RULES)

    assert ranges == ("10.1.0.0/16", "10.2.0.0/23")
    assert set(ports) == {
        Port(protocol="udp", port=53, address="10.0.0.1", to_address="10.1.0.9", to_port=5353),
        Port(protocol="tcp", port=80, to_address="10.1.0.2", to_port=8000),
    }
