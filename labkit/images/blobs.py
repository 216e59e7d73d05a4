"""blobs: content under its own digest: verified when it enters, shared by all that name it.

Chapter 7. image-layout.md of image-spec: blobs/sha256/… A blob is a draft until one
rename makes it true, so nobody ever sees a part of one.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from labkit.errors import Invalid, NotFound
from labkit.images import fields, references
from labkit.images.streams import BLOCK_BYTES, Hasher
from labkit.paths import Paths

if TYPE_CHECKING:
    from labkit.images.compression import Source

DRAFT = ".draft-"


def place(paths: Paths, digest: str) -> Path:
    """Where a blob is, or would be."""
    algorithm, _, digits = references.check_digest(digest).partition(":")
    return paths.blobs / algorithm / digits


def exists(paths: Paths, digest: str) -> bool:
    """Whether a blob is there."""
    return place(paths, digest).is_file()


def open_blob(paths: Paths, digest: str) -> BinaryIO:
    """A blob to be read, unbuffered; NotFound where it is not there."""
    try:
        return open(place(paths, digest), "rb", buffering=0)
    except FileNotFoundError:
        raise NotFound(f"no such blob: {digest}") from None


def read(paths: Paths, digest: str, most_bytes: int = fields.MOST_BYTES) -> bytes:
    """A small blob whole: a manifest, a config."""
    with open_blob(paths, digest) as blob:
        data = blob.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise Invalid(f"blob {digest} is larger than {most_bytes} bytes")
    return data


class Draft:
    """A blob on its way in."""

    def __init__(self, paths: Paths, algorithm: str) -> None:
        self._paths = paths
        directory = paths.blobs / algorithm
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=DRAFT, dir=directory)
        self._file = open(descriptor, "wb", buffering=0)  # noqa: SIM115 (closed by `draft`)
        self.path = Path(name)
        self.kept = False
        self._hasher = Hasher(algorithm)

    @property
    def size_bytes(self) -> int:
        """How much has come so far."""
        return self._hasher.size_bytes

    def write(self, block: bytes) -> None:
        """Take more."""
        self._hasher.update(block)
        written = self._file.write(block)
        while written < len(block):
            written += self._file.write(block[written:])

    def digest(self) -> str:
        """Of all that has come, once that is all."""
        return self._hasher.digest()

    def settle(self) -> None:
        """No more will come: many drafts may wait, and none of them needs a descriptor or a thread."""
        self._hasher.digest()
        self._file.close()

    def keep(self, digest: str = "", size_bytes: int | None = None) -> str:
        """Make it a blob under its digest, which it must have if one is given; return that."""
        found = self.digest()
        if size_bytes is not None and self.size_bytes != size_bytes:
            raise Invalid(f"blob {digest or found} has {self.size_bytes} bytes, and should have {size_bytes}")
        if digest and digest != found:
            raise Invalid(f"blob {digest} is not what it should be: its digest is {found}")
        if not self.kept:
            self.path.rename(place(self._paths, found))
            self.kept = True
        return found

    def close(self) -> None:
        """End it; what was not kept is gone."""
        self._hasher.__exit__(None, None, None)
        self._file.close()
        if not self.kept:
            self.path.unlink(missing_ok=True)


@contextmanager
def draft(paths: Paths, algorithm: str = "sha256") -> Iterator[Draft]:
    """A blob to be filled, and kept in the block or gone after it. Hold lock.adding."""
    made = Draft(paths, algorithm)
    try:
        yield made
    finally:
        made.close()


def add(paths: Paths, source: "Source", digest: str = "", size_bytes: int | None = None) -> str:
    """Take in a stream, verified against what is expected of it; return its digest."""
    algorithm = references.check_digest(digest).partition(":")[0] if digest else "sha256"
    with draft(paths, algorithm) as blob:
        while block := source.read(BLOCK_BYTES):
            blob.write(block)
            if size_bytes is not None and blob.size_bytes > size_bytes:
                raise Invalid(f"blob {digest} has more than the {size_bytes} bytes that it should have")
        return blob.keep(digest, size_bytes)


def put(paths: Paths, data: bytes) -> str:
    """Keep what is in memory; return its digest."""
    with draft(paths) as blob:
        blob.write(data)
        return blob.keep()
