"""layers: a directory becomes a tar stream: the same directory gives the same bytes.

Chapter 7. layer.md of image-spec: whiteouts and opaque directories, made from what
overlay leaves in an upper directory. Times are whole seconds, as Docker writes them.
"""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import Invalid
from labkit.images import tar, tree
from labkit.images.extract import BOOKKEEPING, OPAQUE, WHITEOUT, is_whiteout
from labkit.images.streams import BLOCK_BYTES, Hasher
from labkit.images.tar import Member
from labkit.kernel import beneath
from labkit.kernel.beneath import Resolve

_HOW = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_XDEV
_KINDS = {
    stat.S_IFLNK: tar.SYMLINK,
    stat.S_IFCHR: tar.CHARACTER,
    stat.S_IFBLK: tar.BLOCKDEVICE,
    stat.S_IFDIR: tar.DIRECTORY,
    stat.S_IFIFO: tar.FIFO,
}
Write = Callable[[bytes], object]

_ELSEWHERE = ("trusted.overlay.redirect", "trusted.overlay.metacopy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was packed: the digest and size of the tar, and the sizes of the regular files in it."""

    digest: str
    size_bytes: int
    content_bytes: int


def pack(directory: "Path | int", write: Write | None = None, *, whole: bool = False) -> Packed:
    """Write a layer's directory, or one that is open, as a tar; without `write` for its digest alone.

    With `whole` it is the root of a container, in which a name such as .wh.x has no meaning.
    """
    top = (
        os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if isinstance(directory, Path)
        else directory
    )
    try:
        with Hasher() as hasher:
            packing = _Packing(top, write, hasher, whole)
            packing.run()
            return Packed(
                digest=hasher.digest(), size_bytes=hasher.size_bytes, content_bytes=packing.content_bytes
            )
    finally:
        if isinstance(directory, Path):
            os.close(top)


class _Packing:
    def __init__(self, top: int, write: Write | None, hasher: Hasher, whole: bool) -> None:
        self.top = top
        self.write = write
        self.hasher = hasher
        self.whole = whole
        self.content_bytes = 0
        self._buffer = bytearray()
        self._linked: dict[tuple[int, int], bytes] = {}

    def run(self) -> None:
        """One directory after the other, each opened once: first what is in it, then those below."""
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            here = beneath.open_below(self.top, path, os.O_RDONLY | os.O_DIRECTORY, _HOW)
            try:
                self._directory(here, path)
                below = [path + name for name in self._files(here, path)]
            finally:
                os.close(here)
            waiting += reversed(below)
        self._add(tar.END)
        self._flush()

    def _directory(self, here: int, path: bytes) -> None:
        status = os.fstat(here)
        xattrs, opaque = self._attributes(here)
        plain = (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o755, 0, 0)
        if path or xattrs or not plain:  # the root goes without saying, as long as it is an ordinary one
            self._add(tar.head(_member(path or b"./", status, tar.DIRECTORY, xattrs)))
        if opaque and not self.whole:
            self._add(tar.head(Member(name=path + OPAQUE, mode=0o600)))

    def _files(self, here: int, path: bytes) -> Iterator[bytes]:
        """Pack what is no directory, in order of names; yield the directories' names, with a / at the end."""
        for name in sorted(map(os.fsencode, os.listdir(here))):
            if name.startswith(WHITEOUT) and not self.whole:
                raise Invalid(f"{tar.told(path + name)}: a layer would say by this name that another is gone")
            status = os.lstat(name, dir_fd=here)
            kind = stat.S_IFMT(status.st_mode)
            if kind == stat.S_IFDIR:
                yield name + b"/"
            elif kind == stat.S_IFSOCK:
                continue  # a name for a process that listens: no archive can keep it
            elif is_whiteout(status):
                if not self.whole:
                    self._add(tar.head(Member(name=path + WHITEOUT + name, mode=0o600)))
            else:
                self._one(here, path + name, name, status)

    def _one(self, here: int, path: bytes, name: bytes, status: os.stat_result) -> None:
        if status.st_nlink > 1:
            first = self._linked.setdefault((status.st_dev, status.st_ino), path)
            if first is not path:
                self._add(tar.head(_member(path, status, tar.LINK, {}, target=first)))
                return
        if stat.S_ISREG(status.st_mode):
            self._file(here, path, name)
            return
        xattrs, _ = self._attributes(b"/proc/self/fd/%d/%b" % (here, name))
        target = os.readlink(name, dir_fd=here) if stat.S_ISLNK(status.st_mode) else b""
        self._add(tar.head(_member(path, status, _KINDS[stat.S_IFMT(status.st_mode)], xattrs, target=target)))

    def _file(self, here: int, path: bytes, name: bytes) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        content = os.open(name, flags, dir_fd=here)
        try:
            status = os.fstat(content)
            if not stat.S_ISREG(status.st_mode):
                raise Invalid(f"{tar.told(path)}: it was changed while it was read")
            xattrs, _ = self._attributes(content)
            self._add(tar.head(_member(path, status, tar.FILE, xattrs, size=status.st_size)))
            self._content(content, status.st_size)
        finally:
            os.close(content)
        self.content_bytes += status.st_size

    def _content(self, content: int, size: int) -> None:
        """Exactly `size` bytes, whatever a writer does meanwhile: what is missing is zeros, as in GNU tar."""
        left = size
        if size > BLOCK_BYTES // 4:
            self._flush()
            while left and (block := os.read(content, min(left, BLOCK_BYTES))):
                self._put(block)
                left -= len(block)
        while left and (block := os.read(content, left if left < BLOCK_BYTES else BLOCK_BYTES)):
            self._add(block)
            left -= len(block)
        while left:
            zeros = bytes(min(left, BLOCK_BYTES))
            self._add(zeros)
            left -= len(zeros)
        if short := tar.padding(size):
            self._add(bytes(short))

    def _attributes(self, place: "int | bytes") -> tuple[dict[str, bytes], bool]:
        """The attributes that belong into an archive, and whether overlay marked a directory as opaque."""
        if not (names := os.listxattr(place, follow_symlinks=isinstance(place, int))):
            return {}, False
        if away := [name for name in names if name in _ELSEWHERE]:
            raise Invalid(f"{away[0]} says that the content is elsewhere: this directory is no plain layer")
        kept = [name for name in names if not name.startswith(BOOKKEEPING)]
        follow = isinstance(place, int)
        found = {name: os.getxattr(place, name, follow_symlinks=follow) for name in kept}
        opaque = tree.OPAQUE in names and os.getxattr(place, tree.OPAQUE, follow_symlinks=follow) == b"y"
        return found, opaque

    def _add(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) >= BLOCK_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            self._put(bytes(self._buffer))
            self._buffer.clear()

    def _put(self, block: bytes) -> None:
        self.hasher.update(block)
        if self.write is not None:
            self.write(block)


def _member(
    path: bytes,
    status: os.stat_result,
    kind: bytes,
    xattrs: dict[str, bytes],
    *,
    target: bytes = b"",
    size: int = 0,
) -> Member:
    device = kind in (tar.CHARACTER, tar.BLOCKDEVICE)
    return Member(
        name=path,
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=size,
        mtime_ns=status.st_mtime_ns // 10**9 * 10**9,
        target=target,
        major=os.major(status.st_rdev) if device else 0,
        minor=os.minor(status.st_rdev) if device else 0,
        xattrs=xattrs,
    )
