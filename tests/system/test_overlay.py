"""Overlay networks of three hosts: bytes that flow, what a wire-tap sees, hosts that are cut off or die."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from conftest import ground
from hosts import ETCD, PREFIX, PROGRAM, eventually, lan, outlive_a_lease

from labkit.network import endpoints, etcd, membership, shared, vxlan

pytestmark = pytest.mark.requires(
    "root", "overlay", "cgroups", "namespaces", "busybox", "veth", "nft", "vxlan", "etcd", "tcpdump"
)

NAMES = ("aa", "bb", "cc")


@pytest.fixture(scope="module")
def machines():
    base = Path(tempfile.mkdtemp(prefix="labkit-test-", dir=ground()))
    base.chmod(0o711)
    try:
        with lan(base, 3) as made:
            yield made
    finally:
        shutil.rmtree(base)


@pytest.fixture
def hosts(machines):
    """Three members, and nothing left on any of them, nor in etcd."""
    machines.at_once(lambda host: host.join())
    yield machines.hosts
    machines.at_once(lambda host: host.tidy())
    for key in machines.keys(shared.RECORDS):
        machines.hosts[0].labkit("network", "rm", key.removeprefix(shared.RECORDS))
    for host in machines.hosts:
        eventually(lambda host=host: not [row for row in host.ip("link") if row["ifname"].startswith("lk")])
        assert [file.name for file in host.paths.ledger.iterdir() if file.name != "firewall"] == []
    assert set(machines.keys()) == {f"/labkit/hosts/{host.address}" for host in machines.hosts}
    machines.at_once(lambda host: host.labkit("host", "leave"))
    assert machines.keys() == {}


@pytest.fixture
def blue(hosts):
    """A network, made on the first host."""
    return hosts[0].labkit("network", "create", "-d", "overlay", "--subnet", "10.5.0.0/24", "blue")


def address(host, network: str, name: str) -> str:
    (found,) = [one for one in endpoints.of_network(host.paths, network) if one.container_name == name]
    return found.ipv4.partition("/")[0]


def known(host, network: str) -> set[str]:
    return {one.container_name for one in endpoints.remote_of_network(host.paths, network)}


# ------------------------------------------------------------------ packets


def test_containers_of_two_hosts_talk_and_the_wire_carries_vxlan(hosts, blue, tmp_path):
    first, second, third = hosts
    first.run("aa", "blue")
    second.run("bb", "blue")
    eventually(lambda: known(first, blue) == {"bb"} and known(second, blue) == {"aa"})
    nonce = os.urandom(16).hex()
    tap = first.start(
        "tcpdump", "-i", "uplink", "-w", tmp_path / "tap", "-U", "udp port 4789", stderr=subprocess.DEVNULL
    )
    try:
        eventually((tmp_path / "tap").exists)
        listener = second.start(PROGRAM, "exec", "bb", "nc", "-l", "-p", "7000", "-w", "10")
        state = json.loads((second.paths.bundles / containers_id(second, "bb") / "state.json").read_text())
        tcp = Path(f"/proc/{state['pid']}/net/tcp6")
        eventually(lambda: ":1B58 " in tcp.read_text() + tcp.with_name("tcp").read_text())
        sent = f"echo {nonce} | nc -w 5 bb 7000"  # its name is known on every host of the network
        first.labkit("exec", "aa", "sh", "-c", sent)
        assert listener.communicate(timeout=10)[0] == f"{nonce}\n"
        eventually(lambda: nonce.encode() in (tmp_path / "tap").read_bytes())
    finally:
        tap.terminate()
        tap.communicate()
    seen = subprocess.run(
        ["tcpdump", "-nr", tmp_path / "tap"], capture_output=True, text=True, check=True
    ).stdout
    number = shared.FIRST_VNI
    assert (
        f"{first.address}." in seen
        and f"> {second.address}.4789: VXLAN, flags [I] (0x08), vni {number}" in seen
    )
    assert third.ip("link", "show", "type", "vxlan") == []  # nobody of this network is there


def containers_id(host, name: str) -> str:
    return next(
        file.parent.name
        for file in host.paths.containers.glob("*/container.json")
        if json.loads(file.read_text())["name"] == name
    )


def test_the_kernel_is_told_who_is_behind_which_host_and_forgets_who_left(hosts, blue):
    first, second, third = hosts
    for host, name in zip(hosts, NAMES, strict=True):
        host.run(name, "blue")
    mac = {one.container_name: one.mac for host in hosts for one in endpoints.of_network(host.paths, blue)}
    wanted = {(mac["bb"], second.address), (mac["cc"], third.address)}
    eventually(lambda: first.forwarding() == wanted)
    (device,) = first.ip("-d", "link", "show", "dev", vxlan.device(blue))
    data = device["linkinfo"]["info_data"]
    assert (data["id"], data["local"], data["port"]) == (shared.FIRST_VNI, first.address, 4789)
    assert (data["learning"], data["proxy"], device["mtu"]) == (False, True, 1450)
    (entry,) = first.ip("neigh", "show", address(second, blue, "bb"))
    assert (entry["lladdr"], entry["state"]) == (mac["bb"], ["PERMANENT"])
    for host, name in ((first, "bb"), (second, "cc"), (third, "aa")):
        other = next(
            one for one in hosts if name in {e.container_name for e in endpoints.of_network(one.paths, blue)}
        )
        assert host.reaches(NAMES[hosts.index(host)], address(other, blue, name))

    second.labkit("rm", "-f", "bb")
    eventually(lambda: first.forwarding() == {(mac["cc"], third.address)})
    assert first.ip("neigh", "show", "dev", vxlan.device(blue)) != [entry]
    eventually(lambda: known(third, blue) == {"aa"})


def test_ipv6_and_the_way_out_and_published_ports(hosts, machines):
    first, second, _ = hosts
    network = first.labkit(
        "network", "create", "-d", "overlay", "--subnet", "10.5.1.0/24", "--subnet", "fd00:5::/64", "six"
    )
    first.run("aa", "six", "-p", "8080:80")
    second.run("bb", "six")
    (other,) = endpoints.of_network(second.paths, network)
    eventually(lambda: known(first, network) == {"bb"})
    assert first.reaches("aa", other.ipv6.partition("/")[0])
    assert first.reaches("aa", f"{PREFIX}.254")  # by the gateway, which is each host's own

    serve = "echo hello >/tmp/index.html && httpd -p 80 -h /tmp"
    first.labkit("exec", "aa", "sh", "-c", serve)
    assert machines.fetch(first.address, 8080).endswith("hello\n")


# ------------------------------------------------------------------ records


def test_a_network_is_the_same_on_every_host(hosts, blue):
    _, second, third = hosts
    second.run("bb", "blue")

    for host in hosts:
        assert "blue  overlay   10.5.0.0/24" in host.labkit("network", "ls")
        (shown,) = json.loads(host.labkit("network", "inspect", "blue"))
        assert (shown["Id"], shown["Options"]) == (blue, {shared.VNI_OPTION: "4096"})
    (shown,) = json.loads(third.labkit("network", "inspect", "blue"))
    (container,) = shown["Containers"].values() or [{}]
    assert (container["Name"], container["Host"]) == ("bb", second.address)
    assert "network with name blue already exists" in third.refusal(
        "network", "create", "-d", "overlay", "blue"
    )
    for host in hosts:
        assert "has active endpoints" in host.refusal("network", "rm", "blue")
    assert f"stop or disconnect bb on {second.address}" in third.refusal("network", "rm", "blue")
    second.labkit("rm", "-f", "bb")
    third.labkit("network", "rm", "blue")
    for host in hosts:
        assert "blue" not in host.labkit("network", "ls")
    eventually(lambda: not second.ip("link", "show", "type", "vxlan"))  # without any command


CREATE = """
import sys
from labkit.network import connections
from labkit.paths import Paths
for number in range(4):
    print(connections.create(Paths.from_environment(), f"{sys.argv[1]}{number}", driver="overlay").id)
"""


def test_networks_that_are_made_at_once_share_neither_number_nor_subnet(hosts):
    makers = [host.python(CREATE, host.name) for host in hosts]
    ids = [line for maker in makers for line in communicate(maker)]

    found = [json.loads(hosts[0].labkit("network", "inspect", one))[0] for one in ids]
    assert len(ids) == 12
    assert len({one["Options"][shared.VNI_OPTION] for one in found}) == 12
    assert len({one["IPAM"]["Config"][0]["Subnet"] for one in found}) == 12


def communicate(process) -> list[str]:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out.split()


RESERVE = """
import secrets, sys
from labkit.ledger import Ledger
from labkit.network import connections, networks
from labkit.network.endpoints import Wish
from labkit.paths import Paths
paths = Paths.from_environment()
network = networks.find(paths, "blue")
for _ in range(int(sys.argv[1])):
    name = secrets.token_hex(32)
    ledger = Ledger.of(paths, f"container-{name}")
    got = connections.reserve(paths, network, ledger, name, name[:12], Wish())
    print(got.ipv4.partition("/")[0], flush=True)
"""


def test_hosts_that_take_addresses_at_once_never_get_the_same(hosts, blue, machines):
    """Two processes on each of three hosts; one host dies in the middle of it."""
    first, second, third = hosts
    workers = {host: [host.python(RESERVE, "30") for _ in range(2)] for host in (first, second)}
    doomed = third.python(RESERVE, "200")
    killed = [doomed.stdout.readline().strip() for _ in range(5)]
    third.kill()
    killed += doomed.communicate()[0].split()
    given = [line for pair in workers.values() for worker in pair for line in communicate(worker)]

    assert len(given) == 120
    assert len(set(given)) == 120
    assert not set(given) & set(killed)
    prefix = f"/labkit/networks/{blue}/leases/"
    eventually(
        lambda: {key.removeprefix(prefix) for key in machines.keys(prefix)} == set(given), outlive_a_lease()
    )
    for host in (first, second):  # what was reserved for no container is given back by the next command
        host.labkit("ps")
    eventually(lambda: machines.keys(f"/labkit/networks/{blue}/") == {})
    third.reconnect()
    assert (
        third.labkit("run", "--network", "blue", "--ip", given[0], "lab/busybox", "echo", "there") == "there"
    )


# ------------------------------------------------------------------ hosts that are cut off or die


def test_a_short_silence_changes_nothing(hosts, blue):
    first, second, _ = hosts
    first.run("aa", "blue")
    second.run("bb", "blue")
    target = address(second, blue, "bb")
    eventually(lambda: first.reaches("aa", target))
    before = first.forwarding()
    second.cut_off()
    assert not first.reaches("aa", target)
    time.sleep(2)
    second.reconnect()
    eventually(lambda: first.reaches("aa", target))
    assert first.forwarding() == before


def test_a_host_that_was_cut_off_is_forgotten_and_comes_back(hosts, blue):
    first, second, _ = hosts
    first.run("aa", "blue")
    second.run("bb", "blue")
    eventually(lambda: known(first, blue) == {"bb"})
    second.cut_off()
    eventually(lambda: first.forwarding() == set(), outlive_a_lease())
    assert known(first, blue) == set()
    assert second.name not in first.labkit("host", "ls")
    second.reconnect()
    eventually(lambda: first.forwarding() and second.forwarding(), 20)
    assert first.reaches("aa", address(second, blue, "bb"))
    assert second.name in first.labkit("host", "ls")


def test_two_never_have_one_address_after_a_host_comes_back(hosts, blue):
    first, second, _ = hosts
    second.run("bb", "blue", "--ip", "10.5.0.77")
    assert "Address already in use: 10.5.0.77" in first.refusal(
        "run", "--network", "blue", "--ip", "10.5.0.77", "lab/busybox", "true"
    )
    second.cut_off()
    eventually(lambda: known(first, blue) == set(), outlive_a_lease())
    first.run("aa", "blue", "--ip", "10.5.0.77")
    second.reconnect()
    eventually(lambda: endpoints.of_network(second.paths, blue) == [], 20)
    assert "eth0" not in second.labkit("exec", "bb", "ls", "/sys/class/net").split()
    assert (
        "bb was taken off blue: 10.5.0.77 was given to another" in (second.paths.run / "peer/log").read_text()
    )
    assert [one.container_name for one in endpoints.of_network(first.paths, blue)] == ["aa"]


def test_a_container_whose_network_was_removed_meanwhile_is_taken_off(hosts, blue):
    first, second, _ = hosts
    second.run("bb", "blue")
    eventually(lambda: known(first, blue) == {"bb"})
    second.cut_off()
    eventually(lambda: known(first, blue) == set(), outlive_a_lease())
    first.labkit("network", "rm", "blue")
    second.reconnect()
    eventually(lambda: not second.ip("link", "show", "type", "vxlan"), 20)
    assert "bb was taken off blue: the network was removed" in (second.paths.run / "peer/log").read_text()
    assert "blue" not in second.labkit("network", "ls")


def test_the_addresses_of_a_dead_host_are_free_and_its_next_start_leaves_nothing(hosts, blue):
    first, second, _ = hosts
    first.run("aa", "blue")
    second.run("bb", "blue", "--ip", "10.5.0.50")
    eventually(lambda: known(first, blue) == {"bb"})
    second.kill()
    eventually(lambda: first.forwarding() == set(), outlive_a_lease())
    first.run("heir", "blue", "--ip", "10.5.0.50")
    second.reconnect()
    assert [line.split()[-1] for line in second.labkit("ps").splitlines()[1:]] == []
    eventually(lambda: known(second, blue) == {"aa", "heir"})
    assert endpoints.of_network(second.paths, blue) == []
    assert not [row for row in second.ip("link") if row["ifname"].startswith("lkv")]


def test_a_peer_that_is_killed_is_followed_by_another_and_its_lease_goes_on(hosts, blue, machines):
    first, second, _ = hosts
    second.run("bb", "blue")
    before, lease, pid = machines.keys(shared.NETWORKS), membership.lease(second.paths), second.peer()
    os.kill(pid, 9)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    second.labkit("ps")
    assert second.peer() != pid
    first.run("aa", "blue")
    eventually(lambda: known(second, blue) == {"aa"})
    assert len(before) == 2
    assert before.items() <= machines.keys(shared.NETWORKS).items()
    assert membership.lease(second.paths) == lease


def test_a_peer_that_is_killed_again_and_again_leaves_the_kernel_right_in_the_end(hosts, blue):
    first, second, third = hosts
    first.run("aa", "blue")
    for number in range(5):
        pid = first.peer()
        second.run(f"bb{number}", "blue")
        time.sleep(number * 0.02)
        os.kill(pid, 9)  # while it hears of that one, or a little later
        third.run(f"cc{number}", "blue")
        if number:
            second.labkit("rm", "-f", f"bb{number - 1}")
        first.labkit("ps")
    macs = {
        (one.mac, host.address) for host in (second, third) for one in endpoints.of_network(host.paths, blue)
    }
    assert len(macs) == 6
    eventually(lambda: first.forwarding() == macs)
    addresses = {row["dst"] for row in first.ip("neigh", "show", "dev", vxlan.device(blue))}
    assert len(addresses) == 6


KILLED = """
import os
from labkit.engine.engine import Engine
from labkit.network import {module} as victim
def die(*_, **__):
    os.kill(os.getpid(), 9)
victim.{function} = die
Engine().run("lab/busybox", ["sleep", "9"], network="blue")
"""


@pytest.mark.parametrize(
    ("module", "function"),
    [("endpoints", "join"), ("shared", "claim"), ("links", "make_bridge"), ("vxlan", "ensure"),
     ("links", "plug"), ("shared", "publish"), ("vxlan", "match")],
)  # fmt: skip
def test_an_engine_that_is_killed_at_any_step_leaves_nothing(hosts, blue, machines, module, function):
    first, second, _ = hosts
    assert first.call(sys.executable, "-c", KILLED.format(module=module, function=function)).returncode == -9

    def is_clean() -> bool:
        first.labkit("ps")
        cables = [row for row in first.ip("link") if row["ifname"].startswith("lkv")]
        return not cables and machines.keys(f"/labkit/networks/{blue}/") == {}

    eventually(is_clean)
    assert endpoints.of_network(first.paths, blue) == []
    second.run("bb", "blue")
    first.run("aa", "blue")
    eventually(lambda: first.reaches("aa", address(second, blue, "bb")))


# ------------------------------------------------------------------ what is refused


def test_what_cannot_be_is_refused_by_name(hosts, blue):
    first, second, _ = hosts

    def create(*words: str) -> str:
        return first.refusal("network", "create", "-d", "overlay", *words, "red")

    assert "overlaps with other one" in create("--subnet", "10.5.0.0/25")
    assert f"overlaps with other one on this address space: {PREFIX}.0/24" in create(
        "--subnet", f"{PREFIX}.0/24"
    )
    assert "VXLAN 4096 is the number of another network" in create("-o", f"{shared.VNI_OPTION}=4096")
    for number in ("0", "16777216", "x", "-1"):
        assert f"{shared.VNI_OPTION}={number}: it is a number from 1 to 16777215" in create(
            "-o", f"{shared.VNI_OPTION}={number}"
        )
    assert "1451 bytes and the 50 of VXLAN do not go through uplink: at most 1450 do" in create(
        "-o", "com.docker.network.driver.mtu=1451"
    )
    join = ("host", "join", "--etcd", ETCD, "--address")
    assert "this host is a member already" in first.refusal(*join, first.address)
    second.run("bb", "blue")
    assert "containers are on networks that this host shares" in second.refusal("host", "leave")
    second.box.run("ip", "address", "add", "10.6.0.9/24", "dev", "uplink")
    try:
        first.labkit("network", "create", "-d", "overlay", "--subnet", "10.6.0.0/24", "green")
        clash = second.refusal("run", "--network", "green", "lab/busybox", "true")
        assert "Pool 10.6.0.0/24 overlaps with other one on this address space" in clash
    finally:
        second.box.run("ip", "address", "del", "10.6.0.9/24", "dev", "uplink")


def test_a_stranger_learns_what_is_missing(hosts, blue, machines):
    stranger = hosts[2]
    record = stranger.paths.networks / f"{blue}.json"
    stranger.labkit("network", "ls")
    copy = record.read_bytes()
    stranger.labkit("host", "leave")
    try:
        assert not record.exists()
        record.write_bytes(copy)  # as a command leaves it that looked while the host left
        assert stranger.labkit("network", "rm", "blue") == "blue"
        assert "blue" in hosts[0].labkit("network", "ls")
        assert "shares no networks with others" in stranger.refusal("network", "create", "-d", "overlay", "x")
        assert "shares no networks with others" in stranger.refusal("host", "ls")
        for url, own, said in (
            (
                ETCD,
                "10.1.2.3",
                f"'10.1.2.3' is no address of this host of IPv4\n  there are {stranger.address}",
            ),
            (ETCD, "here", "'here' is no address of this host"),
            ("here", stranger.address, "invalid etcd endpoint 'here'"),
            (
                f"http://{PREFIX}.254:1",
                stranger.address,
                f"etcd does not answer ({PREFIX}.254:1: Connection refused)",
            ),
        ):
            assert said in stranger.refusal("host", "join", "--etcd", url, "--address", own)
        double = json.dumps({"id": "f" * 16, "name": "double", "address": stranger.address, "since": 1.0})
        machines.put(f"/labkit/hosts/{stranger.address}", double)
        told = stranger.refusal("host", "join", "--etcd", ETCD, "--address", stranger.address)
        assert f"{stranger.address} is the address of another host: double" in told
        assert stranger.processes() == []
    finally:
        machines.ask(lambda store: store.transact([], [etcd.delete(f"/labkit/hosts/{stranger.address}")]))
        stranger.join()


def test_without_etcd_what_runs_goes_on_and_commands_say_what_is_wrong(hosts, blue, machines):
    first, second, _ = hosts
    first.run("aa", "blue")
    second.run("bb", "blue")
    eventually(lambda: first.reaches("aa", address(second, blue, "bb")))
    with machines.silent_etcd():
        listed = first.call(PROGRAM, "network", "ls")
        assert "blue" in listed.stdout
        assert "etcd does not answer" in listed.stderr
        assert first.reaches("aa", address(second, blue, "bb"))
        assert "etcd does not answer" in first.refusal("run", "--network", "blue", "lab/busybox", "true")
        assert "etcd does not answer" in first.refusal("network", "create", "-d", "overlay", "red")
        assert "network red not found\n  etcd does not answer" in first.refusal(
            "run", "--network", "red", "lab/busybox", "true"
        )
        assert first.labkit("run", "--network", "none", "lab/busybox", "echo", "fine") == "fine"
    eventually(
        lambda: first.call(PROGRAM, "run", "--network", "blue", "lab/busybox", "true").returncode == 0, 20
    )
    assert first.reaches("aa", address(second, blue, "bb"))


def test_what_others_write_into_etcd_does_no_harm(hosts, blue, machines):
    first, second, _ = hosts
    first.run("aa", "blue")
    before = machines.keys().keys()
    for key, value in {
        f"/labkit/records/{'0' * 64}": "no json",
        f"/labkit/records/{'1' * 64}": json.dumps({"id": "../../../etc/cron.d/x", "name": "x"}),
        f"/labkit/networks/{blue}/endpoints/../../../../x": json.dumps({"host": "x", "endpoint": {}}),
        f"/labkit/networks/{blue}/endpoints/{'2' * 64}": "[]",
        f"/labkit/networks/{blue}/leases/nonsense": "5",
        f"/labkit/hosts/{PREFIX}.77": "{}",
    }.items():
        machines.put(key, value)
    try:
        second.run("bb", "blue")
        eventually(lambda: known(first, blue) == {"bb"})
        assert first.reaches("aa", address(second, blue, "bb"))
        listed = first.call(PROGRAM, "network", "ls")
        assert "blue" in listed.stdout
        assert f"no networks are described by /labkit/records/{'0' * 64}" in listed.stderr
        assert len(first.labkit("host", "ls").splitlines()) == 4
    finally:
        for key in machines.keys().keys() - before:
            if not key.startswith(f"/labkit/networks/{blue}/leases/10."):  # it is the host's to give back
                machines.ask(lambda store, key=key: store.transact([], [etcd.delete(key)]))
