"""lock: adders hold it together, the collector alone; the kernel takes it from whoever dies.

Chapter 7. flock(2). Whoever makes, reads or runs an image holds it shared, so what
has no record yet is not taken for garbage, and what is in use is not removed.
An adder leaves a mark, by which the next start sees that there may be something left.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.paths import Paths


@contextmanager
def shared(paths: Paths) -> Iterator[None]:
    """Nothing is collected while the block runs."""
    descriptor = _open(paths)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def adding(paths: Paths) -> Iterator[None]:
    """The same for who makes something: if it is killed, the next start looks for what is left."""
    with shared(paths):
        mark(paths).touch(mode=0o600)
        yield


def mark(paths: Paths) -> Path:
    """Is there where something was added since the last collection."""
    return paths.root / "images.unsettled"


@contextmanager
def alone(paths: Paths, *, wait: bool = False) -> Iterator[bool]:
    """Whether nobody adds or uses anything; in the block nobody can begin to. With `wait` it always is so."""
    descriptor = _open(paths)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(descriptor)


def _open(paths: Paths) -> int:
    return os.open(paths.root / "images.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
