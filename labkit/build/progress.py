"""progress: show a build as it goes on: one line for each thing that happens.

Chapter 9. A progress is a context within which it listens to a build's events.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from labkit.build.events import Event, Kind, Step

_UNSAFE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """What a program said, without what would move the cursor or colour the terminal."""
    shown = (line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return _UNSAFE.sub("", "\n".join(shown))


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
