"""ch11: the checks of the chapter on cables: links by netlink, and words that nobody knows, sent across."""

import contextlib
import json
import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from labkit.course import Facts, Probe, exercise
from labkit.kernel import interfaces, namespaces

BRIDGED = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def _serve(word: str, ports: list[int]) -> None:
    """Whoever comes to an island is told its word, and by which address it was seen."""
    import selectors

    interfaces.bring_up("lo")
    with selectors.DefaultSelector() as waiting:
        for port in ports:
            waiting.register(socket.create_server(("", port)), selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                peer, (address, _) = key.fileobj.accept()  # type: ignore[union-attr]
                with contextlib.suppress(OSError):
                    peer.sendall(f"{word} {address}".encode())
                peer.close()


class Island:
    """A network namespace with a server, which a check has made."""

    def __init__(self, held: Probe, word: str) -> None:
        self.held, self.word = held, word

    @property
    def pid(self) -> int:
        """The process that lives there."""
        return self.held.pid

    def sh(self, script: str) -> str:
        """What a shell script says there; it must work."""
        said = self.held.inside("net", "sh", "-euc", script)
        if said.startswith("error"):
            raise OSError(f"{script}: {said}")
        return said

    def rows(self, command: str) -> list[dict[str, Any]]:
        """What `ip` knows there."""
        found: list[dict[str, Any]] = json.loads(self.sh(f"ip --json --details {command}") or "[]")
        return found

    def hears(self, address: str, port: int = 80) -> str:
        """What a server answers, or how it went."""
        said = self.held.inside("net", "busybox", "nc", "-w1", address, str(port))
        return said.rpartition(": ")[2] if said.startswith("error") else said or "silence"

    def cards(self) -> list[dict[str, Any]]:
        """Its ends of cables."""
        return [one for one in self.rows("address") if one.get("linkinfo", {}).get("info_kind") == "veth"]

    def addresses(self, name: str) -> list[str]:
        """The IPv4 addresses of an interface, with their prefix."""
        found = [one for one in self.rows("address") if one["ifname"] == name]
        return [
            f"{a['local']}/{a['prefixlen']}"
            for one in found
            for a in one["addr_info"]
            if a["family"] == "inet"
        ]


@contextmanager
def _islands(facts: Facts, count: int, ports: tuple[int, ...] = (80, 81)) -> Iterator[list[Island]]:
    with ExitStack() as stack:
        found = []
        for _ in range(count):
            word = f"n{secrets.token_hex(6)}"
            serving = facts.probe(_serve, word, list(ports), namespaces="net", returns=False)
            held = stack.enter_context(serving)
            found.append(Island(held, word))
        for one in found:
            ready = one.held.until(lambda pid=one.pid: all(_listens(pid, port) for port in ports))  # type: ignore[misc]
            facts.true("an island for the check is there", ready)
        yield found


def _do(facts: Facts, island: Island, answer: object, *args: object) -> Any:
    """Run the answer on an island, from a thread that is there: a child is born where its parent is."""
    descriptor = os.open(f"/proc/{island.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return namespaces.in_network(
            descriptor,
            lambda: facts.call(answer, *args, namespaces=""),  # type: ignore[arg-type]
        )
    finally:
        os.close(descriptor)


def _net() -> str:
    """The first three numbers of a range that nobody can know beforehand."""
    return f"10.{100 + secrets.randbelow(100)}.{secrets.randbelow(250)}"


def _is_up(island: Island) -> bool:
    return all(one["operstate"] == "UP" for one in island.cards())


@exercise(
    "11.cable",
    title="Lay a cable",
    points=2,
    hint="an end that is down, or that has no address, is no end: four things must hold on each side",
)
def cable(facts: Facts, answer: object) -> None:
    """Both ends name each other, have their addresses, and words go across in both directions."""
    facts.is_function(answer)
    net = _net()
    with _islands(facts, 2) as (here, there):
        _do(facts, here, answer, there.pid, f"{net}.17/28", f"{net}.30/28")
        here.held.until(
            lambda: all(_is_up(island) for island in (here, there)), 3.0
        )  # the kernel's word is late
        ends = []
        for name, island, address in (("this", here, f"{net}.17/28"), ("the other", there, f"{net}.30/28")):
            cards = island.cards()
            facts.equal(f"{name} island has one end of a cable", [one["ifname"] for one in cards], ["eth0"])
            facts.equal(f"the end of {name} island has its address", island.addresses("eth0"), [address])
            facts.equal(f"the end of {name} island is up and has a carrier", cards[0]["operstate"], "UP")
            ends.append(cards[0])
        facts.equal("this end names the other one", ends[0]["link_index"], ends[1]["ifindex"])
        facts.equal("and the other one this", ends[1]["link_index"], ends[0]["ifindex"])
        facts.equal("a word comes back from there", here.hears(f"{net}.30"), f"{there.word} {net}.17")
        facts.equal("and from here", there.hears(f"{net}.17"), f"{here.word} {net}.30")


@exercise(
    "11.switch",
    title="A switch for all",
    points=3,
    hint="a port must be up as well as the bridge; and whose address is it that the islands send to?",
)
def switch(facts: Facts, answer: object) -> None:
    """Every cable ends in a port of the bridge, every pair talks, and each has a way to elsewhere."""
    facts.is_function(answer)
    net = _net()
    with _islands(facts, 4) as (host, *others):
        for island in others:
            island.sh(f"test ! -e {BRIDGED} || echo 0 > {BRIDGED}")
        host.sh(f"test ! -e {BRIDGED} || echo 0 > {BRIDGED}")
        wanted = {
            island.pid: f"{net}.{number}/26" for number, island in zip((7, 20, 61), others, strict=True)
        }
        _do(facts, host, answer, f"{net}.1/26", wanted)
        (bridge,) = [one for one in host.rows("address") if one["ifname"] == "br0"] or [{}]
        facts.equal("br0 is a bridge", bridge.get("linkinfo", {}).get("info_kind"), "bridge")
        facts.equal("br0 has the gateway's address", host.addresses("br0"), [f"{net}.1/26"])
        ports = {one["ifindex"]: one.get("master") for one in host.cards()}
        facts.equal("three cables begin on the host", len(ports), 3)
        for island in others:
            address = wanted[island.pid]
            facts.equal("an island has its address at eth0", island.addresses("eth0"), [address])
            (card,) = island.cards()
            facts.equal("its cable ends in a port of br0", ports.get(card["link_index"]), "br0")
            routes = [row.get("gateway") for row in island.rows("route show default")]
            facts.equal("its default route leads to the host", routes, [f"{net}.1"])
        _all_talk(
            facts, host, {island: wanted[island.pid].partition("/")[0] for island in others}, f"{net}.1"
        )


def _all_talk(facts: Facts, host: Island, addresses: dict[Island, str], gateway: str) -> None:
    for one, own in addresses.items():
        for other, address in addresses.items():
            if one is not other:
                facts.equal("a word goes from one to the other", one.hears(address), f"{other.word} {own}")
        facts.equal("the host is heard", one.hears(gateway), f"{host.word} {own}")
        facts.equal("and hears", host.hears(own), f"{one.word} {gateway}")


@contextmanager
def _a_host(facts: Facts, ports: tuple[int, ...] = (80, 81)) -> Iterator[tuple[list[Island], str]]:
    """A host with a bridge, two islands inside and one outside that knows the way in; and the inner range."""
    net = _net()
    with _islands(facts, 4, ports) as (host, web, db, outside):
        host.sh(f"echo 0 > /proc/sys/net/ipv4/ip_forward; test ! -e {BRIDGED} || echo 0 > {BRIDGED}")
        host.sh(f"ip link add br0 type bridge; ip address add {net}.1/24 dev br0; ip link set br0 up")
        for number, island in ((2, web), (3, db)):
            host.sh(
                f"ip link add port{number} type veth peer name eth0 netns {island.pid}; "
                f"ip link set port{number} master br0 up"
            )
            island.sh(f"ip address add {net}.{number}/24 dev eth0; ip link set eth0 up")
            island.sh(f"ip route add default via {net}.1")
        host.sh(f"ip link add up0 type veth peer name eth0 netns {outside.pid}")
        host.sh("ip address add 198.51.100.1/24 dev up0; ip link set up0 up")
        outside.sh("ip address add 198.51.100.80/24 dev eth0; ip address add 203.0.113.9/32 dev lo")
        outside.sh(f"ip link set eth0 up; ip route add {net}.0/24 via 198.51.100.1")
        host.sh("ip route add default via 198.51.100.80")
        yield [host, web, db, outside], net


@exercise(
    "11.way_out",
    title="Out, and not in",
    points=3,
    hint="which hook sees packets that only pass through, and how does ct state tell answers from questions?",
)
def way_out(facts: Facts, answer: object) -> None:
    """The outside says who asked; and hears nothing of the inside."""
    facts.is_function(answer)
    with _a_host(facts) as ((host, web, db, outside), net):
        facts.equal("before, nobody inside hears the outside", web.hears("198.51.100.80"), "timed out")
        _do(facts, host, answer, f"{net}.0/24")
        facts.equal("the host forwards", host.sh("cat /proc/sys/net/ipv4/ip_forward"), "1")
        for island in (web, db):
            for address in ("198.51.100.80", "203.0.113.9"):
                facts.equal(
                    "one from inside hears the outside, which has seen the host's address",
                    island.hears(address), f"{outside.word} 198.51.100.1",
                )  # fmt: skip
        for number, island in ((2, web), (3, db)):
            facts.true(
                "the outside cannot begin a connection to the inside",
                island.word not in (said := outside.hears(f"{net}.{number}")), said, "silence or a refusal",
            )  # fmt: skip
        facts.equal("neighbours see one another as they are", db.hears(f"{net}.2"), f"{web.word} {net}.3")
        facts.equal("the host still hears those inside", host.hears(f"{net}.2"), f"{web.word} {net}.1")
        facts.equal(
            "and the outside still hears the host",
            outside.hears("198.51.100.1"),
            f"{host.word} 198.51.100.80",
        )


GUARD = """
table ip guard {
  chain forward {
    type filter hook forward priority filter
    oifname br0 ct state established,related accept
    oifname br0 ct status dnat accept
    iifname br0 oifname != br0 accept
    drop
  }
}
"""


@exercise(
    "11.publish",
    title="Publish a port",
    points=3,
    hint="three askers, three ways: which hook does each pass first, and by which way would the answer go?",
)
def publish(facts: Facts, answer: object) -> None:
    """Whoever asks for the port hears the server; whoever asks for anything else hears what he did before."""
    facts.is_function(answer)
    port = 20000 + secrets.randbelow(10000)
    with _a_host(facts, (80, 81, port + 1)) as ((host, web, db, outside), net):
        load = ["nsenter", "--target", str(host.pid), "--net", "nft", "--file", "-"]
        subprocess.run(load, input=GUARD, text=True, check=True)
        host.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")
        facts.equal("before, nobody answers there", outside.hears("198.51.100.1", port), "Connection refused")
        _do(facts, host, answer, port, f"{net}.2", f"{net}.0/24")
        for address in ("198.51.100.1", f"{net}.1"):
            said = outside.hears(address, port)
            facts.equal(
                "the outside hears web, and is known by its address", said, f"{web.word} 198.51.100.80"
            )
        askers = {
            "the host hears it at 127.0.0.1": (host, "127.0.0.1"),
            "the host hears it at its address": (host, "198.51.100.1"),
            "a neighbour hears it at the host's address": (db, "198.51.100.1"),
            "a neighbour hears it at the gateway": (db, f"{net}.1"),
            "web hears itself": (web, "198.51.100.1"),
        }
        for sentence, (island, address) in askers.items():
            facts.equal(sentence, island.hears(address, port).partition(" ")[0], web.word)
        _nothing_else(facts, host, web, outside, net, port)


def _nothing_else(facts: Facts, host: Island, web: Island, outside: Island, net: str, port: int) -> None:
    said = outside.hears("198.51.100.1", port + 1).partition(" ")[0]
    facts.equal("another port of the host is still the host's own", said, host.word)
    for number in (80, 81):
        said = outside.hears(f"{net}.2", number)
        facts.true("what is not published is not reached", web.word not in said, said, "silence")
    with _server_at(facts, outside, port) as word:
        said = web.hears("198.51.100.80", port)
        facts.equal("the same port of somebody else leads to him", said.partition(" ")[0], word)


def _listens(pid: int, port: int) -> bool:
    """Whether /proc/PID/net has a socket that waits for connections there; 0A is TCP_LISTEN."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
    ]
    return any(words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in lines)


@contextmanager
def _server_at(facts: Facts, island: Island, port: int) -> Iterator[str]:
    """One more server on an island."""
    word = f"n{secrets.token_hex(6)}"
    code = f"echo {word} | busybox nc -l -p {port}"
    server = subprocess.Popen(
        ["nsenter", "--target", str(island.pid), "--net", "sh", "-c", code],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        ready = island.held.until(lambda: _listens(island.pid, port))
        facts.true("a server for the check is there", ready)
        yield word
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, 9)
        server.wait()


def _routes(island: Island) -> list[str]:
    """Lay routes of every kind, and give addresses that are worth asking for."""
    first, second, third = (10 + secrets.randbelow(80) for _ in range(3))
    for number, name in enumerate(("one", "two", "three")):
        island.sh(f"ip link add {name} type veth peer name far-{name}")
        island.sh(f"ip link set {name} up; ip link set far-{name} up")
        island.sh(f"ip address add 172.20.{number}.1/24 dev {name}")
    for words in (
        f"10.{first}.0.0/16 via 172.20.0.7",
        f"10.{first}.{second}.0/24 via 172.20.1.8",
        f"10.{first}.{second}.{third}/32 via 172.20.2.9",
        f"10.{first}.128.0/17 dev three",
        f"10.{first}.200.0/22 via 172.20.0.5 metric 50",
        f"10.{first}.200.0/22 via 172.20.1.5 metric 20",
        "198.18.0.0/15 via 172.20.2.4 metric 7",
        "198.18.0.0/15 via 172.20.1.4",
    ):
        island.sh(f"ip route add {words}")
    return [
        f"10.{first}.{second}.{third}", f"10.{first}.{second}.{third ^ 1}", f"10.{first}.{second ^ 1}.9",
        f"10.{first}.127.255", f"10.{first}.128.0", f"10.{first}.203.255", f"10.{first}.204.1",
        "198.19.255.1", "172.20.0.33", "172.20.2.254", f"11.{first}.0.1", "192.0.2.77",
    ]  # fmt: skip


def _kernels_choice(island: Island, address: str) -> list[str] | None:
    """What `ip route get` says."""
    said = island.held.inside("net", "ip", "--json", "route", "get", address)
    if said.startswith("error"):
        return None
    (found,) = json.loads(said)
    return [found["dev"], found.get("gateway", address)]


@exercise(
    "11.next_hop",
    title="Decide like a kernel",
    points=2,
    hint="order the routes that fit by two things; and a neighbour is his own next hop",
)
def next_hop(facts: Facts, answer: object) -> None:
    """For every address the way that the kernel itself takes."""
    facts.is_function(answer)
    with _islands(facts, 1) as (island,):
        asked = _routes(island)
        for with_default in (False, True):
            if with_default:
                island.sh("ip route add default via 172.20.0.254")
            routes = json.loads(island.sh("ip --json route"))
            secrets.SystemRandom().shuffle(routes)
            for address in asked:
                found = facts.call(answer, routes, address)  # type: ignore[arg-type]
                wanted = _kernels_choice(island, address)
                facts.equal(
                    f"the way to {address}, {'with' if with_default else 'without'} a default route",
                    found if found is None else list(found), wanted,
                )  # fmt: skip
