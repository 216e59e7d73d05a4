"""ch04: the checks of the chapter on control groups: what the kernel counts, and what a clock says."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.course import Facts, Probe, exercise
from labkit.kernel import cgroups
from labkit.kernel.cgroups import Cgroup
from labkit.kernel.limits import Limits

MIB = 1 << 20


def _directories(group: Cgroup) -> dict[str, str]:
    return {controller: str(directory) for controller, directory in group.directories.items()}


def _hard(memory_bytes: int) -> Limits:
    swap = memory_bytes if cgroups.can_limit_swap() else None
    return Limits(memory_bytes=memory_bytes, memory_swap_bytes=swap)


@exercise(
    "04.enter",
    title="Enter, with limits",
    points=2,
    hint="three knobs, whose names differ between the generations, and cgroup.procs in every tree",
)
def enter(facts: Facts, answer: object) -> None:
    """The group's gauges say the limits, and two witnesses say that the process is in it."""
    facts.is_function(answer)
    group = facts.cgroup("enter")
    page = os.sysconf("SC_PAGE_SIZE")
    memory = (64 * MIB + secrets.randbelow(64 * MIB)) // page * page
    cpus = (20 + secrets.randbelow(60)) / 100
    processes = 20 + secrets.randbelow(100)
    facts.equal("before, nobody is in the group", group.processes(), [])
    wanted = (_directories(group), memory, cpus, processes)
    with facts.probe(answer, *wanted) as held:  # type: ignore[arg-type]
        for controller in ("memory", "cpu", "pids"):
            inside = (group.directory(controller) / "cgroup.procs").read_text().split()
            facts.contains(f"the process is in the group of {controller}", inside, str(held.pid))
        said = Path(f"/proc/{held.pid}/cgroup").read_text()
        facts.true("and its own /proc/PID/cgroup says so", f"/{group.path}\n" in said, said)
        used = group.usage()
        facts.equal("the limit for memory, in bytes, is what was asked for", used.memory_limit_bytes, memory)
        facts.equal("so is the one for processes", used.processes_limit, processes)
        share = used.cpu_limit if used.cpu_limit is not None else 0.0
        facts.between("so is the quota, in CPUs", share, round(cpus - 0.005, 3), round(cpus + 0.005, 3))


HOG = "blocks = [b'x' * (1 << 20) for _ in range(160)]"


@exercise(
    "04.verdict",
    title="Why did it end?",
    points=3,
    hint="SIGKILL looks the same whoever sends it; a gauge of the group counts what the OOM killer took",
)
def verdict(facts: Facts, answer: object) -> None:
    """Four endings, two of them with the same exit code, and one in which it was a child that ran out."""
    facts.is_function(answer)
    python = [sys.executable, "-I", "-S", "-c"]
    group = facts.cgroup("verdict", _hard(40 * MIB))
    directories = _directories(group)
    proof = facts.scratch("verdict") / "where"
    look = f"import pathlib; pathlib.Path({str(proof)!r}).write_text(open('/proc/self/cgroup').read())"
    cases = (
        ("a command that looks where it is", [*python, look], 0, False),
        ("a command that fails", ["sh", "-c", "exit 7"], 7, False),
        ("a command that kills itself with SIGKILL", ["sh", "-c", "kill -9 $$"], 137, False),
        ("a command that eats too much", [*python, HOG], 137, True),
        (
            "a command whose child eats too much",
            ["sh", "-c", '"$@" || exit 3', "sh", *python, HOG],
            3,
            True,
        ),
        ("and again one that is well", ["true"], 0, False),
    )
    for name, argv, code, oom in cases:
        kills = group.oom_kills()
        found = facts.call(answer, directories, argv)  # type: ignore[arg-type]
        facts.is_a(found, dict)
        if proof.exists():
            facts.true(
                "the command ran in the group", f"/{group.path}\n" in proof.read_text(), proof.read_text()
            )
            proof.unlink()
        if oom:
            facts.true(
                f"{name}: the kernel has counted a kill",
                group.oom_kills() > kills,
                "none: was it in the group?",
            )
        facts.equal(f"{name}: its exit code", found.get("exit_code"), code)
        facts.equal(f"{name}: whether memory ran out", found.get("oom_killed"), oom)


def _bomb() -> None:
    """Fork for ever; a full group makes it wait a moment and try again."""
    while True:
        try:
            os.fork()
        except BlockingIOError:
            time.sleep(0.002)


def _rest() -> None:
    """Be there."""


@exercise(
    "04.defuse",
    title="Defuse",
    points=3,
    hint="while you go through a list of them, the rest forks; who cannot run cannot fork",
)
def defuse(facts: Facts, answer: object) -> None:
    """All of the bomb is gone, a bystander is not, and the group can be used again."""
    facts.is_function(answer)
    for number in range(2):
        group = facts.cgroup(f"bomb{number}", Limits(processes=30))
        with facts.probe(_rest) as bystander, facts.probe(_bomb, cgroup=group, returns=False) as held:
            full = held.until(lambda group=group: len(group.processes()) >= 30)  # type: ignore[misc]
            facts.true("before, the group is full", full, f"{len(group.processes())} processes")
            try:
                facts.call(answer, _directories(group))  # type: ignore[arg-type]
                facts.equal("nothing of the group is alive", _alive(group), [])
                facts.true("the group is still there", all(d.is_dir() for d in group.all_directories))
                facts.true("it is not frozen", not group.is_frozen(), "a frozen group")
            finally:
                group.kill()
            facts.true("a process outside the group is still alive", bystander.alive, "it was killed too")
        with facts.probe(_rest, cgroup=group) as guest:
            facts.contains("a new process can run in it", group.processes(), guest.pid)


def _alive(group: Cgroup) -> list[int]:
    """Those that are there and no zombies, for a moment's grace after a signal."""
    deadline = time.monotonic() + 0.3
    while (pids := group.processes()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return pids


def _take_in() -> None:
    """Accept connections and answer with one byte when the other side has ended."""
    import socket

    server = socket.create_server(("0.0.0.0", 9000))
    while True:
        connection, _ = server.accept()
        while connection.recv(1 << 16):
            pass
        connection.sendall(b".")
        connection.close()


SEND = """
import socket, sys, time
size = int(sys.argv[1])
for attempt in range(50):
    try:
        peer = socket.create_connection(("10.44.0.1", 9000))
        break
    except OSError:
        time.sleep(0.05)
began = time.monotonic()
peer.sendall(bytes(size))
peer.shutdown(socket.SHUT_WR)
peer.recv(1)
print(size * 8 / (time.monotonic() - began))
"""


@contextmanager
def _cable(facts: Facts, name: str) -> Iterator[tuple[Probe, Probe]]:
    """Two processes, each in a network namespace of its own, with a veth pair between them."""
    with (
        facts.probe(_rest, namespaces="net") as sender,
        facts.probe(_take_in, namespaces="net", returns=False) as taker,
    ):
        sender.inside("net", *f"ip link add {name} type veth peer name far netns {taker.pid}".split())
        for side, end, address in ((sender, name, "10.44.0.2/24"), (taker, "far", "10.44.0.1/24")):
            side.inside("net", *f"ip address add {address} dev {end}".split())
            side.inside("net", *f"ip link set {end} up".split())
        yield sender, taker


def _bits_per_second(sender: Probe, size: int) -> float:
    """What a program that is sent into the namespace gets through."""
    said = sender.inside("net", sys.executable, "-I", "-S", "-c", SEND, str(size))
    return float(said)


def _host_queues() -> str:
    return subprocess.run(["tc", "qdisc", "show"], capture_output=True, text=True, check=True).stdout


@exercise(
    "04.shape",
    title="Shape a container's traffic",
    points=3,
    hint="which namespace must tc(8) run in, and what does it call a bit, and what a byte?",
)
def shape(facts: Facts, answer: object) -> None:
    """Measured through the cable: fast before, at the rate afterwards; the host's queues are as they were."""
    facts.is_function(answer)
    name, wanted = f"e{facts.nonce[:9]}", (12 + secrets.randbelow(9)) * 1_000_000
    queues = _host_queues()
    with _cable(facts, name) as (sender, _):
        before = _bits_per_second(sender, 4 * MIB)
        facts.true("before, far more goes through", before > 5 * wanted, f"{before / 1e6:.0f} Mbit/s")
        facts.call(answer, sender.pid, name, wanted, namespaces="mnt,net")  # type: ignore[arg-type]
        after = _bits_per_second(sender, 2 * MIB) / 1e6
        facts.between(
            f"of {wanted / 1e6:.0f} Mbit/s, as measured",
            round(after, 1),
            round(wanted * 0.4e-6, 1),
            round(wanted * 1.2e-6, 1),
        )
        said = sender.inside("net", "tc", "qdisc", "show", "dev", name)
        facts.true("the interface has a queueing discipline", said not in ("", "noqueue"), said)
    facts.equal("the host's own queues are as before", _host_queues(), queues)
