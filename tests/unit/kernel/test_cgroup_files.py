from pathlib import Path

from labkit.kernel import cgroup_usage, cgroups, mounts
from labkit.kernel.cgroups import Hierarchy
from labkit.runtime import unborn

HYBRID = """\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 30 0:29 / /nonexistent/unified rw - cgroup2 cgroup2 rw
"""


def test_hierarchies_are_read_from_mountinfo():
    found = cgroups.hierarchies(mounts.parse_mountinfo(HYBRID))

    assert [(h.version, sorted(h.controllers)) for h in found] == [(1, ["cpu", "cpuacct"]), (1, []), (2, [])]
    assert cgroups.layout(found) == "hybrid"
    assert cgroups.layout(found[:1]) == "1"
    assert cgroups.layout(found[2:]) == "2"
    assert cgroups.layout([]) == "none"


def test_a_version_1_without_a_containers_controllers_does_not_hide_version_2():
    """Somebody may mount net_cls on a machine of version 2; a container must still be born in its group."""
    unified = Hierarchy(2, Path("/sys/fs/cgroup"), frozenset({"cpu", "memory", "pids"}))
    classes = Hierarchy(1, Path("/sys/fs/net_cls"), frozenset({"net_cls"}))
    memory = Hierarchy(1, Path("/sys/fs/memory"), frozenset({"memory"}))

    assert cgroups.version_in_use([classes, unified]) == 2
    assert unborn.make_ahead([classes, unified]) is None, "it could not be moved into its group later"
    assert cgroups.version_in_use([unified, memory]) == 1
    assert cgroups.version_in_use([]) == 0


def test_version_2_is_read_in_its_units(tmp_path: Path):
    files = {
        "memory.current": "1048576",
        "memory.max": "max",
        "memory.events": "low 0\noom 2\noom_kill 1\n",
        "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n"
        "nr_periods 10\nnr_throttled 4\nthrottled_usec 300000",
        "cpu.max": "50000 100000",
        "pids.current": "3",
        "pids.max": "20",
        "io.stat": "8:0 rbytes=4096 wbytes=8192 rios=1 wios=2\n8:16 rbytes=1 wbytes=2 rios=1 wios=1",
        "cgroup.events": "populated 1\nfrozen 1\n",
        "memory.pressure": "some avg10=1.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    usage = cgroup_usage.read_v2(tmp_path)

    assert (usage.memory_bytes, usage.memory_limit_bytes, usage.oom_kills) == (1048576, None, 1)
    assert (usage.cpu_seconds, usage.cpu_limit, usage.throttled_periods, usage.throttled_seconds) == (
        2.5,
        0.5,
        4,
        0.3,
    )
    assert (usage.processes, usage.processes_limit, usage.frozen) == (3, 20, True)
    assert (usage.io_read_bytes, usage.io_write_bytes) == (4097, 8194)
    assert usage.pressure == {"memory": 1.5}


def test_version_1_is_read_in_its_units(tmp_path: Path):
    files = {
        "memory.usage_in_bytes": "2097152",
        "memory.limit_in_bytes": "9223372036854771712",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3",
        "cpuacct.usage": "1500000000",
        "cpu.cfs_quota_us": "-1",
        "cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 700000000",
        "pids.current": "1",
        "pids.max": "max",
        "blkio.throttle.io_service_bytes": "8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30",
        "freezer.state": "THAWED",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    usage = cgroup_usage.read_v1(
        dict.fromkeys(("memory", "cpu", "cpuacct", "pids", "blkio", "freezer"), tmp_path)
    )

    assert (usage.memory_bytes, usage.memory_limit_bytes, usage.oom_kills) == (2097152, None, 3)
    assert (usage.cpu_seconds, usage.cpu_limit, usage.throttled_seconds) == (1.5, None, 0.7)
    assert (usage.processes, usage.processes_limit, usage.frozen) == (1, None, False)
    assert (usage.io_read_bytes, usage.io_write_bytes) == (10, 20)


def test_what_is_not_there_is_none_and_no_error(tmp_path: Path):
    assert cgroup_usage.read_v2(tmp_path).memory_bytes is None
    assert cgroup_usage.read_v1({}).processes is None
