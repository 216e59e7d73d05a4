"""bag: an archive of an image, from a stream or a directory, as files by name.

Chapter 7. A stream is read once, to its end: what is in it becomes drafts of blobs, each
hashed while it comes. Only what an image turns out to be made of is kept.
"""

import os
import posixpath
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from labkit.errors import Invalid
from labkit.images import blobs, fields, tar
from labkit.images.blobs import Draft
from labkit.images.compression import Reader, Source
from labkit.images.manifests import Descriptor
from labkit.images.streams import Ahead
from labkit.images.tar import Cursor
from labkit.kernel import beneath
from labkit.kernel.beneath import Resolve
from labkit.paths import Paths

MOST_MEMBERS = 20_000
MOST_BYTES = 256 << 30


class Bag(Protocol):
    """What an archive holds."""

    def __contains__(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def read(self, name: str) -> bytes:
        """A small file whole; Invalid where it is not there."""

    def take(self, name: str, wanted: Descriptor | None = None) -> tuple[str, int]:
        """Make a file a blob, verified where it is known what it should be; its digest and size."""


class TarBag:
    """The members of a tar, compressed or not."""

    def __init__(self, paths: Paths, source: Source) -> None:
        self._paths = paths
        self._files: dict[str, Draft] = {}
        self._links: dict[str, str] = {}
        try:
            with Ahead(Reader(source).read) as ahead:
                self._fill(Cursor(ahead.next, MOST_BYTES))
        except BaseException:
            self.close()
            raise

    def _fill(self, cursor: Cursor) -> None:
        for number, member in enumerate(tar.members(cursor)):
            name = _plain(member.name)
            if number >= MOST_MEMBERS:
                raise Invalid(f"{member}: the archive has more than {MOST_MEMBERS} members")
            if member.kind == tar.FILE and member.segments is None:
                if name in self._files:
                    raise Invalid(f"{member}: the archive has it twice")
                draft = self._files[name] = Draft(self._paths, "sha256")
                for piece in cursor.pieces(member.size):
                    draft.write(bytes(piece))
                cursor.skip_padding(member.size)
                draft.settle()
            elif member.kind in (tar.SYMLINK, tar.LINK):
                base = posixpath.dirname(name) if member.kind == tar.SYMLINK else ""
                self._links[name] = _plain(posixpath.join(base, os.fsdecode(member.target)).encode())
            elif member.kind != tar.DIRECTORY:
                raise Invalid(f"{member}: an archive of images holds no such file")

    def _resolve(self, name: str) -> str:
        name = _plain(name.encode())
        for _ in range(8):  # docker save links a layer that several images have
            if name not in self._links:
                break
            name = self._links[name]
        return name

    def __contains__(self, name: str) -> bool:
        return self._resolve(name) in self._files

    def _file(self, name: str) -> Draft:
        try:
            return self._files[self._resolve(name)]
        except KeyError:
            raise Invalid(f"{name} is not in the archive") from None

    def read(self, name: str) -> bytes:
        """A small file whole."""
        draft = self._file(name)
        place = blobs.place(self._paths, draft.digest()) if draft.kept else draft.path
        if draft.size_bytes > fields.MOST_BYTES:
            raise Invalid(f"{name} has {draft.size_bytes} bytes, and may have {fields.MOST_BYTES}")
        return place.read_bytes()

    def take(self, name: str, wanted: Descriptor | None = None) -> tuple[str, int]:
        """Make it a blob."""
        draft = self._file(name)
        if wanted and not wanted.digest.startswith("sha256:"):
            with open(draft.path, "rb", buffering=0) as source:
                return blobs.add(self._paths, source, wanted.digest, wanted.size_bytes), wanted.size_bytes
        digest = draft.keep(*((wanted.digest, wanted.size_bytes) if wanted else ()))
        return digest, draft.size_bytes

    def close(self) -> None:
        """Remove what nobody took."""
        for draft in self._files.values():
            draft.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _plain(name: bytes) -> str:
    """A member's name without what says nothing; one that leads up is of no file here."""
    return posixpath.normpath("/" + os.fsdecode(name)).lstrip("/")


class DirectoryBag:
    """The files of an OCI layout's directory. No link in it is followed."""

    def __init__(self, paths: Paths, directory: Path) -> None:
        self._paths = paths
        self._top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def _open(self, name: str) -> int:
        how = Resolve.BENEATH | Resolve.NO_SYMLINKS | Resolve.NO_XDEV
        return beneath.open_below(self._top, os.fsencode(name), os.O_RDONLY | os.O_NONBLOCK, how)

    def __contains__(self, name: str) -> bool:
        try:
            os.close(self._open(name))
        except OSError:
            return False
        return True

    def _reader(self, name: str) -> FileIO:
        try:
            return FileIO(self._open(name))
        except OSError as error:
            raise Invalid(f"{name} cannot be read from the directory: {error.strerror}") from None

    def read(self, name: str) -> bytes:
        """A small file whole."""
        with self._reader(name) as file:
            data = file.read(fields.MOST_BYTES + 1)
        if len(data) > fields.MOST_BYTES:
            raise Invalid(f"{name} has more than {fields.MOST_BYTES} bytes")
        return data

    def take(self, name: str, wanted: Descriptor | None = None) -> tuple[str, int]:
        """Make a copy of it a blob."""
        if wanted and blobs.exists(self._paths, wanted.digest):
            return wanted.digest, wanted.size_bytes
        with self._reader(name) as file:
            digest = blobs.add(self._paths, file, *((wanted.digest, wanted.size_bytes) if wanted else ()))
        return digest, blobs.place(self._paths, digest).stat().st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._top)
