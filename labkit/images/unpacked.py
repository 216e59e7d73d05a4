"""unpacked: a directory for each layer, named by its diff id: images that share a layer share the directory.

Chapters 5 and 7. A directory becomes a layer by being renamed; nothing is copied.
"""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.errors import Invalid, NotFound
from labkit.images import extract, layers, lock, manifests
from labkit.images.manifests import Descriptor
from labkit.images.streams import BLOCK_BYTES, Hasher
from labkit.kernel import libc
from labkit.paths import Paths

if TYPE_CHECKING:  # what reads compressed data is loaded where some are read, and slows no start
    from labkit.images.compression import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A layer that is there: its diff id, what a manifest says of it, and the sizes of its files."""

    diff_id: str
    descriptor: Descriptor
    content_bytes: int

    @property
    def name(self) -> str:
        """As images and containers list it: the diff id's digits."""
        return self.diff_id.partition(":")[2]


def layer_directory(paths: Paths, layer: str) -> Path:
    """Where a layer's files are."""
    return paths.layers / layer


@contextmanager
def new_layer(paths: Paths) -> Iterator[Path]:
    """A draft directory to fill; it becomes a layer through `keep`, or goes at the end of the block."""
    with lock.adding(paths):
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=paths.layers))
        draft.chmod(0o755)  # it becomes a container's /
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # already renamed where all went well


def keep(paths: Paths, directory: Path) -> Layer:
    """Make a layer of a directory on the layers' file system. Hold lock.adding.

    No blob is kept of it: its tar can be made again when somebody asks for it.
    """
    packed = layers.pack(directory)
    settle(paths, directory, packed.digest)
    descriptor = Descriptor(
        media_type=manifests.layer_type(), digest=packed.digest, size_bytes=packed.size_bytes
    )
    return Layer(diff_id=packed.digest, descriptor=descriptor, content_bytes=packed.content_bytes)


def settle(paths: Paths, directory: Path, diff_id: str) -> None:
    """Give a filled directory its name; where the layer is there already, that stays as it is."""
    place = layer_directory(paths, diff_id.partition(":")[2])
    if place.is_dir():
        return
    try:
        directory.rename(place)
    except OSError:
        if not place.is_dir():  # else someone made the same layer meanwhile
            raise


def unpack(paths: Paths, source: "Source", diff_id: str, *, verified: bool = False) -> int:
    """Extract a layer's uncompressed tar, which must have that diff id; return the size of its files.

    `verified` says that the stream is known to have that digest.
    """
    with new_layer(paths) as draft:
        applied = extract.apply(source, draft, hashing=not verified)
        if not verified and applied.digest != diff_id:
            raise _another(diff_id, applied.digest)
        settle(paths, draft, diff_id)
    return applied.content_bytes


def verify(source: "Source", diff_id: str) -> None:
    """Read a layer's uncompressed tar to its end; Invalid where it has another diff id."""
    with Hasher() as hasher:
        while block := source.read(BLOCK_BYTES):
            hasher.update(block)
    if hasher.digest() != diff_id:
        raise _another(diff_id, hasher.digest())


def _another(diff_id: str, found: str) -> Invalid:
    return Invalid(f"layer {diff_id} is not what its image says: its digest is {found}")


def write_tar(paths: Paths, diff_id: str, write: layers.Write) -> None:
    """Make the tar of a layer again, as it was when the layer was kept; Invalid where it is not the same."""
    directory = layer_directory(paths, diff_id.partition(":")[2])
    if not directory.is_dir():
        raise NotFound(f"no such layer: {diff_id}")
    packed = layers.pack(directory, write)
    if packed.digest != diff_id:
        raise Invalid(f"layer {diff_id} was changed on the disk: its digest is {packed.digest} now")


def sync(directory: Path) -> None:
    """Everything of one file system to the disk, before a name makes it true: syncfs(2)."""
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
