"""launcher: the engine's end of the small process that forks monitors.

Chapter 6. fork(2), unix(7). What runs in that process is runtime.forking.
"""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from labkit.kernel import trace
from labkit.runtime import request as requests
from labkit.runtime.request import Exec, Run

_PACKAGE = Path(__file__).resolve().parents[2]


class Launcher:
    """The engine's end: starts the process at the first request, and again should it have been killed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._owner_pid = os.getpid()

    @property
    def pid(self) -> int:
        """The launcher's process id, 0 before the first request."""
        return self._process.pid if self._process else 0

    def send(self, request: Run | Exec, descriptors: Sequence[int]) -> None:
        """Hand over one request; the descriptors may be closed here afterwards."""
        with self._lock:
            if self._owner_pid != os.getpid():  # after a fork the socket is our parent's, not ours
                self._process = self._socket = None
                self._owner_pid = os.getpid()
            for last_try in (False, True):
                peer = self._ready()
                try:
                    with trace.operation("sendmsg", f"a request to the launcher, process {self.pid}"):
                        requests.send(peer, request, descriptors)
                except (BrokenPipeError, ConnectionResetError):
                    self._forget()
                    if last_try:
                        raise
                else:
                    return

    def _ready(self) -> socket.socket:
        if self._socket is not None and self._process is not None and self._process.poll() is None:
            return self._socket
        self._forget()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        code = (
            f"import sys; sys.path.insert(0, {str(_PACKAGE)!r}); "
            f"from labkit.runtime import forking; forking.serve({theirs.fileno()})"
        )
        environment = {name: os.environ[name] for name in ("LABKIT_CGROUP", "PATH") if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                start_new_session=True,  # a Ctrl-C is for the notebook, not for the containers
            )
        self._socket = ours
        return ours

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.wait()
        self._socket = self._process = None

    def close(self) -> None:
        """End the launcher; containers that are detached go on."""
        with self._lock:
            self._forget()
