"""copying: COPY and ADD: put files of one tree into another, as Docker's rules have it.

Chapter 8. docs.docker.com/reference/dockerfile "COPY". The destination is the
root of an image that nobody runs: its links are followed as text and never lead out.
"""

import os
import posixpath
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from labkit.build import inside, sources
from labkit.build.ignore import Rules
from labkit.build.sources import Entry, Source, Stamp
from labkit.errors import Invalid, LabkitError

_MOST_FILE_BYTES = 1 << 20  # of passwd and group: more than any real one has
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What to copy, and to where."""

    sources: Sequence[Source]
    destination: str  # absolute; a slash at its end says that it is a directory
    keyword: str = "COPY"
    owner: str = ""  # user[:group] by name or number
    mode: int | None = None
    keeps_parents: bool = False
    excludes: Rules = field(default_factory=Rules)


def destination(working_directory: str, path: str) -> str:
    """Where a copy goes, seen from the working directory; a slash at the end stays."""
    is_directory = path.endswith(("/", "/.")) or path in (".", "")
    full = posixpath.normpath(posixpath.join(working_directory or "/", path))
    full = "/" + full.lstrip("/")
    return full + "/" if is_directory and full != "/" else full


def copy(root: int, request: Copy) -> None:
    """Do it, below the open directory `root`."""
    is_directory = request.destination.endswith("/")
    if len(request.sources) > 1 and not is_directory:
        raise Invalid(
            f"When using {request.keyword} with more than one source file, "
            "the destination must be a directory and end with a /"
        )
    owner = owner_of(root, request.owner) if request.owner else None
    into = _Writer(root, owner, request.mode)
    top = inside.real_path(root, request.destination)
    for source in request.sources:
        if request.keeps_parents:
            _with_parents(into, source, top, request.excludes)
        elif source.entry.is_directory:
            into.directory(source, top, request.excludes)
        else:
            _one_file(into, source, top, is_directory or into.is_directory(top))


def make_directory(root: int, path: str) -> None:
    """A directory with those above it, for WORKDIR: they belong to root."""
    _Writer(root, None, None).make_directories(path)


def _one_file(into: "_Writer", source: Source, top: str, below: bool) -> None:
    place = posixpath.join(top, posixpath.basename(source.name)) if below else top
    if below:
        place = inside.real_path(into.root, place)
    if into.is_directory(place):
        raise Invalid(f"cannot copy a file to /{place}, which is a directory")
    into.make_directories(posixpath.dirname(place))
    into.put(source, source.entry, place)
    into.finish()


def _with_parents(into: "_Writer", source: Source, top: str, excludes: Rules) -> None:
    """--parents: the directories above a source are made too, with the modes they have there."""
    parts = source.name.split("/")
    kept = parts[source.pivot :]
    into.make_directories(top)
    for depth in range(1, len(kept)):
        above = "/".join(parts[: source.pivot + depth])
        place = posixpath.join(top, *kept[:depth])
        entry = source.tree.entry(inside.real_path(source.tree.root, above))
        into.put(source, entry, inside.real_path(into.root, place))
    place = inside.real_path(into.root, posixpath.join(top, *kept))
    if source.entry.is_directory:
        into.directory(source, place, excludes)
    else:
        into.put(source, source.entry, place)
        into.finish()


class _Writer:
    """Makes entries below a root, with the owner and the mode that were asked for."""

    def __init__(self, root: int, owner: tuple[int, int] | None, mode: int | None) -> None:
        self.root, self.owner, self.mode = root, owner, mode
        self._links: dict[tuple[int, int, int], str] = {}
        self._times: list[tuple[str, int]] = []  # of directories: set last, what is put in changes them

    def is_directory(self, path: str) -> bool:
        """Whether a directory is there."""
        try:
            os.close(inside.open_at(self.root, path, os.O_PATH | os.O_DIRECTORY))
        except OSError:
            return False
        return True

    def make_directories(self, path: str, *, of_root: bool = False) -> None:
        """A directory with those above it; new ones get the owner that was asked for, or root."""
        owner = (0, 0) if of_root or self.owner is None else self.owner
        made = ""
        for part in path.split("/") if path else ():
            above, made = made, posixpath.join(made, part)
            with self._parent(above) as parent, suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=parent)
                os.chown(part, *owner, dir_fd=parent, follow_symlinks=False)
                os.chmod(part, 0o755, dir_fd=parent)
        if not self.is_directory(path):
            raise Invalid(f"cannot copy to /{path}: it is there and no directory")

    @contextmanager
    def _parent(self, path: str) -> Iterator[int]:
        descriptor = inside.open_at(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def directory(self, source: Source, top: str, excludes: Rules) -> None:
        """What is in a directory, into another one, which is made where it is missing."""
        if not self.is_directory(top):
            self.make_directories(top, of_root=True)  # only above a file do they get the file's owner
            self._own(top)
        for entry in sources.entries_of(source, excludes):
            below = sources.below(source, entry)
            if below != ".":
                self.put(source, entry, posixpath.join(top, below))
        self.finish()

    def _own(self, top: str) -> None:
        """A destination that is new gets the owner and the mode that were asked for."""
        with self._parent(top) as descriptor:
            if self.owner:
                os.fchown(descriptor, *self.owner)
            if self.mode is not None:
                os.fchmod(descriptor, self.mode)

    def put(self, source: Source, entry: Entry, place: str) -> None:
        """One entry, in the place of what is there; a directory joins one that is there."""
        if not place:
            return  # the root itself is there and stays as it is
        parent_path, name = posixpath.split(place)
        with self._parent(parent_path) as parent:
            kind = stat.S_IFMT(entry.status.st_mode)
            self._clear(parent, name, stays=kind == stat.S_IFDIR)
            if kind == stat.S_IFDIR:
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=parent)
            elif self._link_again(source, entry, place, parent, name):
                return
            elif kind == stat.S_IFREG:
                self._file(source, entry, parent, name)
            elif kind == stat.S_IFLNK:
                os.symlink(entry.target, name, dir_fd=parent)
            elif kind in (stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK):
                os.mknod(name, kind | 0o600, entry.status.st_rdev, dir_fd=parent)
            else:
                raise LabkitError(f"{entry.path} in {source.tree.name} is a socket, which cannot be copied")
            self._dress(source, entry, parent, name, place)

    def _clear(self, parent: int, name: str, *, stays: bool) -> None:
        """Take away what is in the way; with `stays`, a directory is not."""
        try:
            there = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(there.st_mode):
            os.unlink(name, dir_fd=parent)
        elif not stays:
            shutil.rmtree(name, dir_fd=parent)

    def _link_again(self, source: Source, entry: Entry, place: str, parent: int, name: str) -> bool:
        """Whether it was one more name of a file that has been copied already."""
        if entry.status.st_nlink < 2:
            return False
        key = (source.tree.root, entry.status.st_dev, entry.status.st_ino)
        first = self._links.setdefault(key, place)
        if first == place:
            return False
        with self._parent(posixpath.dirname(first)) as other:
            os.link(
                posixpath.basename(first), name, src_dir_fd=other, dst_dir_fd=parent, follow_symlinks=False
            )
        return True

    def _file(self, source: Source, entry: Entry, parent: int, name: str) -> None:
        reading = source.tree.open(entry.path)
        try:
            writing = os.open(
                name,
                os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=parent,
            )
            try:
                copy_data(reading, writing, entry.status.st_size)
            finally:
                os.close(writing)
            summed: Stamp | None = source.tree.stamp(entry.path)
            if summed is not None and summed != sources.stamp_of(os.fstat(reading)):
                raise LabkitError(
                    f"{entry.path} in {source.tree.name} was changed during the build", hint="build it again"
                )
        finally:
            os.close(reading)

    def _dress(self, source: Source, entry: Entry, parent: int, name: str, place: str) -> None:
        """Owner, mode, attributes, time, in the order in which none undoes another."""
        kept = (entry.status.st_uid, entry.status.st_gid) if source.tree.keeps_owners else (0, 0)
        os.chown(name, *(self.owner or kept), dir_fd=parent, follow_symlinks=False)
        if stat.S_ISLNK(entry.status.st_mode):
            os.utime(name, ns=_times(entry), dir_fd=parent, follow_symlinks=False)
            return
        mode = stat.S_IMODE(entry.status.st_mode) if self.mode is None else self.mode
        os.chmod(name, mode, dir_fd=parent)
        for key, value in sources.attributes(source.tree, entry):
            os.setxattr(f"/proc/self/fd/{parent}/{name}", key, value, follow_symlinks=False)
        if entry.is_directory:
            self._times.append((place, entry.status.st_mtime_ns))
        else:
            os.utime(name, ns=_times(entry), dir_fd=parent)

    def finish(self) -> None:
        """Set the times of directories, now that nothing more is put into them."""
        for place, time_ns in reversed(self._times):
            with self._parent(place) as descriptor:
                os.utime(descriptor, ns=(time_ns, time_ns))
        self._times.clear()


def _times(entry: Entry) -> tuple[int, int]:
    return entry.status.st_mtime_ns, entry.status.st_mtime_ns


def copy_data(reading: int, writing: int, size_bytes: int) -> None:
    """The content from one descriptor to another, without its holes, sendfile(2)."""
    os.truncate(writing, size_bytes)
    end = 0
    while end < size_bytes:
        try:
            begin = os.lseek(reading, end, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: nothing but a hole follows
        end = os.lseek(reading, begin, os.SEEK_HOLE)
        os.lseek(writing, begin, os.SEEK_SET)
        while begin < end:
            sent = os.sendfile(writing, reading, begin, end - begin)
            if not sent:
                raise LabkitError("a file became shorter while it was copied", hint="build it again")
            begin += sent


def owner_of(root: int, text: str) -> tuple[int, int]:
    """Uid and gid of user[:group], with names looked up in the image's own passwd and group.

    A user alone brings the group of its line in passwd; a number alone is both.
    """
    user, colon, group = text.partition(":")
    if not user or (colon and not group) or ":" in group:
        raise Invalid(f"invalid chown string format: {text}", hint="user, or user:group")
    rows = _rows(root, "etc/passwd", 7)
    row = next((row for row in rows if row[0] == user), None) if not user.isdigit() else None
    if row is None and not user.isdigit():
        raise Invalid(f"can't find uid for user {user}: no such user: {user}")
    uid = int(row[2]) if row else int(user)
    if not colon:
        return _checked(uid), int(row[3]) if row else _checked(uid)
    if group.isdigit():
        return _checked(uid), _checked(int(group))
    found = next((row for row in _rows(root, "etc/group", 4) if row[0] == group), None)
    if found is None:
        raise Invalid(f"can't find gid for group {group}: no such group: {group}")
    return _checked(uid), int(found[2])


def _checked(number: int) -> int:
    if number >= (1 << 32) - 1:
        raise Invalid(f"{number} is no number that an owner can have")
    return number


def _rows(root: int, path: str, columns: int) -> list[list[str]]:
    text = inside.read_text(root, path, _MOST_FILE_BYTES)
    rows = (line.split(":") for line in text.splitlines())
    numbers = (2,) if columns == 4 else (2, 3)
    return [row for row in rows if len(row) == columns and all(_is_number(row[n]) for n in numbers)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 11
