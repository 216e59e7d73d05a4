"""volumes: directories with a name, which outlive every container that uses them.

Chapter 10. docker-volume(1), flock(2). LABKIT_ROOT/volumes/NAME holds a record,
volume.json, and _data, the directory itself. What is under way has a name that
begins with a dot, and one rename(2) makes it true or takes it away.
"""

import contextlib
import fcntl
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from labkit import records
from labkit.engine import containers
from labkit.errors import Conflict, Invalid, NotFound
from labkit.kernel import copies, locks, trees
from labkit.ledger import Ledger
from labkit.paths import Paths

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
"""Marks a volume that nobody gave a name, as Docker marks it: prune takes it away unasked."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_RECORD, _DATA, _DRAFT, _FILLING = "volume.json", "_data", ".draft", ".filling"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """What is kept of one."""

    name: str
    created_at: float  # seconds since 1970
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def anonymous(self) -> bool:
        """Whether nobody gave it a name."""
        return ANONYMOUS_LABEL in self.labels


def new_name() -> str:
    """64 hexadecimal digits, for one that nobody names."""
    return secrets.token_hex(32)


def check_name(name: str) -> str:
    """A name that a volume can have; Invalid in Docker's words."""
    if len(name) == 1 and name.isalnum():
        raise Invalid(
            f"create {name}: volume name is too short, names should be at least two alphanumeric characters"
        )
    if not _NAME.fullmatch(name) or len(name.encode()) > 255:
        raise Invalid(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
    return name


def _place(paths: Paths, name: str) -> Path:
    return paths.volumes / name


def directory(paths: Paths, name: str) -> Path:
    """Where a volume's files are."""
    return _place(paths, name) / _DATA


# ------------------------------------------------------------------ which there are


def get(paths: Paths, name: str) -> Volume:
    """One volume; NotFound in Docker's words."""
    try:
        if not _NAME.fullmatch(name):
            raise FileNotFoundError(name)
        return Volume(**records.load(_place(paths, name) / _RECORD))
    except FileNotFoundError:
        raise NotFound(f"get {name}: no such volume", hint="labkit volume ls shows those there are") from None


def all_volumes(
    paths: Paths, *, labels: Mapping[str, str | None] | None = None, dangling: bool | None = None
) -> list[Volume]:
    """Every volume, by name; those with these labels (None: any value), those in use or those not."""
    found = []
    used = users(paths) if dangling is not None else {}
    for file in sorted(paths.volumes.glob(f"[!.]*/{_RECORD}")):
        with contextlib.suppress(NotFound):  # it was removed while we looked
            volume = get(paths, file.parent.name)
            if dangling in (None, volume.name not in used) and _has(volume, labels or {}):
                found.append(volume)
    return found


def _has(volume: Volume, labels: Mapping[str, str | None]) -> bool:
    return all(key in volume.labels and value in (None, volume.labels[key]) for key, value in labels.items())


def users(paths: Paths) -> dict[str, list[str]]:
    """The ids of the containers that use each volume: those that are kept, and those that run attached."""
    found: dict[str, list[str]] = {}
    for record in containers.all_records(paths):
        for mount in record.mounts:
            if mount.kind == "volume":
                found.setdefault(mount.source, []).append(record.id)
    for container_id, sources in _attached(paths):
        for source in sources:
            if source.name == _DATA and source.parent.parent == paths.volumes:
                found.setdefault(source.parent.name, []).append(container_id)
    return {name: list(dict.fromkeys(ids)) for name, ids in found.items()}


def _attached(paths: Paths) -> Iterator[tuple[str, list[Path]]]:
    """Containers that have no record since they are gone with their caller: what their bundles mount."""
    for file in paths.bundles.glob("*/config.json"):
        container_id = file.parent.name
        if not Ledger.of(paths, f"container-{container_id}").is_held():
            continue
        with contextlib.suppress(FileNotFoundError, ValueError):  # it ended while we looked
            yield container_id, [Path(row["source"]) for row in records.load(file)["mounts"]]


def size_bytes(paths: Paths, name: str) -> int:
    """What it takes on the disk: blocks, a file with several names counted once."""
    total, seen = 0, set()
    for parent, directories, files in os.walk(directory(paths, name)):
        for entry in (*directories, *files):
            with contextlib.suppress(FileNotFoundError):  # a container is at work in it
                status = os.lstat(f"{parent}/{entry}")
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    total += status.st_blocks * 512
    return total


# ------------------------------------------------------------------ make, fill, remove


def create(paths: Paths, name: str = "", *, labels: Mapping[str, str] | None = None) -> Volume:
    """A new empty volume, or the one that has this name already."""
    marks = dict(labels or {}) | ({} if name else {ANONYMOUS_LABEL: ""})
    name = check_name(name) if name else new_name()
    return _create(paths, name, marks)


def create_anonymous(paths: Paths, name: str) -> Volume:
    """The volume of a name from `new_name`, which was written down before anything was made."""
    return _create(paths, name, {ANONYMOUS_LABEL: ""})


def _create(paths: Paths, name: str, labels: Mapping[str, str]) -> Volume:
    with contextlib.suppress(NotFound):
        return get(paths, name)
    volume = Volume(name=name, created_at=time.time(), labels=dict(labels))
    with _working(paths):
        draft = paths.volumes / f".{secrets.token_hex(8)}"
        draft.mkdir(mode=0o700)
        (draft / _DATA).mkdir()
        (draft / _DATA).chmod(0o755)  # it becomes a container's own
        records.save(draft / _RECORD, volume, durable=not volume.anonymous)
        try:
            draft.rename(_place(paths, name))
        except OSError:  # a directory that is not empty is not replaced: somebody was faster
            trees.remove(draft)
            return get(paths, name)
        if not volume.anonymous:
            records.sync_directory(paths.volumes)
    return volume


@contextlib.contextmanager
def in_use(paths: Paths, name: str) -> Iterator[None]:
    """Nobody removes the volume within the block, flock(2); NotFound where it is gone already."""
    descriptor = _open(paths, name)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _still_there(paths, name, descriptor)
        yield
    finally:
        os.close(descriptor)


def _open(paths: Paths, name: str) -> int:
    get(paths, name)
    try:
        return os.open(_place(paths, name), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(f"get {name}: no such volume") from None


def _still_there(paths: Paths, name: str, descriptor: int) -> None:
    try:
        if os.path.samestat(os.fstat(descriptor), _place(paths, name).stat()):
            return
    except FileNotFoundError:
        pass
    raise NotFound(f"get {name}: no such volume", hint="it was removed at this very moment")


def is_empty(paths: Paths, name: str) -> bool:
    """Whether nothing is in it, nor about to be."""
    place = _place(paths, name)
    if (place / _FILLING).exists():
        return False
    with os.scandir(place / _DATA) as entries:
        return next(entries, None) is None


def fill(paths: Paths, name: str, source: Path) -> bool:
    """Copy a directory into an empty volume, its own owner and mode too; whether the volume was empty.

    The copy is made beside and moved in when it is whole. From the moment it
    has the name `.filling` it is decided: whoever comes next moves the rest.
    """
    place = _place(paths, name)
    with _working(paths), _alone(place):
        settle(paths, name)
        if not is_empty(paths, name):
            return False
        trees.remove(place / _DRAFT)
        try:
            copies.copy(source, place / _DRAFT)
        except BaseException:  # such as a full disk, which has room again then
            trees.remove(place / _DRAFT)
            raise
        (place / _DRAFT).rename(place / _FILLING)
        _move_in(place)
    return True


def settle(paths: Paths, name: str) -> None:
    """Finish a first copy that was decided when its maker was killed."""
    place = _place(paths, name)
    if (place / _FILLING).exists():
        _move_in(place)


def _move_in(place: Path) -> None:
    filling, data = place / _FILLING, place / _DATA
    status = filling.stat()  # its times, which change with every name that leaves it
    for entry in filling.iterdir():
        if not os.path.lexists(data / entry.name):  # what a container wrote meanwhile stays
            entry.rename(data / entry.name)
    copies.copy_attributes(filling, data)
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    trees.remove(filling)


def remove(paths: Paths, name: str, *, force: bool = False, leaving: str = "") -> None:
    """Remove a volume with all that is in it. Conflict while a container has it; force: gone is fine.

    `leaving` is a container that has ended, and does not count.
    """
    try:
        descriptor = _open(paths, name)
    except NotFound:
        if force:
            return
        raise
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _is_in_use(paths, name) from None
        _still_there(paths, name, descriptor)
        if set(users(paths).get(name, ())) - {leaving}:
            raise _is_in_use(paths, name)
        with _working(paths):
            grave = paths.volumes / f".{secrets.token_hex(8)}"  # from here on nobody sees it
            _place(paths, name).rename(grave)
            trees.remove(grave)
    finally:
        os.close(descriptor)


def _is_in_use(paths: Paths, name: str) -> Conflict:
    return Conflict(
        f"remove {name}: volume is in use - [{', '.join(users(paths).get(name, ()))}]",
        hint="remove these containers first, also those that have ended",
    )


def prune(
    paths: Paths, *, everything: bool = False, labels: Mapping[str, str | None] | None = None
) -> tuple[list[str], int]:
    """Remove the anonymous volumes that no container has, or all such; their names, and the bytes freed."""
    removed, freed = [], 0
    for volume in all_volumes(paths, labels=labels, dangling=True):
        if not (everything or volume.anonymous):
            continue
        size = size_bytes(paths, volume.name)
        with contextlib.suppress(Conflict, NotFound):  # somebody took it, or removed it
            remove(paths, volume.name)
            removed.append(volume.name)
            freed += size
    return removed, freed


def sweep(paths: Paths) -> list[str]:
    """Take away what killed makers and removers left; nothing while one of them is at work."""
    descriptor = os.open(paths.volumes, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return []
    else:
        for filling in paths.volumes.glob(f"[!.]*/{_FILLING}"):
            settle(paths, filling.parent.name)
        left = [*paths.volumes.glob(".*"), *paths.volumes.glob(f"[!.]*/{_DRAFT}")]
        return [f"tree {place}" for place in left if trees.remove(place)]
    finally:
        os.close(descriptor)


def _working(paths: Paths) -> AbstractContextManager[None]:
    """While somebody works on a draft, nobody sweeps; many may work at once."""
    return locks.held(paths.volumes, shared=True)


def _alone(place: Path) -> AbstractContextManager[None]:
    """One that fills it at a time."""
    return locks.held(place / _RECORD)
