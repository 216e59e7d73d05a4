"""visits: open something in a container's network namespace, and be back home before anything else happens.

Chapter 12. setns(2). Ten times as quick as a thread for each visit (see
labkit.kernel.namespaces.in_network), and for each question that is passed on
there is one.
"""

import os
import sys
from collections.abc import Callable
from typing import TypeVar

from labkit.kernel import libc
from labkit.kernel.namespaces import Namespace

T = TypeVar("T")


class Home:
    """The network namespace of the thread that makes it, which alone may go on visits from it."""

    def __init__(self) -> None:
        self._descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def visit(self, pidfd: int, work: Callable[[], T]) -> T:
        """Call `work` where a process lives; what it opens stays open. OSError where that has ended."""
        libc.call("setns", pidfd, int(Namespace.NETWORK))
        try:
            return work()
        finally:
            try:
                libc.call("setns", self._descriptor, int(Namespace.NETWORK))
            except OSError as lost:  # whoever goes on in a foreign namespace opens ports there
                print(f"cannot come home from a network namespace: {lost}", file=sys.stderr, flush=True)
                os._exit(1)
