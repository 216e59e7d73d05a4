"""One scenario, told to a real Docker and to labkit in the same words: the same table of who reaches whom."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dockerd
import pytest
from boxes import FETCH

from labkit.engine.engine import Engine
from labkit.images import base, store
from labkit.paths import Paths

pytestmark = pytest.mark.requires("root", "overlay", "busybox", "veth", "nft", "dockerd")
IMAGE = "lab/busybox"
LABKIT = str(Path(sys.executable).with_name("labkit"))

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def a_host(name: str) -> Iterator[str]:
    """A network namespace that plays a machine, and another that is all the world outside it."""
    outside = f"{name}out"
    try:
        for namespace in (name, outside):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", outside)
        for namespace, address in ((name, "10.90.0.1"), (outside, "10.90.0.2")):
            ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
        ip("-n", name, "route", "add", "default", "via", "10.90.0.2")
        inside(name, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward")  # as a fresh machine has it
        # The world says at once that there is nothing behind it: a name server, for one.
        inside(outside, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        ip("-n", outside, "route", "add", "prohibit", "default")
        yield name
    finally:
        for namespace in (name, outside):
            subprocess.run(["ip", "netns", "delete", namespace], check=False)


def inside(namespace: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["nsenter", f"--net=/run/netns/{namespace}", *words], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def docker_host() -> Iterator[tuple[str, Command]]:
    with a_host("lkdocker") as name, dockerd.daemon(name) as docker:
        ground = Path("/var/tmp") / f"labkit-ground-{os.getpid()}"
        made = Paths(ground / "root", ground / "run")
        made.prepare()
        try:
            docker.import_tree(store.layer_directory(made, base.get(made, IMAGE).layers[0]), IMAGE)
        finally:
            subprocess.run(["rm", "-r", ground], check=True)
        yield name, docker


@pytest.fixture
def labkit_host(paths: Paths) -> Iterator[tuple[str, Command]]:
    environment = {**os.environ, "LABKIT_ROOT": str(paths.root), "LABKIT_RUN": str(paths.run)}
    with a_host("lklabkit") as name:

        def labkit(*words: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(
                ["nsenter", f"--net=/run/netns/{name}", LABKIT, *words],
                capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL,
            )  # fmt: skip

        yield name, labkit
        engine = Engine(paths)
        for container in engine.containers():
            container.remove(force=True)
        engine.close()
        inside_engine = "from labkit.network import connections; from labkit.paths import Paths; "
        inside_engine += "connections.take_down_unused(Paths.from_environment())"
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{name}", sys.executable, "-c", inside_engine],
            check=True, env=environment,
        )  # fmt: skip


CONTAINERS = ("ant", "bee", "cow", "dog", "eel", "fox")
SERVE = "mkdir -p /w; echo {0} > /w/index.html; exec httpd -f -p 80 -h /w"
ASK = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {0} {1} 2>/dev/null | tail -n 1"


@contextmanager
def told(command: Command) -> Iterator[None]:
    """Two networks, one of them internal; aliases, a published port, one container on both."""

    def must(*words: str) -> None:
        done = command(*words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def run(name: str, *options: str) -> None:
        must("run", "-d", "--name", name, *options, IMAGE, "sh", "-c", SERVE.format(name))

    try:
        must("network", "create", "blue")
        must("network", "create", "--internal", "green")
        run("ant", "--network", "blue", "--network-alias", "db", "-p", "18080:80")
        run("bee", "--network", "blue", "--network-alias", "db")
        run("cow", "--network", "green")
        run("dog", "--network", "blue")
        must("network", "connect", "--alias", "both", "green", "dog")
        run("eel", "-p", "127.0.0.1:18081:80")
        run("fox")
        yield
    finally:
        for name in CONTAINERS:
            command("rm", "--force", name)
        for name in ("blue", "green"):
            command("network", "rm", name)


def all_at_once(command: Command, asker: str, goals: dict[str, tuple[str, str]]) -> dict[str, str]:
    """What a container hears from each goal; where nobody answers, that takes a second."""
    script = "".join(f"(echo '{goal}|'$({ASK.format(*where)})) & " for goal, where in goals.items())
    lines = command("exec", asker, "sh", "-c", script + "wait").stdout.splitlines()
    found = dict(line.split("|", 1) for line in lines)
    assert found.keys() == goals.keys()
    return found


def who_reaches_whom(host: str, command: Command) -> dict[str, str]:
    """Each asker, each thing that can be asked for, and who answers."""
    pause = time.monotonic() + 5
    shown = {
        row["Name"]: row["Containers"]
        for row in json.loads(command("network", "inspect", "blue", "green", "bridge").stdout)
    }
    addresses = {
        f"{member['Name']} on {network}": member["IPv4Address"].partition("/")[0]
        for network, members in shown.items()
        for member in members.values()
    }
    assert len(addresses) == 7
    while not inside(host, sys.executable, "-c", FETCH, addresses["fox on bridge"], "80").stdout:
        assert time.monotonic() < pause
        time.sleep(0.05)
    goals = {name: (address, "80") for name, address in addresses.items()}
    goals |= {"the published port": ("10.90.0.1", "18080"), "the local port": ("10.90.0.1", "18081")}
    goals |= {"outside": ("10.90.0.2", "80")}
    names = {name: (name, "80") for name in (*CONTAINERS, "both", "nobody")}
    db = {f"db {number}": ("db", "80") for number in range(8)}
    table = {}
    for asker in CONTAINERS:
        said = all_at_once(command, asker, goals | names | db)
        answers = {said.pop(goal) for goal in db}
        table |= {f"{asker} → {goal}": answer for goal, answer in said.items()}
        table[f"{asker} → db"] = " ".join(sorted(answers))
    local = {"127.0.0.1 published": ("127.0.0.1", "18080"), "127.0.0.1 local": ("127.0.0.1", "18081")}
    for asker in (host, f"{host}out"):
        for goal, (address, port) in (goals | local).items():
            said = inside(asker, sys.executable, "-c", FETCH, address, port).stdout.strip()
            table[f"{'outside' if asker.endswith('out') else 'host'} → {goal}"] = said
    return table


@contextmanager
def the_world_answers(host: str) -> Iterator[None]:
    """A server outside, that answers with the address of who asks."""
    code = (
        "import socket\nserver = socket.create_server(('', 80))\nwhile True:\n"
        "    peer, (address, _) = server.accept()\n    peer.recv(4096)\n"
        "    peer.sendall(address.encode() + b'\\n')\n    peer.close()\n"
    )
    server = subprocess.Popen(["nsenter", f"--net=/run/netns/{host}out", sys.executable, "-c", code])
    try:
        yield
    finally:
        server.kill()
        server.wait()


@pytest.mark.timeout(200)
def test_the_same_words_give_the_same_table(docker_host, labkit_host):
    tables = []
    for name, command in (docker_host, labkit_host):
        with told(command), the_world_answers(name):
            tables.append(who_reaches_whom(name, command))
    theirs, ours = tables

    different = {key: (theirs[key], ours[key]) for key in theirs if theirs[key] != ours[key]}
    assert different == {}
    assert ours["ant → bee on blue"] == "bee" and ours["ant → cow on green"] == ""
    assert ours["bee → ant"] == ours["dog → both"].replace("dog", "ant") == "ant" and ours["fox → eel"] == ""
    assert ours["outside → the published port"] == "ant" and ours["outside → ant on blue"] == ""
    assert ours["ant → outside"] == "10.90.0.1" and ours["cow → outside"] == ""


def test_beside_a_docker_that_drops_the_rule_that_doctor_names_lets_labkit_through(docker_host, paths):
    """The second engine lives in the very network namespace of the daemon."""
    host, _ = docker_host
    environment = {**os.environ, "LABKIT_ROOT": str(paths.root), "LABKIT_RUN": str(paths.run)}

    def here(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{host}", *words],
            capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def doctor() -> dict[str, str]:
        rows = json.loads(here(LABKIT, "doctor", "--json").stdout)["features"]
        return next(row for row in rows if row["name"] == "forwarding")

    ask = ASK.format("10.90.0.2", "80")
    made = here(
        LABKIT, "run", "-d", "--name", "yak", "-p", "18085:80", IMAGE, "sh", "-c", SERVE.format("yak")
    )
    assert made.returncode == 0, made.stderr
    try:
        with the_world_answers(host):
            time.sleep(0.3)
            assert here(LABKIT, "exec", "yak", "sh", "-c", ask).stdout == ""
            assert "ip filter FORWARD" in doctor()["value"]
            remedy = doctor()["remedy"]
            assert "iptables -I DOCKER-USER -i lk-+ -j ACCEPT" in remedy
            assert here("sh", "-c", remedy).returncode == 0
            assert doctor()["status"] == "ok"
            assert here(LABKIT, "exec", "yak", "sh", "-c", ask).stdout.strip() == "10.90.0.1"
            assert inside(f"{host}out", sys.executable, "-c", FETCH, "10.90.0.1", "18085").stdout == "yak\n"
    finally:
        assert here(LABKIT, "rm", "--force", "yak").returncode == 0
        take_down = "from labkit.network import connections; from labkit.paths import Paths; "
        take_down += "connections.take_down_unused(Paths.from_environment())"
        assert here(sys.executable, "-c", take_down).returncode == 0
