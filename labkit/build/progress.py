"""progress: show a build as it goes on: plain lines for a log, a live table for a terminal.

Chapter 9. Both are listeners of the same events.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from labkit.build.events import Event, Kind, Step

_UNSAFE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SHOWN_LINES = 6


def printable(text: str) -> str:
    """What a program said, without what would move the cursor or colour the terminal."""
    return _UNSAFE.sub("", text.replace("\r\n", "\n").rpartition("\r")[2] if "\r" in text else text)


def size(count: int) -> str:
    """Bytes for people."""
    number = float(count)
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f}{unit}" if unit == "B" else f"{number:.1f}{unit}"
        number /= 1000
    return f"{number:.2f}GB"


class Progress(Protocol):
    """A way to show a build: a context within which it listens."""

    def __enter__(self) -> Callable[[Event], None]:
        """Begin to show."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the end."""


class Quiet:
    """Shows nothing."""

    def __enter__(self) -> Callable[[Event], None]:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        return None


@dataclass(slots=True)
class Plain:
    """One line for each thing that happens, with the step's number in front."""

    write: Callable[[str], object]
    _rest: dict[tuple[int, str], str] = field(default_factory=dict)

    def __enter__(self) -> Callable[[Event], None]:
        return self.show

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: Event) -> None:
        """Write what an event says."""
        number = f"#{event.step.number} " if event.step else ""
        for line in self._lines(event):
            self.write(f"{number}{line}\n")

    def _lines(self, event: Event) -> list[str]:
        if event.kind is Kind.OUTPUT:
            return self._output(event)
        rest = self._flush(event.step) if event.step and event.kind in (Kind.DONE, Kind.FAILED) else []
        layer = "" if event.layer_bytes is None else f", layer {size(event.layer_bytes)}"
        lines = {
            Kind.BEGUN: lambda: [printable(str(event.step)).partition("\n")[0]],
            Kind.CACHED: lambda: ["CACHED"],
            Kind.DONE: lambda: [f"DONE {event.seconds:.1f}s{layer}"],
            Kind.FAILED: lambda: [f"ERROR: {printable(event.text).partition(chr(10))[0]}"],
            Kind.WARNING: lambda: [event.text],
            Kind.BUILT: lambda: [f"built {event.text} in {event.seconds:.1f}s"],
        }
        return rest + lines[event.kind]()

    def _output(self, event: Event) -> list[str]:
        """Whole lines; what is left waits for its end."""
        assert event.step is not None
        key = event.step.number, event.stream
        *lines, self._rest[key] = (self._rest.get(key, "") + event.data.decode(errors="replace")).split("\n")
        return [printable(line) for line in lines]

    def _flush(self, step: Step) -> list[str]:
        rest = [self._rest.pop((step.number, stream), "") for stream in ("stdout", "stderr")]
        return [printable(text) for text in rest if text]


@dataclass(slots=True)
class _Row:
    """A step as the table has it."""

    step: Step
    began: float
    ended: Event | None = None
    said: str = ""


class Tty:
    """A table that is drawn anew: what runs with its last lines, what is done with its time and size."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self.rows: dict[int, _Row] = {}
        self.warnings: list[str] = []
        self.live = Live(console=self.console, refresh_per_second=10, get_renderable=self.drawn)

    def __enter__(self) -> Callable[[Event], None]:
        self.live.__enter__()
        return self.show

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.__exit__(kind, error, trace)

    def show(self, event: Event) -> None:
        """Take in an event; the table is drawn by its own clock."""
        if event.step is None:
            if event.kind is Kind.WARNING:
                self.warnings.append(event.text)
        elif event.kind is Kind.BEGUN:
            self.rows[event.step.number] = _Row(event.step, time.monotonic())
        elif event.kind is Kind.OUTPUT:
            row = self.rows[event.step.number]
            row.said = (row.said + event.data.decode(errors="replace"))[-4096:]
        else:
            self.rows[event.step.number].ended = event

    def drawn(self) -> Group:
        """The table as it is now: as many rows as fit."""
        lines = [line for row in list(self.rows.values()) for line in self._row(row)]
        room = max(4, self.console.height - 2)
        return Group(*lines[-room:], *(Text(text, style="yellow") for text in self.warnings))

    def _row(self, row: _Row) -> list[Text]:
        ended = row.ended
        seconds = ended.seconds if ended else time.monotonic() - row.began
        if ended and ended.kind is Kind.CACHED:
            told, style = "CACHED", "green"
        else:
            told, style = f"{seconds:.1f}s", "red" if ended and ended.kind is Kind.FAILED else "cyan"
        if ended and ended.layer_bytes:
            told += f" {size(ended.layer_bytes)}"
        text = printable(str(row.step)).replace("\n", " ")
        room = max(20, self.console.width - len(told) - 6)
        line = Text(f" {'=>' if ended else '▸ '} {text[:room].ljust(room)} ", no_wrap=True, end="\n")
        line.append(told, style=style)
        if ended and ended.kind is not Kind.FAILED:
            return [line]
        said = [printable(part) for part in row.said.split("\n") if part.strip()][-_SHOWN_LINES:]
        width = max(20, self.console.width - 8)
        return [line, *(Text(f"    │ {part[:width]}", style="dim", no_wrap=True) for part in said)]
