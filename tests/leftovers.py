"""leftovers: what a test must leave as it found it, seen before and after.

The kernel is asked, not labkit: mountinfo, /sys/class/net, nft, the cgroup
file systems, /proc and /sys/block.
"""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

SESSION = "LABKIT_TEST_SESSION"
"""In the environment of all that a test run starts: tells its processes from those of another run."""

OWNER = "LABKIT_OWNER"
NAME = "labkit"
COMINGS_AND_GOINGS = ("/run/user/", "/run/credentials/", "/run/systemd/", "/proc/sys/fs/binfmt_misc")
"""Mounts that an init system makes and unmakes at any time."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The names of what is there, by kind."""

    mounts: frozenset[str]
    links: frozenset[str]
    tables: frozenset[str]
    cgroups: frozenset[str]
    processes: frozenset[str]
    loops: frozenset[str]

    def beyond(self, before: "Snapshot") -> list[str]:
        """What is here and was not there before, each with its kind."""
        return [
            f"{kind.name}: {name}"
            for kind in fields(self)
            for name in sorted(getattr(self, kind.name) - getattr(before, kind.name))
        ]


def take() -> Snapshot:
    """See what is there now."""
    return Snapshot(
        mounts=frozenset(mounts()),
        links=frozenset(link.name for link in Path("/sys/class/net").iterdir()),
        tables=frozenset(tables()),
        cgroups=frozenset(cgroups()),
        processes=frozenset(processes()),
        loops=frozenset(loops()),
    )


def left_since(before: Snapshot, patience_seconds: float = 3.0) -> list[str]:
    """What was left; an end that is under way (a process, its cgroup) is waited for."""
    deadline = time.monotonic() + patience_seconds
    while left := take().beyond(before):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []


def mounts() -> list[str]:
    """Each mount by its id, place and type: a second mount on one place is another one."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        if not words[4].startswith(COMINGS_AND_GOINGS):
            found.append(f"{words[4]} type {words[words.index('-') + 1]} (mount {words[0]})")
    return found


def tables() -> list[str]:
    """The tables of nft, of this network namespace."""
    program = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or os.geteuid() != 0:
        return []
    listed = subprocess.run([program, "list", "tables"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def cgroups() -> list[str]:
    """The groups below labkit's, in every hierarchy. Others' come and go with an init system."""
    roots = [
        line.split(" ")[4]
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if " - cgroup" in line
    ]
    return [
        directory
        for root in roots
        for directory, _, _ in os.walk(root)
        if NAME in directory.removeprefix(root) and Path(directory).name != NAME
    ]


def processes() -> list[str]:
    """Processes that carry our mark, or labkit's name, and are not another test run's."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        if process.name == str(os.getpid()):
            continue
        with suppress(OSError):  # it ended while we looked
            environment = (process / "environ").read_bytes()
            name = (process / "comm").read_text().strip()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if is_ours(environment, name) and state != "Z":
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(f"{process.name} {name} ({command.strip()[:80]})")
    return found


def is_ours(environment: bytes, name: str) -> bool:
    """Whether this run started a process of this environment and name, or labkit did outside of a run."""
    marks = dict(word.partition(b"=")[::2] for word in environment.split(b"\0"))
    session = marks.get(SESSION.encode())
    if session is not None:
        return session.decode() == os.environ.get(SESSION)
    return OWNER.encode() in marks or name.startswith(NAME)


def loops() -> list[str]:
    """Loop devices with a file behind them."""
    return [
        f"{device.name} on {(device / 'loop/backing_file').read_text().strip()}"
        for device in Path("/sys/block").glob("loop*")
        if (device / "loop/backing_file").exists()
    ]
