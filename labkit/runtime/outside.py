"""outside: put what comes from outside the image into the container: bind mounts, volumes and tmpfs.

Chapter 10. open_tree(2), mount_setattr(2), move_mount(2), tmpfs(5), config.md "Mounts".
The monitor takes; init puts, between clone3 and exec.

A place inside is reached by descriptors alone (kernel/within.py): neither a
link of the image nor another container that shares a volume leads a mount of
ours to a place that is not inside.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import StartFailed
from labkit.kernel import mounts, within
from labkit.kernel.mounts import MountAttribute, MountFlag

_ATTRIBUTES = {  # with an r before it, for all that is mounted below too
    "ro": MountAttribute.RDONLY,
    "nosuid": MountAttribute.NOSUID,
    "nodev": MountAttribute.NODEV,
    "noexec": MountAttribute.NOEXEC,
}
_PROPAGATIONS = {
    "private": MountFlag.PRIVATE,
    "slave": MountFlag.SLAVE,
    "shared": MountFlag.SHARED,
    "unbindable": MountFlag.UNBINDABLE,
}
_OURS = ("/dev", "/dev/shm")
"""Every container's own: no image and no volume stands in the way there."""


def is_bind(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of config.json shows something that the host has."""
    options = entry.get("options", ())
    return "rbind" in options or "bind" in options


def is_asked_for(entry: Mapping[str, Any]) -> bool:
    """Whether it is a tmpfs that not every container has."""
    return entry.get("type") == "tmpfs" and entry["destination"] not in _OURS


def take(entries: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """A detached copy of the source of each bind mount, by its number.

    It is made where the host's mounts are as they are now, and are peers of
    the host's: init may have been born before they were made, and holds itself
    apart. A detached mount is a descriptor, and travels to init as one.
    """
    found: dict[int, int] = {}
    try:
        for number, entry in enumerate(entries):
            if is_bind(entry):
                found[number] = mounts.clone_tree(entry["source"], recursive="rbind" in entry["options"])
    except BaseException:
        for tree in found.values():
            os.close(tree)
        raise
    return found


def put_bind(root: Path, entry: Mapping[str, Any], tree: int) -> None:
    """Attach what `take` has for an entry, and close it."""
    source, destination = entry["source"], entry["destination"]
    try:
        _set(tree, entry["options"], source)
        kind = _kind(tree)
        place = _open_place(root, destination, make=kind)
        try:
            if _kind(place) != kind:
                raise StartFailed(
                    f"{source} is a {kind}, {destination} in the container is a {_kind(place)}: are you "
                    "trying to mount a directory onto a file (or vice-versa)?"
                )
            mounts.attach(tree, destination, at=place)
        finally:
            os.close(place)
    finally:
        os.close(tree)


def _kind(descriptor: int) -> str:
    return "directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"


def _set(tree: int, options: Sequence[str], source: str) -> None:
    """The words of config.md: attributes as they come, then how mounts travel."""
    propagation, deep = MountFlag(0), False
    for word in options:
        whole, plain = word not in _ATTRIBUTES and word[0] == "r", word
        if whole:
            plain = word[1:]
        if plain in _ATTRIBUTES:
            mounts.set_attributes(tree, _ATTRIBUTES[plain], recursive=whole, path=source)
        elif plain in _PROPAGATIONS:
            propagation, deep = _PROPAGATIONS[plain], whole
    if propagation:
        mounts.set_attributes(tree, MountAttribute(0), propagation=propagation, recursive=deep, path=source)


def _open_place(root: Path, destination: str, *, make: str) -> int:
    try:
        return within.open_within(root, destination, make=make, closed=("/proc",))[0]
    except PermissionError:
        raise StartFailed(f'"{destination}" cannot be mounted because it is inside /proc') from None


def put_tmpfs(root: Path, destination: str, flags: MountFlag, options: str) -> None:
    """A new file system; without a mode of its own it takes that of the directory that it covers."""
    try:
        place = _open_place(root, destination, make="")
        covered = stat.S_IMODE(os.fstat(place).st_mode)
    except FileNotFoundError:
        place = _open_place(root, destination, make="directory")
        covered = 0o1777
    if "mode=" not in options:
        options = ",".join(filter(None, (options, f"mode={covered:o}")))
    try:
        mounts.mount("tmpfs", f"/proc/self/fd/{place}", "tmpfs", flags, options)
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, destination) from None
    finally:
        os.close(place)
