"""compression: read what is compressed, whatever it is, and write gzip and zstd.

Chapter 7. RFC 1952 (gzip), RFC 8878 (zstd). Every library here lets other threads
run meanwhile. No more is unpacked than was asked for, so a bomb fills no memory.
"""

import bz2
import lzma
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from isal import igzip_lib, isal_zlib

from labkit.errors import Invalid

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

INPUT_BYTES = 1 << 17
_XZ_MOST_MEMORY = 96 << 20
_ZSTD_WINDOW_LOG = 27  # 128 MiB, the most that zstd(1) takes without being asked to


class Source(Protocol):
    """What can be read: a file, a pipe, a part of an archive."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""


class Decompressor(Protocol):
    """What bz2, lzma, zstd and igzip have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream is complete."""

    @property
    def needs_input(self) -> bool:
        """Whether it has nothing left to give without more."""

    @property
    def unused_data(self) -> bytes:
        """What came after the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most that much, from more input."""


_READERS: dict[str, tuple[bytes, Callable[[], Any]]] = {
    "gzip": (b"\x1f\x8b", lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)),
    "zstd": (
        b"\x28\xb5\x2f\xfd",
        lambda: zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}),
    ),
    "bzip2": (b"BZh", bz2.BZ2Decompressor),
    "xz": (b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=_XZ_MOST_MEMORY)),
}
_ISAL_ERROR: type[Exception] = igzip_lib.error  # type: ignore[assignment]  # the stub says: an instance
_ERRORS = (_ISAL_ERROR, zstd.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError)


def kind_of(beginning: bytes) -> str:
    """How something is compressed, by its first bytes: "" where it is not."""
    for kind, (magic, _) in _READERS.items():
        if beginning.startswith(magic):
            return kind
    return ""


class Reader:
    """What a source holds, uncompressed. `kind` says how it was."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._input = self._fill(b"", 6)
        self.kind = kind_of(self._input)
        self._machine: Decompressor | None = _READERS[self.kind][1]() if self.kind else None

    def _fill(self, data: bytes, size: int) -> bytes:
        while len(data) < size and (more := self._source.read(INPUT_BYTES)):
            data += more
        return data

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end; Invalid where the data are damaged or cut off."""
        if self._machine is None:
            if self._input:
                data, self._input = self._input[:size], self._input[size:]
                return data
            return self._source.read(size)
        while True:
            if self._machine.eof and not self._next_part():
                return b""
            if data := self._step(size):
                return data

    def _step(self, size: int) -> bytes:
        machine = self._machine
        assert machine is not None
        data = b""
        if machine.needs_input:
            data = self._input or self._source.read(INPUT_BYTES)
            self._input = b""
            if not data:
                raise Invalid(f"the {self.kind} data are cut off in the middle")
        try:
            return machine.decompress(data, size)
        except _ERRORS as error:
            raise Invalid(f"the {self.kind} data are damaged: {error}") from None

    def _next_part(self) -> bool:
        """Begin the next stream, where several were put one after the other; zero bytes may follow."""
        assert self._machine is not None
        rest = self._fill(self._machine.unused_data + self._input, 6)
        self._input = b""
        while rest and not rest.strip(b"\0"):
            rest = self._source.read(INPUT_BYTES)
        if not rest:
            return False
        if kind_of(rest) != self.kind:
            raise Invalid(f"something else follows the end of the {self.kind} data")
        self._machine, self._input = _READERS[self.kind][1](), rest
        return True


class _Gzip:
    """gzip with neither name nor time in its head: the same input gives the same bytes.

    The diff id names a layer on every machine. How it is compressed may differ
    between kinds of processors, for which the library has code of their own.
    """

    def __init__(self) -> None:
        self._machine = isal_zlib.compressobj(2, wbits=-15)
        self._head = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # 255: of no operating system
        self._sum = self._size = 0

    def compress(self, data: bytes) -> bytes:
        self._sum = isal_zlib.crc32(data, self._sum)
        self._size += len(data)
        head, self._head = self._head, b""
        return head + self._machine.compress(data)

    def finish(self) -> bytes:
        end = struct.pack("<II", self._sum, self._size & 0xFFFFFFFF)
        return self._head + self._machine.flush(zlib.Z_FINISH) + end


class _Zstd:
    """One frame, with a checksum."""

    def __init__(self) -> None:
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: 3,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        self._machine = zstd.ZstdCompressor(options=options)

    def compress(self, data: bytes) -> bytes:
        return self._machine.compress(data)

    def finish(self) -> bytes:
        return self._machine.flush()


class _Plain:
    def compress(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


WRITERS: dict[str, Callable[[], "_Gzip | _Zstd | _Plain"]] = {"gzip": _Gzip, "zstd": _Zstd, "": _Plain}


class Writer:
    """Compresses what it is given into `write`; `close` ends it."""

    def __init__(self, write: Callable[[bytes], Any], kind: str) -> None:
        if kind not in WRITERS:
            raise Invalid(f"{kind!r} cannot be written", hint="gzip, zstd, or nothing for uncompressed")
        self._write = write
        self._machine = WRITERS[kind]()

    def write(self, data: bytes) -> None:
        """Take more."""
        if packed := self._machine.compress(data):
            self._write(packed)

    def close(self) -> None:
        """Write what is left and the end."""
        if packed := self._machine.finish():
            self._write(packed)
