"""within: open a path below a root, symbolic links and all, and never leave that root.

Chapter 10. openat(2), symlink(7), path_resolution(7); openat2(2) RESOLVE_IN_ROOT
does the same for paths that are all there, and cannot make what is missing.

An image may have /var/run → /run, and one that means harm has /data → /etc.
Both links are read as text and followed from the root given. Each step opens one
name in the directory before it, and `..` goes back along these very descriptors:
so it stays true while another container renames things in a shared volume.
"""

import errno
import os
import stat
from collections.abc import Container
from contextlib import suppress

_MOST_LINKS = 40  # as the kernel has it, path_resolution(7)
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def open_within(
    root: "str | os.PathLike[str]", path: str, *, make: str = "", closed: Container[str] = ()
) -> tuple[int, str]:
    """A descriptor (O_PATH) of what is there, and its path inside once all links are followed.

    `make="directory"` or `"file"` makes what is missing, and the directories
    before it. Where `closed` names a directory inside, nobody gets in. OSError
    names the path as it was asked for.
    """
    steps = [os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    names: list[str] = []
    rest, links = _parts(path), 0
    try:
        while rest:
            name = rest.pop()
            if name == "..":
                if names:  # above the root is the root
                    os.close(steps.pop())
                    names.pop()
                continue
            step = _step(steps[-1], name, "directory" if make and rest else make)
            goal = _goal(step)
            if goal is None:
                steps.append(step)
                names.append(name)
                if f"/{'/'.join(names)}" in closed:
                    raise PermissionError(errno.EPERM, f"nothing can be opened inside /{'/'.join(names)}")
                continue
            os.close(step)
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if goal.startswith("/"):
                _back_to_the_root(steps, names)
            rest += _parts(goal)
        return os.dup(steps[-1]), "/" + "/".join(names)
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, path) from None
    finally:
        for step in steps:
            os.close(step)


def _parts(path: str) -> list[str]:
    """The names of a path, the last first: they are taken from the end."""
    return [part for part in reversed(path.split("/")) if part not in ("", ".")]


def _step(directory: int, name: str, make: str) -> int:
    try:
        return os.open(name, _STEP, dir_fd=directory)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # somebody else made it
        if make == "directory":
            os.mkdir(name, 0o755, dir_fd=directory)
        else:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=directory))
    return os.open(name, _STEP, dir_fd=directory)


def _goal(step: int) -> str | None:
    """Where a symbolic link leads; None where it is none."""
    return os.readlink("", dir_fd=step) if stat.S_ISLNK(os.fstat(step).st_mode) else None


def _back_to_the_root(steps: list[int], names: list[str]) -> None:
    while len(steps) > 1:
        os.close(steps.pop())
    names.clear()
