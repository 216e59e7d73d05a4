import pytest

from labkit.widgets import plain


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.txt", "plain name.txt"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\u202eb", "a\\u202eb"),
        (b"\xff".decode(errors="surrogateescape"), "\\xff"),
        ("näme ✓", "näme ✓"),
    ],
)
def test_what_does_not_print_shows_as_an_escape(name, shown):
    assert plain.printable(name) == shown
    assert plain.printable(name).isprintable()


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (64 * 2**20, "64 MiB"),
        (2**30 * 1.5, "1.5 GiB"),
        (2**50, "1024 TiB"),
    ],
)
def test_bytes_are_said_with_three_digits(count, said):
    assert plain.amount(count) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 µs"), (4e-6, "4 µs"), (0.00123, "1.23 ms"), (0.25, "250 ms"), (12.34, "12.3 s")],
)
def test_times_are_said_in_the_unit_that_fits(seconds, said):
    assert plain.duration(seconds) == said


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_a_long_word_is_shortened_in_the_middle(width):
    shortened = plain.fit("abcdefghij", width)

    assert len(shortened) == width
    assert "…" in shortened
    assert plain.fit("abc", 3) == "abc"


def test_columns_are_aligned_to_the_left_or_to_the_right():
    assert plain.grid([["a", "1"], ["bcd", "22"]], right=[1]) == ["a     1", "bcd  22"]


def test_a_small_value_is_still_seen_in_a_line_of_blocks():
    assert plain.sparkline([0, 0.001, 1], 1, 4) == "  ▁█"
