"""tree: the directory that a layer is extracted into, as descriptors, and what overlay wants in it.

Chapter 7. openat2(2), mknod(2), docs.kernel.org/filesystems/overlayfs.html: whiteouts, opaque directories.
"""

import os
import stat
from pathlib import Path
from types import TracebackType
from typing import Self

from labkit.errors import Invalid
from labkit.images import tar
from labkit.kernel import beneath, trees
from labkit.kernel.beneath import Resolve

OPAQUE = "trusted.overlay.opaque"

_MOST_OPEN = 64
_MOST_NAMES_BYTES = 64 << 20
_FLAGS = os.O_PATH | os.O_DIRECTORY
_HOW = Resolve.IN_ROOT | Resolve.NO_MAGICLINKS | Resolve.NO_XDEV


class Tree:
    """A directory as the root of all names: links in it lead to nowhere else."""

    def __init__(self, directory: Path) -> None:
        self.root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._open: dict[bytes, int] = {}
        self._times: list[tuple[bytes, int]] = []  # set last: what is put in changes a directory's time
        self._names_bytes = 0
        self._root_time_ns = 0
        self._mode = 0o755
        self._last: tuple[bytes, int] = (b"", self.root)

    def parent(self, path: bytes, *, make: bool = True) -> int:
        """The directory of that path, to be used soon; with `make` it is made where it is missing."""
        if path == self._last[0]:
            return self._last[1]
        found = self._open.pop(path, None)
        if found is not None:
            self._open[path] = found  # the latest: who holds two of them, holds the two that are closed last
        else:
            try:
                found = self._keep(path, beneath.open_below(self.root, path, _FLAGS, _HOW))
            except (FileNotFoundError, NotADirectoryError):
                if not make:
                    raise
                found = self._make_all(path)
        self._last = (path, found)
        return found

    def _keep(self, path: bytes, descriptor: int) -> int:
        if len(self._open) >= _MOST_OPEN:
            os.close(self._open.pop(next(iter(self._open))))
        self._open[path] = descriptor
        return descriptor

    def _make_all(self, path: bytes) -> int:
        """Make what is missing above a member that came without its parents, as of no time at all."""
        parts = path.split(b"/")
        for depth in range(1, len(parts) + 1):
            here = b"/".join(parts[:depth])
            above = self.parent(b"/".join(parts[: depth - 1]), make=False) if depth > 1 else self.root
            found = self._status(above, parts[depth - 1])
            if found is None or _is_whiteout(found):
                self.directory(above, here, parts[depth - 1])
                os.chmod(parts[depth - 1], 0o755, dir_fd=above)
                self.remember_time(here, 0)
        return self.parent(path, make=False)

    @staticmethod
    def _status(parent: int, name: bytes) -> os.stat_result | None:
        try:
            return os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return None

    def directory(self, parent: int, path: bytes, name: bytes) -> None:
        """Make a directory, or keep the one that is there; one in the place of a whiteout is opaque."""
        try:
            os.mkdir(name, 0o700, dir_fd=parent)
            return
        except FileExistsError:
            there = os.lstat(name, dir_fd=parent)
        if stat.S_ISDIR(there.st_mode):
            return
        self.remove(parent, name)
        os.mkdir(name, 0o700, dir_fd=parent)
        if _is_whiteout(there):
            self.make_opaque(path)

    def make_opaque(self, path: bytes) -> None:
        """Let nothing of the layers below show in a directory."""
        os.setxattr(b"/proc/self/fd/%d" % self.parent(path), OPAQUE, b"y")

    def whiteout(self, folder: bytes, name: bytes) -> None:
        """Hide a name of the layers below; what this layer has by that name stays."""
        parent = self.parent(folder)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent)
            os.utime(name, ns=(0, 0), dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
                self.make_opaque(folder + b"/" + name if folder else name)

    def remove(self, parent: int, name: bytes) -> None:
        """Take away what is there, whatever it is: a later member has its name."""
        try:
            os.unlink(name, dir_fd=parent)
        except IsADirectoryError:
            trees.remove(Path(os.fsdecode(b"/proc/self/fd/%d/%b" % (parent, name))))
        self._forget(parent)

    def _forget(self, but: int) -> None:
        """The descriptors that were kept may be of what is gone."""
        for path, descriptor in list(self._open.items()):
            if descriptor != but:
                os.close(self._open.pop(path))
        self._last = (b"", self.root)

    def set_root(self, mode: int, uid: int, gid: int, mtime_ns: int) -> None:
        """Owner, and at the end mode and time, of the root itself."""
        os.fchown(self.root, uid, gid)
        self._mode, self._root_time_ns = mode, mtime_ns

    def remember_time(self, path: bytes, mtime_ns: int) -> None:
        """The time a directory shall have in the end."""
        self._names_bytes += len(path) + 100
        if self._names_bytes > _MOST_NAMES_BYTES:
            raise Invalid(f"{tar.told(path)}: the archive has more directories than is allowed")
        self._times.append((path, mtime_ns))

    def finish(self) -> None:
        """Set what would have been changed, or in the way, before."""
        for path, mtime_ns in self._times:
            folder, _, name = path.rpartition(b"/")
            try:
                parent = self.parent(folder, make=False)
                os.utime(name, ns=(mtime_ns, mtime_ns), dir_fd=parent, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later member took its place
            except OverflowError:
                raise Invalid(f"{tar.told(path)}: a time that no file can have") from None
        os.fchmod(self.root, self._mode)
        os.utime(self.root, ns=(self._root_time_ns, self._root_time_ns))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for descriptor in (self.root, *self._open.values()):
            os.close(descriptor)


def _is_whiteout(found: os.stat_result) -> bool:
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0
