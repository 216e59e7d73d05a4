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
    if len(set(layers)) == 1:
        return visit(layers[0])
    return _in_own_namespace(Overlay(lower=_topmost_first(layers)), layers[0].parent, visit)


def change(layers: Sequence[Path], upper: Path, work: Path, visit: Callable[[Path], Answer]) -> Answer:
    """The same to be written to: what `visit` changes goes to `upper`, which becomes a layer so."""
    overlay = Overlay(lower=_topmost_first(layers), upper=upper, work=work, volatile=True)
    return _in_own_namespace(overlay, layers[0].parent, visit)


def _topmost_first(layers: Sequence[Path]) -> tuple[Path, ...]:
    """As the kernel wants them: a layer that is there twice counts where it lies higher."""
    return tuple(dict.fromkeys(reversed(layers)))


def _in_own_namespace(overlay: Overlay, place: Path, visit: Callable[[Path], Answer]) -> Answer:
    """In a thread with a mount namespace of its own: the overlay, on top of the layers' own directory."""
    answers: list[Answer] = []
    failures: list[BaseException] = []

    def enter_and_visit() -> None:
        try:
            namespaces.unshare(Namespace.MOUNT)
            mounts.propagate("/", MountFlag.PRIVATE)
            overlay.mount(place)
            answers.append(visit(place))
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=enter_and_visit, name="labkit-view")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return answers[0]
