"""door: let callers in at a listening socket, each to a talk of its own, and not too many at once.

Chapter 12. accept(2). A caller stays in the kernel's queue where no descriptor
is left for it, and the queue would wake us without end: then we look away.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine

PAUSE_SECONDS = 0.5


class Door:
    """Accepts; `talk` is called with each caller's socket, and closes it."""

    def __init__(
        self, listener: socket.socket, talk: Callable[[socket.socket], Coroutine[None, None, None]], most: int
    ) -> None:
        self._listener = listener
        self._talk = talk
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._talks: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    def close(self) -> None:
        """Let nobody in any more, and end all talks."""
        if self._pause:
            self._pause.cancel()
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for task in self._talks:
            task.cancel()

    def _open(self) -> None:
        self._loop.add_reader(self._listener, self._take_caller)

    def _take_caller(self) -> None:
        try:
            caller, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # it hung up before
        except OSError:
            self._loop.remove_reader(self._listener)
            self._pause = self._loop.call_later(PAUSE_SECONDS, self._open)
            return
        if len(self._talks) >= self._most:
            caller.close()
            return
        caller.setblocking(False)
        task = self._loop.create_task(self._talk(caller))
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)
