"""forking: the launcher's process, which always has the next monitor ready.

Chapter 6. fork(2), unix(7), socketpair(2). It has one thread and few imports,
so a fork of it copies little. A start pays neither for Python nor for a fork:
a monitor that was forked before waits for the request on the same socket.

      engine                launcher              the next monitor
         │                     │  ── fork ──────────►  │ waits
         │ ── request ─────────────────────────────►   │ has work
         │                     │  ◄──────── taken ──   │
         │                     │  ── fork ──► …        │ supervises
"""

import gc
import os
import select
import signal
import socket

from labkit.kernel import cgroups, process, trace
from labkit.runtime import exec as executor
from labkit.runtime import monitor
from labkit.runtime import request as requests
from labkit.runtime.request import Run


def serve(descriptor: int) -> None:
    """Fork a monitor, wait until it has work, fork the next; until the engine is gone."""
    process.set_name("labkit:launch")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps the monitors
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    engine = socket.socket(fileno=descriptor)
    engine.set_inheritable(False)
    hierarchies = cgroups.hierarchies()  # they do not change while an engine lives
    gc.collect()
    gc.freeze()  # a collection would touch, and so copy, every page that is shared with the children
    gc.disable()
    while True:
        waiting, taken = os.pipe2(os.O_CLOEXEC)
        if os.fork() == 0:
            os.close(waiting)
            _be_the_next(engine, taken, hierarchies)
        os.close(taken)
        gone = not os.read(waiting, 1)  # without a word: the engine closed, or the waiting one was killed
        os.close(waiting)
        if gone and _is_closed(engine):
            return


def _is_closed(engine: socket.socket) -> bool:
    poll = select.poll()
    poll.register(engine, select.POLLRDHUP)
    return bool(poll.poll(0))


def _be_the_next(engine: socket.socket, taken: int, hierarchies: list[cgroups.Hierarchy]) -> None:
    """Wait for a request, say that it is taken, and see it through; the process ends here."""
    process.die_with_parent()  # nobody misses one that waits
    unborn = monitor.get_ready(hierarchies)
    asked = requests.receive(engine)
    if asked is None:
        os._exit(0)
    process.live_on()
    os.write(taken, b"1")
    os.close(taken)
    engine.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a monitor wants to know how its child ended
    request, files = asked
    trace.become("monitor", trace.Trace() if request.trace else None)
    if isinstance(request, Run):
        monitor.supervise(request, files, hierarchies, unborn)
    if unborn:
        unborn.discard()
    executor.supervise(request, files)
