import hashlib
import io
import threading

import pytest

from labkit.images import streams


def test_what_is_read_ahead_comes_in_order_and_ends():
    data = bytes(range(256)) * 30_000
    with streams.Ahead(io.BytesIO(data).read) as ahead:
        found = b"".join(iter(ahead.next, b""))
        assert ahead.next() == b""

    assert found == data


def test_no_more_than_a_few_blocks_are_read_ahead():
    given = []
    full = threading.Event()

    def read(size):
        given.append(size)
        if len(given) == streams.DEPTH:
            full.set()
        return b"x"

    with streams.Ahead(read):
        assert full.wait(10)
        assert len(given) <= streams.DEPTH


def test_an_error_of_the_source_is_the_readers():
    def read(size):
        raise OSError(5, "the disk")

    with streams.Ahead(read) as ahead, pytest.raises(OSError, match="the disk"):
        ahead.next()


def test_an_error_behind_comes_out_and_ends_nothing_half():
    def work(block):
        raise ValueError(block)

    with pytest.raises(ValueError, match="one"), streams.Behind(work) as behind:
        behind.put(b"one")
        behind.finish()


def test_whoever_leaves_in_the_middle_leaves_no_thread():
    before = threading.active_count()
    with pytest.raises(KeyError), streams.Ahead(lambda size: b"x"), streams.Hasher() as hasher:
        hasher.update(b"x")
        raise KeyError

    assert threading.active_count() == before


def test_the_digest_is_that_of_all_blocks():
    with streams.Hasher("sha512") as hasher:
        for _ in range(100):
            hasher.update(b"block" * 1000)
        assert hasher.digest() == "sha512:" + hashlib.sha512(b"block" * 100_000).hexdigest()
    assert hasher.size_bytes == 500_000
