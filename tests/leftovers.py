"""leftovers: what a test must leave as it found it, seen before and after.

The kernel is asked, not labkit: mountinfo, netlink, nft, the cgroup
file systems, /proc and /sys/block. A run has control groups and a mark of its
own, so a student's lab on the same machine is never taken for a leftover.
"""

import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

SESSION = "LABKIT_TEST_SESSION"
"""In the environment of all that a test run starts."""

HOME = os.path.join(os.environ.get("LABKIT_CGROUP", ""), f"labkit-test-{os.getpid()}")  # noqa: PTH118 (relative)
"""The control group below which a run's groups lie, in every hierarchy."""

os.environ |= {SESSION: str(os.getpid()), "LABKIT_CGROUP": HOME}  # before labkit.kernel.cgroups reads it

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

    def beyond(self, before: "Snapshot", but: tuple[str, ...] = ()) -> list[str]:
        """What is here and was not there before, each with its kind."""
        return [
            f"{kind.name}: {name}"
            for kind in fields(self)
            if kind.name not in but
            for name in sorted(getattr(self, kind.name) - getattr(before, kind.name))
        ]


def take() -> Snapshot:
    """See what is there now."""
    return Snapshot(
        mounts=frozenset(mounts()),
        links=frozenset(name for _, name in socket.if_nameindex()),
        tables=frozenset(tables()),
        cgroups=frozenset(cgroups()),
        processes=frozenset(processes()),
        loops=frozenset(loops()),
    )


def left_since(before: Snapshot, but: tuple[str, ...] = (), patience_seconds: float = 2.0) -> list[str]:
    """What was left; an end that is under way (a process, its cgroup) is waited for."""
    deadline = time.monotonic() + patience_seconds
    while left := take().beyond(before, but):
        if time.monotonic() > deadline:
            return left
        time.sleep(0.05)
    return []


def mounts() -> list[str]:
    """Each mount by its id, place and type: a second mount on one place is another one."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        if not words[4].startswith(COMINGS_AND_GOINGS) and not is_anothers(words[4]):
            found.append(f"{words[4]} type {words[words.index('-') + 1]} (mount {words[0]})")
    return found


def tables() -> list[str]:
    """The tables of nft, of this network namespace."""
    program = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None or os.geteuid() != 0:
        return []
    listed = subprocess.run([program, "list", "tables"], capture_output=True, text=True, check=True)
    return listed.stdout.splitlines()


def cgroup_roots() -> list[str]:
    """Where each cgroup file system is mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line.split(" ")[4] for line in lines if " - cgroup" in line]


def cgroups() -> list[str]:
    """The groups below this run's own, in every hierarchy."""
    homes = [f"{root}/{HOME}" for root in cgroup_roots()]
    return [directory for home in homes for directory, _, _ in os.walk(home) if directory != home]


def remove_home() -> None:
    """At the end of a run: take away its own groups, which are empty where nothing was left."""
    for root in cgroup_roots():
        for directory, _, _ in os.walk(f"{root}/{HOME}", topdown=False):
            with suppress(OSError):  # something was left, and has been told
                os.rmdir(directory)  # noqa: PTH106 (a control group is removed by rmdir(2))


def processes() -> list[str]:
    """Processes that this run has started, at whatever remove."""
    found = []
    family = descendants(os.getpid())
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended while we looked
            environment = (process / "environ").read_bytes()
            groups = (process / "cgroup").read_text()
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and (int(process.name) in family or is_ours(environment, groups)):
                name = (process / "comm").read_text().strip()
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found.append(f"{process.name} {name} ({command.strip()[:80]})")
    return found


def is_ours(environment: bytes, groups: str) -> bool:
    """Whether a process with this environment and these control groups comes from this run."""
    mark = f"{SESSION}={os.getpid()}".encode()
    return mark in environment.split(b"\0") or f"/{HOME}/" in groups


def descendants(ancestor: int) -> set[int]:
    """The processes below one, as long as the line of parents is not broken."""
    parents = {}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(process.name)] = int((process / "stat").read_text().rpartition(")")[2].split()[1])
    found, new = set(), {ancestor}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new}
        found |= new
    return found


def loops() -> list[str]:
    """Loop devices with a file behind them."""
    files = {
        device.name: (device / "loop/backing_file").read_text().strip()
        for device in Path("/sys/block").glob("loop*")
        if (device / "loop/backing_file").exists()
    }
    return [f"{device} on {file}" for device, file in files.items() if not is_anothers(file)]


def is_anothers(place: str) -> bool:
    """Whether a path belongs to an engine other than this run's, such as a student's beside it."""
    own = (os.environ.get("LABKIT_ROOT", "/var/lib/labkit"), os.environ.get("LABKIT_RUN", "/run/labkit"))
    return place.startswith(("/var/lib/labkit", "/run/labkit")) and not place.startswith(
        tuple(f"{directory}/" for directory in own)
    )
