"""children: run lines in a fresh process, so that the notebook itself is never moved.

Every chapter. fork(2), unshare(2), pidfd_open(2), PR_SET_PDEATHSIG. A notebook
kernel has many threads: it cannot leave a namespace whole, and a fork of it is
a second kernel. So experiments run in a child, whose words show in the cell.
A child dies with the notebook; what it started carries its owner's mark.
"""

import codecs
import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from labkit.course import pages
from labkit.course.orders import REMAPPED, Order, environment, order
from labkit.errors import Invalid, LabkitError
from labkit.kernel import idmap
from labkit.kernel.cgroups import Cgroup
from labkit.kernel.idmap import IdMap
from labkit.kernel.namespaces import Namespace

INSIDE = Path(__file__).with_name("inside.py")
MOST_OUTPUT_BYTES = 4 << 20


class ChildFailed(LabkitError):
    """A child ended with an error and `check=True` asked for no less than success."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a child ended."""

    output: str
    returncode: int  # negative: minus the signal that ended it
    error: str = ""  # what a reader would see; "" where all went well
    error_kind: str = ""  # the class of the exception, or "" where it was no exception
    value: Any = None  # what the function returned

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than well."""
        return bool(self.error)

    def _ipython_display_(self) -> None:
        """The output has been shown already; a cell that ends with a child shows nothing more."""


@dataclass(slots=True, eq=False)
class Child:
    """A child that lives on, to be looked at from outside. As a context manager it ends with the block."""

    outer: "subprocess.Popen[bytes]"
    control: socket.socket
    given: Order
    cgroup: Cgroup | None
    pid: int  # in a new pid or time namespace: the process that is inside
    pidfd: int  # the same process, held so that it cannot be another
    output: str = ""
    value: Any = None
    has_value: bool = False
    error: dict[str, str] = field(default_factory=dict)
    result: Result | None = None
    _watched: int = -1  # pidfd of the outer process, whose end is the end
    _ready: bool = False
    _unread: str = ""
    _events: bytes = b""
    _decoder: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"))
    _oom_kills: int = 0
    _ending: str = ""

    @classmethod
    def start(cls, given: Order, *, talk: bool, cgroup: Cgroup | None = None, owner: str = "") -> "Child":
        """Start it, in a session of its own and in its cgroup, and return when its code begins."""
        ours, theirs = socket.socketpair()
        with theirs:
            outer = subprocess.Popen(
                [sys.executable, "-I", "-S", "-X", "utf8", str(INSIDE), str(theirs.fileno())],
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                pass_fds=(theirs.fileno(),), start_new_session=True, env=environment(owner),
            )  # fmt: skip
        child = cls(outer, ours, given, cgroup, outer.pid, os.pidfd_open(outer.pid))
        child._watched = os.pidfd_open(outer.pid)
        try:
            assert outer.stdout is not None
            os.set_blocking(outer.stdout.fileno(), False)
            if cgroup is not None:
                child._oom_kills = cgroup.oom_kills()
                cgroup.add(outer.pid)
            ours.sendall(given.encode())
            child._follow(lambda: child._has_begun or bool(child.error), timeout_seconds=30.0)
        except BaseException:
            child.kill()
            raise
        return child

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def __repr__(self) -> str:
        state = "ended" if self.result is not None or self.outer.poll() is not None else "running"
        return f"<child, {state}>"  # without its pid, which differs from run to run

    @property
    def _has_begun(self) -> bool:
        """Two processes report: the one inside that it is ready, the one outside who that is."""
        forks = self.given.namespaces & (Namespace.PID | Namespace.TIME)
        return self._ready and (not forks or self.pid != self.outer.pid)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.outer.poll() is None

    def say(self, line: str) -> None:
        """Give it a line, as `input()` reads it."""
        if self.outer.stdin is None:
            raise Invalid("this child has no standard input; start it with child.start()")
        with contextlib.suppress(BrokenPipeError):
            self.outer.stdin.write(line.encode() + b"\n")

    def read_line(self, timeout_seconds: float = 10.0) -> str:
        """The next line that it prints, waited for."""
        self._follow(lambda: "\n" in self._unread, timeout_seconds)
        line, newline, rest = self._unread.partition("\n")
        if not newline and not line:
            raise LabkitError(
                f"the child ended without another line; {self.error.get('message', 'it said no more')}"
            )
        self._unread = rest
        return line

    def read(self) -> str:
        """All that it has printed by now and that nobody has read yet."""
        self._follow(lambda: True, 0.0)
        text, self._unread = self._unread, ""
        return text

    def wait_value(self, timeout_seconds: float = 10.0) -> Any:
        """What its function returned, waited for; the child may live on (`hold=True`)."""
        self._follow(lambda: self.has_value or bool(self.error), timeout_seconds)
        return self.value

    def wait(self, timeout_seconds: float = 60.0, show: Callable[[str], None] | None = None) -> Result:
        """Wait until it ends; past the time it is killed, and the result says so."""
        if self.result is None:
            try:
                self._follow(lambda: False, timeout_seconds, show)
            except TimeoutError:
                self._ending = f"not done after {timeout_seconds:g} s, so it was killed"
            except BaseException:
                self.kill()
                raise
            self._finish()
        assert self.result is not None
        return self.result

    def release(self) -> None:
        """Let a held child go."""
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def kill(self) -> Result:
        """End it and what is in its process group at once."""
        if self.result is None:
            self._ending = self._ending or "killed by the notebook"
            self._finish()
        assert self.result is not None
        return self.result

    def _finish(self) -> None:
        """Kill what still runs, reap, close, and put the result together."""
        if self.outer.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.outer.pid, signal.SIGKILL)
        returncode = self.outer.wait()
        self._drain(None)
        self._hear()
        for stream in (self.outer.stdin, self.outer.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.control.close()
        os.close(self.pidfd)
        os.close(self._watched)
        error = self._why(returncode)
        self.result = Result(self.output, returncode, error, self.error.get("kind", ""), self.value)

    def _why(self, returncode: int) -> str:
        if self.error:
            at = self.error["line"]
            return self.error["message"] + (f"\n  at: {at}" if at else "")
        if self._ending:
            return self._ending
        if returncode < 0:
            name = signal.Signals(-returncode).name
            if self.cgroup is not None and returncode == -signal.SIGKILL and self._oom_killed():
                return f"killed by {name}: the OOM killer took it, since its cgroup ran out of memory"
            return f"killed by {name}"
        return f"ended with exit code {returncode}" if returncode else ""

    def _oom_killed(self) -> bool:
        assert self.cgroup is not None
        with contextlib.suppress(OSError):
            return self.cgroup.oom_kills() > self._oom_kills
        return False

    def _follow(
        self, done: Callable[[], bool], timeout_seconds: float, show: Callable[[str], None] | None = None
    ) -> None:
        """Take in what it prints and reports until `done`, or its end; TimeoutError when the time is over."""
        if self.result is not None:
            return
        assert self.outer.stdout is not None
        deadline = time.monotonic() + timeout_seconds
        with selectors.DefaultSelector() as ready:
            for source in (self.outer.stdout, self.control, self._watched):
                ready.register(source, selectors.EVENT_READ)
            while True:
                over = self.outer.poll() is not None
                if self._drain(show) is False and self.outer.stdout in ready.get_map():
                    ready.unregister(self.outer.stdout)
                if self._hear() is False and self.control in ready.get_map():
                    ready.unregister(self.control)
                if over or done():
                    return
                if (left := deadline - time.monotonic()) <= 0:
                    raise TimeoutError(f"the child did not come to it within {timeout_seconds:g} s")
                ready.select(left)

    def _drain(self, show: Callable[[str], None] | None) -> bool:
        """Read what is there; False at the end of the output."""
        assert self.outer.stdout is not None
        if self.outer.stdout.closed:
            return False
        while (piece := self.outer.stdout.read(1 << 16)) is not None:
            text = self._decoder.decode(piece, final=not piece)
            self.output += text
            self._unread += text
            if show is not None and text:
                show(text)
            if not piece:
                return False
            if len(self.output) > MOST_OUTPUT_BYTES and not self._ending:
                self._ending = f"it printed more than {MOST_OUTPUT_BYTES >> 20} MiB, so it was killed"
                os.killpg(self.outer.pid, signal.SIGKILL)
                return False
        return True

    def _hear(self) -> bool:
        """Take in what the child reports; False where it reports no more."""
        while True:
            try:
                piece = self.control.recv(1 << 16, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not piece:
                return False
            *lines, self._events = (self._events + piece).split(b"\n")
            for line in lines:
                self._take(json.loads(line))

    def _take(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "unshared":
                idmap.write(self.outer.pid, self.given.ids, self.given.ids)
                self.control.sendall(b'{"event": "mapped"}\n')
            case "born":
                with contextlib.suppress(ProcessLookupError):  # it may have ended by now
                    inner = os.pidfd_open(message["pid"])
                    os.dup2(inner, self.pidfd, inheritable=False)
                    os.close(inner)
                self.pid = message["pid"]
            case "ready":
                self._ready = True
            case "value":
                self.value, self.has_value = message["value"], True
            case "error":
                self.error = {name: str(message[name]) for name in ("kind", "message", "line")}


class Launcher:
    """`course.child`: call it to run and wait, `.start` for one that lives on, `.sh` for a shell."""

    def __call__(
        self,
        code: str | Callable[..., Any],
        *args: Any,
        namespaces: str | Namespace = "",
        root: os.PathLike[str] | str | None = None,
        ids: Sequence[IdMap] = REMAPPED,
        cgroup: Cgroup | None = None,
        timeout_seconds: float = 60.0,
        check: bool = False,
        quiet: bool = False,
        **values: Any,
    ) -> Result:
        """Run lines or a function in a fresh child; its words show in the cell, its failure too.

        `values` become variables of the lines, or keyword arguments of the function.
        """
        given = order(code, *args, namespaces=namespaces, root=root, ids=ids, **values)
        return run(given, cgroup=cgroup, timeout_seconds=timeout_seconds, check=check, quiet=quiet)

    def sh(
        self,
        script: str,
        *,
        namespaces: str | Namespace = "",
        root: os.PathLike[str] | str | None = None,
        ids: Sequence[IdMap] = REMAPPED,
        cgroup: Cgroup | None = None,
        timeout_seconds: float = 60.0,
        check: bool = False,
        quiet: bool = False,
    ) -> Result:
        """Run a shell script (`set -eu`) in a fresh child."""
        given = order(script, namespaces=namespaces, root=root, ids=ids, shell=True)
        return run(given, cgroup=cgroup, timeout_seconds=timeout_seconds, check=check, quiet=quiet)

    def start(
        self,
        code: str | Callable[..., Any],
        *args: Any,
        namespaces: str | Namespace = "",
        root: os.PathLike[str] | str | None = None,
        ids: Sequence[IdMap] = REMAPPED,
        cgroup: Cgroup | None = None,
        hold: bool = False,
        **values: Any,
    ) -> Child:
        """Start a child and come back when its code begins; `input()` in it waits for `.say()`."""
        given = order(code, *args, namespaces=namespaces, root=root, ids=ids, hold=hold, **values)
        started = Child.start(given, talk=True, cgroup=cgroup)
        if started.error and not started._ready:
            raise ChildFailed(started.wait().error)
        return started


def run(
    given: Order, *, cgroup: Cgroup | None = None, timeout_seconds: float = 60.0, check: bool = False,
    quiet: bool = False,
) -> Result:  # fmt: skip
    """Run an order to its end, showing what it prints and how it fails."""
    child = Child.start(given, talk=False, cgroup=cgroup)
    if not quiet and child._unread:
        _print(child._unread)
    result = child.wait(timeout_seconds, None if quiet else _print)
    if result.failed and check:
        raise ChildFailed(result.error)
    if result.failed and not quiet:
        pages.failure(result.error)
    return result


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


child = Launcher()
