"""beneath: open what lies below a directory, and never anything else, whatever its links say.

Chapter 7. openat2(2). The kernel resolves the whole path in one call: a name
that is swapped for a link in the middle of it changes nothing.
"""

import ctypes
import os
from enum import IntFlag

from labkit.kernel import libc

OPENAT2 = 437  # the same on every architecture


class Resolve(IntFlag):
    """How a path may be resolved, linux/openat2.h."""

    NO_XDEV = 0x01  # never into another mount
    NO_MAGICLINKS = 0x02  # never through a link of /proc
    NO_SYMLINKS = 0x04  # never through any link
    BENEATH = 0x08  # EXDEV where the path leads out
    IN_ROOT = 0x10  # as after chroot(2): `/` and `..` stop at the directory


class _OpenHow(ctypes.Structure):
    """struct open_how of linux/openat2.h."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("flags", "mode", "resolve"))


def open_below(directory: int, path: bytes, flags: int, resolve: Resolve, mode: int = 0) -> int:
    """A descriptor of `path` below the open `directory`. Linux 5.6."""
    how = _OpenHow(flags=flags | os.O_CLOEXEC, mode=mode, resolve=int(resolve))
    while True:
        try:
            return libc.syscall(
                "openat2", OPENAT2, ctypes.c_int(directory), ctypes.c_char_p(path or b"."),
                ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)),
                path=os.fsdecode(path),
            )  # fmt: skip
        except BlockingIOError:
            continue  # something was renamed while the kernel looked: it asks to be asked again
