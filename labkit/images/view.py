"""view: look at an image as a container would see it, without a container and without a mount on the host.

Chapters 5 and 10. unshare(2): a mount namespace belongs to a thread, and so a
thread can have one of its own. It ends with the thread, even with one that is
killed, and the overlay with it: there is nothing to clean up.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from labkit.images.overlay import Overlay
from labkit.kernel import mounts, namespaces
from labkit.kernel.mounts import MountFlag
from labkit.kernel.namespaces import Namespace

Answer = TypeVar("Answer")


def look(layers: Sequence[Path], visit: Callable[[Path], Answer]) -> Answer:
    """What `visit` returns for a directory that shows the layers, the lowest first, as one tree.

    It is to be read only, and there only as long as `visit` runs.
    """
    if len(layers) == 1:
        return visit(layers[0])
    answers: list[Answer] = []
    failures: list[BaseException] = []

    def enter_and_visit() -> None:
        try:
            answers.append(visit(_mounted(layers)))
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=enter_and_visit, name="labkit-view")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return answers[0]


def _mounted(layers: Sequence[Path]) -> Path:
    """In this thread alone: the overlay, on top of the directory that holds the layers themselves."""
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate("/", MountFlag.PRIVATE)
    place = layers[0].parent
    Overlay(lower=tuple(reversed(layers))).mount(place)
    return place
