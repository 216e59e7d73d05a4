"""layers: which layer each path of an overlay comes from.

Chapter 5. docs.kernel.org/filesystems/overlayfs.html, mount(8), xattr(7), lstat(2).

Walks the layers from the top as the kernel does: the first that has a path
wins, a whiteout ends the search, an opaque directory ends it for what is below.
"""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MOST_ROWS = 200

KINDS = {
    stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "device",
    stat.S_IFBLK: "device", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Version:
    """A path as it lies in one layer."""

    layer: str  # upper, lower 1 (the topmost of the lower ones), lower 2 …
    kind: str  # file, directory, symlink, device, pipe, socket or whiteout
    size_bytes: int
    is_opaque: bool  # a directory that hides what is below it
    is_metadata_only: bool  # copied up without its content, xattr overlay.metacopy
    moved_from: str  # an overlay.redirect: the name it has in the layers below


@dataclass(frozen=True, slots=True)
class PathRow:
    """One path of the overlay, with all its versions."""

    path: str
    depth: int
    origin: str | None  # the layer that wins; None where the path is not in the merged view
    kind: str
    size_bytes: int
    is_copied_up: bool  # upper has its own version of what a lower layer has, too
    is_deleted: bool  # a whiteout hides it, or a directory above it is hidden
    versions: tuple[Version, ...]  # topmost first

    @property
    def hidden(self) -> tuple[Version, ...]:
        """The versions that nobody sees through the overlay: all but the winner and merged directories."""
        if self.origin is None:
            return tuple(version for version in self.versions if version.kind != "whiteout")
        if self.kind == "directory":
            return ()
        return tuple(version for version in self.versions if version.layer != self.origin)


@dataclass(frozen=True, slots=True)
class Stack:
    """The layers and all their paths."""

    layers: tuple[str, ...]  # names, topmost first
    directories: tuple[str, ...]  # where each lies
    rows: tuple[PathRow, ...]


@dataclass(frozen=True, slots=True)
class Shortened:
    """As many rows as fit, and how many of which directory are not among them."""

    rows: tuple[PathRow, ...]
    left_out: dict[str, int]


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to one path between two looks."""

    path: str
    what: str  # created, copied up, made opaque, changed, deleted or came back


def look(lower: "Sequence[os.PathLike[str] | str]", upper: "os.PathLike[str] | str | None" = None) -> Stack:
    """A row for every path of these layers; `lower` has the topmost first, as lowerdir has."""
    layers = [("upper", Path(upper))] if upper is not None else []
    layers += [(f"lower {number}", Path(place)) for number, place in enumerate(lower, 1)]
    for _, place in layers:
        os.stat(place)  # a layer that is not there is an error, an empty one is not
    names, places = [name for name, _ in layers], [str(place) for _, place in layers]
    return Stack(tuple(names), tuple(places), tuple(_walk(layers, "", 0, set(names))))


def shorten(rows: Sequence[PathRow], most_rows: int = MOST_ROWS) -> Shortened:
    """Keep what tells of the overlay at work, with the directories above it, then the first of the others."""
    kept: set[str] = set()
    for row in sorted(rows, key=lambda row: not _is_telling(row)):  # stable: the others in their order
        if len(kept) == most_rows:
            break
        family = {row.path, *(str(above) for above in PurePosixPath(row.path).parents if above.name)}
        if len(kept | family) <= most_rows:
            kept |= family
    missing = Counter(row.path.rpartition("/")[0] for row in rows if row.path not in kept)
    return Shortened(tuple(row for row in rows if row.path in kept), dict(missing.most_common()))


def _is_telling(row: PathRow) -> bool:
    """Whether a path shows what an overlay does: its own version in upper, or one that hides another."""
    return row.kind != "directory" and (len(row.versions) > 1 or row.origin == "upper" or row.is_deleted)


def _walk(layers: list[tuple[str, Path]], inside: str, depth: int, seen: set[str]) -> Iterator[PathRow]:
    """The rows below one directory; `seen` are the layers in which the overlay looks for it."""
    names: set[str] = set()
    for _, place in layers:
        names.update(_entries(place / inside))
    for name in sorted(names):
        path = f"{inside}/{name}".lstrip("/")
        versions = [version for layer, place in layers if (version := _version(layer, place / path))]
        if not versions:
            continue  # it went while we looked
        row, below = _resolve(path, depth, versions, seen)
        yield row
        holders = {version.layer for version in versions if version.kind == "directory"}
        if holders:
            yield from _walk([one for one in layers if one[0] in holders], path, depth + 1, below)


def _resolve(path: str, depth: int, versions: list[Version], seen: set[str]) -> tuple[PathRow, set[str]]:
    """Who wins, and in which layers the overlay goes on where the winner is a directory."""
    reachable = [version for version in versions if version.layer in seen]
    winner = reachable[0] if reachable and reachable[0].kind != "whiteout" else None
    below: set[str] = set()
    if winner and winner.kind == "directory":
        for version in reachable:
            if version.kind != "directory":
                break  # a whiteout or a file ends the merging
            below.add(version.layer)
            if version.is_opaque:
                break
    plain = winner or next((version for version in versions if version.kind != "whiteout"), versions[0])
    elsewhere = any(version.layer != "upper" and version.kind != "whiteout" for version in reachable)
    is_copied_up = winner is not None and winner.layer == "upper" and elsewhere and not winner.is_opaque
    return PathRow(
        path, depth, winner.layer if winner else None, plain.kind, plain.size_bytes,
        is_copied_up, winner is None, tuple(versions),
    ), below  # fmt: skip


def _entries(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 (names, not paths)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _version(layer: str, place: Path) -> Version | None:
    try:
        found = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    kind = KINDS[stat.S_IFMT(found.st_mode)]
    if _is_whiteout(place, found):
        return Version(layer, "whiteout", 0, False, False, "")
    return Version(
        layer,
        kind,
        found.st_size if kind in ("file", "symlink") else 0,
        is_opaque=kind == "directory" and _mark(place, "opaque") in (b"y", b"x"),
        is_metadata_only=kind == "file" and _mark(place, "metacopy") is not None,
        moved_from=os.fsdecode(_mark(place, "redirect") or b""),
    )


def _is_whiteout(place: Path, found: os.stat_result) -> bool:
    """A character device 0:0, or since Linux 6.7 an empty file with an xattr of that name."""
    if stat.S_ISCHR(found.st_mode):
        return found.st_rdev == 0
    return stat.S_ISREG(found.st_mode) and not found.st_size and _mark(place, "whiteout") is not None


def _mark(place: Path, name: str) -> bytes | None:
    """An extended attribute of overlay: trusted, or user where it was mounted with userxattr."""
    for realm in ("trusted", "user"):
        try:
            return os.getxattr(place, f"{realm}.overlay.{name}", follow_symlinks=False)
        except OSError:  # not there, not allowed on this kind of file, or not supported here
            continue
    return None


def changes(before: Stack, after: Stack) -> list[Change]:
    """What happened between two looks at the same layers, in the order of the paths."""
    old = {row.path: row for row in before.rows}
    new = {row.path: row for row in after.rows}
    found = []
    for path in sorted(old | new):
        what = _change(old.get(path), new.get(path))
        if what:
            found.append(Change(path, what))
    return found


def _change(old: PathRow | None, new: PathRow | None) -> str:
    if old == new:
        return ""
    if new is None or new.is_deleted:
        return "" if old is None or old.is_deleted else "deleted"
    if old is None:
        return "created"
    if old.is_deleted:
        return "came back"
    if new.is_copied_up and not old.is_copied_up:
        return "copied up"
    if new.versions[0].is_opaque and not old.versions[0].is_opaque:
        return "made opaque"
    return "changed"
