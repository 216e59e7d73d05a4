"""copies: a second tree just like the first: owners, modes, links, attributes, holes and times.

Chapter 10. chown(2), utimensat(2), xattr(7), lseek(2) SEEK_DATA, sendfile(2).
"""

import errno
import os
import stat
from pathlib import Path

_OVERLAYS_OWN = "trusted.overlay."
"""What OverlayFS notes for itself in a layer, and means nothing elsewhere."""


def copy(source: Path, target: Path) -> None:
    """Make `target` a copy of the directory `source`. Nobody may change either meanwhile."""
    links: dict[tuple[int, int], Path] = {}  # files with several names, by where the first one was copied to
    directories, waiting = [], [(source, target)]
    target.mkdir(mode=0o700)
    while waiting:
        here, there = waiting.pop()
        directories.append((here, there))
        with os.scandir(here) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    (there / entry.name).mkdir(mode=0o700)
                    waiting.append((here / entry.name, there / entry.name))
                else:
                    _copy_entry(here / entry.name, there / entry.name, links)
    for here, there in reversed(directories):  # the deepest first: what is made in one changes its times
        copy_attributes(here, there)


def _copy_entry(source: Path, target: Path, links: dict[tuple[int, int], Path]) -> None:
    status = source.lstat()
    if status.st_nlink > 1:
        first = links.setdefault((status.st_dev, status.st_ino), target)
        if first is not target:
            os.link(first, target, follow_symlinks=False)
            return
    if stat.S_ISREG(status.st_mode):
        _copy_content(source, target, status.st_size)
    elif stat.S_ISLNK(status.st_mode):
        target.symlink_to(source.readlink())
    else:
        os.mknod(target, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev)
    copy_attributes(source, target)


def _copy_content(source: Path, target: Path, size_bytes: int) -> None:
    """The data between the holes, and the size."""
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(writing, size_bytes)
            end = 0
            while (begin := _next_data(reading, end)) < size_bytes:
                end = os.lseek(reading, begin, os.SEEK_HOLE)
                os.lseek(writing, begin, os.SEEK_SET)
                while begin < end:
                    sent = os.sendfile(writing, reading, begin, end - begin)
                    if not sent:
                        raise OSError(errno.EIO, "it became shorter while it was copied", str(source))
                    begin += sent
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _next_data(descriptor: int, offset: int) -> int:
    """Where the next data begin; a position beyond every file where none do."""
    try:
        return os.lseek(descriptor, offset, os.SEEK_DATA)
    except OSError as failure:
        if failure.errno != errno.ENXIO:
            raise
        return 1 << 63


def copy_attributes(source: Path, target: Path) -> None:
    """Owner, mode, extended attributes, times. Each step would undo what comes after it in another order."""
    status = source.lstat()
    os.chown(
        target, status.st_uid, status.st_gid, follow_symlinks=False
    )  # takes setuid bits and capabilities
    if not stat.S_ISLNK(status.st_mode):
        target.chmod(stat.S_IMODE(status.st_mode))
    for name in os.listxattr(source, follow_symlinks=False):
        if not name.startswith(_OVERLAYS_OWN):
            value = os.getxattr(source, name, follow_symlinks=False)
            os.setxattr(target, name, value, follow_symlinks=False)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)
