"""store: which images there are, and which layers each one is made of.

Chapter 5. A record of JSON for each image, a directory for each layer, named
by a digest of what is in it: images that share a layer share the directory.
"""

import hashlib
import os
import shutil
import stat
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit import records
from labkit.errors import Invalid, NotFound
from labkit.kernel import libc
from labkit.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A name for layers and what to run in them. `layers` has the lowest first, as OCI has it."""

    name: str
    layers: tuple[str, ...]
    size_bytes: int
    created_at: float  # seconds since 1970
    env: tuple[str, ...] = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    command: tuple[str, ...] = ("sh",)
    working_directory: str = "/"
    user: str = ""
    volumes: tuple[str, ...] = ()  # where a container shall have a volume, even if nobody asks for one
    labels: dict[str, str] = field(default_factory=dict)


def normal_name(name: str) -> str:
    """The name without a `:latest`; Invalid where it cannot be one."""
    plain = name.removesuffix(":latest")
    if (
        not plain
        or plain != plain.lower()
        or any(c.isspace() for c in plain)
        or ".." in plain
        or plain[0] in "/.-"
    ):
        raise Invalid(
            f"invalid reference format: {name!r}", hint="lower-case names with / between, such as lab/busybox"
        )
    return plain


def _record(paths: Paths, name: str) -> Path:
    return paths.images / (urllib.parse.quote(normal_name(name), safe="") + ".json")


def get(paths: Paths, name: str) -> Image:
    """An image by its name; NotFound names the remedy."""
    try:
        found = records.load(_record(paths, name))
    except FileNotFoundError:
        raise NotFound(
            f"no such image: {name}", hint="labkit image list shows those that are there"
        ) from None
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in found.items()
    }
    return Image(**fields)


def all_images(paths: Paths) -> list[Image]:
    """Every image, by name."""
    names = [urllib.parse.unquote(file.stem) for file in paths.images.glob("*.json")]
    return [get(paths, name) for name in sorted(names)]


def tag(paths: Paths, image: Image) -> None:
    """Keep an image's record, in the place of an older one of that name."""
    for layer in image.layers:
        if not layer_directory(paths, layer).is_dir():
            raise NotFound(f"no such layer: {layer}, which {image.name} is made of")
    records.save(_record(paths, image.name), image)


def layer_directory(paths: Paths, layer: str) -> Path:
    """Where a layer's files are."""
    return paths.layers / layer


@contextmanager
def new_layer(paths: Paths) -> Iterator[Path]:
    """A draft directory to fill; it becomes a layer through `keep`, or goes at the end of the block."""
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=paths.layers))
    draft.chmod(0o755)  # it becomes a container's /
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)  # already renamed where all went well


def keep(paths: Paths, draft: Path) -> str:
    """Give a filled draft its digest as its name; one that is there already is kept as it is."""
    layer = digest(draft)
    place = layer_directory(paths, layer)
    if not place.exists():
        _sync_file_system(paths.layers)  # all of its files, before a name makes them true
        try:
            draft.rename(place)
        except OSError:
            if not place.is_dir():  # else someone made the same layer meanwhile
                raise
        records.sync_directory(paths.layers)
    return layer


def _sync_file_system(directory: Path) -> None:
    """Everything of one file system to the disk, syncfs(2)."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        libc.call("syncfs", descriptor, path=directory)
    finally:
        os.close(descriptor)


def digest(directory: Path) -> str:
    """SHA-256 over every path with its kind, mode, owners and content, in order."""
    total = hashlib.sha256()
    for path in walk(directory):
        status = path.lstat()
        relative = path.relative_to(directory)
        head = f"{relative}\0{status.st_mode:o} {status.st_uid} {status.st_gid} {status.st_rdev}\0"
        total.update(os.fsencode(head))
        if stat.S_ISLNK(status.st_mode):
            total.update(os.fsencode(path.readlink()))
        elif stat.S_ISREG(status.st_mode):
            with path.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def walk(directory: Path) -> Iterator[Path]:
    """Everything below a directory, in one order on every machine; links are not followed."""
    for path in sorted(directory.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from walk(path)


def size_bytes(directory: Path) -> int:
    """The regular files' sizes, a hard-linked one counted once."""
    sizes = {
        (s.st_dev, s.st_ino): s.st_size
        for s in (p.lstat() for p in walk(directory))
        if stat.S_ISREG(s.st_mode)
    }
    return sum(sizes.values())


def make(paths: Paths, name: str, draft: Path, **config: Any) -> Image:
    """An image of one layer from a filled draft."""
    size = size_bytes(draft)
    image = Image(
        name=normal_name(name),
        layers=(keep(paths, draft),),
        size_bytes=size,
        created_at=time.time(),
        **config,
    )
    tag(paths, image)
    return image
