"""context: what a build may take files from: a directory, or a tar stream that becomes one.

Chapter 9. A directory is used where it lies, and nothing of it is read that no
COPY names. A stream is taken in once, safely, and is gone after the build.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from labkit.build import dockerfile, ignore, inside, sources
from labkit.build.sources import Tree
from labkit.errors import Invalid, NotFound
from labkit.images import extract

USUAL_NAME = "Dockerfile"
_TAR_MAGIC_AT, _TAR_MAGIC = 257, b"ustar"


@dataclass(slots=True)
class Context:
    """The files of a build, and the Dockerfile that says what becomes of them."""

    tree: Tree
    text: str
    file: str  # what the Dockerfile is called in messages

    def files(self) -> Iterator[sources.Entry]:
        """All that a COPY can name, as chapter 9 counts it."""
        return (entry for entry in self.tree.walk("") if entry.path)


@contextmanager
def of_directory(directory: Path, *, file: str = "", text: str | None = None) -> Iterator[Context]:
    """A directory of this machine. `file` is the Dockerfile's path, `text` stands in for it."""
    if not directory.is_dir():
        raise NotFound(f"unable to prepare context: path {str(directory)!r} not found")
    tree = sources.open_tree(directory, "the build context")
    try:
        name = file or USUAL_NAME
        if text is None:
            text = _of_directory(tree, directory, name)
        tree.rules = _rules(tree, name)
        yield Context(tree, text, name)
    finally:
        tree.close()


def _of_directory(tree: Tree, directory: Path, name: str) -> str:
    """The text: `name` is a path from here, or else from the context."""
    outside = Path(name)
    if name != USUAL_NAME and outside.is_file():
        return dockerfile.decode(_limited(outside), name)
    try:
        descriptor = inside.open_at(tree.root, inside.real_path(tree.root, name), os.O_RDONLY)
    except OSError:
        raise NotFound(
            f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {directory / name}: "
            "no such file or directory"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Invalid(f"the Dockerfile {directory / name} is not a file")
    return dockerfile.decode(_limited(descriptor), name)


def _limited(file: "Path | int") -> bytes:
    """The content of a file, as far as a Dockerfile may be long."""
    with open(file, "rb") as reader:
        return reader.read(dockerfile.MOST_BYTES + 1)


def _rules(tree: Tree, name: str) -> ignore.Rules:
    """Those of `<Dockerfile>.dockerignore` where there is one, else of .dockerignore."""
    beside = Path(f"{name}.dockerignore")
    if name != USUAL_NAME and Path(name).is_file() and beside.is_file():
        return ignore.parse(dockerfile.decode(_limited(beside), beside.name), beside.name)
    for file in (f"{name}.dockerignore", ".dockerignore"):
        try:
            descriptor = inside.open_at(tree.root, inside.real_path(tree.root, file), os.O_RDONLY)
        except OSError:
            continue
        text = dockerfile.decode(_limited(descriptor), file)
        return ignore.parse(text, file)
    return ignore.Rules()


@contextmanager
def of_stream(stream: BinaryIO, place: Path, *, file: str = "", text: str | None = None) -> Iterator[Context]:
    """A tar stream, compressed or not, or a Dockerfile alone; taken in below `place` for the build."""
    reader = _Peeked(stream)
    if not is_archive(reader.beginning):
        if text is not None:
            raise Invalid("the Dockerfile and the context cannot both be standard input")
        text = dockerfile.decode(reader.read_all(dockerfile.MOST_BYTES + 1), "Dockerfile")
        reader = _Peeked(None)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place))
    try:
        if reader.beginning:
            from labkit.images.compression import Reader  # loaded where something is unpacked

            extract.apply(Reader(reader), draft, hashing=False)
        with of_directory(draft, file=file, text=text) as context:
            yield context
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def is_archive(beginning: bytes) -> bool:
    """Whether it begins as a tar archive does, or as something compressed."""
    from labkit.images.compression import kind_of

    magic = beginning[_TAR_MAGIC_AT : _TAR_MAGIC_AT + len(_TAR_MAGIC)]
    return magic == _TAR_MAGIC or bool(kind_of(beginning))


class _Peeked:
    """A stream whose beginning has been looked at."""

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream
        self.beginning = b""
        while stream and len(self.beginning) < 512 and (more := stream.read(512 - len(self.beginning))):
            self.beginning += more
        self._waiting = self.beginning

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        if self._waiting:
            data, self._waiting = self._waiting[:size], self._waiting[size:]
            return data
        return self._stream.read(size) if self._stream else b""

    def read_all(self, most: int) -> bytes:
        """Everything up to a limit."""
        data = b""
        while len(data) < most and (more := self.read(most - len(data))):
            data += more
        return data
