"""observe.usage against a real control group; the clock of times(2) is the second witness."""

import os
import subprocess
import sys

import pytest

from labkit.kernel import cgroups
from labkit.kernel.limits import Limits
from labkit.observe import usage

pytestmark = pytest.mark.requires("root", "cgroups")
BURN = "import sys, time; sys.stdin.readline()\nwhile time.process_time() < 0.5: pass"


@pytest.fixture
def group():
    group = cgroups.create(f"{cgroups.HOME}/observe-{os.getpid()}", Limits(cpus=0.5, processes=7))
    yield group
    group.kill()
    group.remove()


def test_a_process_that_burns_half_a_second_is_measured_and_throttled(group):
    sampler = usage.Sampler(group)
    with subprocess.Popen([sys.executable, "-c", BURN], stdin=subprocess.PIPE, text=True) as child:
        group.add(child.pid)
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    row = sampler.sample()

    assert 0.3 < row.cpu_fraction < 0.65
    assert row.throttled_fraction > 0.5
    assert (row.cpu_limit, row.processes_limit) == (0.5, 7)


def test_a_group_that_was_removed_ends_the_sampling(group):
    sampler = usage.Sampler(group)
    group.remove()

    with pytest.raises(FileNotFoundError, match="observe-"):
        sampler.sample()
