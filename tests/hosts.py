"""Hosts of a LAN, each a network namespace with an engine of its own, and etcd at the switch between them."""

import contextlib
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from boxes import Box

from labkit.kernel import namespaces
from labkit.kernel.namespaces import Namespace
from labkit.network import etcd, membership
from labkit.network.etcd import Etcd, Unreachable
from labkit.paths import Paths

PROGRAM = Path(sys.prefix) / "bin/labkit"
PREFIX = "10.99.0"
ETCD_ADDRESS = f"{PREFIX}.254"
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
"""In Go's words: etcd 3.4 wants to be told that one other than amd64 is meant."""

ETCD = f"http://{ETCD_ADDRESS}:2379"


class Host:
    """One machine: its uplink leads to the switch. What is started in it sees its interfaces alone."""

    def __init__(self, lan: "Lan", number: int, base: Path) -> None:
        self.lan = lan
        self.name, self.address = f"h{number}", f"{PREFIX}.{number}"
        self.port = f"port{number}"
        self.paths = Paths(root=base / self.name / "root", run=base / self.name / "run")
        self.paths.prepare()
        self.box = Box()
        switch = lan.switch
        switch.run(*f"ip link add {self.port} type veth peer name uplink netns {self.box.pid}".split())
        switch.run(*f"ip link set {self.port} master br0 up".split())
        self.box.run(*f"ip address add {self.address}/24 dev uplink".split())
        self.box.run(*"ip link set uplink up".split())

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LABKIT_ROOT": str(self.paths.root), "LABKIT_RUN": str(self.paths.run)}

    def start(self, *command: str, **options) -> "subprocess.Popen[str]":
        """A process of this host."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self.box.pid), "-n", *map(str, command)],
            env=self.environment, stdin=subprocess.DEVNULL, text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options,
        )  # fmt: skip

    def call(self, *command: str) -> "subprocess.CompletedProcess[str]":
        with self.start(*command) as process:
            out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def labkit(self, *words: str) -> str:
        """What the command says; it must succeed."""
        done = self.call(PROGRAM, *words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def refusal(self, *words: str) -> str:
        """What the command says when it fails, as it must."""
        done = self.call(PROGRAM, *words)
        assert done.returncode not in (0, None), done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr.strip()

    def python(self, code: str, *arguments: str, **options) -> "subprocess.Popen[str]":
        return self.start(sys.executable, "-c", code, *arguments, **options)

    def join(self) -> None:
        self.labkit("host", "join", "--etcd", ETCD, "--address", self.address, "--name", self.name)

    def run(self, name: str, network: str, *options: str) -> None:
        """A container that waits."""
        self.labkit(
            "run", "-d", "--name", name, "--network", network, *options, "lab/busybox", "sleep", "1000"
        )

    def reaches(self, name: str, address: str) -> bool:
        done = self.call(PROGRAM, "exec", name, "ping", "-c", "1", "-W", "1", address)
        return done.returncode == 0

    def ip(self, *words: str) -> list[dict]:
        """iproute2 as the second witness."""
        return json.loads(self.box.run("ip", "-j", *words) or "[]")

    def forwarding(self) -> set[tuple[str, str]]:
        """bridge(8) as the second witness: which hardware address is behind which host."""
        rows = json.loads(self.box.run("bridge", "-j", "fdb", "show") or "[]")
        return {(row["mac"], row["dst"]) for row in rows if "dst" in row}

    def cut_off(self) -> None:
        self.lan.switch.run(*f"ip link set {self.port} down".split())

    def reconnect(self) -> None:
        self.lan.switch.run(*f"ip link set {self.port} up".split())

    def peer(self) -> int:
        """The pid of its labkit:peer, once it is there."""

        def named() -> list[int]:
            return [
                pid for pid in self.processes() if Path(f"/proc/{pid}/comm").read_text() == "labkit:peer\n"
            ]

        (found,) = eventually(named)
        return found

    def processes(self) -> list[int]:
        """All that live in its network namespace but what keeps that open; containers have their own."""
        wanted = namespaces.identity(self.box.pid, Namespace.NETWORK)
        found = namespaces.members(Namespace.NETWORK).get(wanted, [])
        return [pid for pid in found if pid != self.box.pid]

    def kill(self) -> None:
        """A power cut: every process at once, and nothing is heard from it any more."""
        self.cut_off()
        self.end_processes()

    def end_processes(self) -> None:
        while pids := self.processes():
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def tidy(self) -> None:
        """No container, no network, nothing in the kernel; a member still."""
        if names := [file.name for file in self.paths.containers.iterdir()]:
            self.labkit("rm", "-f", *names)
        code = "from labkit.network import connections; from labkit.paths import Paths; "
        done = self.call(
            sys.executable, "-c", code + "connections.take_down_unused(Paths.from_environment())"
        )
        assert done.returncode == 0, done.stderr

    def close(self) -> None:
        with contextlib.suppress(AssertionError):
            self.labkit("host", "leave")
        self.end_processes()
        self.box.end()


class Lan:
    """A switch, with etcd at it, and hosts."""

    def __init__(self, base: Path, number: int) -> None:
        self.base = base
        self.switch = Box()
        self.switch.run(*"ip link add br0 type bridge".split())
        self.switch.run(*f"ip address add {ETCD_ADDRESS}/24 dev br0".split())
        self.switch.run(*"ip link set br0 up".split())
        self.etcd: subprocess.Popen[bytes] | None = None
        self.start_etcd()
        self.hosts = [Host(self, one + 1, base) for one in range(number)]

    def start_etcd(self) -> None:
        self.etcd = self.switch.call(lambda: subprocess.Popen(
            ["env", f"ETCD_UNSUPPORTED_ARCH={ARCHITECTURE}", "etcd", "--data-dir", str(self.base / "etcd"),
             "--listen-client-urls", ETCD, "--advertise-client-urls", ETCD, "--listen-peer-urls", "http://127.0.0.1:2380",
             "--unsafe-no-fsync", "--logger", "zap", "--log-level", "error"],
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        ))  # fmt: skip
        eventually(self._answers)

    def _answers(self) -> bool:
        try:
            self.keys()
        except Unreachable:
            return False
        return True

    def stop_etcd(self) -> None:
        self.etcd.kill()
        self.etcd.wait()

    @contextlib.contextmanager
    def silent_etcd(self) -> Iterator[None]:
        """Nobody finds it any more, while packets between hosts go on."""
        self.switch.run(*f"ip address del {ETCD_ADDRESS}/24 dev br0".split())
        try:
            yield
        finally:
            self.switch.run(*f"ip address add {ETCD_ADDRESS}/24 dev br0".split())

    def fetch(self, address: str, port: int) -> str:
        """What a server says to somebody at the switch."""

        def ask() -> str:
            with socket.create_connection((address, port), timeout=3) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data = b""
                while piece := connection.recv(4096):
                    data += piece
            return data.decode()

        return self.switch.call(ask)

    def keys(self, prefix: str = "/labkit/") -> dict[str, str]:
        """What stands in etcd."""
        return self.ask(lambda store: {row.key: row.value for row in store.below(prefix)[0]})

    def at_once(self, work: "Callable[[Host], None]") -> None:
        """The same for all hosts; what fails on one is raised."""
        with ThreadPoolExecutor() as threads:
            list(threads.map(work, self.hosts))

    def ask(self, work):
        def there():
            with contextlib.closing(Etcd([ETCD])) as store:
                return work(store)

        return self.switch.call(there)

    def put(self, key: str, value: str) -> None:
        self.ask(lambda store: store.transact([], [etcd.put(key, value)]))

    def close(self) -> None:
        for host in self.hosts:
            host.close()
        self.stop_etcd()
        self.switch.end()


@contextlib.contextmanager
def lan(base: Path, number: int) -> Iterator[Lan]:
    made = Lan(base, number)
    try:
        yield made
    finally:
        made.close()


def eventually(holds, seconds: float = 10.0):
    """Wait until a condition holds; what it was at last."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {found!r}"
        time.sleep(0.05)
    return found


def outlive_a_lease() -> float:
    """How long a host that is gone can be seen by the others: etcd looks twice a second."""
    return membership.LEASE_SECONDS + 5
