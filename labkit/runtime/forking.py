"""forking: the launcher's process: one thread, few imports, and the next init always ready.

Chapter 6. fork(2), unix(7). It watches the attached containers of its engine
itself, forks a monitor for each detached one, and ends with its engine.

      engine               launcher                      init
         │                    │  ── clone3 ────────────►   │ waits
         │ ── request ─────►  │  ── order ─────────────►   │ becomes the container
         │                    │  ── clone3 ──► the next one
         │ ◄── started ────   │
         │ ◄── exited ─────   │  reaps it, removes its group
"""

import gc
import os
import select
import signal
import socket
from collections.abc import Callable, Mapping

from labkit.kernel import cgroups, process, trace
from labkit.runtime import exec as executor
from labkit.runtime import request as requests
from labkit.runtime.monitor import Monitor
from labkit.runtime.request import Exec, Run

STARTING_MS, ENDED_MS = 5, 1
"""How long it must be quiet before anything is made ahead: who starts, or takes in a result, goes first."""


def serve(descriptor: int) -> None:
    """Take requests until the engine is gone and its last container has ended."""
    process.set_name("labkit:launch")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the notebook
    engine = socket.socket(fileno=descriptor)
    engine.set_inheritable(False)
    monitor = Monitor(cgroups.hierarchies())  # they do not change while an engine lives
    gc.collect()
    gc.freeze()  # a collection would touch, and so copy, every page that is shared with the children
    gc.disable()
    served = True

    def take_request() -> None:
        nonlocal served
        try:
            asked = requests.receive(engine)
        except ConnectionResetError:
            asked = None
        if asked is None:
            monitor.forget(engine.fileno())
            served = False
        else:
            _see_to(monitor, *asked)

    monitor.listen(engine.fileno(), select.POLLIN, take_request)
    monitor.get_ready()
    more = True
    while served or monitor.containers:
        patience_ms = STARTING_MS if monitor.containers or monitor.ahead else ENDED_MS
        quiet = not monitor.turn(patience_ms if more else None)
        more = monitor.get_ready() if quiet else True
    if monitor.ahead:
        monitor.ahead.discard()


def _see_to(monitor: Monitor, request: Run | Exec, files: Mapping[str, int]) -> None:
    if isinstance(request, Run) and request.attached:
        os.close(files["ledger"])  # the engine holds it, and cleans up what is not the kernel's
        trace.become("launcher", trace.Trace() if request.trace else None)
        monitor.begin(request, {name: file for name, file in files.items() if name != "ledger"})
        return
    _fork_away(set(files.values()), lambda: _work(monitor, request, files))
    for file in files.values():
        os.close(file)


def _work(monitor: Monitor, request: Run | Exec, files: Mapping[str, int]) -> None:
    """In a process of its own: watch a detached container, or an exec, to its end."""
    trace.become("monitor", trace.Trace() if request.trace else None)
    if isinstance(request, Exec):
        executor.supervise(request, files)
    process.set_name(f"labkit:[mon]{request.container_id[:3]}")
    own = Monitor(monitor.hierarchies)
    own.begin(request, files)
    while own.containers:
        own.turn()


def _fork_away(keep: set[int], work: Callable[[], None]) -> None:
    """Run `work` in a process that is not our child, with these descriptors alone.

    Forked twice: the one between ends at once, so that the system's init, and
    not we, reaps the other.
    """
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return
    if os.fork() == 0:
        process.close_all_but(keep)
        _let_go_of_stdio()
        os.setsid()
        work()
    os._exit(0)


def _let_go_of_stdio() -> None:
    """Who reads what the engine prints through a pipe must not wait for a container's end."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    os.close(nothing)
