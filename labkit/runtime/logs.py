"""logs: what a container says, a line of JSON for each line of output.

Chapter 6. The json-file format that `docker logs` reads: log, stream, time.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

MOST_LINE_BYTES = 16 * 1024
"""A longer line is kept in parts, as Docker does: no container may fill our memory with one."""


@dataclass(slots=True)
class Log:
    """The writing side: takes bytes as they come, and keeps lines."""

    file: Path
    _descriptor: int = -1
    _partial: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._descriptor = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, stream: str, data: bytes) -> None:
        """Take in what was read from `stdout` or `stderr`."""
        *lines, rest = (self._partial.pop(stream, b"") + data).split(b"\n")
        for line in lines:
            self._append(stream, line + b"\n")
        while len(rest) >= MOST_LINE_BYTES:
            self._append(stream, rest[:MOST_LINE_BYTES])
            rest = rest[MOST_LINE_BYTES:]
        if rest:
            self._partial[stream] = rest

    def _append(self, stream: str, line: bytes) -> None:
        record = {"log": line.decode(errors="replace"), "stream": stream, "time": _now()}
        os.write(self._descriptor, (json.dumps(record) + "\n").encode())

    def close(self) -> None:
        """Keep the last line that had no end, and let go of the file."""
        for stream, rest in self._partial.items():
            self._append(stream, rest)
        self._partial.clear()
        os.close(self._descriptor)


def _now() -> str:
    """RFC 3339 with nanoseconds, as Docker writes it."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09}Z"


@dataclass(frozen=True, slots=True)
class Line:
    """One piece of output."""

    stream: str
    text: str
    time: str  # RFC 3339


def read(file: Path) -> Iterator[Line]:
    """All lines so far; one that is just being written is left for the next time."""
    try:
        text = file.read_text()
    except FileNotFoundError:
        return
    for row in text.splitlines(keepends=True):
        if row.endswith("\n"):
            record = json.loads(row)
            yield Line(record["stream"], record["log"], record["time"])
