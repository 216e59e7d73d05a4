"""monitor: stay with one container from its birth to its end, and clean up after it.

Chapter 6. One process for each container. All mounts are made inside, in the
container's own mount namespace, so none ever shows on the host and none can be
left over. A detached container outlives the engine; an attached one ends with it.
"""

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from labkit.errors import LabkitError, StartFailed
from labkit.kernel import cgroups, process, trace, trees
from labkit.kernel.cgroups import Cgroup, Hierarchy
from labkit.kernel.namespaces import Namespace
from labkit.ledger import Ledger
from labkit.paths import Paths
from labkit.runtime import handshake, init, spec, status
from labkit.runtime.handshake import Message
from labkit.runtime.logs import Log
from labkit.runtime.request import Run
from labkit.runtime.status import State, Status


class Event:
    """What a monitor tells the engine."""

    STARTED, FAILED, EXITED = "started", "failed", "exited"


@dataclass(slots=True)
class Unborn:
    """A process in namespaces of its own that waits for its order."""

    kinds: Namespace
    pid: int
    pidfd: int
    peer: socket.socket

    @classmethod
    def clone(cls, kinds: Namespace, hierarchies: list[Hierarchy], group: Cgroup | None = None) -> "Unborn":
        """Give birth to it; in version 2, straight into its group."""
        ours, theirs = handshake.pair()
        inside = None if group is None else os.open(group.all_directories[0], os.O_RDONLY | os.O_CLOEXEC)
        said = "init with fresh " + " ".join(kind.oci for kind in Namespace if kind in kinds)
        pid, pidfd = process.clone(int(kinds), cgroup=inside, said=said)
        if pid == 0:
            ours.close()
            init.wait_for_order(theirs, hierarchies)
        theirs.close()
        if inside is not None:
            os.close(inside)
        return cls(kinds, pid, pidfd, ours)

    def discard(self) -> None:
        """End it, since the order wants another kind of process."""
        self.peer.close()
        process.wait(self.pidfd)
        os.close(self.pidfd)


def get_ready(hierarchies: list[Hierarchy]) -> Unborn | None:
    """Clone ahead of the request what most requests want.

    Not in version 2: moving a process there later costs more than all that is
    saved, since the kernel must stop every fork of the machine for it.
    """
    if any(h.version == 1 and h.controllers for h in hierarchies):
        return Unborn.clone(spec.NAMESPACES & ~Namespace.CGROUP, hierarchies)
    return None


@dataclass(slots=True)
class Watch:
    """One container under supervision."""

    request: Run
    report: socket.socket
    stdio: tuple[int, int, int]
    logged: dict[int, str]  # the reading ends of stdout and stderr where labkit keeps the log
    hierarchies: list[Hierarchy]
    unborn: Unborn | None
    group: Cgroup | None = None

    @property
    def bundle(self) -> Path:
        """Where config.json and state.json are."""
        return Path(self.request.bundle)

    @property
    def ledger(self) -> Ledger:
        """What was made for this container."""
        paths = Paths(Path(self.request.state_root), Path(self.request.state_run))
        return Ledger.of(paths, self.request.owner)


def supervise(
    request: Run, files: Mapping[str, int], hierarchies: list[Hierarchy], unborn: Unborn | None
) -> NoReturn:
    """Be the monitor of one container; the process ends with it."""
    process.set_name(f"labkit:[mon]{request.container_id[:3]}")
    os.setsid()
    report = socket.socket(fileno=files["report"])
    stdio, logged = _stdio(request, files)
    watch = Watch(request, report, stdio, logged, hierarchies, unborn)
    try:
        state = _start(watch)
        for descriptor in set(stdio):
            os.close(descriptor)  # so that the end of the container is the end of its pipes
        _tell(watch, Event.STARTED, pid=state.pid, start_ticks=state.start_ticks)
        ended = _watch_until_the_end(watch, state)
        _clean_up(watch, ended)
        _tell(watch, Event.EXITED, exit_code=ended.exit_code, oom_killed=ended.oom_killed)
    except (LabkitError, OSError, ExceptionGroup) as failure:
        _give_up(watch, failure)
    os._exit(0)


def _stdio(request: Run, files: Mapping[str, int]) -> tuple[tuple[int, int, int], dict[int, str]]:
    if not request.log:
        return (files["stdin"], files["stdout"], files["stderr"]), {}
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    error_read, error_write = os.pipe2(os.O_CLOEXEC)
    return (files["stdin"], out_write, error_write), {out_read: "stdout", error_read: "stderr"}


def _start(watch: Watch) -> State:
    """From a bundle to a running command; StartFailed says why there is none."""
    config = json.loads((watch.bundle / "config.json").read_text())
    watch.group = cgroups.create(watch.request.cgroup, watch.request.limits, watch.hierarchies)
    born = _unborn(watch, spec.namespaces_of(config) & ~Namespace.CGROUP)  # that one, once it is in its group
    start_ticks = process.started_at(born.pid)
    handshake.send(
        born.peer,
        Message.ORDER,
        files=watch.stdio,
        config=config,
        root=str(watch.bundle / config["root"]["path"]),
        cgroup=watch.request.cgroup,
        mounts=[asdict(mount) for mount in watch.request.mounts],
        trace=watch.request.trace,
    )
    try:
        _await_exec(born.peer)
    except StartFailed:
        process.wait(born.pidfd)
        raise
    finally:
        born.peer.close()
        os.close(born.pidfd)
    state = State(
        status=Status.RUNNING,
        pid=born.pid,
        start_ticks=start_ticks,
        monitor_pid=os.getpid(),
        monitor_start_ticks=process.started_at(os.getpid()),
        started_at=time.time(),
    )
    status.save(watch.bundle, state)
    return state


def _unborn(watch: Watch, kinds: Namespace) -> Unborn:
    """The process that was made ahead, if it fits."""
    if watch.unborn and watch.unborn.kinds == kinds:
        trace.note("clone3", f"init, process {watch.unborn.pid}, was made ahead of the request")
        return watch.unborn
    if watch.unborn:
        watch.unborn.discard()
    group = watch.group if watch.group and watch.group.version == 2 else None
    return Unborn.clone(kinds, watch.hierarchies, group)


def _await_exec(peer: socket.socket) -> None:
    """READY and then silence is a command that runs; anything else is a StartFailed."""
    ready = False
    while (message := handshake.receive(peer)) is not None:
        trace.extend(message["trace"])
        if message["message"] == Message.FAILED:
            raise StartFailed(message["text"], exit_code=message["exit_code"])
        ready = True
    if not ready:
        raise StartFailed("container init was killed before it could run the command")


def _watch_until_the_end(watch: Watch, state: State) -> State:
    """Keep the log, listen to the engine, and wait for the first process to end."""
    log = Log(Path(watch.request.log)) if watch.request.log else None
    pidfd = os.pidfd_open(state.pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    for descriptor in watch.logged:
        poll.register(descriptor, select.POLLIN)
    if watch.request.attached:
        poll.register(watch.report, select.POLLRDHUP)
    running = True
    while running:
        for descriptor, _ in poll.poll():
            if descriptor == pidfd:
                running = False
            elif descriptor == watch.report.fileno():
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)  # nobody is left to take the result
                poll.unregister(descriptor)
            elif log and not _read_into(log, descriptor, watch.logged[descriptor]):
                poll.unregister(descriptor)
    code = process.wait(pidfd)
    if log:
        for descriptor, stream in watch.logged.items():
            while _read_into(log, descriptor, stream):
                pass
        log.close()
    oom = bool(watch.group and watch.group.oom_kills())
    return replace(
        state, status=Status.EXITED, pid=0, exit_code=code, oom_killed=oom, finished_at=time.time()
    )


def _read_into(log: Log, descriptor: int, stream: str) -> bool:
    """Pass on what is there; False at the end."""
    data = os.read(descriptor, 65536)
    if data:
        log.write(stream, data)
    return bool(data)


def _clean_up(watch: Watch, ended: State) -> None:
    """Remove the cgroup, then what was made for this run, or record its end. The mounts went with init."""
    if watch.group:
        watch.group.kill()  # without a pid namespace, others may have stayed
        watch.group.remove()
    for directory in watch.request.trees:
        trees.remove(Path(directory))
    if not watch.request.trees:
        status.save(watch.bundle, ended)
    watch.ledger.close()


def _give_up(watch: Watch, failure: Exception) -> None:
    """Undo what was made, and say why; the engine turns it into a StartFailed."""
    code = failure.exit_code if isinstance(failure, StartFailed) else 125
    text = str(failure)
    if isinstance(failure, OSError):
        text = f"{failure.strerror or failure}" + (f": {failure.filename}" if failure.filename else "")
    notes = [note for note in getattr(failure, "__notes__", ()) if note not in text]
    state = State(status=Status.EXITED, exit_code=code, error=text, finished_at=time.time())
    with contextlib.suppress(LabkitError, OSError, ExceptionGroup):
        _clean_up(watch, state)
    _tell(watch, Event.FAILED, text="; ".join([text, *notes]), exit_code=code)


def _tell(watch: Watch, event: str, **content: Any) -> None:
    """Report to the engine, if it is still there."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        handshake.send(watch.report, event, **content, trace=trace.take_rows())
