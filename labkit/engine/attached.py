"""attached: hand a request to the launcher, take in what the process says, and wait for its end.

Chapter 6. poll(2), pipe(7), memfd_create(2).
"""

import contextlib
import os
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.errors import LabkitError, StartFailed
from labkit.kernel import process, trace
from labkit.runtime import handshake
from labkit.runtime.handshake import Message
from labkit.runtime.launcher import Launcher
from labkit.runtime.monitor import Event
from labkit.runtime.request import Exec, Run

_END_SECONDS = 10.0
"""How long a killed container may take to be gone; one that waits for a disk takes longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended, and what it said. Text that is not UTF-8 shows as replacement characters."""

    exit_code: int
    stdout: str
    stderr: str
    oom_killed: bool
    seconds: float

    def __str__(self) -> str:
        return self.stdout + self.stderr + (f"exit code {self.exit_code}" if self.exit_code else "")


class TimedOut(LabkitError):
    """The command was killed because it took longer than it was given."""

    def __init__(self, message: str, result: Result) -> None:
        super().__init__(message)
        self.result = result


class Stopped(LabkitError):
    """The command was killed because nobody wants its result any more."""


Hearer = Callable[[str, bytes], None]
"""Is called with each piece of output, `stdout` or `stderr` first."""


@dataclass(slots=True)
class Session:
    """The engine's end of one attached process."""

    report: socket.socket
    outputs: dict[int, bytearray]  # by the reading end: stdout, then stderr
    started: dict[str, Any] = field(default_factory=dict)
    ended: dict[str, Any] = field(default_factory=dict)
    hearer: Hearer | None = None
    stop: int = -1
    on_born: Callable[[int], None] | None = None


def run(
    launcher: Launcher,
    request: Run | Exec,
    *,
    first_files: Sequence[int] = (),
    stdin: str | bytes | None = None,
    timeout_seconds: float | None = None,
    hearer: Hearer | None = None,
    stop: int = -1,
    on_born: Callable[[int], None] | None = None,
) -> Result:
    """Start it and wait.

    StartFailed where it did not start, TimedOut with the output so far where
    it took longer than it was given. A `hearer` gets the output as it comes,
    and the result none. Once the descriptor `stop` can be read, the command is
    killed, and Stopped raised. Where the request waits, `on_born` is called with
    the pid, and only then the command runs.
    """
    began = time.monotonic()
    with _open(launcher, request, first_files, stdin) as session:
        session.hearer, session.stop, session.on_born = hearer, stop, on_born
        late = _follow(session, None if timeout_seconds is None else began + timeout_seconds)
    stdout, stderr = (bytes(data).decode(errors="replace") for data in session.outputs.values())
    if not session.ended:
        raise StartFailed(
            "the monitor of the container was killed", hint="its ledger is undone at the next start"
        )
    result = Result(
        exit_code=session.ended["exit_code"],
        stdout=stdout,
        stderr=stderr,
        oom_killed=session.ended["oom_killed"],
        seconds=time.monotonic() - began,
    )
    if late:
        raise TimedOut(f"the command was still running after {timeout_seconds} s and was killed", result)
    return result


@contextlib.contextmanager
def _open(
    launcher: Launcher, request: Run | Exec, first_files: Sequence[int], stdin: str | bytes | None
) -> Iterator[Session]:
    """Send the request; at the end of the block the report is closed, which ends what still runs."""
    ours, theirs = handshake.pair()
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    error_read, error_write = os.pipe2(os.O_CLOEXEC)
    source = _source(stdin)
    try:
        with theirs:
            launcher.send(request, [theirs.fileno(), *first_files, source, out_write, error_write])
    except BaseException:
        ours.close()
        os.close(out_read)
        os.close(error_read)
        raise
    finally:
        for descriptor in (source, out_write, error_write):
            os.close(descriptor)
    try:
        yield Session(ours, {out_read: bytearray(), error_read: bytearray()})
    finally:
        end(ours)
        os.close(out_read)
        os.close(error_read)


def end(report: socket.socket) -> None:
    """Say that nobody waits any more, and see that the container is gone: what follows removes its files."""
    report.settimeout(_END_SECONDS)
    with contextlib.suppress(OSError):
        report.shutdown(socket.SHUT_WR)
        while handshake.receive(report) is not None:
            pass
    report.close()


def _source(stdin: str | bytes | None) -> int:
    """What the process reads: nothing, or a file in memory, which no writer must wait for."""
    if stdin is None:
        return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    memory = os.memfd_create("stdin")
    data = memoryview(stdin.encode() if isinstance(stdin, str) else stdin)
    while data:
        data = data[os.write(memory, data) :]
    os.lseek(memory, 0, os.SEEK_SET)
    return memory


def _follow(session: Session, deadline: float | None) -> bool:
    """Gather output until the monitor's last word; whether the deadline passed."""
    poll = select.poll()
    for descriptor in (session.report.fileno(), *session.outputs):
        poll.register(descriptor, select.POLLIN)
    if session.stop >= 0:
        poll.register(session.stop, select.POLLIN)
    open_ones, late = {session.report.fileno(), *session.outputs}, False
    while session.report.fileno() in open_ones:
        left = None if deadline is None or late else max(0.0, deadline - time.monotonic())
        ready = poll.poll(None if left is None else left * 1000)
        late = late or (not ready and left == 0.0)
        for descriptor, _ in ready:
            if not _take(session, descriptor):
                poll.unregister(descriptor)
                open_ones.discard(descriptor)
        if late:
            _kill(session)
    for descriptor in (
        open_ones & session.outputs.keys()
    ):  # a process that escaped its end may hold a pipe open
        _drain(session, descriptor)
    return late


def _take(session: Session, descriptor: int) -> bool:
    """Read once; False at the end."""
    if descriptor == session.stop:
        raise Stopped("the command was killed: what it was for has been given up")
    if descriptor != session.report.fileno():
        return _hear(session, descriptor)
    message = handshake.receive(session.report)
    if message is None:
        return False
    trace.extend(message["trace"])
    if message["message"] == Event.FAILED:
        raise StartFailed(message["text"], exit_code=message["exit_code"])
    if message["message"] == Event.BORN:
        go_on(session.report, message["pid"], session.on_born)
    elif message["message"] == Event.STARTED:
        session.started = message
    else:
        session.ended = message
    return not session.ended


def go_on(report: socket.socket, pid: int, on_born: Callable[[int], None] | None) -> None:
    """Do what a container waits for, and let it run."""
    if on_born:
        on_born(pid)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its end is told by the monitor
        handshake.send(report, Message.GO)


def _hear(session: Session, descriptor: int) -> bool:
    """Read output once; False at its end."""
    data = os.read(descriptor, 65536)
    if session.hearer is None:
        session.outputs[descriptor] += data
    elif data:
        stream = "stdout" if descriptor == next(iter(session.outputs)) else "stderr"
        session.hearer(stream, data)
    return bool(data)


def _drain(session: Session, descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        while _hear(session, descriptor):
            pass


def _kill(session: Session) -> None:
    """End it, as soon as it is known: the time it was given may be over before it has started."""
    if session.started:
        process.kill(session.started["pid"], session.started["start_ticks"])
