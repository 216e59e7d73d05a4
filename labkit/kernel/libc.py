"""libc: call what Python's standard library leaves out.

syscalls(2), syscall(2), errno(3). One helper turns -1 into the OSError that
names the call and the path, and tells kernel.trace.
"""

import ctypes
import os

from labkit.kernel import trace

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.pivot_root.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)

# Numbers from 424 on are the same on every architecture (asm-generic/unistd.h).
OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, CLONE3, CLOSE_RANGE, MOUNT_SETATTR = (
    428, 429, 430, 431, 432, 435, 436, 442,
)  # fmt: skip


def call(name: str, *args: object, said: str = "", path: "os.PathLike[str] | str | None" = None) -> int:
    """Call a libc function; -1 becomes the matching OSError with the call's name and the path."""
    if not trace.listening():  # what a start calls fifty times should cost what it must
        return _checked(name, getattr(_libc, name)(*args), path)
    with trace.operation(name, said):
        return _checked(name, getattr(_libc, name)(*args), path)


def syscall(
    name: str, number: int, *args: object, said: str = "", path: "os.PathLike[str] | str | None" = None
) -> int:
    """Make a system call that libc may have no function for; errors as in `call`.

    Integers must be wrapped where their width matters: syscall(2) takes longs.
    """
    with trace.operation(name, said):
        return _checked(name, _libc.syscall(ctypes.c_long(number), *args), path)


def _checked(name: str, result: int, path: "os.PathLike[str] | str | None") -> int:
    if result != -1:
        return result
    errno = ctypes.get_errno()
    raise OSError(errno, f"{name}: {os.strerror(errno)}", None if path is None else os.fspath(path))
