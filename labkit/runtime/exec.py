"""exec: start one more process inside a running container.

Chapter 6. setns(2), pid_namespaces(7); docker-exec(1).
"""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from labkit.errors import LabkitError, StartFailed
from labkit.kernel import cgroups, namespaces, process, trace
from labkit.kernel.cgroups import Cgroup
from labkit.kernel.namespaces import Namespace
from labkit.runtime import handshake, init
from labkit.runtime.init import Birth
from labkit.runtime.monitor import Event, tell
from labkit.runtime.request import Exec

STEPS: tuple[Callable[[Birth], None], ...] = (
    init.stand_alone,
    init.take_stdio,
    init.drop_bounding,
    init.become_user,
    init.go_to_work,
    init.keep_capabilities,
    init.refuse_privileges,
)


def supervise(request: Exec, files: Mapping[str, int]) -> NoReturn:
    """Enter the container, start the process, wait for it, and report how it ended."""
    process.set_name(f"labkit:[exe]{request.container_id[:3]}")
    report = socket.socket(fileno=files["report"])
    stdio = (files["stdin"], files["stdout"], files["stderr"])
    try:
        pid, pidfd = _start(request, stdio)
        for descriptor in stdio:
            os.close(descriptor)
        tell(report, Event.STARTED, pid=pid, start_ticks=process.started_at(pid))
        tell(report, Event.EXITED, exit_code=process.wait(pidfd), oom_killed=False)
    except (LabkitError, OSError) as failure:
        code = failure.exit_code if isinstance(failure, StartFailed) else 126
        tell(report, Event.FAILED, text=str(failure), exit_code=code)
    os._exit(0)


def _start(request: Exec, stdio: tuple[int, int, int]) -> tuple[int, int]:
    target = os.pidfd_open(request.pid)
    if process.started_at(request.pid) != request.start_ticks:
        raise ProcessLookupError(3, "the container has ended", request.container_id)
    group, kinds = cgroups.open_existing(request.cgroup), _others(request.pid)
    if Namespace.PID in kinds:
        namespaces.enter_pidfd(target, Namespace.PID, said="the next child is born in the container's pids")
    ours, theirs = handshake.pair()
    pid, pidfd = process.clone(said="the new process, in the container's pid namespace")
    if pid == 0:
        ours.close()
        trace.become("init", trace.Trace() if request.trace else None)
        _become(request, theirs, stdio, group, target, kinds)
    theirs.close()
    os.close(target)
    try:
        while (message := handshake.receive(ours)) is not None:
            trace.extend(message["trace"])
            if message["message"] == handshake.Message.FAILED:
                process.wait(pidfd)
                raise StartFailed(message["text"], exit_code=message["exit_code"])
    finally:
        ours.close()
    return pid, pidfd


def _others(pid: int) -> Namespace:
    """The kinds in which the container differs from us; setns(2) refuses some that are the same."""
    theirs, own = namespaces.identities(pid), namespaces.identities("self")
    kinds = Namespace(0)
    for kind, identity in theirs.items():
        if own[kind] != identity:
            kinds |= kind
    return kinds


def _become(
    request: Exec,
    peer: socket.socket,
    stdio: tuple[int, int, int],
    group: Cgroup,
    target: int,
    kinds: Namespace,
) -> NoReturn:
    """Be counted with the container, see what it sees, and then what init does too."""
    config = {
        "process": request.process,
        "annotations": {"labkit.user": request.user},
        "linux": {"namespaces": []},
    }

    def enter(_: Birth) -> None:
        group.join()
        namespaces.enter_pidfd(
            target, kinds & ~Namespace.PID, said=f"the namespaces of process {request.pid}"
        )

    init.run(Birth(config, Path("/"), None, peer, stdio, []), (enter, *STEPS))
