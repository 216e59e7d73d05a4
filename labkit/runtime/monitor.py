"""monitor: stay with containers from their birth to their end, and clean up after them.

Chapter 6. The same event loop runs in two places. A detached container has a
monitor of its own, which outlives the engine. Those that are attached end with
the engine anyway, so the launcher is the monitor of them all. All mounts are
made inside, in the containers' own mount namespaces: none ever shows on the
host, and none can be left over.
"""

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from labkit.errors import LabkitError, StartFailed
from labkit.kernel import cgroups, memory, process, trace
from labkit.kernel.cgroups import Cgroup, Hierarchy
from labkit.kernel.namespaces import Namespace
from labkit.ledger import Ledger
from labkit.paths import Paths
from labkit.runtime import handshake, outside, spec, status, unborn
from labkit.runtime.handshake import Message
from labkit.runtime.logs import Log
from labkit.runtime.request import Run
from labkit.runtime.status import State, Status
from labkit.runtime.unborn import Unborn


class Event:
    """What a monitor tells the engine."""

    BORN, STARTED, FAILED, EXITED = "born", "started", "failed", "exited"


def tell(report: socket.socket, event: str, **content: Any) -> None:
    """Send an event and what was traced so far to the engine, if it is still there."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        handshake.send(report, event, **content, trace=trace.take_rows())


@dataclass(slots=True)
class Watch:
    """One container under supervision."""

    request: Run
    report: socket.socket
    stdio: list[int]  # closed here as soon as the command has them
    logged: dict[int, str] = field(default_factory=dict)  # reading ends, where labkit keeps the log
    log: Log | None = None
    group: Cgroup | None = None
    born: Unborn | None = None
    ready: bool = False
    state: State = State(status=Status.CREATED)  # noqa: RUF009 (a frozen value)

    @property
    def bundle(self) -> Path:
        """Where config.json and state.json are."""
        return Path(self.request.bundle)

    @property
    def ledger(self) -> Ledger:
        """What was made for this container."""
        paths = Paths(Path(self.request.state_root), Path(self.request.state_run))
        return Ledger.of(paths, self.request.owner)

    def tell(self, event: str, **content: Any) -> None:
        """Report to the engine."""
        tell(self.report, event, **content)

    def close_stdio(self) -> None:
        """So that the end of the container is the end of its pipes."""
        for descriptor in set(self.stdio):
            os.close(descriptor)
        self.stdio.clear()


class Monitor:
    """An event loop over containers: poll(2) tells which descriptor has news, and who wants to hear it."""

    def __init__(self, hierarchies: list[Hierarchy]) -> None:
        self.hierarchies = hierarchies
        self.containers = 0
        self.ahead: Unborn | None = None  # an init for the next request
        self._poll = select.poll()
        self._listeners: dict[int, Callable[[], None]] = {}

    def listen(self, descriptor: int, events: int, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a descriptor has such news."""
        self._poll.register(descriptor, events)
        self._listeners[descriptor] = listener

    def forget(self, descriptor: int) -> None:
        """Hear no more of it."""
        if self._listeners.pop(descriptor, None):
            self._poll.unregister(descriptor)

    def turn(self, timeout_ms: int | None = None) -> bool:
        """Wait for news and pass them on; whether there were any in that time."""
        news = self._poll.poll(timeout_ms)
        for descriptor, _ in news:
            if listener := self._listeners.get(descriptor):  # an earlier one may have ended it
                listener()
        return bool(news)

    # ------------------------------------------------------------ one container

    def begin(self, request: Run, files: Mapping[str, int]) -> None:
        """From a bundle to an init that has its order; what fails is reported."""
        report = socket.socket(fileno=files["report"])
        watch = Watch(request, report, [files["stdin"], files["stdout"], files["stderr"]])
        self.containers += 1
        try:
            if request.log:
                _keep_a_log(watch)
            self._order(watch)
        except (LabkitError, OSError, ValueError) as failure:
            self._give_up(watch, failure)

    def _order(self, watch: Watch) -> None:
        config = json.loads((watch.bundle / "config.json").read_text())
        watch.group = cgroups.create(watch.request.cgroup, watch.request.limits, self.hierarchies)
        watch.born = self._init_for(watch, spec.namespaces_of(config) & ~Namespace.CGROUP)
        trees = outside.take(config.get("mounts", ()))
        handshake.send(
            watch.born.peer,
            Message.ORDER,
            files=[*watch.stdio, *trees.values()],
            trees=list(trees),
            config=config,
            root=str(watch.bundle / config["root"]["path"]),
            cgroup=watch.request.cgroup,
            mounts=[asdict(mount) for mount in watch.request.mounts],
            waits=watch.request.waits,
            trace=watch.request.trace,
        )
        watch.close_stdio()
        for tree in trees.values():
            os.close(tree)
        self.listen(watch.born.peer.fileno(), select.POLLIN, lambda: self._hear_init(watch))
        if watch.request.waits:
            watch.tell(Event.BORN, pid=watch.born.pid)
            self.listen(watch.report.fileno(), select.POLLIN, lambda: self._hear_engine(watch))

    def _init_for(self, watch: Watch, kinds: Namespace) -> Unborn:
        """The process that was made ahead, if it fits; else a new one."""
        ahead, self.ahead = self.ahead, None
        if ahead and ahead.kinds == kinds and process.is_alive(ahead.pid, process.started_at(ahead.pid)):
            trace.note("clone3", f"init, process {ahead.pid}, was made ahead of the request")
            return ahead
        if ahead:
            ahead.discard()
        group = watch.group if watch.group and watch.group.version == 2 else None
        return Unborn.clone(kinds, self.hierarchies, group)

    def _hear_engine(self, watch: Watch) -> None:
        """GO: what the container waited for is there. Silence: it will never be."""
        assert watch.born is not None
        self.forget(watch.report.fileno())
        if handshake.receive(watch.report) is None:
            self._give_up(watch, StartFailed("the engine left before the container had its network"))
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # _hear_init knows more
            handshake.send(watch.born.peer, Message.GO)

    def _hear_init(self, watch: Watch) -> None:
        """READY and then silence is a command that runs; anything else is a failure."""
        assert watch.born is not None
        message = handshake.receive(watch.born.peer)
        if message is not None:
            trace.extend(message["trace"])
            watch.ready = message["message"] == Message.READY
            if not watch.ready:
                self._give_up(watch, StartFailed(message["text"], exit_code=message["exit_code"]))
            return
        if not watch.ready:
            self._give_up(watch, StartFailed("container init was killed before it could run the command"))
            return
        self.forget(watch.born.peer.fileno())
        watch.born.peer.close()
        self._follow(watch, watch.born)

    def _follow(self, watch: Watch, born: Unborn) -> None:
        """The command runs: say so, and listen for its end, its output and the engine's."""
        watch.state = State(
            status=Status.RUNNING,
            pid=born.pid,
            start_ticks=process.started_at(born.pid),
            monitor_pid=os.getpid(),
            monitor_start_ticks=process.started_at(os.getpid()),
            started_at=time.time(),
        )
        if not watch.request.attached:
            status.save(watch.bundle, watch.state)
        watch.tell(Event.STARTED, pid=watch.state.pid, start_ticks=watch.state.start_ticks)
        self.listen(born.pidfd, select.POLLIN, lambda: self._end(watch))
        for descriptor, stream in watch.logged.items():
            self.listen(descriptor, select.POLLIN, _reader(self, watch, descriptor, stream))
        if watch.request.attached:
            self.listen(watch.report.fileno(), select.POLLRDHUP, lambda: self._engine_left(watch, born))

    def _engine_left(self, watch: Watch, born: Unborn) -> None:
        """Nobody is left to take the result."""
        self.forget(watch.report.fileno())
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(born.pidfd, signal.SIGKILL)

    def _end(self, watch: Watch) -> None:
        """Reap it, keep its last words and how it ended, remove its group, report."""
        assert watch.born is not None
        self._let_go(watch)
        code = process.wait(watch.born.pidfd)
        os.close(watch.born.pidfd)
        _finish_log(watch)
        oom = bool(watch.group and watch.group.oom_kills())
        ended = replace(
            watch.state, status=Status.EXITED, pid=0, exit_code=code, oom_killed=oom, finished_at=time.time()
        )
        try:
            _clean_up(watch, ended)
        except (LabkitError, OSError, ExceptionGroup) as failure:
            watch.tell(Event.FAILED, text=_words(failure), exit_code=125)
        else:
            watch.tell(Event.EXITED, exit_code=code, oom_killed=oom)
        self._dismiss(watch)

    def _give_up(self, watch: Watch, failure: Exception) -> None:
        """Undo what was made, and say why; the engine turns it into a StartFailed."""
        code = failure.exit_code if isinstance(failure, StartFailed) else 125
        self._let_go(watch)
        watch.close_stdio()
        if watch.born:
            watch.born.discard()
        _finish_log(watch)
        with contextlib.suppress(LabkitError, OSError, ExceptionGroup):  # the failure that is told came first
            _clean_up(
                watch,
                State(status=Status.EXITED, exit_code=code, error=_words(failure), finished_at=time.time()),
            )
        watch.tell(Event.FAILED, text=_words(failure), exit_code=code)
        self._dismiss(watch)

    def _let_go(self, watch: Watch) -> None:
        """Listen to nothing of it any more."""
        descriptors = [*watch.logged, watch.report.fileno()]
        if watch.born:
            descriptors += [watch.born.pidfd, watch.born.peer.fileno()]
        for descriptor in descriptors:
            self.forget(descriptor)

    def _dismiss(self, watch: Watch) -> None:
        watch.report.close()
        self.containers -= 1

    def get_ready(self) -> bool:
        """One step of what the next start need not wait for; whether there may be another."""
        if self.ahead is None:
            self.ahead = unborn.make_ahead(self.hierarchies)
            if self.ahead:
                return True
        memory.populate()  # that fork has made a fault of each first write
        return False


def _keep_a_log(watch: Watch) -> None:
    """Put pipes of our own in the place of stdout and stderr."""
    watch.log = Log(Path(watch.request.log))
    for number, stream in ((1, "stdout"), (2, "stderr")):
        reading, writing = os.pipe2(os.O_CLOEXEC)
        os.close(watch.stdio[number])
        watch.stdio[number] = writing
        watch.logged[reading] = stream


def _reader(monitor: Monitor, watch: Watch, descriptor: int, stream: str) -> Callable[[], None]:
    def read() -> None:
        if not _read_into(watch, descriptor, stream):
            monitor.forget(descriptor)

    return read


def _read_into(watch: Watch, descriptor: int, stream: str) -> bool:
    """Pass on what is there; False at the end."""
    data = os.read(descriptor, 65536)
    if data and watch.log:
        watch.log.write(stream, data)
    return bool(data)


def _finish_log(watch: Watch) -> None:
    """What is still in the pipes, now that every process that could write is gone."""
    for descriptor, stream in watch.logged.items():
        os.set_blocking(descriptor, False)
        with contextlib.suppress(BlockingIOError):
            while _read_into(watch, descriptor, stream):
                pass
        os.close(descriptor)
    watch.logged.clear()
    if watch.log:
        watch.log.close()


def _clean_up(watch: Watch, ended: State) -> None:
    """Remove the group; of a container that is kept, write down how it ended."""
    if watch.group:
        watch.group.end()  # without a pid namespace, others may have stayed
    if not watch.request.attached:
        status.save(watch.bundle, ended)
        if watch.request.waits:
            watch.ledger.undo()  # its addresses and ports are free again
        else:
            watch.ledger.close()


def _words(failure: Exception) -> str:
    """An error in one line, with the file and the notes."""
    text = str(failure)
    if isinstance(failure, OSError):
        text = f"{failure.strerror or failure}" + (f": {failure.filename}" if failure.filename else "")
    return "; ".join([text, *(note for note in getattr(failure, "__notes__", ()) if note not in text)])
