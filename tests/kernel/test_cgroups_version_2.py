"""Version 2 where its tree is mounted, also beside version 1: the core files need no controller."""

import subprocess
import uuid
from pathlib import Path

import pytest

from labkit.kernel import cgroups
from labkit.kernel.cgroups import Hierarchy

pytestmark = pytest.mark.requires("root", "cgroups")


@pytest.fixture
def unified():
    """A group in the unified tree alone, as on a machine that has nothing else."""
    found = [h for h in cgroups.hierarchies() if h.version == 2]
    if not found:
        pytest.fail("this kernel has mounted no cgroup2, which every supported machine has")
    only: list[Hierarchy] = found[:1]
    path = f"{cgroups.HOME}/test-{uuid.uuid4().hex[:8]}"
    group = cgroups.create(path, found=only)
    yield group
    group.kill()
    group.remove()


def test_a_process_is_added_frozen_thawed_and_killed(unified):
    child = subprocess.Popen(["sleep", "60"])
    unified.add(child.pid)

    assert f"0::/{unified.path}" in Path(f"/proc/{child.pid}/cgroup").read_text().splitlines()
    unified.freeze()
    assert "frozen 1" in (unified.main / "cgroup.events").read_text()
    unified.freeze(False)
    unified.kill()
    assert child.wait(10) == -9


def test_a_child_is_born_inside(unified):
    import fresh

    told = fresh.run(
        """
        inside = os.open(sys.argv[1], os.O_RDONLY)
        pid, pidfd = process.clone(cgroup=inside)
        if pid == 0:
            os.write(1, Path("/proc/self/cgroup").read_bytes())
            os._exit(0)
        process.wait(pidfd)
        """,
        unified.main,
    )

    assert f"0::/{unified.path}" in told.splitlines()
