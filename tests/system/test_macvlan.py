"""macvlan networks: containers as machines of a LAN, which is a network namespace that the test makes."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.engine import networks as verbs
from labkit.errors import Conflict, Invalid, Unsupported
from labkit.ledger import Ledger
from labkit.network import addresses, connections, endpoints, networks

pytestmark = pytest.mark.requires(
    "root", "overlay", "cgroups", "namespaces", "busybox", "veth", "macvlan", "nft"
)
BUSYBOX = "lab/busybox"
LAN, PARENT, SERVER, HOST = "lklan", "lkparent", "10.91.0.2", "10.91.0.1"

SERVE = """
import socket
server = socket.create_server(("10.91.0.2", 80))
print("listening", flush=True)
while True:
    peer, (address, _) = server.accept()
    with peer:
        peer.sendall(f"{address} {peer.recv(100).decode()}".encode())
"""


@pytest.fixture
def lan():
    """The host's cable into a LAN, and a machine at its other end that answers who asked, and what."""
    for words in (
        f"netns add {LAN}",
        f"link add {PARENT} type veth peer name eth0 netns {LAN}",
        f"address add {HOST}/24 dev {PARENT}",
        f"link set {PARENT} up",
        f"-n {LAN} address add {SERVER}/24 dev eth0",
        f"-n {LAN} link set eth0 up",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    server = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{LAN}", sys.executable, "-c", SERVE], stdout=subprocess.PIPE
    )
    try:
        assert server.stdout.readline() == b"listening\n"
        yield
    finally:
        server.kill()
        server.communicate()
        subprocess.run(["ip", "netns", "delete", LAN], check=True)
        subprocess.run(["ip", "link", "delete", PARENT], check=False, stderr=subprocess.DEVNULL)


def create(engine, name: str = "lan", *, driver: str = "macvlan", subnet: str = "10.91.0.0/24", **options):
    return connections.create(
        engine.paths, name, driver=driver,
        subnets=[addresses.check(subnet, gateway=SERVER if subnet == "10.91.0.0/24" else "")],
        options={"parent": PARENT} | options,
    )  # fmt: skip


def idle(engine, network: str = "lan", **options):
    container = engine.create(BUSYBOX, ["sleep", "1000"], network=network, **options)
    container.start()
    return container


def address_of(engine, container) -> str:
    (found,) = endpoints.of_container(engine.paths, container.id)
    return found.ipv4.partition("/")[0]


def ip(*words: str, namespace: str = "") -> list[dict]:
    """iproute2 as the second witness."""
    enter = ["nsenter", f"--net={namespace}"] if namespace else []
    return json.loads(subprocess.run([*enter, "ip", "-j", *words], capture_output=True, check=True).stdout)


def reaches(container, address: str) -> bool:
    return container.exec(["ping", "-c", "1", "-W", "1", address]).exit_code == 0


def test_the_lan_sees_a_container_as_one_more_machine(engine, lan):
    create(engine)  # the subnet is the host's own
    container = idle(engine, ip="10.91.0.77", mac_address="02:42:00:00:00:77")
    nonce = os.urandom(8).hex()

    said = container.exec(["nc", "-w", "2", SERVER, "80"], stdin=nonce).stdout
    assert said == f"10.91.0.77 {nonce}"
    (neighbour,) = ip("neigh", "show", "10.91.0.77", namespace=f"/run/netns/{LAN}")
    assert neighbour["lladdr"] == "02:42:00:00:00:77"

    inside = f"/proc/{container.pid}/ns/net"
    (link,) = ip("-d", "link", "show", "dev", "eth0", namespace=inside)
    assert (link["linkinfo"]["info_kind"], link["linkinfo"]["info_data"]["mode"]) == ("macvlan", "bridge")
    routes = {row["dst"]: row.get("gateway") for row in ip("route", namespace=inside)}
    assert routes == {"default": SERVER, "10.91.0.0/24": None}
    done = subprocess.run(["busybox", "ping", "-c", "1", "-W", "1", "10.91.0.77"], stdout=subprocess.DEVNULL)
    assert done.returncode != 0  # the parent gives nothing up to the host
    assert not [row for row in ip("link") if row["ifname"].startswith("lk-")]


@pytest.mark.parametrize(("mode", "meet"), [("bridge", True), ("private", False), ("vepa", False)])
def test_the_mode_says_whether_containers_of_one_parent_meet(engine, lan, mode, meet):
    create(engine, macvlan_mode=mode)  # the other end of the cable sends nothing back, which vepa would need
    first, second = idle(engine), idle(engine)

    assert reaches(first, SERVER)
    assert reaches(second, SERVER)
    assert reaches(first, address_of(engine, second)) is meet


def test_one_in_passthru_stays_alone(engine, lan):
    create(engine, macvlan_mode="passthru")
    first = idle(engine)
    second = engine.create(BUSYBOX, ["true"], network="lan")

    assert reaches(first, SERVER)
    with pytest.raises(Conflict, match=f"{PARENT} takes no further interface in mode passthru"):
        second.start()
    assert [one.container_id for one in endpoints.of_container(engine.paths, first.id)] == [first.id]
    assert endpoints.of_container(engine.paths, second.id) == []
    first.stop(0.1)
    second.start()
    assert second.wait() == 0


def test_a_running_container_comes_and_goes(engine, lan):
    create(engine)
    connections.create(engine.paths, "blue", subnets=[addresses.check("10.89.1.0/24")])
    container = idle(engine, network="blue")
    verbs.connect(engine.paths, "lan", container.name)
    inside = f"/proc/{container.pid}/ns/net"

    assert [row["ifname"] for row in ip("link", namespace=inside)] == ["lo", "eth0", "eth1"]
    assert reaches(container, SERVER)
    verbs.disconnect(engine.paths, "lan", container.name)
    assert [row["ifname"] for row in ip("link", namespace=inside)] == ["lo", "eth0"]
    assert [one.network_name for one in endpoints.of_container(engine.paths, container.id)] == ["blue"]


def test_what_cannot_be_is_refused_by_name(engine, lan):
    refused = [
        ({"parent": ""}, Invalid, f"needs a parent: there are .*{PARENT}"),
        ({"parent": "nic9"}, Invalid, f"parent=nic9: no such interface; there are .*{PARENT}"),
        ({"parent": "nic9.5"}, Invalid, r"parent=nic9\.5: no such interface"),
        ({"parent": f"{PARENT}.0"}, Invalid, "a number from 1 to 4094"),
        ({"parent": f"{PARENT}.x"}, Invalid, "a number from 1 to 4094"),
        ({"parent": f"{PARENT}.10000"}, Invalid, "a number from 1 to 4094"),
        ({"macvlan_mode": "loud"}, Invalid, "macvlan_mode=loud: there are bridge, private, vepa, passthru"),
        ({networks.MTU_OPTION: "9000"}, Invalid, f"9000 bytes do not go through {PARENT}: it takes 1500"),
    ]
    for options, kind, said in refused:
        with pytest.raises(kind, match=said):
            create(engine, **options)
    assert [one.name for one in networks.all_networks(engine.paths) if one.driver == "macvlan"] == []

    create(engine)
    with pytest.raises(Conflict, match=f"network lan is already using parent interface {PARENT}"):
        create(engine, "second", subnet="10.92.0.0/24")
    with pytest.raises(Invalid, match="port publishing and the macvlan network lan"):
        engine.create(BUSYBOX, ["true"], network="lan", publish=["8080:80"])


def test_a_vlan_is_made_for_the_first_container_and_goes_with_the_network(engine, lan):
    """On a kernel without VLANs, the refusal says so, and nothing stays."""
    network = create(engine, parent=f"{PARENT}.50")
    container = engine.create(BUSYBOX, ["sleep", "1000"], network="lan")
    refused = contextlib.nullcontext()
    if not Path("/proc/net/vlan").exists() and not can_add_vlan():
        refused = pytest.raises(Unsupported, match=rf"{PARENT}\.50: this kernel has no VLANs")
    with refused:
        container.start()
        (link,) = ip("-d", "link", "show", "dev", f"{PARENT}.50")
        assert link["linkinfo"]["info_data"]["id"] == 50
    container.remove(force=True)
    verbs.remove(engine.paths, "lan")
    assert f"{PARENT}.50" not in {row["ifname"] for row in ip("link")}
    assert f"network-{network.id}" not in {ledger.owner for ledger in Ledger.all(engine.paths)}


def can_add_vlan() -> bool:
    words = f"ip -n {LAN} link add probe0 link eth0 type vlan id 9"
    return subprocess.run(words.split(), stderr=subprocess.DEVNULL).returncode == 0


def test_a_parent_that_has_gone_is_named(engine, lan):
    create(engine)
    container = engine.create(BUSYBOX, ["true"], network="lan")
    subprocess.run(["ip", "link", "delete", PARENT], check=True)

    with pytest.raises(Invalid, match=f"parent={PARENT}: no such interface"):
        container.start()
    assert endpoints.of_container(engine.paths, container.id) == []
