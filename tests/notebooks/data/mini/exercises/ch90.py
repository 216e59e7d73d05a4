"""ch90: the checks of the small chapter that proves the machinery."""

import socket

from labkit.course import Facts, exercise
from labkit.kernel.namespaces import Namespace


@exercise(
    "90.hostname",
    title="A name of its own",
    points=2,
    hint="which namespace holds the hostname? see uts_namespaces(7)",
)
def hostname(facts: Facts, answer: object) -> None:
    """The kernel says that the process has left its UTS namespace, and a witness inside reads the name."""
    before = socket.gethostname()
    with facts.probe(answer, facts.nonce) as held:  # type: ignore[arg-type]
        facts.contains("the process has a UTS namespace of its own", held.own_namespaces(), Namespace.UTS)
        facts.equal("inside, hostname(1) prints the new name", held.inside("uts", "hostname"), facts.nonce)
    facts.equal("outside, the name is as before", socket.gethostname(), before)


@exercise(
    "90.kinds", title="How many kinds", hint="count the files in /proc/self/ns that have no _for_children"
)
def kinds(facts: Facts, answer: object) -> None:
    """A number, compared with what this kernel's package knows."""
    facts.is_a(answer, int)
    facts.equal("that many kinds there are", answer, len(Namespace))


@exercise(
    "90.first", title="Process 1", hint="a pid namespace begins with the next child: see pid_namespaces(7)"
)
def first(facts: Facts, answer: object) -> None:
    """NSpid of the process that was started ends in 1."""
    with facts.probe(answer) as held:  # type: ignore[arg-type]
        facts.is_a(held.value, int)
        facts.contains("the pid is that of a process it has started", held.descendants(), held.value)
        facts.equal("inside, it is process 1", held.status("NSpid", held.value)[1:], ["1"])
