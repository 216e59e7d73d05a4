"""cgroup_tree: make and remove the directories that are control groups.

Chapter 4. cgroups(7): mkdir(2) makes a group, rmdir(2) ends one that has
neither processes nor groups in it.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from labkit.kernel import trace


def make_directory(directory: Path) -> bool:
    """A group, unless it is there; whether it was made now."""
    with trace.operation("cgroup.mkdir", str(directory)), contextlib.suppress(FileExistsError):
        os.mkdir(directory, 0o755)  # noqa: PTH102 (the call by the name the trace shows)
        return True
    return False


def tree(directory: Path) -> Iterator[Path]:
    """The groups below a directory and then itself: the order in which rmdir works."""
    for current, _, _ in os.walk(directory, topdown=False):
        yield Path(current)


def _rmdir(directory: Path) -> None:
    with trace.operation("cgroup.rmdir", str(directory)):
        os.rmdir(directory)  # noqa: PTH106 (the call by the name the trace shows)


def remove_tree(directory: Path, timeout_seconds: float) -> bool:
    """Rmdir from below; whether it was there.

    A group whose last process has just ended is busy for a moment longer.
    """
    try:
        _rmdir(directory)
    except FileNotFoundError:
        return False
    except OSError:
        pass  # there are groups or processes in it
    else:
        return True
    deadline = time.monotonic() + timeout_seconds
    for group in tree(directory):
        while True:
            try:
                _rmdir(group)
                break
            except FileNotFoundError:
                break
            except OSError as error:
                if time.monotonic() > deadline:
                    error.add_note(f"processes {(group / 'cgroup.procs').read_text().split()} are in {group}")
                    raise
                time.sleep(0.001)
    return True
