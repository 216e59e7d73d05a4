"""memory: have the pages that a fork shares before they are needed.

Chapter 6. madvise(2) MADV_POPULATE_READ and MADV_POPULATE_WRITE, proc_pid_maps(5), fork(2).
"""

import ctypes
from collections.abc import Iterator
from pathlib import Path

from labkit.kernel import libc

_POPULATE_READ, _POPULATE_WRITE = 22, 23


def populate() -> None:
    """Copy what this process may write, map what it may read: no page fault waits for that later.

    After a fork each first write to a page costs a fault and a copy, in both
    processes. One that waits anyway does it at once. It only saves time: before
    Linux 5.14 the kernel knows no such advice, and nothing is lost.
    """
    for start, end, advice in _regions(Path("/proc/self/maps").read_text()):
        libc._libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)


def _regions(maps: str) -> Iterator[tuple[int, int, int]]:
    """Private memory with the advice that suits it; what the kernel itself maps is left alone."""
    for line in maps.splitlines():
        place, rights, _, _, _, *name = line.split(None, 5)
        if rights[3] != "p" or rights[0] != "r" or "".join(name).startswith("[v"):
            continue
        start, end = (int(number, 16) for number in place.split("-"))
        yield start, end, _POPULATE_WRITE if rights[1] == "w" else _POPULATE_READ
