"""undo: how each kind of kernel object that a ledger names is removed, and only that very one.

Every function is happy to be called twice: its answer is whether the object was still there.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from labkit.kernel import cgroups, interfaces, mounts, nft, process, trees
from labkit.ledger import MARK, Entry


def marked(owner: str) -> Iterator[int]:
    """The processes that carry an owner's mark in the environment they were started with."""
    wanted = f"{MARK}={owner}".encode()
    for pid in os.listdir("/proc"):  # noqa: PTH208
        if not pid.isdigit() or int(pid) == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended while we looked
        if wanted in environment:
            yield int(pid)


def end_marked(owner: str, timeout_seconds: float = 5.0) -> list[int]:
    """Kill an owner's marked processes and wait until none is left; return their pids."""
    ended: list[int] = []
    deadline = time.monotonic() + timeout_seconds
    while pids := list(marked(owner)):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"processes {pids} of {owner} do not die; they may wait for a disk or a debugger"
            )
        for pid in pids:
            try:
                process.kill(pid, process.started_at(pid))
            except ProcessLookupError:
                continue
            if pid not in ended:
                ended.append(pid)
        time.sleep(0.005)
    return ended


def _end_marked(entry: Entry) -> bool:
    return bool(end_marked(entry.name))


def _end_process(entry: Entry) -> bool:
    return process.kill(int(entry.name), entry.start_ticks, signal.SIGKILL)


def _unmount(entry: Entry) -> bool:
    found = False
    while any(mount.mount_point == entry.name for mount in mounts.mounts()):
        mounts.unmount(entry.name, mounts.DETACH)
        found = True
    return found


def _remove_cgroup(entry: Entry) -> bool:
    return cgroups.remove_everywhere(entry.name)


def _remove_link(entry: Entry) -> bool:
    return interfaces.delete(entry.name)


def _remove_netns(entry: Entry) -> bool:
    return Path("/run/netns", entry.name).exists() and _must("ip", "netns", "delete", entry.name)


def _remove_table(entry: Entry) -> bool:
    family, _, table = entry.name.partition(" ")
    if not nft.has_table(family, table):
        return False
    nft.run(f"delete table {family} {table}")
    return True


def _remove_element(entry: Entry) -> bool:
    family, table, collection, element = entry.name.split(" ", 3)
    return nft.remove_element(family, table, collection, element)


def _remove_tree(entry: Entry) -> bool:
    directory = Path(entry.name)
    inside = [m.mount_point for m in mounts.mounts() if Path(m.mount_point).is_relative_to(directory)]
    if inside:
        raise OSError(16, "something is mounted in it, and a removal would reach through", inside[0])
    if directory.is_dir() and not directory.is_symlink():
        return trees.remove(directory)
    there = os.path.lexists(directory)
    directory.unlink(missing_ok=True)
    return there


def loop_devices(file: str) -> list[str]:
    """The loop devices behind which a file is: their numbers are known only once they are there."""
    return _output("losetup", "--noheadings", "--output", "NAME", "--associated", file).split()


def _detach_loop(entry: Entry) -> bool:
    devices = loop_devices(entry.name)
    return bool(devices) and all(_must("losetup", "--detach", device) for device in devices)


UNDO: dict[str, Callable[[Entry], bool]] = {
    "process": _end_process,  # name: pid
    "marked": _end_marked,  # name: an owner; every process that carries its mark
    "mount": _unmount,  # name: where
    "cgroup": _remove_cgroup,  # name: its path below the hierarchies' roots
    "link": _remove_link,  # name: the interface
    "netns": _remove_netns,  # name: below /run/netns
    "nft": _remove_table,  # name: family and table
    "element": _remove_element,  # name: family, table, set or map, and the element with its value
    "tree": _remove_tree,  # name: a directory or file
    "loop": _detach_loop,  # name: the file that a loop device makes a disk of
}
"""How each kind is undone; the answer is whether it was still there."""


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _must(*command: str) -> bool:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return True
