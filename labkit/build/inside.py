"""inside: find and open paths of a tree as if it were `/`, so that no link of it leads out.

Chapter 9. openat2(2), path_resolution(7). A path is first made real: links are
read and followed below the root. What is opened then may have no link in it at
all, and the kernel holds it to that, whatever is renamed meanwhile.
"""

import os
import stat

from labkit.kernel.beneath import Resolve, open_below

_MOST_LINKS = 40  # as the kernel
_HELD = Resolve.BENEATH | Resolve.NO_SYMLINKS


def open_at(root: int, path: str, flags: int, mode: int = 0) -> int:
    """A descriptor of a path below `root` in which no part is a link; ELOOP or EXDEV otherwise."""
    return open_below(root, os.fsencode(path), flags, _HELD, mode)


def real_path(root: int, path: str) -> str:
    """Where a path leads if `root` is `/`: no link is left in it, and `..` stays inside.

    Parts that are not there are taken as they are written. The result is
    relative to `root`, "" for itself.
    """
    done: list[str] = []
    todo = path.split("/")[::-1]
    links = 0
    while todo:
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            done = done[:-1]
            continue
        target = _target(root, "/".join(done), part)
        if target is None:
            done.append(part)
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(40, "too many levels of symbolic links", path)
        done = [] if target.startswith("/") else done
        todo += target.split("/")[::-1]
    return "/".join(done)


def _target(root: int, parent: str, name: str) -> str | None:
    """What a link says; None where there is no link."""
    try:
        directory = open_at(root, parent, os.O_PATH | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode):
            return os.readlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)
    return None


def read_text(root: int, path: str, most_bytes: int) -> str:
    """The beginning of a small file, with links followed; "" where there is none."""
    try:
        descriptor = open_at(root, real_path(root, path), os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return ""
    with open(descriptor, "rb") as reader:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return reader.read(most_bytes).decode(errors="replace")
