"""terminal: show a build as it goes on: a live table of its steps.

Chapter 9. rich(1). What runs is shown with its last lines, what is done with its time and size.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from labkit.build.events import Event, Kind, Step
from labkit.build.progress import printable, size

_SHOWN_LINES = 6


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
