from pathlib import Path

import pytest

from labkit.kernel.cgroup_usage import Usage
from labkit.observe import usage
from labkit.observe.usage import Snapshot


class Group:
    """A group whose usage the test says."""

    path = "labkit/fake"

    def __init__(self, directory: Path, *readings: Usage) -> None:
        self.all_directories = [directory]
        self._readings = list(readings)

    def usage(self) -> Usage:
        return self._readings.pop(0)


def test_two_snapshots_become_rates_per_second():
    before = Snapshot(10.0, Usage(cpu_seconds=1.0, io_read_bytes=100, periods=5, throttled_periods=1))
    after = Snapshot(
        12.0, Usage(cpu_seconds=4.0, io_read_bytes=300, periods=25, throttled_periods=11, oom_kills=2)
    )

    row = usage.row(before, after)

    assert row.cpu_fraction == 1.5
    assert row.read_bytes_per_second == 100
    assert row.throttled_fraction == 0.5
    assert (row.oom_kills, row.oom_kills_new) == (2, 2)


def test_counters_that_went_back_give_no_negative_rate():
    row = usage.row(Snapshot(1.0, Usage(cpu_seconds=9.0, oom_kills=3)), Snapshot(2.0, Usage(cpu_seconds=1.0)))

    assert (row.cpu_fraction, row.oom_kills_new) == (0.0, 0)


def test_two_looks_in_the_same_instant_divide_by_nothing():
    moment = Snapshot(1.0, Usage(cpu_seconds=1.0))

    assert usage.row(moment, moment).cpu_fraction == 0.0


def test_each_sample_is_measured_against_the_one_before(tmp_path):
    group = Group(tmp_path, *(Usage(processes=count, oom_kills=count) for count in (0, 1, 3)))
    sampler = usage.Sampler(group)

    assert [sampler.sample().oom_kills_new for _ in range(2)] == [1, 2]


def test_a_group_that_is_gone_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="labkit/fake"):
        usage.snapshot(Group(tmp_path / "removed", Usage()))
