"""A build is shown in lines that a log can keep, and in a table that a terminal shows."""

import io

from rich.console import Console

from labkit.build import progress, terminal
from labkit.build.events import Event, Kind, Teller


def play(listener):
    """Two steps: one from the cache, one that speaks in pieces and is done; then one that fails."""
    teller = Teller(listener)
    teller.begin("base", 1, 2, "ENV A=b", 2).end(cached=True, layer_bytes=None)
    step = teller.begin("base", 2, 2, "RUN make", 3)
    step.output("stdout", b"comp")
    step.output("stderr", b"warning\n")
    step.output("stdout", b"iling\n\x1b[31mred\x1b[0m\nlast")
    step.end(cached=False, layer_bytes=1_500_000)
    failing = teller.begin("app", 1, 1, "RUN false", 5)
    failing.output("stdout", b"why\n")
    failing.fail("Dockerfile:5: RUN false: exit code: 1\n  | more")
    teller.tell(Event(kind=Kind.WARNING, text="mind this"))
    teller.tell(Event(kind=Kind.BUILT, text="lab/x", seconds=1.25))
    return teller


def test_plain_lines_are_whole_and_say_whose_they_are():
    lines = []
    with progress.Plain(lines.append) as listener:
        play(listener)

    assert "".join(lines).splitlines() == [
        "#1 [base 1/2] ENV A=b",
        "#1 CACHED",
        "#2 [base 2/2] RUN make",
        "#2 warning",
        "#2 compiling",
        "#2 red",
        "#2 last",
        "#2 DONE 0.0s, layer 1.5MB",
        "#3 [app 1/1] RUN false",
        "#3 why",
        "#3 ERROR: Dockerfile:5: RUN false: exit code: 1",
        "mind this",
        "built lab/x in 1.2s",
    ]


def test_the_table_shows_what_is_done_and_the_words_of_what_is_not():
    console = Console(file=io.StringIO(), width=80, force_terminal=False)
    table = terminal.Tty(console)
    play(table.show)
    console.print(table.drawn())

    shown = console.file.getvalue()
    assert "[base 1/2] ENV A=b" in shown
    assert "CACHED" in shown
    assert "1.5MB" in shown
    assert "│ why" in shown
    assert "compiling" not in shown  # of what went well, its words go
    assert "mind this" in shown


def test_output_is_not_kept_and_all_else_is():
    kinds = [event.kind for event in play(None).events]

    assert Kind.OUTPUT not in kinds
    assert kinds.count(Kind.BEGUN) == 3


def test_what_would_move_a_cursor_is_taken_out():
    assert progress.printable("a\x1b[2Jb\x07c") == "abc"
    assert progress.printable("10%\r50%\r100%") == "100%"
    assert progress.printable("one\r\ntwo\r") == "one\ntwo"
    assert [progress.size(n) for n in (0, 999, 1500, 2_500_000, 3 * 10**9)] == [
        "0B", "999B", "1.5kB", "2.5MB", "3.00GB",
    ]  # fmt: skip
