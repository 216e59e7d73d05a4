"""Network namespaces that stand for a host and its containers, and servers that answer in them as told."""

import contextlib
import os
import select
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from dnslib import DNSRecord

from labkit import records
from labkit.kernel import interfaces, namespaces, process
from labkit.kernel.namespaces import Namespace
from labkit.network.endpoints import Endpoint

FETCH = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1)
connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
data = b""
while piece := connection.recv(4096):
    data += piece
print(data.decode().splitlines()[-1])
"""
"""A program: the last line of what a server of HTTP answers; its arguments are address and port."""


class Box:
    """A process that sleeps in a network namespace of its own, its loopback up."""

    def __init__(self):
        self.process = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        self.pid = self.process.pid
        ours = namespaces.identity("self", Namespace.NETWORK)
        while namespaces.identity(self.pid, Namespace.NETWORK) == ours or self.name != "sleep":
            os.sched_yield()
        self.start_ticks = process.started_at(self.pid)
        self.call(interfaces.bring_up)

    @property
    def name(self):
        return Path(f"/proc/{self.pid}/comm").read_text().strip()

    def call(self, work):
        """Call a function in there; processes and sockets that it makes live in there too."""
        with open(f"/proc/{self.pid}/ns/net") as namespace:
            return namespaces.in_network(namespace.fileno(), work)

    def run(self, *command):
        """What a program says in there."""
        done = self.call(lambda: subprocess.run(command, capture_output=True, text=True, timeout=60))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def socket(self, kind=socket.SOCK_DGRAM, family=socket.AF_INET):
        made = self.call(lambda: socket.socket(family, kind))
        made.settimeout(20)
        return made

    def end(self):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def boxes(number: int) -> Iterator[list[Box]]:
    """Several of them, and none left."""
    made: list[Box] = []
    try:
        for _ in range(number):
            made.append(Box())
        yield made
    finally:
        for box in made:
            box.end()


def cable(one: Box, its_address: str, other: Box, others_address: str) -> None:
    """Connect two boxes; addresses with their prefixes, of either version."""
    one.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(other.pid))
    for box, address in ((one, its_address), (other, others_address)):
        box.run("ip", "address", "add", address, "dev", "eth0")
        box.run("ip", "link", "set", "eth0", "up")


def join(paths, network, container_id, name, ipv4="", ipv6="", **more):
    """Write the record of an endpoint, as the engine does."""
    place = paths.endpoints / network / "endpoints"
    place.mkdir(parents=True, exist_ok=True)
    one = Endpoint(
        network_id=network, network_name=network, container_id=container_id, container_name=name, ipv4=ipv4,
        ipv6=ipv6, **more,
    )  # fmt: skip
    records.save(place / f"{container_id}.json", one, durable=False)


Reaction = Callable[[DNSRecord, bool], list[bytes]]
"""What a server of ours sends for a query that came over UDP, or over TCP (True)."""


class Upstream:
    """A DNS server in a box that does as it is told, and keeps what it was asked."""

    def __init__(self, box: Box, address: str, port: int, react: Reaction):
        self.react = react
        self.asked: list[tuple[DNSRecord, bool]] = []
        self.udp, self.tcp = box.socket(), box.socket(socket.SOCK_STREAM)
        self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for one in (self.udp, self.tcp):
            one.bind((address, port))
        self.tcp.listen()
        self.stopping, self.stop = os.pipe()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self):
        while self.stopping not in (ready := select.select([self.udp, self.tcp, self.stopping], [], [])[0]):
            if self.udp in ready:
                packet, asker = self.udp.recvfrom(65535)
                for answer in self._answers(packet, over_tcp=False):
                    self.udp.sendto(answer, asker)
            if self.tcp in ready:
                with self.tcp.accept()[0] as peer:
                    length = int.from_bytes(peer.recv(2))
                    for answer in self._answers(peer.recv(length), over_tcp=True):
                        peer.sendall(len(answer).to_bytes(2) + answer)

    def _answers(self, packet, *, over_tcp):
        query = DNSRecord.parse(packet)
        self.asked.append((query, over_tcp))
        return self.react(query, over_tcp)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.write(self.stop, b"1")
        self.thread.join()
        for one in (self.udp, self.tcp):
            one.close()
        os.close(self.stopping)
        os.close(self.stop)
