import pytest

from labkit.cli import words


@pytest.mark.parametrize(
    ("size_bytes", "told"),
    [
        (0, "0B"),
        (999, "999B"),
        (1000, "1kB"),
        (1_982_376, "1.98MB"),
        (999_700, "1MB"),
        (5_400_000_000, "5.4GB"),
    ],
)
def test_sizes_are_told_in_steps_of_a_thousand(size_bytes, told):
    assert words.size(size_bytes) == told


@pytest.mark.parametrize(
    ("past", "told"),
    [(0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours"), (172_800, "2 days"),
     (1_209_600, "2 weeks"), (5_184_000, "2 months"), (63_072_000, "2 years")],
)  # fmt: skip
def test_times_are_told_in_the_largest_unit_of_which_there_are_two(past, told):
    assert words.ago(1e9, now=1e9 + past) == f"{told} ago"
    assert words.ago(0) == "N/A"


def test_a_table_cuts_nothing_off(capsys):
    words.lines(["NAME", "SIZE"], [["a" * 300, "1B"], ["b", "1.98MB"]])
    printed = capsys.readouterr().out.splitlines()

    assert printed[1] == "a" * 300 + "   1B"
    assert [line.index(word) for line, word in zip(printed, ("SIZE", "1B", "1.98"), strict=True)] == [303] * 3
