"""events: what a build tells while it goes on: steps that begin, speak, end.

Chapter 9. Plain values: a terminal, a notebook and a test draw them each in its own way.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What has happened."""

    BEGUN = "begun"
    OUTPUT = "output"
    CACHED = "cached"
    DONE = "done"
    FAILED = "failed"
    WARNING = "warning"
    BUILT = "built"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One instruction that is carried out."""

    number: int  # in the order in which steps begin, from 1
    stage: str
    position: int  # within its stage, from 1
    count: int  # how many the stage has
    text: str  # with its variables filled in
    line: int

    def __str__(self) -> str:
        return f"[{self.stage} {self.position}/{self.count}] {self.text}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. `seconds` is how long the step took."""

    kind: Kind
    step: Step | None = None
    text: str = ""  # a warning, what went wrong, or the image's id
    stream: str = ""  # of output: stdout or stderr
    data: bytes = b""
    seconds: float = 0.0
    layer_bytes: int | None = None  # None where no layer was made


Listener = Callable[[Event], None]


@dataclass(slots=True)
class Teller:
    """Numbers the steps and tells one event at a time, whichever stage it comes from."""

    listener: Listener | None = None
    events: list[Event] = field(default_factory=list)  # all but output
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _steps: int = 0

    def tell(self, event: Event) -> None:
        """Hand an event on."""
        with self._lock:
            if event.kind is not Kind.OUTPUT:
                self.events.append(event)
            if self.listener:
                self.listener(event)

    def begin(self, stage: str, position: int, count: int, text: str, line: int) -> "Telling":
        """A step that begins now."""
        with self._lock:
            self._steps += 1
            step = Step(number=self._steps, stage=stage, position=position, count=count, text=text, line=line)
        self.tell(Event(kind=Kind.BEGUN, step=step))
        return Telling(self, step)


@dataclass(slots=True)
class Telling:
    """One step's way to tell."""

    teller: Teller
    step: Step
    began: float = field(default_factory=time.monotonic)

    def output(self, stream: str, data: bytes) -> None:
        """Something that a RUN said."""
        self.teller.tell(Event(kind=Kind.OUTPUT, step=self.step, stream=stream, data=data))

    def end(self, *, cached: bool, layer_bytes: int | None) -> None:
        """It is done, or need not be done."""
        kind = Kind.CACHED if cached else Kind.DONE
        self.teller.tell(
            Event(kind=kind, step=self.step, seconds=time.monotonic() - self.began, layer_bytes=layer_bytes)
        )

    def fail(self, text: str) -> None:
        """It went wrong."""
        self.teller.tell(
            Event(kind=Kind.FAILED, step=self.step, seconds=time.monotonic() - self.began, text=text)
        )
