"""ch00: the checks of the map.

Containers are started for real and asked through /proc; decoys take their
names, groups and hostnames, and are none.
"""

import os
import random
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import labkit
from labkit.course import Facts, exercise
from labkit.engine import default
from labkit.engine.container import Container
from labkit.kernel import process, trace
from labkit.kernel.trace import Operation


@contextmanager
def _taken_away() -> Iterator[None]:
    """Remove every container that is made in the block."""
    before = {container.id for container in default.engine().containers()}
    try:
        yield
    finally:
        for container in default.engine().containers():
            if container.id not in before:
                container.remove(force=True)


def _sleeping(hostname: str) -> Container:
    return labkit.run("lab/busybox", ["sleep", "60"], detach=True, hostname=hostname)


def _status(pid: int, field: str) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(f"{field}:"))


@exercise(
    "00.find",
    title="Which are in a container",
    hint="compare the link /proc/PID/ns/pid with your own; names, commands and groups can be borrowed",
)
def find(facts: Facts, answer: Any) -> None:
    """Two containers, and three processes of the host that look like some."""
    with (
        _taken_away(),
        facts.probe(_plain, namespaces="") as plain,
        facts.probe(_plain, namespaces="uts", cgroup=facts.cgroup("container")) as decoy,
        facts.probe(_sleep_in_disguise, namespaces="", returns=False) as disguised,
    ):
        inside = [_sleeping(facts.nonce).pid, _sleeping("decoy").pid]
        pids = [*inside, plain.pid, decoy.pid, disguised.pid]
        random.shuffle(pids)
        for pid in inside:
            facts.equal("a container's process has a second pid", len(_status(pid, "NSpid")), 2)
        found = facts.call(answer, pids, namespaces="")
        facts.is_a(found, list, tuple)
        facts.equal("it finds exactly those that are in a container", sorted(found), sorted(inside))
        facts.equal(
            "it finds none where none is", facts.call(answer, [plain.pid, decoy.pid], namespaces=""), []
        )


def _plain() -> None:
    """Do nothing, and be held."""


def _sleep_in_disguise() -> None:
    os.execvp("sleep", ["sleep", "60"])


@exercise(
    "00.chain",
    title="Follow the parents",
    points=2,
    hint="read PPid from /proc/PID/status; in /proc/PID/stat a name may hold blanks and brackets",
)
def chain(facts: Facts, answer: Any) -> None:
    """From a container, and from a process whose name is made to confuse."""
    with _taken_away(), facts.probe(_evil_family, namespaces="") as held:
        facts.contains(
            "there is a process with an evil name", Path(f"/proc/{held.pid}/stat").read_text(), "(x) S 1 (y)"
        )
        box = _sleeping(facts.nonce)
        for whose, pid in (("a container's process", box.pid), ("the child of an evil name", held.value)):
            found = facts.call(answer, pid, namespaces="")
            facts.is_a(found, list, tuple)
            facts.equal(f"the ancestors of {whose} are found", list(found), _ancestors(pid))
        facts.equal("process 1 has no others", list(facts.call(answer, 1, namespaces="")), [1])


def _evil_family() -> int:
    process.set_name("x) S 1 (y")
    born = os.fork()
    if born == 0:
        os.execvp("sleep", ["sleep", "60"])
    return born


def _ancestors(pid: int) -> list[int]:
    found = [pid]
    while found[-1] != 1:
        found.append(int(_status(found[-1], "PPid")[0]))
    return found


@exercise(
    "00.trace",
    title="Read a trace",
    hint="go through the operations in their order, and keep a process where its call is the one",
)
def read_trace(facts: Facts, answer: Any) -> None:
    """A trace of a real start, with one request more by a process that nobody knows."""
    with trace.record() as recorded:
        labkit.run("lab/busybox", ["true"])
    operations = list(recorded)
    place = random.randrange(len(operations))
    at = operations[place].at_seconds
    operations.insert(place, Operation(facts.nonce, "pivot_root", "by a stranger", at, 0.0))
    operations.append(Operation(facts.nonce, "mount", "by a stranger", at, 0.0))
    for call in ("pivot_root", "mount", "execve", "cgroup.mkdir", "reboot"):
        made = list(dict.fromkeys(one.process for one in operations if one.call == call))
        found = facts.call(answer, operations, call)
        facts.is_a(found, list, tuple)
        facts.equal(f"who called {call}", list(found), made)


@exercise(
    "00.start",
    title="Start a container",
    points=2,
    hint="labkit.run(…, detach=True, hostname=…) gives the container, and the container knows its pid",
)
def start(facts: Facts, answer: Any) -> None:
    """Its first process is there, is process 1 inside, and a witness inside reads the hostname."""
    facts.is_function(answer)
    with _taken_away():
        returned = answer(facts.nonce)
        facts.is_a(returned, tuple, list)
        facts.equal("it returns two things", len(returned), 2)
        container, pid = returned
        facts.is_a(container, Container)
        facts.is_a(pid, int)
        facts.equal("the container runs", str(container.status), "running")
        facts.equal("the pid is that of its first process, seen from here", pid, container.pid)
        facts.equal("inside, that is process 1", _status(pid, "NSpid"), [str(pid), "1"])
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        facts.contains("it sleeps", command, b"sleep")
        facts.contains(
            "it is in the container's control group", Path(f"/proc/{pid}/cgroup").read_text(), container.id
        )
        heard = subprocess.run(
            ["nsenter", "--target", str(pid), "--uts", "hostname"], capture_output=True, text=True, check=True
        )
        facts.equal("hostname(1), run inside, prints the name", heard.stdout.strip(), facts.nonce)
    facts.true("it can be taken away", not Path(f"/proc/{pid}").exists(), "its process is still there")
