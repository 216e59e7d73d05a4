import pytest

from labkit.errors import Invalid
from labkit.kernel.limits import UNLIMITED, IoLimit, Limits, plan

MIB = 2**20


def test_both_generations_stand_side_by_side():
    limits = Limits(memory_bytes=64 * MIB, memory_swap_bytes=96 * MIB, cpus=0.5, processes=20)

    assert plan(limits, 1) == [
        ("memory", "memory.limit_in_bytes", str(64 * MIB)),
        ("memory", "memory.memsw.limit_in_bytes", str(96 * MIB)),
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("pids", "pids.max", "20"),
    ]
    assert plan(limits, 2) == [
        ("memory", "memory.max", str(64 * MIB)),
        ("memory", "memory.swap.max", str(32 * MIB)),
        ("cpu", "cpu.max", "50000 100000"),
        ("pids", "pids.max", "20"),
    ]


def test_no_limit_turns_no_knob():
    assert plan(Limits(), 1) == plan(Limits(), 2) == []


@pytest.mark.parametrize(("weight", "shares"), [(1, "2"), (100, "2597"), (10_000, "262144")])
def test_a_weight_becomes_shares_on_one_straight_line(weight, shares):
    assert plan(Limits(cpu_weight=weight), 1) == [("cpu", "cpu.shares", shares)]


def test_a_limit_of_io_is_one_line_in_version_2_and_a_file_each_in_version_1():
    limits = Limits(io=(IoLimit(device="8:0", read_bytes_per_second=MIB, write_operations_per_second=100),))

    assert plan(limits, 2) == [("io", "io.max", f"8:0 rbps={MIB} wiops=100")]
    assert plan(limits, 1) == [
        ("blkio", "blkio.throttle.read_bps_device", f"8:0 {MIB}"),
        ("blkio", "blkio.throttle.write_iops_device", "8:0 100"),
    ]


def test_unlimited_swap_has_its_own_word_in_each_generation():
    limits = Limits(memory_bytes=64 * MIB, memory_swap_bytes=UNLIMITED)

    assert plan(limits, 1)[-1].value == "-1"
    assert plan(limits, 2)[-1].value == "max"


def test_the_smallest_quota_is_what_the_kernel_takes():
    assert plan(Limits(cpus=0.01), 1)[0].value == "1000"
    with pytest.raises(Invalid, match=r"cpus is 0\.001"):
        Limits(cpus=0.001)
