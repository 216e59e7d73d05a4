"""sources: the trees that COPY and ADD take files from, which files a pattern names, and their sums.

Chapters 8 and 9. A sum tells whether anything is different that a copy would
show: names, kinds, modes, owners, links, attributes and content, but no times.
"""

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from labkit.build import inside, patterns
from labkit.build.ignore import Rules
from labkit.errors import Invalid, LabkitError, NotFound

_UNKEPT = ("trusted.overlay.", "security.selinux")
_KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo", stat.S_IFCHR: "character", stat.S_IFBLK: "block",
}  # fmt: skip


class Stamp(NamedTuple):
    """By what a file that was changed between its sum and its copy is found out."""

    inode: int
    size_bytes: int
    changed_ns: int


class Entry(NamedTuple):
    """One file, directory or link of a tree."""

    path: str  # relative to the tree
    status: os.stat_result
    target: str = ""  # of a symbolic link

    @property
    def is_directory(self) -> bool:
        """Whether there may be more below it."""
        return stat.S_ISDIR(self.status.st_mode)


@dataclass(slots=True)
class Tree:
    """A directory that files are copied from. What its rules leave out is not there."""

    name: str  # in messages
    root: int  # a descriptor
    rules: Rules = field(default_factory=Rules)
    keeps_owners: bool = False  # a stage's files keep theirs, a context's belong to root
    is_closed: bool = True  # `..` beyond it is refused; else it stays at the top
    _sums: dict[str, tuple[Stamp, str]] = field(default_factory=dict)

    def entry(self, path: str) -> Entry:
        """One by its path, in which no part is a link; FileNotFoundError where it is left out."""
        if path and self.rules.leave_out(path) and not self.rules.lets_in_again:
            raise FileNotFoundError(2, "left out by .dockerignore", path)
        descriptor = inside.open_at(self.root, posixpath.dirname(path), os.O_PATH | os.O_DIRECTORY)
        try:
            return _entry(descriptor, posixpath.basename(path) or ".", path)
        finally:
            os.close(descriptor)

    def entries(self, path: str) -> list[Entry]:
        """What a directory holds, by name; left out is what no rule lets in again."""
        descriptor = inside.open_at(self.root, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            names = sorted(os.listdir(descriptor))  # noqa: PTH208 (of a descriptor)
            found = (_entry(descriptor, name, posixpath.join(path, name)) for name in names)
            return [entry for entry in found if self._is_there(entry)]
        finally:
            os.close(descriptor)

    def _is_there(self, entry: Entry) -> bool:
        if stat.S_IFMT(entry.status.st_mode) not in _KINDS:
            return False  # a socket means nothing without the process behind it
        return not self.rules.leave_out(entry.path) or (entry.is_directory and self.rules.lets_in_again)

    def walk(self, path: str) -> Iterator[Entry]:
        """An entry with all below it, each directory before what it holds.

        A directory that is left out comes only together with something that a
        rule lets in again.
        """
        waiting: list[Entry] = [self.entry(path)]
        pending: list[Entry] = []  # directories that are left out so far
        while waiting:
            entry = waiting.pop()
            if entry.is_directory:
                waiting += reversed(self.entries(entry.path))
                if entry.path and self.rules.leave_out(entry.path):
                    pending.append(entry)
                    continue
            yield from _needed(pending, entry.path)
            pending = []
            yield entry

    def open(self, path: str) -> int:
        """A descriptor to read a file from."""
        return inside.open_at(self.root, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)

    def digest(self, path: str) -> str:
        """SHA-256 of a file's content, read once in a build."""
        descriptor = self.open(path)
        with open(descriptor, "rb", buffering=0) as reader:
            stamp = stamp_of(os.fstat(descriptor))
            known = self._sums.get(path)
            if known is None or known[0] != stamp:
                known = stamp, hashlib.file_digest(reader, "sha256").hexdigest()
                self._sums[path] = known
        return known[1]

    def stamp(self, path: str) -> Stamp | None:
        """What a file was like when its sum was made."""
        known = self._sums.get(path)
        return known[0] if known else None

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.root)


def _needed(pending: list[Entry], path: str) -> list[Entry]:
    return [entry for entry in pending if path.startswith(entry.path + "/")]


def _entry(directory: int, name: str, path: str) -> Entry:
    status = os.lstat(name, dir_fd=directory)
    target = os.readlink(name, dir_fd=directory) if stat.S_ISLNK(status.st_mode) else ""
    return Entry(path, status, target)


def stamp_of(status: os.stat_result) -> Stamp:
    """Of a file as it is now."""
    return Stamp(status.st_ino, status.st_size, status.st_ctime_ns)


def open_tree(directory: "os.PathLike[str] | str", name: str, **options: object) -> Tree:
    """A tree from a path of the host."""
    root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Tree(name, root, **options)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Source:
    """One file or directory that a source of COPY names."""

    tree: Tree
    path: str  # with links followed
    name: str  # as it was written or matched: its last part is the file's name at the destination
    pivot: int = 0  # of --parents: how many leading parts of the name are not kept

    @property
    def entry(self) -> Entry:
        """What it is."""
        return self.tree.entry(self.path)


def select(tree: Tree, pattern: str) -> list[Source]:
    """The sources that one argument names; NotFound where there are none."""
    before, pivot, _ = pattern.partition("/./")
    kept_from = len([part for part in before.split("/") if part not in ("", ".")]) if pivot else 0
    plain = (
        patterns.clean("/" + pattern) if not tree.is_closed else patterns.clean(pattern.lstrip("/") or ".")
    )
    if plain == ".." or plain.startswith("../"):
        raise Invalid(f"forbidden path outside the build context: {pattern} ()")
    plain = "" if plain in (".", "/") else plain.lstrip("/")
    names = list(_matches(tree, plain)) if patterns.has_wildcards(plain) else [plain]
    found = [source for name in names if (source := _source(tree, name, kept_from))]
    if not found:
        where = (
            "file not found in build context or excluded by .dockerignore" if tree.is_closed else "not found"
        )
        raise NotFound(f"{where}: {pattern} in {tree.name}")
    return found


def _source(tree: Tree, name: str, pivot: int) -> Source | None:
    try:
        path = inside.real_path(tree.root, name)
        if path and not _holds_any(tree, path):
            return None
        tree.entry(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Source(tree, path, name, pivot)


def _holds_any(tree: Tree, path: str) -> bool:
    """Whether anything of a path is let in."""
    if not tree.rules.leave_out(path):
        return True
    return tree.rules.lets_in_again and next(tree.walk(path), None) is not None


def _matches(tree: Tree, pattern: str) -> Iterator[str]:
    """The paths that a pattern names, part by part: `*` never crosses a slash."""
    parts = pattern.split("/")
    found = [""]
    for part in parts:
        following = []
        for base in found:
            try:
                real = inside.real_path(tree.root, base)
                entries = tree.entries(real)
            except (FileNotFoundError, NotADirectoryError):
                continue
            names = (posixpath.basename(entry.path) for entry in entries)
            following += [posixpath.join(base, name) for name in names if patterns.match(part, name)]
        found = following
    yield from found


def content_sum(source: Source, excludes: Rules) -> str:
    """The sum of a source with all below it; times are left out."""
    total = hashlib.sha256()
    for entry in entries_of(source, excludes):
        total.update(_line(source, entry).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def entries_of(source: Source, excludes: Rules) -> Iterator[Entry]:
    """All of a source but what --exclude names."""
    for entry in source.tree.walk(source.path):
        if not excludes.rules or not excludes.leave_out(below(source, entry)):
            yield entry


def below(source: Source, entry: Entry) -> str:
    """An entry's path as seen from its source; a single file has its name."""
    if entry.path == source.path:
        return posixpath.basename(entry.path) if not entry.is_directory else "."
    return entry.path[len(source.path) :].lstrip("/")


def _line(source: Source, entry: Entry) -> str:
    status = entry.status
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise LabkitError(f"{entry.path} in {source.tree.name} is a socket, which cannot be copied")
    owner = f"{status.st_uid}:{status.st_gid}" if source.tree.keeps_owners else "0:0"
    parts = [below(source, entry), kind, f"{stat.S_IMODE(status.st_mode):o}", owner, entry.target]
    if kind == "file":
        parts += [str(status.st_size), source.tree.digest(entry.path)]
    if kind in ("character", "block"):
        parts.append(str(status.st_rdev))
    parts += [f"{name}={value.hex()}" for name, value in attributes(source.tree, entry)]
    return "\0".join(parts) + "\n"


def attributes(tree: Tree, entry: Entry) -> list[tuple[str, bytes]]:
    """The extended attributes that go with a copy, by name, xattr(7)."""
    if not (stat.S_ISREG(entry.status.st_mode) or entry.is_directory):
        return []  # the kernel opens no other kind just to be asked, and tools set none there
    descriptor = tree.open(entry.path)
    try:
        names = sorted(name for name in os.listxattr(descriptor) if not name.startswith(_UNKEPT))
        return [(name, os.getxattr(descriptor, name)) for name in names]
    except OSError:
        return []  # the file system has none
    finally:
        os.close(descriptor)
