"""trees: remove a directory with all that is in it, whatever a container has made of it.

Chapter 5. unlinkat(2), renameat(2). No link is followed, no mount is entered,
and depth costs nothing: a directory that is found is moved up to the top first.
"""

import itertools
import os
import stat
from collections.abc import Iterator
from pathlib import Path


def remove(directory: Path) -> bool:
    """Remove a tree; whether it was there. OSError names a mount that is in the way."""
    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        device = os.fstat(top).st_dev
        mark = os.urandom(8).hex()  # no name that was put there beforehand is in the way of a move
        fresh = (f".{mark}-{number}" for number in itertools.count())
        while names := os.listdir(top):  # noqa: PTH208 (of a descriptor)
            for name in names:
                _remove_one(top, name, device, fresh, directory)
    finally:
        os.close(top)
    directory.rmdir()
    return True


def _remove_one(top: int, name: str, device: int, fresh: Iterator[str], directory: Path) -> None:
    """One entry of the top: a file goes, a directory is emptied upwards."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=top).st_mode):
        os.unlink(name, dir_fd=top)
        return
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top)
    try:
        if os.fstat(below).st_dev != device:
            raise OSError(16, "something is mounted here", str(directory / name))
        for entry in os.listdir(below):  # noqa: PTH208
            if stat.S_ISDIR(os.lstat(entry, dir_fd=below).st_mode):
                os.rename(entry, next(fresh), src_dir_fd=below, dst_dir_fd=top)
            else:
                os.unlink(entry, dir_fd=below)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=top)
