import bz2
import gzip
import io
import lzma
import subprocess

import pytest

from labkit.errors import Invalid
from labkit.images import compression

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))
PACK = {
    "": lambda data: data,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: written(data, "zstd"),
}


def written(data: bytes, kind: str) -> bytes:
    made: list[bytes] = []
    writer = compression.Writer(made.append, kind)
    for at in range(0, len(data), 100_000):
        writer.write(data[at : at + 100_000])
    writer.close()
    return b"".join(made)


def read(data: bytes, size: int = 10_000) -> bytes:
    reader = compression.Reader(io.BytesIO(data))
    found = []
    while piece := reader.read(size):
        assert len(piece) <= size
        found.append(piece)
    return b"".join(found)


@pytest.mark.parametrize("kind", PACK)
def test_whatever_it_is_compressed_with_is_read(kind):
    packed = PACK[kind](TEXT)

    assert compression.Reader(io.BytesIO(packed)).kind == kind
    assert read(packed) == TEXT
    assert read(PACK[kind](b"")) == b""


@pytest.mark.parametrize("kind", [kind for kind in PACK if kind])
def test_several_streams_one_after_the_other_are_one_and_zeros_may_follow(kind):
    packed = PACK[kind](TEXT[:300_000]) + PACK[kind](TEXT[300_000:])

    assert read(packed) == TEXT
    assert read(packed + bytes(1000)) == TEXT


@pytest.mark.parametrize("kind", [kind for kind in PACK if kind])
def test_what_is_cut_off_damaged_or_followed_by_something_else_is_refused(kind):
    packed = PACK[kind](TEXT)
    damaged = bytearray(packed)
    for at in range(len(packed) // 2, len(packed) // 2 + 8):
        damaged[at] ^= 0xFF

    for bad in (packed[: len(packed) // 2], packed[:-1], bytes(damaged), packed + b"something else"):
        with pytest.raises(Invalid, match=kind):
            read(bad)


@pytest.mark.parametrize(("kind", "program"), [("gzip", ["gzip", "-dc"]), ("zstd", ["zstd", "-dc"])])
def test_what_is_written_the_ordinary_programs_read(kind, program):
    done = subprocess.run(program, input=written(TEXT, kind), capture_output=True)

    assert (done.returncode, done.stdout) == (0, TEXT)


@pytest.mark.parametrize("kind", ["gzip", "zstd", ""])
def test_the_same_input_gives_the_same_bytes(kind):
    assert written(TEXT, kind) == written(TEXT, kind)
    assert read(written(b"", kind)) == b""


def test_gzip_tells_neither_name_nor_time():
    assert written(TEXT, "gzip")[:10] == b"\x1f\x8b\x08\0\0\0\0\0\0\xff"


def test_a_bomb_gives_no_more_than_was_asked_for():
    packed = written(bytes(64 << 20), "zstd")
    reader = compression.Reader(io.BytesIO(packed))

    assert len(packed) < 10_000
    assert len(reader.read(1000)) <= 1000


def test_a_window_that_would_fill_the_memory_is_refused():
    frame = b"\x28\xb5\x2f\xfd" + bytes([0x00, 0xA8]) + b"\x01\x00\x00"  # a window of 2 GiB
    with pytest.raises(Invalid, match="zstd"):
        read(frame)


def test_other_kinds_are_not_written():
    with pytest.raises(Invalid, match="cannot be written"):
        compression.Writer(print, "xz")
