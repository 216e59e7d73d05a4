"""Containers on networks: asserted on netlink and nft's own listing, and on bytes that really flow."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from boxes import FETCH

from labkit.engine import networks as verbs
from labkit.engine.engine import Engine
from labkit.errors import Conflict, Invalid, NotFound, StartFailed
from labkit.network import addresses, client, connections, endpoints, firewall, networks

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox", "veth", "nft")
BUSYBOX = "lab/busybox"
SERVE = "mkdir /w && echo {0} > /w/index.html && exec httpd -f -p {1} -h /w"


@pytest.fixture
def blue(engine):
    return connections.create(engine.paths, "blue", subnets=[addresses.check("10.89.1.0/24")])


def serving(engine, word: str = "hello", *, port: int = 80, **options):
    """A container that answers over HTTP with one word, once it does."""
    container = engine.create(BUSYBOX, ["sh", "-c", SERVE.format(word, port)], **options)
    container.start()
    wait_for_listener(container, port)
    return container


def wait_for_listener(container, port: int) -> None:
    """Until /proc/net/tcp says that somebody listens, state 0A."""
    deadline = time.monotonic() + 5
    tables = [Path(f"/proc/{container.pid}/net/{name}") for name in ("tcp", "tcp6", "udp", "udp6")]
    while not any(f":{port:04X} 0" in line for table in tables for line in table.read_text().splitlines()):
        assert time.monotonic() < deadline, container.logs()
        time.sleep(0.02)


def idle(engine, **options):
    container = engine.create(BUSYBOX, ["sleep", "1000"], **options)
    container.start()
    return container


def fetch(container, address: str, port: int = 80) -> str:
    """What a container hears from a server; empty where it hears nothing."""
    said = container.exec(["nc", "-w", "1", address, str(port)], stdin="GET / HTTP/1.0\r\n\r\n")
    return said.stdout.splitlines()[-1] if said.stdout else ""


def fetch_from_host(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=1) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            data = b""
            while piece := connection.recv(4096):
                data += piece
    except OSError:
        return ""
    return data.decode().splitlines()[-1] if data else ""


def address_of(engine, container, network="") -> str:
    found = endpoints.of_container(engine.paths, container.id)
    return next(one.ipv4 for one in found if network in ("", one.network_name)).partition("/")[0]


def ip(*words: str, namespace: int = 0) -> list[dict]:
    """iproute2 as the second witness, in a container's network namespace or the host's."""
    enter = ["nsenter", "-t", str(namespace), "-n"] if namespace else []
    out = subprocess.run([*enter, "ip", "-j", *words], capture_output=True, text=True, check=True).stdout
    return json.loads(out or "[]")


def listing(engine) -> str:
    return subprocess.run(
        ["nft", "list", "table", "inet", firewall.table(engine.paths)], capture_output=True, text=True
    ).stdout


# ------------------------------------------------------------------ a cable


def test_a_container_has_an_interface_an_address_and_a_way_out(engine, blue):
    container = idle(engine, network="blue", ip="10.89.1.7", mac_address="02:42:00:00:00:09")

    (link,) = [row for row in ip("address", namespace=container.pid) if row["ifname"] != "lo"]
    assert (link["ifname"], link["operstate"], link["address"]) == ("eth0", "UP", "02:42:00:00:00:09")
    assert [(row["local"], row["prefixlen"]) for row in link["addr_info"]] == [("10.89.1.7", 24)]
    routes = {row["dst"]: row.get("gateway") for row in ip("route", namespace=container.pid)}
    assert routes == {"default": "10.89.1.1", "10.89.1.0/24": None}

    (endpoint,) = endpoints.of_container(engine.paths, container.id)
    (port,) = ip("link", "show", "dev", endpoint.host_interface)
    assert (port["master"], port["operstate"]) == (blue.bridge, "UP")
    (bridge,) = ip("address", "show", "dev", blue.bridge)
    assert [row["local"] for row in bridge["addr_info"]] == ["10.89.1.1"]
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == "1\n"


def test_the_files_that_speak_of_names_are_there_and_in_step(engine, blue):
    connections.create(engine.paths, "green", subnets=[addresses.check("10.89.2.0/24")])
    container = idle(
        engine, network="blue", hostname="box", extra_hosts=["up:host-gateway", "far:10.1.1.1"],
        dns=["10.1.1.53"], dns_search=["lab.test"], dns_options=["attempts:1"],
    )  # fmt: skip

    def read(name: str) -> list[str]:
        return container.exec(["cat", f"/etc/{name}"]).stdout.split("\n")

    assert read("hostname") == ["box", ""]
    lines = read("hosts")
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-4:] == ["10.89.1.1\tup", "10.1.1.1\tfar", f"{address_of(engine, container)}\tbox", ""]
    assert read("resolv.conf") == ["nameserver 127.0.0.11", "search lab.test", "options attempts:1", ""]

    verbs.connect(engine.paths, "green", container.name)
    assert f"{address_of(engine, container, 'green')}\tbox" in read("hosts")
    verbs.disconnect(engine.paths, "green", container.name)
    assert not any("10.89.2." in line for line in read("hosts"))
    assert container.exec(["sh", "-c", "echo x >> /etc/hosts && tail -n 1 /etc/hosts"]).stdout == "x\n"


def test_the_default_network_asks_the_hosts_servers_and_host_mode_is_the_host(engine):
    resolv = engine.run(BUSYBOX, ["cat", "/etc/resolv.conf"], network="bridge").stdout
    assert "127.0.0.11" not in resolv
    servers = [line for line in Path("/etc/resolv.conf").read_text().splitlines() if "nameserver" in line]
    assert [line for line in resolv.splitlines() if "nameserver" in line] == [
        line for line in servers if "127." not in line
    ]
    seen = engine.run(BUSYBOX, ["ls", "/sys/class/net"], network="host").stdout.split()
    assert set(seen) == {link["ifname"] for link in ip("link")}
    assert engine.run(BUSYBOX, ["hostname"], network="host").stdout.strip() == socket.gethostname()


def test_a_container_without_a_network_has_the_loopback_alone(engine):
    assert engine.run(BUSYBOX, ["ls", "/sys/class/net"], network="none").stdout == "lo\n"


def test_one_container_lives_in_the_network_of_another(engine, blue):
    first = serving(engine, "mine", network="blue")
    second = idle(engine, network=f"container:{first.name}")

    assert os.stat(f"/proc/{first.pid}/ns/net").st_ino == os.stat(f"/proc/{second.pid}/ns/net").st_ino
    assert os.stat(f"/proc/{first.pid}/ns/mnt").st_ino != os.stat(f"/proc/{second.pid}/ns/mnt").st_ino
    assert fetch(second, "127.0.0.1") == "mine"
    assert "02:42" in second.exec(["cat", "/sys/class/net/eth0/address"]).stdout
    with pytest.raises(Conflict, match="shares a network namespace"):
        verbs.connect(engine.paths, "blue", second.name)
    first.stop(0.1)
    third = engine.create(BUSYBOX, ["true"], network=f"container:{first.name}")
    with pytest.raises(Conflict, match="cannot join network of a non running container"):
        third.start()


# ------------------------------------------------------------------ who reaches whom


def test_neighbours_talk_and_networks_do_not(engine, blue):
    connections.create(engine.paths, "green", subnets=[addresses.check("10.89.2.0/24")])
    server, neighbour = serving(engine, network="blue"), idle(engine, network="blue")
    stranger = idle(engine, network="green")
    address = address_of(engine, server)

    assert fetch(neighbour, address) == "hello"
    assert fetch(stranger, address) == ""
    assert fetch_from_host(address, 80) == "hello"  # the host has an interface on every network
    verbs.connect(engine.paths, "blue", stranger.name)
    assert fetch(stranger, address) == "hello"
    assert {row["ifname"] for row in ip("link", namespace=stranger.pid)} == {"lo", "eth0", "eth1"}
    verbs.disconnect(engine.paths, "blue", stranger.name)
    assert fetch(stranger, address) == ""
    assert {row["ifname"] for row in ip("link", namespace=stranger.pid)} == {"lo", "eth0"}


def test_with_communication_off_each_is_alone_with_the_gateway(engine):
    connections.create(
        engine.paths, "apart", subnets=[addresses.check("10.89.3.0/24")],
        options={networks.ICC_OPTION: "false"},
    )  # fmt: skip
    server, other = (
        serving(engine, network="apart", publish=["127.0.0.1:18083:80"]),
        idle(engine, network="apart"),
    )

    assert fetch(other, address_of(engine, server)) == ""
    assert other.exec(["ping", "-c", "1", "-W", "1", "10.89.3.1"]).exit_code == 0
    assert fetch_from_host("127.0.0.1", 18083) == "hello"


def test_the_world_is_reached_through_the_host_and_from_an_internal_network_not(engine, blue, outside):
    connections.create(engine.paths, "inner", subnets=[addresses.check("10.89.4.0/24")], internal=True)
    open_one, inner = idle(engine, network="blue"), idle(engine, network="inner")

    assert fetch(open_one, outside.address) == "10.90.0.1"  # the outside sees the host, not the container
    assert fetch(inner, outside.address) == ""
    assert [row["dst"] for row in ip("route", namespace=inner.pid)] == ["10.89.4.0/24"]


class Outside:
    """Another machine: a network namespace with a cable to this one, that answers with who asks."""

    address = "10.90.0.2"
    host = "10.90.0.1"  # this machine, as the outside knows it

    def __init__(self) -> None:
        name = "lkoutside"
        for words in (
            f"netns add {name}",
            f"link add lkout0 type veth peer name eth0 netns {name}",
            "address add 10.90.0.1/24 dev lkout0",
            "link set lkout0 up",
            f"-n {name} address add 10.90.0.2/24 dev eth0",
            f"-n {name} link set eth0 up",
            f"-n {name} link set lo up",
            f"-n {name} route add default via 10.90.0.1",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        code = """
            import socket
            server = socket.create_server(("", 80))
            while True:
                peer, (address, _) = server.accept()
                peer.recv(4096)
                peer.sendall(address.encode())
                peer.close()
        """
        self.server = subprocess.Popen(
            ["ip", "netns", "exec", name, sys.executable, "-c", textwrap.dedent(code)]
        )

    def fetch(self, address: str, port: int) -> str:
        """What this machine's outside hears from it."""
        done = subprocess.run(
            ["ip", "netns", "exec", "lkoutside", sys.executable, "-c", FETCH, address, str(port)],
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def close(self) -> None:
        self.server.kill()
        self.server.wait()
        subprocess.run(["ip", "netns", "delete", "lkoutside"], check=True)
        subprocess.run(["ip", "link", "delete", "lkout0"], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def outside():
    made = Outside()
    deadline = time.monotonic() + 5
    while fetch_from_host(made.address, 80) == "":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield made
    made.close()


# ------------------------------------------------------------------ published ports


def test_a_published_port_answers_from_everywhere(engine, blue, outside):
    connections.create(engine.paths, "green", subnets=[addresses.check("10.89.2.0/24")])
    server = serving(engine, network="blue", publish=["18080:80"])
    neighbour, stranger = idle(engine, network="blue"), idle(engine, network="green")

    assert fetch_from_host("127.0.0.1", 18080) == "hello"
    assert fetch_from_host(outside.host, 18080) == "hello"
    assert outside.fetch("10.90.0.1", 18080) == "hello"
    assert fetch(neighbour, "10.89.1.1", 18080) == "hello"
    assert fetch(neighbour, outside.host, 18080) == "hello"
    assert fetch(stranger, "10.89.2.1", 18080) == "hello"
    assert fetch(server, outside.host, 18080) == "hello"  # its own, by the way around
    assert outside.fetch(address_of(engine, server), 80) == ""  # what is not published is not reached
    assert f"tcp . 18080 : {address_of(engine, server)} . 80" in listing(engine)
    server.stop(0.1)
    assert fetch_from_host("127.0.0.1", 18080) == ""
    assert "18080" not in listing(engine)


def test_a_port_of_one_address_answers_there_alone(engine, blue, outside):
    serving(engine, network="blue", publish=["127.0.0.1:18081:80"])

    assert fetch_from_host("127.0.0.1", 18081) == "hello"
    assert fetch_from_host(outside.host, 18081) == ""
    assert outside.fetch("10.90.0.1", 18081) == ""


def test_a_container_does_not_reach_what_listens_on_the_hosts_loopback(engine, blue):
    container = idle(engine, network="blue")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        subprocess.run(
            f"nsenter -t {container.pid} -n ip route add 127.0.0.2 via 10.89.1.1".split(),
            check=False, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert fetch(container, "10.89.1.1", port) == ""
        assert fetch(container, "127.0.0.2", port) == ""
    assert "ip daddr 127.0.0.0/8 drop" in listing(engine)


ECHO = """
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 53))
while True:
    data, peer = udp.recvfrom(100)
    udp.sendto(data.upper(), peer)
"""


def test_udp_ranges_and_chosen_ports(engine, blue):
    server = idle(engine, network="blue", publish=["18090-18091:80-81", "18053:53/udp", "80"])
    address, text = address_of(engine, server), " ".join(listing(engine).split())

    for part in ("tcp . 18090 : {} . 80", "tcp . 18091 : {} . 81", "udp . 18053 : {} . 53"):
        assert part.format(address) in text
    assert text.count(f": {address} . 80") == 2  # one of them by a port that nobody chose
    echo = subprocess.Popen(["nsenter", "-t", str(server.pid), "-n", sys.executable, "-c", ECHO])
    try:
        wait_for_listener(server, 53)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(2)
            udp.sendto(b"ping", ("127.0.0.1", 18053))
            assert udp.recv(100) == b"PING"
    finally:
        echo.kill()
        echo.wait()


def test_a_port_that_leads_elsewhere_is_refused_and_nothing_is_left(engine, blue):
    first = serving(engine, "first", network="blue", publish=["18080:80"])
    second = engine.create(BUSYBOX, ["sleep", "9"], network="blue", publish=["18082:80", "18080:80"])

    before = listing(engine)
    with pytest.raises(Conflict, match=r"port is already allocated.*18080"):
        second.start()
    assert listing(engine) == before
    assert [one.container_id for one in endpoints.of_network(engine.paths, blue.id)] == [first.id]
    assert fetch_from_host("127.0.0.1", 18080) == "first"


# ------------------------------------------------------------------ IPv6


def test_ipv6_where_it_is_asked_for(engine):
    connections.create(
        engine.paths, "six", subnets=[addresses.check("10.89.6.0/24"), addresses.check("fd00:89::/64")]
    )
    server = serving(engine, "[::]", port=80, network="six", publish=["18086:80"])
    neighbour = idle(engine, network="six", ip6="fd00:89::99")

    (endpoint,) = endpoints.of_container(engine.paths, neighbour.id)
    assert endpoint.ipv6 == "fd00:89::99/64"
    rows = [row for row in ip("-6", "route", namespace=neighbour.pid) if row["dst"] == "default"]
    assert [row["gateway"] for row in rows] == ["fd00:89::1"]
    (served,) = endpoints.of_container(engine.paths, server.id)
    assert fetch(neighbour, served.ipv6.partition("/")[0]) == "[::]"
    assert fetch_from_host("fd00:89::1", 18086) == "[::]"


# ------------------------------------------------------------------ errors, ends, restarts


def test_what_cannot_be_is_refused_by_name_and_changes_nothing(engine, blue):
    refused = [
        ({"network": "nowhere"}, NotFound, "network nowhere not found"),
        ({"network": "bridge", "ip": "172.17.0.9"}, Invalid, "user specified IP address is supported only"),
        ({"network": "bridge", "network_aliases": ["db"]}, Invalid, "network-scoped alias is supported only"),
        ({"network": "blue", "ip": "10.1.1.1"}, Invalid, "does not belong to any of this network's subnets"),
        ({"network": "blue", "ip6": "fd00::9"}, Invalid, "has no subnet of IPv6"),
        ({"network": "blue", "ip": "x"}, Invalid, "invalid IP address: 'x'"),
        ({"network": "blue", "mac_address": "x"}, Invalid, "not a hardware address"),
        ({"network": "host", "ip": "10.89.1.9"}, Invalid, "conflicting options"),
        ({"network": "container:nobody"}, NotFound, "No such container: nobody"),
        ({"network": "blue", "publish": ["x"]}, Invalid, "is no port"),
        ({"network": "blue", "dns": ["x"]}, Invalid, "invalid IP address"),
        ({"network": "blue", "extra_hosts": ["x"]}, Invalid, "invalid extra host"),
    ]
    for options, kind, said in refused:
        with pytest.raises(kind, match=said):
            engine.create(BUSYBOX, ["true"], **options)
    for options, kind, said in [
        ({"subnets": [addresses.check("10.89.1.0/25")]}, Conflict, "overlaps with other one"),
        ({"driver": "carrier-pigeon"}, Invalid, "could not find plugin carrier-pigeon"),
        ({"options": {networks.MTU_OPTION: "12"}}, Invalid, "68 to 65535"),
        ({"options": {networks.ICC_OPTION: "maybe"}}, Invalid, "true or false"),
    ]:
        with pytest.raises(kind, match=said):
            connections.create(engine.paths, "red", **options)
    for name, said in (("blue", "already exists"), ("host", "predefined"), ("bridge", "predefined")):
        with pytest.raises(Conflict, match=said):
            connections.create(engine.paths, name)
    with pytest.raises(Invalid, match="invalid network name"):
        connections.create(engine.paths, "a b")
    assert [one.name for one in networks.all_networks(engine.paths) if one.name != "bridge"] == ["blue"]
    assert engine.containers() == []


def test_two_containers_never_get_one_address(engine, blue):
    """Many start at once, from several engines; each has an address of its own."""
    results: list[str] = []

    def start_some() -> None:
        own = Engine(engine.paths)
        for _ in range(5):
            made = own.run(BUSYBOX, ["sh", "-c", "ip -4 -o address show eth0; sleep 0.3"], network="blue")
            results.append(made.stdout.split()[3])
        own.close()

    addresses_at_once: list[int] = []
    threads = [threading.Thread(target=start_some) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        present = [one.ipv4 for one in endpoints.of_network(engine.paths, blue.id)]
        assert len(present) == len(set(present))
        addresses_at_once.append(len(present))
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert len(results) == 20
    assert max(addresses_at_once) >= 2
    assert endpoints.of_network(engine.paths, blue.id) == []


def test_a_network_in_use_stays_and_an_exhausted_one_says_so(engine):
    tiny = connections.create(engine.paths, "tiny", subnets=[addresses.check("10.89.5.0/30")])
    first = idle(engine, network="tiny")
    second = engine.create(BUSYBOX, ["true"], network="tiny")
    with pytest.raises(Conflict, match="no available IPv4 addresses on this network's address pools"):
        second.start()
    with pytest.raises(Conflict, match="has active endpoints"):
        verbs.remove(engine.paths, "tiny")
    first.stop(0.1)
    second.start()
    assert second.wait() == 0
    verbs.remove(engine.paths, "tiny")
    assert tiny.bridge not in {link["ifname"] for link in ip("link")}
    with pytest.raises(NotFound, match="network tiny not found"):
        first.start()


def test_a_container_comes_back_to_its_networks(engine, blue):
    container = idle(engine, network="blue", publish=["18085:80"], ip="10.89.1.40")
    container.stop(0.1)
    assert endpoints.of_container(engine.paths, container.id) == []
    verbs.connect(engine.paths, "bridge", container.name)
    container.start()
    assert [row["ifname"] for row in ip("link", namespace=container.pid)] == ["lo", "eth0", "eth1"]
    assert address_of(engine, container, "blue") == "10.89.1.40"
    assert "tcp . 18085 : 10.89.1.40 . 80" in listing(engine)


def test_a_command_that_does_not_start_leaves_its_network_clean(engine, blue):
    container = engine.create(BUSYBOX, ["nothing-like-it"], network="blue", publish=["18087:80"])
    with pytest.raises(StartFailed) as refused:
        container.start()
    assert refused.value.exit_code == 127
    assert endpoints.of_network(engine.paths, blue.id) == []
    assert "18087" not in listing(engine)


def test_what_a_killed_monitor_leaves_the_next_engine_takes_away(engine, blue):
    container = idle(engine, network="blue", publish=["18088:80"])
    state = container.state
    os.kill(state.monitor_pid, signal.SIGKILL)  # its container ends with it
    deadline = time.monotonic() + 5
    while Path(f"/proc/{state.pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "18088" in listing(engine)
    Engine(engine.paths).close()
    assert "18088" not in listing(engine)
    assert endpoints.of_network(engine.paths, blue.id) == []
    container.start()
    assert "18088" in listing(engine)


KILLED = """
import os, sys
from labkit.engine.engine import Engine
from labkit.network import {module} as victim
def die(*_, **__):
    os.kill(os.getpid(), 9)
victim.{function} = die
Engine().run("lab/busybox", ["sleep", "9"], network="blue", publish=["18089:80"])
"""


@pytest.mark.parametrize(
    ("module", "function"),
    [
        ("links", "make_bridge"),
        ("links", "plug"),
        ("links", "set_up_inside"),
        ("firewall", "admit_network"),
        ("firewall", "publish"),
        ("endpoints", "join"),
    ],
)
def test_an_engine_that_is_killed_in_the_middle_of_an_attach_leaves_nothing(engine, blue, module, function):
    environment = {**os.environ, "LABKIT_ROOT": str(engine.paths.root), "LABKIT_RUN": str(engine.paths.run)}
    code = KILLED.format(module=module, function=function)
    done = subprocess.run([sys.executable, "-c", code], env=environment, stdin=subprocess.DEVNULL)
    assert done.returncode == -signal.SIGKILL

    deadline = time.monotonic() + 5  # its launcher, and with it the container, ends a moment later
    while True:
        Engine(engine.paths).close()
        links_left = [link["ifname"] for link in ip("link") if link["ifname"].startswith("lkv")]
        if not links_left and not endpoints.of_network(engine.paths, blue.id):
            break
        assert time.monotonic() < deadline, links_left
        time.sleep(0.05)
    assert "18089" not in listing(engine)
    assert engine.run(BUSYBOX, ["ls", "/sys/class/net"], network="blue").stdout.split() == ["eth0", "lo"]


# ------------------------------------------------------------------ names


def test_names_aliases_and_short_ids_lead_to_a_container(engine, blue):
    server = serving(engine, name="web", network="blue", network_aliases=["www"])
    asker = idle(engine, network="blue")

    for name in ("web", "WWW", server.id[:12], "web.blue"):
        assert fetch(asker, name) == "hello", name
    assert fetch(asker, "nobody") == ""
    verbs.connect(engine.paths, "bridge", server.name)
    stranger = idle(engine, network="bridge")
    assert fetch(stranger, "web") == ""  # the default network has no names
    assert fetch(stranger, address_of(engine, server, "bridge")) == "hello"
    verbs.connect(engine.paths, "blue", stranger.name, aliases=["late"])
    assert fetch(stranger, "web") == "hello"  # from now on, without a restart
    assert asker.exec(["nslookup", "late"]).exit_code == 0
    verbs.disconnect(engine.paths, "blue", server.name)
    assert fetch(asker, "web") == ""


def test_a_port_that_another_program_has_is_refused_by_its_name(engine, blue):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        container = engine.create(BUSYBOX, ["sleep", "9"], network="blue", publish=[f"{port}:80"])
        with pytest.raises(Conflict, match=rf"{port}.*process {os.getpid()}"):
            container.start()
    assert str(port) not in listing(engine)
    assert endpoints.of_network(engine.paths, blue.id) == []
    container.start()
    with pytest.raises(OSError), socket.create_server(("0.0.0.0", port)):
        pass  # it is held while the container runs
    container.stop(0.1)


def test_the_loopback_of_ipv6_leads_to_a_published_port(engine, blue):
    serving(engine, network="blue", publish=["18095:80"])
    assert fetch_from_host("::1", 18095) == "hello"


def test_a_killed_network_service_is_followed_by_another(engine, blue):
    server, asker = serving(engine, name="web", network="blue"), idle(engine, network="blue")
    pid, containers = client.served(engine.paths)
    assert {one.name for one in containers} == {server.name, asker.name}
    os.kill(pid, signal.SIGKILL)
    assert fetch(asker, "web") == ""
    Engine(engine.paths).close()
    assert fetch(asker, "web") == "hello"
