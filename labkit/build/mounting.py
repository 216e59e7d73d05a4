"""mounting: make ready what a RUN has mounted: binds, caches, tmpfs, secrets.

Chapter 8. flock(2), tmpfs(5). A bind mount shows a copy, and a secret lies where
bundles lie, which is in memory; a cache outlives the build.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from labkit.build import copying
from labkit.build.options import RunMount
from labkit.build.results import draft
from labkit.build.running import File
from labkit.build.sources import Source
from labkit.build.work import Work
from labkit.engine.mount import Mount
from labkit.errors import Invalid, NotFound
from labkit.paths import Paths

_MOST_SECRET_BYTES = 500 << 10


@dataclass(frozen=True, slots=True)
class Needs:
    """What was asked for: the mounts, the sources of some by number, a place for copies."""

    mounts: Sequence[RunMount]
    bound: Mapping[int, Source]
    place: Path


@dataclass(slots=True)
class Ready:
    """What the container gets."""

    mounts: list[Mount] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)


def prepare(work: Work, needs: Needs, held: ExitStack) -> Ready:
    """Make everything ready; what is held is let go at the end of `held`."""
    ready = Ready()
    for number, mount in enumerate(needs.mounts):
        if mount.kind == "secret":
            _secret(work, mount, ready)
        elif mount.kind == "tmpfs":
            size = mount.size_bytes or None
            ready.mounts.append(Mount.tmpfs(mount.target, size_bytes=size, options=("exec",)))
        elif mount.kind == "cache":
            kept = held.enter_context(_cache(work, mount, needs.bound.get(number)))
            ready.mounts.append(Mount.bind(kept, mount.target, read_only=mount.read_only))
        else:
            copied = _copied(needs.bound[number], needs.place / f"bind-{number}")
            ready.mounts.append(Mount.bind(copied, mount.target, read_only=mount.read_only))
    return ready


def _copied(source: Source, place: Path) -> Path:
    """A bind mount shows a copy: what is left out stays so, and what is written is gone afterwards."""
    place.mkdir(mode=0o755)
    root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if source.entry.is_directory:
            copying.copy(root, copying.Copy(sources=[source], destination="/"))
            return place
        copying.copy(root, copying.Copy(sources=[source], destination="/file"))
        return place / "file"
    finally:
        os.close(root)


def _secret(work: Work, mount: RunMount, ready: Ready) -> None:
    """A file that only this RUN sees, or a variable that only it has."""
    file = work.options.secrets.get(mount.id)
    if file is None:
        if mount.required:
            raise NotFound(f"secret {mount.id}: not found", hint=f"--secret id={mount.id},src=FILE")
        return
    with file.open("rb") as reader:
        data = reader.read(_MOST_SECRET_BYTES + 1)
    if len(data) > _MOST_SECRET_BYTES:
        raise Invalid(f"secret {mount.id} is larger than {_MOST_SECRET_BYTES >> 10} KiB")
    if mount.env:
        ready.env[mount.env] = data.decode(errors="surrogateescape")
    if mount.target:
        mode = 0o400 if mount.mode is None else mount.mode
        ready.files[mount.target] = File(data, mode, mount.uid, mount.gid)


@contextmanager
def _cache(work: Work, mount: RunMount, source: Source | None) -> Iterator[Path]:
    """A directory that outlives the build. `private` takes one that nobody uses, `locked` waits for it."""
    name = hashlib.sha256(json.dumps([mount.id, mount.copied_from, mount.source]).encode()).hexdigest()
    number = 0
    while True:
        place = work.paths.cache / "mounts" / name / str(number)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(place.with_name(f".lock-{number}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            how = {"locked": fcntl.LOCK_EX, "private": fcntl.LOCK_EX | fcntl.LOCK_NB}
            fcntl.flock(lock, how.get(mount.sharing, fcntl.LOCK_SH))
        except BlockingIOError:
            os.close(lock)
            number += 1
            continue
        break
    try:
        if not place.is_dir():
            _new_cache(work.paths, place, mount, source)
        yield place
    finally:
        os.close(lock)


def _new_cache(paths: Paths, place: Path, mount: RunMount, source: Source | None) -> None:
    with draft(paths) as new:
        if source is not None:
            root = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                copying.copy(root, copying.Copy(sources=[source], destination="/"))
            finally:
                os.close(root)
        os.chown(new, mount.uid, mount.gid)
        new.chmod(0o755 if mount.mode is None else mount.mode)
        with suppress(OSError):  # another build that shares it was first
            new.rename(place)
    if not place.is_dir():
        raise NotFound(f"the cache {mount.id} could not be made at {place}")
