"""extract: a tar stream becomes a layer's directory, and touches nothing else.

Chapter 7. layer.md of image-spec, openat2(2), docs.kernel.org/filesystems/overlayfs.html.
The result is in overlay's form: a whiteout is a character device 0:0, an opaque
directory has trusted.overlay.opaque. Every name is resolved by the kernel with the
directory as its root, every file is new when it is opened, no device is ever opened.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import Invalid
from labkit.images import tar
from labkit.images.streams import Ahead, Hasher
from labkit.images.tar import Cursor, Member
from labkit.images.tree import Tree

if TYPE_CHECKING:
    from labkit.images.compression import Source

WHITEOUT = b".wh."
AUFS = b".wh..wh."
OPAQUE = b".wh..wh..opq"

BOOKKEEPING = ("trusted.overlay.", "security.selinux", "security.ima", "security.evm")
"""Attributes that speak of another machine, or would tell overlay to look elsewhere: never taken over."""

_OUR_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_HOLE_BYTES = 1 << 16
_ZEROS = bytes(1 << 19)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an archive may become before it is taken for a bomb."""

    bytes: int = 64 << 30
    members: int = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was applied. `digest` is that of the stream, the layer's diff id; "" where nobody asked."""

    digest: str
    tar_bytes: int
    content_bytes: int  # of the regular files
    members: int


def apply(
    source: "Source", directory: Path, *, limits: Limits | None = None, hashing: bool = True
) -> Applied:
    """Extract an uncompressed tar stream into a directory of its own, which is empty at first.

    Invalid names the member that an archive was refused for; the directory is to
    be thrown away then.
    """
    limits = limits or Limits()
    with Ahead(source.read) as ahead, Hasher() as hasher, Tree(directory) as tree:

        def next_block() -> bytes:
            block = ahead.next()
            if hashing and block:
                hasher.update(block)
            return block

        cursor = Cursor(next_block, limits.bytes)
        work = _Extraction(tree, cursor, limits)
        work.run()
        tree.finish()
        return Applied(
            digest=hasher.digest() if hashing else "",
            tar_bytes=limits.bytes - cursor.left,
            content_bytes=work.content_bytes,
            members=work.members,
        )


class _Extraction:
    def __init__(self, tree: Tree, cursor: Cursor, limits: Limits) -> None:
        self.tree = tree
        self.cursor = cursor
        self.limits = limits
        self.members = self.content_bytes = 0

    def run(self) -> None:
        """Every member, then what pads the archive: it belongs to the digest."""
        for member in tar.members(self.cursor):
            self.members += 1
            if self.members > self.limits.members:
                raise Invalid(f"{member}: the archive has more than {self.limits.members} members")
            if max(member.size, member.real_size) > self.cursor.left:
                raise Invalid(
                    f"{member}: {max(member.size, member.real_size)} bytes are more than is allowed"
                )
            try:
                self._one(member)
            except OSError as error:
                if error.errno in _OUR_TROUBLE:
                    raise
                raise Invalid(f"{member}: {error.strerror}") from None
            except (ValueError, OverflowError) as error:
                raise Invalid(f"{member}: {error}") from None
        self.cursor.drain()

    def _one(self, member: Member) -> None:
        parts = path_of(member.name)
        if not self._is_a_file(parts, member):
            self.cursor.skip(member.size)
            self.cursor.skip_padding(member.size)
            return
        _check(member)
        if not parts:
            self._root(member)
            return
        parent, name = self.tree.parent(b"/".join(parts[:-1])), parts[-1]
        if member.kind == tar.DIRECTORY:
            self._directory(parent, b"/".join(parts), name, member)
        elif member.kind == tar.FILE:
            self._file(parent, name, member)
        elif member.kind == tar.LINK:
            self._link(parent, name, member)
        else:
            self._special(parent, name, member)

    def _is_a_file(self, parts: list[bytes], member: Member) -> bool:
        """Whether it is one, and not a whiteout, which is applied here."""
        if WHITEOUT not in member.name or not any(part.startswith(WHITEOUT) for part in parts):
            return True
        *above, last = parts
        if any(part.startswith(AUFS) for part in above):
            return False  # what aufs noted for itself
        if any(part.startswith(WHITEOUT) for part in above):
            raise Invalid(f"{member}: something below a whiteout")
        folder = b"/".join(above)
        if last == OPAQUE:
            self.tree.make_opaque(folder)
        elif not last.startswith(AUFS):
            hidden = last[len(WHITEOUT) :]
            if hidden in (b"", b".", b".."):
                raise Invalid(f"{member}: a whiteout of nothing that can be")
            self.tree.whiteout(folder, hidden)
        return False

    def _root(self, member: Member) -> None:
        if member.kind != tar.DIRECTORY:
            raise Invalid(f"{member}: the root must be a directory")
        self.tree.set_root(member.mode, member.uid, member.gid, member.mtime_ns)
        for name, value in _attributes(member):
            os.setxattr(self.tree.root, name, value)

    def _directory(self, parent: int, path: bytes, name: bytes, member: Member) -> None:
        self.tree.directory(parent, path, name)
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        os.chmod(name, member.mode, dir_fd=parent)  # a directory, as the line before made sure
        self._attributes(parent, name, member)
        self.tree.remember_time(path, member.mtime_ns)

    def _file(self, parent: int, name: bytes, member: Member) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            new = os.open(name, flags, 0o600, dir_fd=parent)
        except FileExistsError:
            self.tree.remove(parent, name)
            new = os.open(name, flags, 0o600, dir_fd=parent)
        try:
            if member.segments is None:
                self._content(new, member.size)
                self.content_bytes += member.size
            else:
                self._sparse(new, member)
                self.content_bytes += member.real_size
            self.cursor.skip_padding(member.size)
            os.fchown(new, member.uid, member.gid)
            for key, value in _attributes(member):
                os.setxattr(new, key, value)
            os.fchmod(new, member.mode)  # after the owner, whose change takes setuid away
            os.utime(new, ns=(member.mtime_ns, member.mtime_ns))
        finally:
            os.close(new)

    def _content(self, new: int, size: int) -> None:
        """Content as it comes; a long run of zeros becomes a hole."""
        hole = False
        for piece in self.cursor.pieces(size):
            if len(piece) >= _HOLE_BYTES and not piece[0] and piece == _ZEROS[: len(piece)]:
                os.lseek(new, len(piece), os.SEEK_CUR)
                hole = True
                continue
            _write(new, piece)
            hole = False
        if hole:
            os.ftruncate(new, size)

    def _sparse(self, new: int, member: Member) -> None:
        for offset, length in member.segments or ():
            os.lseek(new, offset, os.SEEK_SET)
            for piece in self.cursor.pieces(length):
                _write(new, piece)
        os.ftruncate(new, member.real_size)

    def _link(self, parent: int, name: bytes, member: Member) -> None:
        said = f"{member}: a hard link to {tar.told(member.target)!r}, which"
        parts = path_of(member.target)
        if not parts:
            raise Invalid(f"{said} is no file of this layer")
        folder, old = b"/".join(parts[:-1]), parts[-1]
        try:
            source = self.tree.parent(folder, make=False)
            found = os.lstat(old, dir_fd=source)
            if stat.S_ISDIR(found.st_mode) or is_whiteout(found):
                raise Invalid(f"{said} is no file")
            try:
                _hard_link(source, old, parent, name)
            except FileExistsError:
                if os.path.samestat(found, os.lstat(name, dir_fd=parent)):
                    return  # a link to itself, or the same one twice
                self.tree.remove(parent, name)
                _hard_link(self.tree.parent(folder, make=False), old, parent, name)
        except FileNotFoundError:
            raise Invalid(f"{said} is not in this layer") from None

    def _special(self, parent: int, name: bytes, member: Member) -> None:
        try:
            self._make(parent, name, member)
        except FileExistsError:
            self.tree.remove(parent, name)
            self._make(parent, name, member)
        os.chown(name, member.uid, member.gid, dir_fd=parent, follow_symlinks=False)
        self._attributes(parent, name, member)
        if member.kind != tar.SYMLINK:
            os.chmod(name, member.mode, dir_fd=parent)
        os.utime(name, ns=(member.mtime_ns, member.mtime_ns), dir_fd=parent, follow_symlinks=False)

    def _make(self, parent: int, name: bytes, member: Member) -> None:
        if member.kind == tar.SYMLINK:
            os.symlink(member.target, name, dir_fd=parent)
        elif member.kind == tar.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            kind = stat.S_IFCHR if member.kind == tar.CHARACTER else stat.S_IFBLK
            os.mknod(name, kind | 0o600, os.makedev(member.major, member.minor), dir_fd=parent)

    def _attributes(self, parent: int, name: bytes, member: Member) -> None:
        for key, value in _attributes(member):
            os.setxattr(b"/proc/self/fd/%d/%b" % (parent, name), key, value, follow_symlinks=False)


def path_of(name: bytes) -> list[bytes]:
    """The parts of a member's name below the root: [] is the root itself.

    A leading / or ./ says nothing, as for Docker. ValueError where it leads up.
    """
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise ValueError("the name leads out of the archive")
    return parts


def is_whiteout(found: os.stat_result) -> bool:
    """Whether it is overlay's mark that a name of a lower layer is gone."""
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def _check(member: Member) -> None:
    """What the kernel would take in another sense than it was meant."""
    if max(member.uid, member.gid) >= (1 << 32) - 1:
        raise ValueError(f"its owner {member.uid}:{member.gid} is no number that an owner can have")
    if member.kind == tar.CHARACTER and member.major == member.minor == 0:
        raise ValueError("a character device 0:0 is what overlay takes for a whiteout")


def _attributes(member: Member) -> list[tuple[str, bytes]]:
    return [(name, value) for name, value in member.xattrs.items() if not name.startswith(BOOKKEEPING)]


def _hard_link(source: int, old: bytes, parent: int, new: bytes) -> None:
    os.link(old, new, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)


def _write(new: int, piece: "bytes | memoryview") -> None:
    written = os.write(new, piece)
    while written < len(piece):
        written += os.write(new, piece[written:])
