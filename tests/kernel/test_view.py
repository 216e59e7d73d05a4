import os
import threading
from pathlib import Path

import pytest

from labkit.images import view

pytestmark = pytest.mark.requires("root", "overlay")


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def own_namespace():
    return Path("/proc/thread-self/ns/mnt").readlink()


@pytest.fixture
def layers(paths):
    made = []
    for name in ("low", "high"):
        (paths.layers / name / "etc").mkdir(parents=True)
        (paths.layers / name / "etc" / name).write_text(name)
        made.append(paths.layers / name)
    os.mknod(made[1] / "etc/gone", 0o020000, os.makedev(0, 0))
    (made[0] / "etc/gone").touch()
    return made


def test_what_is_seen_is_what_a_container_would_see(layers):
    assert view.look(layers, lambda root: names(root / "etc")) == ["high", "low"]
    assert view.look(layers[:1], lambda root: names(root / "etc")) == ["gone", "low"]


def test_nobody_else_sees_it_and_nothing_is_left(layers):
    before = Path("/proc/self/mountinfo").read_text(), own_namespace(), Path.cwd()

    def look(root):
        assert "overlay" in Path("/proc/thread-self/mountinfo").read_text()
        return own_namespace(), Path("/proc/self/mountinfo").read_text()

    inside, others = view.look(layers, look)

    assert inside != before[1]
    assert others == before[0], "the process's other threads are where they were"
    now = Path("/proc/self/mountinfo").read_text(), own_namespace(), Path.cwd()
    assert now == before
    assert not [thread for thread in threading.enumerate() if thread.name == "labkit-view"]


def test_what_goes_wrong_in_there_is_raised_here(layers):
    with pytest.raises(ZeroDivisionError):
        view.look(layers, lambda root: 1 // 0)


def test_it_cannot_be_written_to(layers):
    with pytest.raises(OSError, match="Read-only file system"):
        view.look(layers, lambda root: (root / "x").touch())
