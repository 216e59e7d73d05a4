"""ch01: the checks of the chapter on virtual machines and containers.

Clocks are tried on programs whose first word is known, archives by booting
them, and sizes against the kernel's own account of each mapping.
"""

import os
import re
import secrets
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labkit
from labkit.course import Facts, exercise, vm
from labkit.course.probes import AnswerFailed

SLACK_SECONDS = 1.2
"""A busy machine may be late by this much; wrong answers are later."""


@exercise(
    "01.clock",
    title="Time to first output",
    points=2,
    hint="wait for one byte, not for a line and not for the end; then end the program and wait for that too",
)
def clock(facts: Facts, answer: Any) -> None:
    """Programs that speak after a known time, with no end of line, and go on; and one that never speaks."""
    for tenths in (3, 6 + secrets.randbelow(3)):
        script = f"sleep 0.{tenths}; printf {facts.nonce}; exec sleep 3"
        with facts.probe(answer, ["sh", "-c", script], namespaces="") as held:
            facts.is_a(held.value, float)
            facts.between(
                f"in seconds, the first word of a program that waits 0.{tenths} s",
                round(held.value, 3), tenths / 10, tenths / 10 + SLACK_SECONDS,
            )  # fmt: skip
            facts.equal("the program is gone, and has been waited for", held.descendants(), [])
    silent = facts.call(answer, ["sh", "-c", "sleep 0.1"], namespaces="")
    facts.equal("of a program that ends without a word", silent, None)


@exercise(
    "01.initrd",
    title="A machine that answers",
    points=3,
    hint="print $secret and `busybox uname -r` on one line; an init that ends is a panic, so switch off",
)
def initrd(facts: Facts, answer: Any) -> None:
    """The machine is booted with a word that nobody could know, and says it with its own kernel's release."""
    file = facts.scratch("machine") / "initrd"
    facts.call(answer, str(file), namespaces="")
    facts.true("there is a file", file.is_file(), "there is none")
    listed = subprocess.run(
        ["busybox", "cpio", "-t"], input=file.read_bytes(), capture_output=True, check=False
    )  # fmt: skip
    names = {name.removeprefix("/").removeprefix("./") for name in listed.stdout.decode().split()}
    facts.contains("cpio, which reads it, finds an init in it", names, "init")
    console, code = _boot(file.read_bytes(), f"secret={facts.nonce}")
    lines = [line.strip() for line in console.splitlines()]
    facts.contains("its console says the word and the release", lines, f"{facts.nonce} {_release()}")
    panic = next((line for line in lines if "Kernel panic" in line), "")
    facts.true("it did not panic", not panic, panic)
    facts.true("it switched itself off", "Power down" in console and code == 0, lines[-1])


def _boot(image: bytes, words: str) -> tuple[str, int]:
    """What a machine's console says, and how QEMU ended."""
    with vm.Guest.start(image, words) as guest:
        try:
            code = guest.wait(15.0)
        except vm.MachineFailed as failure:
            raise AnswerFailed(str(failure)) from None
        return guest.console, code


def _release() -> str:
    """By the name of the kernel's package, not by what a guest says."""
    return (vm.kernel().parent / "release").read_text().strip()


FILES = (
    "version", "uptime", "stat", "meminfo", "cpuinfo", "cmdline", "sys/kernel/hostname",
    "sys/kernel/random/boot_id",
)  # fmt: skip


@exercise(
    "01.kernel",
    title="Whose kernel is it?",
    points=2,
    hint="a version is a make, not a specimen; one number is drawn at random at every boot, random(4)",
)
def kernel(facts: Facts, answer: Any) -> None:
    """A container, a virtual machine, and a machine that looks like ours in all but its boot."""
    ours = {f"/proc/{name}": Path(f"/proc/{name}").read_text() for name in FILES}
    inside = {path: labkit.run("lab/busybox", ["cat", path]).stdout for path in ours}
    with vm.Guest.start() as guest:
        guests = {path: guest.run(f"cat {path}") for path in ours}
    boot_id = "/proc/sys/kernel/random/boot_id"
    facts.differs("the virtual machine has a boot of its own", guests[boot_id], ours[boot_id])
    for sentence, files, wanted in (
        ("here, where we are", ours, True),
        ("in a container", inside, True),
        ("in a virtual machine", guests, False),
        ("in a machine that is like ours in all but its boot", {**ours, boot_id: guests[boot_id]}, False),
        ("in a container that is called like that machine", {**inside, _HOSTNAME: "twin\n"}, True),
    ):
        found = facts.call(_asked(answer, files), namespaces="")
        facts.is_a(found, bool)
        facts.equal(f"{sentence}, it is our kernel", found, wanted)


_HOSTNAME = "/proc/sys/kernel/hostname"


def _asked(answer: Callable[..., Any], files: dict[str, str]) -> Callable[[], Any]:
    """The answer, with a function that reads what was read in some place."""

    def asked() -> Any:
        def read(path: str) -> str:
            if path not in files:
                raise FileNotFoundError(path)
            return files[path]

        return answer(read)

    return asked


@exercise(
    "01.memory",
    title="What they take together",
    points=2,
    hint="smaps_rollup has a line that divides shared pages among those who share; its unit is kB",
)
def memory(facts: Facts, answer: Any) -> None:
    """Three processes that share most of their memory; the kernel's account by mapping is the witness."""
    with facts.probe(_family, namespaces="") as held:
        pids = [held.pid, *held.descendants()]
        facts.equal("there are three of them", len(pids), 3)
        rss = sum(sum(_mappings(pid, "Rss")) for pid in pids)
        before = sum(sum(_mappings(pid, "Pss")) for pid in pids)
        facts.true("they share most of their memory", rss > 2 * before, f"{rss} against {before}")
        found = facts.call(answer, pids, namespaces="")
        facts.is_a(found, int, float)
        facts.between(
            "in MiB, what the three take together",
            round(found / 2**20, 1), round(0.85 * before / 2**20, 1), round(1.15 * before / 2**20, 1),
        )  # fmt: skip
        one = facts.call(answer, [held.pid], namespaces="")
        facts.true("one of them alone takes less than the three", one < found, f"{one} against {found}")


def _family() -> None:
    """48 MiB, written to, and two children that share them."""
    shared = bytearray(os.urandom(1 << 20)) * 48
    for _ in range(2):
        if os.fork() == 0:
            while shared:
                os.read(os.pipe()[0], 1)


def _mappings(pid: int, field: str) -> list[int]:
    """One figure of every mapping, in bytes."""
    text = Path(f"/proc/{pid}/smaps").read_text()
    return [int(kib) * 1024 for kib in re.findall(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)]
