import os
import select
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from labkit.errors import Invalid, Unsupported
from labkit.kernel import cgroups, process
from labkit.kernel.limits import Limits

pytestmark = pytest.mark.requires("root", "cgroups")
MIB = 2**20


@pytest.fixture
def group():
    """A group of this test's own, gone afterwards with all that is in it."""
    path = f"{cgroups.HOME}/test-{uuid.uuid4().hex[:8]}"
    yield cgroups.create(path)
    cgroups.remove_everywhere(path)


def start_in(group, *command: str) -> subprocess.Popen[bytes]:
    """A command whose every process is in the group: its shell stops until it has been added."""
    child = subprocess.Popen(
        ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh", *command], stderr=subprocess.DEVNULL
    )
    os.waitid(os.P_PID, child.pid, os.WSTOPPED)
    group.add(child.pid)
    os.kill(child.pid, signal.SIGCONT)
    return child


def test_a_process_that_is_added_names_the_group_in_its_proc_file(group):
    child = start_in(group, "sleep", "60")

    lines = Path(f"/proc/{child.pid}/cgroup").read_text().splitlines()
    inside = [line for line in lines if line.endswith("/" + group.path)]

    assert len(inside) == len(group.all_directories)
    assert group.processes() == [child.pid]
    group.kill()
    assert child.wait(10) == -signal.SIGKILL
    assert group.processes() == []


def test_a_memory_limit_holds_and_the_oom_kill_is_counted(group):
    group.limit(Limits(memory_bytes=24 * MIB))
    child = start_in(group, sys.executable, "-c", "x = bytearray(200 << 20)")

    assert child.wait(60) == -signal.SIGKILL
    usage = group.usage()
    assert group.oom_kills() == usage.oom_kills == 1
    assert usage.memory_limit_bytes == 24 * MIB
    assert 12 * MIB < usage.memory_peak_bytes <= 24 * MIB


def test_running_out_of_memory_is_told_while_it_happens(group):
    group.limit(Limits(memory_bytes=16 * MIB))
    descriptor, event = group.oom_notifier()
    poll = select.poll()
    poll.register(descriptor, event)

    assert poll.poll(0) == []
    child = start_in(group, sys.executable, "-c", "x = bytearray(100 << 20)")
    told = poll.poll(30_000)
    child.wait(60)
    os.close(descriptor)

    assert [found for found, _ in told] == [descriptor]


def test_a_cpu_quota_throttles(group):
    group.limit(Limits(cpus=0.1))
    child = start_in(group, "timeout", "1", sys.executable, "-c", "while True: pass")
    child.wait(30)
    usage = group.usage()

    assert usage.cpu_limit == pytest.approx(0.1)
    assert usage.throttled_periods > 2
    assert usage.throttled_seconds > 0.2
    assert usage.cpu_seconds < 0.5


def test_a_fork_bomb_is_held_by_the_limit_of_processes(group):
    group.limit(Limits(processes=8))
    bomb = "import os\nwhile True:\n    try: os.fork()\n    except BlockingIOError: pass"
    child = start_in(group, "timeout", "--signal=KILL", "1", sys.executable, "-c", bomb)
    seen = set()
    while child.poll() is None:
        seen.add(len(group.processes()))  # pids.current counts a fork for as long as it is being refused
    group.kill()

    assert max(seen) == 8
    assert group.processes() == []


def test_a_frozen_group_uses_no_cpu_and_goes_on_when_thawed(group):
    child = start_in(group, sys.executable, "-c", "while True: pass")
    group.freeze()
    assert group.usage().frozen
    before = group.usage().cpu_seconds
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.3)
    assert group.usage().cpu_seconds == pytest.approx(before, abs=0.02)

    group.freeze(False)
    deadline = 200
    while group.usage().cpu_seconds <= before + 0.05 and deadline:
        deadline -= 1
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.05)
    assert not group.is_frozen()
    assert deadline, "it goes on"
    group.kill()
    child.wait(10)


def test_a_frozen_group_can_be_killed(group):
    child = start_in(group, "sleep", "60")
    group.freeze()
    group.kill()

    assert child.wait(10) == -signal.SIGKILL


def test_cpu_weight_and_cpuset_and_reservation_land_in_the_kernels_files(group):
    group.limit(Limits(cpu_weight=200, cpuset_cpus="0", memory_reservation_bytes=8 * MIB))
    if group.version == 1:
        shown = [
            (group.directory("cpu") / "cpu.shares").read_text().strip(),
            (group.directory("cpuset") / "cpuset.cpus").read_text().strip(),
            (group.directory("memory") / "memory.soft_limit_in_bytes").read_text().strip(),
        ]
        assert shown == ["5219", "0", str(8 * MIB)]
    else:
        shown = [
            (group.directory("cpu") / name).read_text().strip()
            for name in ("cpu.weight", "cpuset.cpus", "memory.low")
        ]
        assert shown == ["200", "0", str(8 * MIB)]


def test_a_process_joins_by_itself(group):
    import fresh

    told = fresh.run(
        """
        group = cgroups.open_existing(sys.argv[1])
        group.join()
        print(group.processes() == [os.getpid()])
        """,
        group.path,
    )

    assert told == "True"


def test_a_refused_write_names_the_knob_and_the_value(group):
    with pytest.raises(OSError, match=r"Invalid|range") as refusal:
        cgroups.write(group.all_directories[0] / "cgroup.procs", "lots")

    assert "while writing 'lots' to" in refusal.value.__notes__[0]


def test_a_limit_that_the_kernel_refuses_leaves_no_group():
    path = f"{cgroups.HOME}/test-{uuid.uuid4().hex[:8]}"
    with pytest.raises(OSError, match=r"Invalid|range"):
        cgroups.create(path, Limits(cpuset_cpus="4000"))

    with pytest.raises(FileNotFoundError):
        cgroups.open_existing(path)


def test_a_group_that_is_there_is_not_made_again(group):
    with pytest.raises(FileExistsError):
        cgroups.create(group.path)


@pytest.mark.parametrize("path", ["../x", "/x", "labkit/../x", "", "labkit//x"])
def test_a_path_that_could_reach_others_is_refused(path):
    with pytest.raises(Invalid):
        cgroups.create(path)


def test_only_what_is_below_labkits_own_group_can_be_removed():
    with pytest.raises(Invalid, match="not below"):
        cgroups.remove_everywhere("system.slice/ssh.service")


def test_a_controller_that_is_not_there_is_named(group):
    lacking = type(group)(group.path, {"pids": group.directory("pids")})

    with pytest.raises(Unsupported, match="memory"):
        lacking.limit(Limits(memory_bytes=64 * MIB))


def test_a_group_with_groups_below_it_is_removed_whole(group):
    below = cgroups.create(f"{group.path}/one/two")
    child = start_in(below, "sleep", "60")
    start_ticks = process.started_at(child.pid)

    assert cgroups.remove_everywhere(group.path)
    child.wait(10)
    assert not process.is_alive(child.pid, start_ticks)
    assert not any(directory.exists() for directory in group.all_directories)
    assert not cgroups.remove_everywhere(group.path)


def test_a_file_that_somebody_else_takes_away_does_not_stop_the_end(group, monkeypatch):
    """As a launcher that ends, and the next engine that sweeps, may remove the same group at once."""
    victim = start_in(group, "sleep", "60")
    kill_once, late = type(group)._kill_once, []

    def gone_at_first(self):
        if not late:
            late.append(self)
            raise FileNotFoundError(2, "No such file or directory", "freezer.state")
        kill_once(self)

    monkeypatch.setattr(type(group), "_kill_once", gone_at_first)
    assert group.end() is True
    assert victim.wait(timeout=5) == -signal.SIGKILL
    assert not any(directory.exists() for directory in group.all_directories)
