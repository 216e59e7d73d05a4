"""locks: one at a time, whichever process asks, flock(2).

Chapter 6. The lock is on a file or directory that is there anyway; the kernel
drops it when its holder dies.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held(path: "os.PathLike[str] | str", *, shared: bool = False) -> Iterator[None]:
    """Hold a file or directory for the length of a block; shared, beside others who do."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
