"""streams: two things at once: read ahead, hash and write in threads of their own.

Chapter 7. What they do (read(2), SHA-256, inflate) lets other threads run
meanwhile. A few blocks wait at most, so memory stays small whatever the size.
"""

import hashlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

BLOCK_BYTES = 1 << 19
DEPTH = 8
"""So many blocks may wait between two threads."""


class Ahead:
    """Reads a source ahead. Errors of the source come out of `next`, in their place."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._blocks: queue.SimpleQueue[bytes | BaseException] = queue.SimpleQueue()
        self._room = threading.Semaphore(DEPTH)
        self._stopped = self._ended = False
        self._thread = threading.Thread(target=self._run, name="read ahead", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            block = b"more"
            while block:
                self._room.acquire()
                if self._stopped:
                    return
                block = self._read(BLOCK_BYTES)
                self._blocks.put(block)
        except BaseException as error:
            self._blocks.put(error)

    def next(self) -> bytes:
        """The next block, none at the end."""
        if self._ended:
            return b""
        block = self._blocks.get()
        if isinstance(block, BaseException):
            raise block
        self._ended = not block
        self._room.release()
        return block

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped = True
        self._room.release()
        self._thread.join()  # nobody reads the source any more when the block ends


class Behind:
    """Hands blocks to a function in a thread of its own, in order. Its error comes out of the next call."""

    def __init__(self, work: Callable[[bytes], object]) -> None:
        self._work = work
        self._blocks: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._room = threading.Semaphore(DEPTH)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="work behind", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (block := self._blocks.get()) is not None:
            try:
                if self._error is None:
                    self._work(block)
            except BaseException as error:
                self._error = error
            self._room.release()

    def put(self, block: bytes) -> None:
        """One more block; it must not be changed afterwards."""
        if self._error is not None:
            raise self._error
        self._room.acquire()
        self._blocks.put(block)

    def finish(self) -> None:
        """Wait until all is done."""
        self._end()
        if self._error is not None:
            raise self._error

    def _end(self) -> None:
        if self._thread.is_alive():
            self._blocks.put(None)
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._error = self._error or error
        self._end()


class Hasher:
    """A digest, computed behind: `with Hasher() as hasher: hasher.update(…)`, then `hasher.digest()`."""

    def __init__(self, algorithm: str = "sha256") -> None:
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._behind = Behind(self._hash.update)
        self.size_bytes = 0

    def update(self, block: bytes) -> None:
        """One more block."""
        self.size_bytes += len(block)
        self._behind.put(block)

    def digest(self) -> str:
        """As `sha256:…`, once everything has been given."""
        self._behind.finish()
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def __enter__(self) -> Self:
        self._behind.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._behind.__exit__(kind, error, trace)
