"""How fast networks are beside dockerd's bridge: joining and leaving, bytes, names, many containers.

    sudo .venv/bin/python -m bench network [--rounds 50] [--write]

labkit runs in a network namespace that the benchmark makes, dockerd in another,
each with a cable to a world outside. labkit is called as a notebook calls it,
Docker by its API. iperf3 and the asker of names run in the containers' network
namespaces, and on their processors all alike.
"""

import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import peers, tables
from labkit.engine import networks as verbs
from labkit.engine.engine import Engine
from labkit.images import base, store
from labkit.kernel import interfaces, namespaces
from labkit.kernel.namespaces import Namespace
from labkit.network import client, connections, endpoints
from labkit.paths import Paths

MARK = "<!-- network.py -->"
ROUNDS = 50
MANY = 200
SECONDS = 3
HOST, WORLD, PORT = "10.90.0.1", "10.90.0.2", 15201
SLEEP = ["sleep", "100000"]

ASK = """
import socket, struct, sys, time
name, count = sys.argv[1], int(sys.argv[2])
question = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".")) + b"\\0" + struct.pack(">HH", 1, 1)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.settimeout(2)
udp.connect(("127.0.0.11", 53))
times = []
for number in range(count):
    began = time.perf_counter()
    udp.send(struct.pack(">HHHHHH", number & 0xFFFF, 0x100, 1, 0, 0, 0) + question)
    answer = udp.recv(512)
    times.append(time.perf_counter() - began)
    assert answer[:2] == struct.pack(">H", number & 0xFFFF) and answer[7], answer
times.sort()
print(count / sum(times), times[int(count * 0.99)] * 1e6)
"""


@dataclass(slots=True)
class Contestant:
    """What both can do; two containers `one` and `two` stand on its network `bench`."""

    pids: dict[str, int]
    addresses: dict[str, str]
    outside: str  # the name of the network namespace that is its world
    join: Callable[[], None]
    leave: Callable[[], None]


def main(rounds: int, write: bool) -> None:
    peers.must_be_here("dockerd", "docker", "iperf3")
    namespaces.unshare(Namespace.NETWORK)  # from here on, the host that labkit sees is the benchmark's own
    interfaces.bring_up("lo")
    with ExitStack() as held:
        place = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="labkit-bench-", dir="/var/tmp")))
        engine = held.enter_context(_engine(place))
        held.enter_context(_world("lkbenchl", ""))
        held.enter_context(_world("lkbenchd", "lkbenchd-host"))
        docker = held.enter_context(peers.daemon("lkbenchd-host"))
        busybox = base.get(engine.paths, base.BUSYBOX)
        docker.import_tree(store.layer_directory(engine.paths, busybox.layers[0]), base.BUSYBOX)
        table = _measure(engine, docker, rounds)
    print(table)
    if write:
        tables.write(MARK, table)


def _measure(engine: Engine, docker: "peers.Docker", rounds: int) -> str:
    contestants = {"labkit": _labkit(engine), "dockerd": _docker(docker)}
    joins: dict[str, list[float]] = {name: [] for name in contestants}
    leaves: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, one in contestants.items():
            for step, times in ((one.join, joins[name]), (one.leave, leaves[name])):
                began = time.perf_counter()
                step()
                if number:  # the first one warms up
                    times.append((time.perf_counter() - began) * 1e3)
    rows = ["| | labkit | dockerd | labkit / dockerd |", "| --- | --- | --- | --- |"]
    flows: dict[str, Callable[[Contestant], float]] = {
        "TCP from container to container, Gbit/s": _between,
        "TCP through a published port, Gbit/s": _published,
        "answers a second from the name server": lambda one: _names(one)[0],
        "99 % of answers within, µs": lambda one: _names(one)[1],
    }
    for title, measure in flows.items():
        ours, theirs = (statistics.median(measure(one) for _ in range(3)) for one in contestants.values())
        rows.append(f"| {title} | {ours:,.1f} | {theirs:,.1f} | {ours / theirs:.2f} |")
    first, last = _many(engine)
    version = peers.docker_version(docker)
    return "\n\n".join(
        [
            tables.ratios("a running container joins a network", joins, "dockerd"),
            tables.ratios("and leaves it", leaves, "dockerd"),
            "\n".join(rows),
            f"{MANY} containers on one network: the first 20 joined it in {first:.1f} ms each (median), "
            f"the last 20 in {last:.1f} ms.",
            f"{rounds} rounds on {time.strftime('%Y-%m-%d')}; {peers.machine()}; {version}.",
        ]
    )


# ------------------------------------------------------------------ the two contestants


@contextmanager
def _engine(place: Path) -> Iterator[Engine]:
    made = Engine(Paths(place / "root", place / "run"))
    try:
        yield made
    finally:
        for container in made.containers():
            container.remove(force=True)
        connections.take_down_unused(made.paths)
        client.stop(made.paths)
        made.close()


def _labkit(engine: Engine) -> Contestant:
    connections.create(engine.paths, "bench")
    connections.create(engine.paths, "other")
    pids, addresses = {}, {}
    for name in ("one", "two"):
        publish = [f"{PORT}:5201"] if name == "one" else []
        container = engine.create(base.BUSYBOX, SLEEP, name=name, network="bench", publish=publish)
        container.start()
        pids[name] = container.pid
        (endpoint,) = endpoints.of_container(engine.paths, container.id)
        addresses[name] = endpoint.ipv4.partition("/")[0]
    return Contestant(
        pids, addresses, "lkbenchl",
        lambda: verbs.connect(engine.paths, "other", "two"),
        lambda: verbs.disconnect(engine.paths, "other", "two"),
    )  # fmt: skip


def _docker(docker: "peers.Docker") -> Contestant:
    docker.must("network", "create", "bench")
    docker.must("network", "create", "other")
    pids, addresses = {}, {}
    for name in ("one", "two"):
        publish = ["-p", f"{PORT}:5201"] if name == "one" else []
        docker.must("run", "-d", "--name", name, "--network", "bench", *publish, base.BUSYBOX, *SLEEP)
        shown = json.loads(docker.must("inspect", name))[0]
        pids[name] = shown["State"]["Pid"]
        addresses[name] = shown["NetworkSettings"]["Networks"]["bench"]["IPAddress"]

    def ask(verb: str) -> None:
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(docker.socket))
        body = json.dumps({"Container": "two"})
        connection.request("POST", f"/networks/other/{verb}", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            raise RuntimeError(answer.read().decode())
        connection.close()

    return Contestant(pids, addresses, "lkbenchd", lambda: ask("connect"), lambda: ask("disconnect"))


@contextmanager
def _world(outside: str, host: str) -> Iterator[None]:
    """The world outside a host; the host is a network namespace by name, or the one that we are in."""
    made = [outside, *([host] if host else [])]
    inside = ["-n", host] if host else []
    try:
        for name in made:
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip(*inside, "link", "add", "uplink", "type", "veth", "peer", "name", "uplink", "netns", outside)
        for where, address in ((inside, HOST), (["-n", outside], WORLD)):
            _ip(*where, "address", "add", f"{address}/24", "dev", "uplink")
            _ip(*where, "link", "set", "uplink", "up")
        _ip(*inside, "route", "add", "default", "via", WORLD)
        yield
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


# ------------------------------------------------------------------ what is measured


def _between(one: Contestant) -> float:
    return _iperf(one, ["nsenter", "-t", str(one.pids["two"]), "-n"], one.addresses["one"], 5201)


def _published(one: Contestant) -> float:
    return _iperf(one, ["nsenter", f"--net=/run/netns/{one.outside}"], HOST, PORT)


def _iperf(one: Contestant, enter: list[str], address: str, port: int) -> float:
    """Gbit/s as iperf3's receiver counts them."""
    server = subprocess.Popen(
        ["nsenter", "-t", str(one.pids["one"]), "-n", "iperf3", "-s", "-1"], stdout=subprocess.DEVNULL
    )
    try:
        time.sleep(0.3)
        words = ["iperf3", "-c", address, "-p", str(port), "-t", str(SECONDS), "-J"]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, check=True)
    finally:
        server.terminate()
        server.wait()
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9


def _names(one: Contestant) -> tuple[float, float]:
    """Answers a second, asked one after the other; within how many µs 99 % of them come."""
    enter = ["nsenter", "-t", str(one.pids["two"]), "-n"]
    done = subprocess.run(
        [*enter, sys.executable, "-c", ASK, "one", "5000"], capture_output=True, text=True, check=True
    )
    rate, latency = map(float, done.stdout.split())
    return rate, latency


def _many(engine: Engine) -> tuple[float, float]:
    """How long it takes a container to join a network that few, and that many, are on; in ms."""
    connections.create(engine.paths, "many")
    times = []
    for number in range(MANY):
        container = engine.create(base.BUSYBOX, SLEEP, name=f"many{number}", network="none")
        container.start()
        began = time.perf_counter()
        verbs.connect(engine.paths, "many", container.id)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times[:20]), statistics.median(times[-20:])
