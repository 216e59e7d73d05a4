"""ch02: the checks of the chapter on namespaces.

Evidence is what /proc says of the process that ran the answer, and what
nsenter(1) finds when it goes in after it.
"""

import contextlib
import os
import secrets
import socket
from pathlib import Path
from typing import Any

from labkit.course import Facts, Probe, exercise
from labkit.course.probes import AnswerFailed
from labkit.kernel import capabilities, idmap, namespaces
from labkit.kernel.namespaces import Namespace


@exercise(
    "02.name",
    title="A hostname of its own",
    hint="the name belongs to a UTS namespace: leave the shared one first, see uts_namespaces(7)",
)
def name(facts: Facts, answer: Any) -> None:
    """The process has left the UTS namespace and no other, and a witness inside reads the new name."""
    before = socket.gethostname()
    with facts.probe(answer, facts.nonce, namespaces="") as held:
        facts.contains("the process has a UTS namespace of its own", held.own_namespaces(), Namespace.UTS)
        facts.equal("it has left no other namespace", _words(held.own_namespaces()), "uts")
        facts.equal("hostname(1), run inside, prints the name", held.inside("uts", "hostname"), facts.nonce)
    facts.equal("outside, the name is as before", socket.gethostname(), before)


def _words(kinds: set[Namespace]) -> str:
    return " ".join(kind.oci for kind in Namespace if kind in kinds)


@exercise(
    "02.first",
    title="Start process 1",
    hint="unshare(CLONE_NEWPID) does not move the caller: who is born next is process 1, pid_namespaces(7)",
)
def first(facts: Facts, answer: Any) -> None:
    """NSpid of the process that was started is two numbers, and the second is 1."""
    with facts.probe(answer, namespaces="") as held:
        facts.is_a(held.value, int)
        facts.contains("the pid is that of a process it has started", held.descendants(), held.value)
        facts.equal("it has become sleep", _program(held, held.value), "sleep")
        facts.contains("it has a pid namespace of its own", held.own_namespaces(held.value), Namespace.PID)
        facts.equal("inside, it is process 1", held.status("NSpid", held.value)[1:], ["1"])


def _program(held: Probe, pid: int) -> str:
    """What a process runs, with a moment's patience: execve(2) closes files before it changes the name."""
    comm = Path(f"/proc/{pid}/comm")
    held.until(lambda: comm.read_text() == "sleep\n", 1.0)
    return comm.read_text().strip()


@exercise(
    "02.init",
    title="An init that buries the dead",
    points=2,
    hint="os.wait() returns whoever died first; only one of them is the command, and the others count too",
)
def init(facts: Facts, answer: Any) -> None:
    """Orphans come to process 1, none stays a zombie, and the command's own exit code comes back."""
    code = 20 + secrets.randbelow(200)
    script = f"for n in 1 2 3; do (sleep 0.6 &); done; sleep 2.5; exit {code}"
    with facts.probe(answer, ["sh", "-c", script], namespaces="pid", returns=False) as held:
        facts.equal("it is process 1 of its namespace", held.status("NSpid")[1:], ["1"])
        facts.true(
            "the command's three orphans become children of process 1",
            held.until(lambda: _count(held, "sleep") == 3, 2.0),
            f"{_count(held, 'sleep')} of them",
        )
        facts.true(
            "the dead are buried while the command goes on",
            held.until(lambda: _children(held) == ["S sh"], 1.5),
            f"its children are {_children(held) or 'none'}",
            "only the command's shell",
        )
        held.until(lambda: held.child.has_value or _failed(held), 5.0)
        facts.equal("it returns the command's exit code", held.child.value, code)


def _children(held: Probe) -> list[str]:
    """State and name of each child of the process that runs the answer."""
    _failed(held)
    found = []
    for pid in Path(f"/proc/{held.pid}/task/{held.pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it was buried while we looked
            text = Path(f"/proc/{pid}/stat").read_text()
            found.append(f"{text.rpartition(')')[2].split()[0]} {text.partition('(')[2].rpartition(')')[0]}")
    return found


def _count(held: Probe, program: str) -> int:
    return sum(child.endswith(f" {program}") for child in _children(held))


def _failed(held: Probe) -> bool:
    """Take in what the child reports meanwhile; an error of the answer ends the check."""
    held.child.read()
    if held.child.error:
        raise AnswerFailed(f"it raised {held.child.error['message']}", kind=held.child.error["kind"])
    return not held.alive


@exercise(
    "02.nobody",
    title="Root inside, nobody outside",
    points=3,
    hint="the maps are written from outside, while the child waits; then it must become 0 itself, "
    "group first, see user_namespaces(7)",
)
def nobody(facts: Facts, answer: Any) -> None:
    """The sleep is user 0 in its user namespace and the id that was asked for in ours."""
    outside = 100_000 + secrets.randbelow(400_000)
    with facts.probe(answer, outside, namespaces="") as held:
        pid = held.value
        facts.is_a(pid, int)
        facts.contains("the pid is that of a process it has started", held.descendants(), pid)
        facts.contains("it has a user namespace of its own", held.own_namespaces(pid), Namespace.USER)
        for table in ("uid_map", "gid_map"):
            runs = idmap.parse(Path(f"/proc/{pid}/{table}").read_text())
            found = next((one.to_outside(0) for one in runs if one.to_outside(0) is not None), None)
            facts.equal(f"its {table} says who 0 is outside", found, outside)
        for kind, line in (("user", "Uid"), ("group", "Gid")):
            held.until(lambda line=line: set(held.status(line, pid)) == {str(outside)}, 2.0)  # type: ignore[misc]
            facts.equal(f"to us, its {kind} is that id", held.status(line, pid), [str(outside)] * 4)
        facts.equal("id(1), run inside, says 0", held.inside("user", "id", "-u", pid=pid), "0")
        facts.equal("it has become sleep", _program(held, pid), "sleep")
        power = capabilities.of_process(pid)["CapEff"]
        facts.contains("inside it has root's power", capabilities.names(power), "CAP_SYS_ADMIN")


@exercise(
    "02.companions",
    title="Who shares a namespace",
    points=2,
    hint="compare the links /proc/*/ns/KIND; a zombie has none left, and readlink says so with an OSError",
)
def companions(facts: Facts, answer: Any) -> None:
    """Two of three strangers share one; a zombie lies in the way; the notebook has many companions."""
    with (
        facts.probe(_leave_a_zombie, namespaces="uts") as one,
        facts.probe(_join, one.pid, namespaces="") as two,
        facts.probe(_leave_a_zombie, namespaces="ipc") as other,
    ):
        facts.equal("there is a zombie to stumble over", _zombies(one), 1)
        alone = facts.call(answer, other.pid, "ipc", namespaces="")
        facts.is_a(alone, list, set, tuple)
        facts.equal("one that shares its ipc with nobody has itself alone", sorted(alone), [other.pid])
        found = facts.call(answer, one.pid, "uts", namespaces="")
        facts.equal(
            "two that share a uts namespace are found, no third", sorted(found), sorted([one.pid, two.pid])
        )
        many = facts.call(answer, os.getpid(), "uts", namespaces="")
        facts.contains(
            "asked for the notebook's companions, it finds the notebook among them", many, os.getpid()
        )
        facts.true("and not one that has left", one.pid not in many, f"{one.pid} is")


def _leave_a_zombie() -> None:
    if os.fork() == 0:
        os._exit(0)


def _join(pid: int) -> None:
    namespaces.enter(pid, Namespace.UTS)


def _zombies(held: Probe) -> int:
    held.until(lambda: any(child.startswith("Z") for child in _children(held)), 2.0)
    return sum(child.startswith("Z") for child in _children(held))
