"""timeline_axis: the time axis of a timeline, with long quiet stretches folded.

Between the start of a program and its end nothing is asked of the kernel for
seconds, while the start itself takes milliseconds: without the fold it would
be one line on the picture.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

FOLD_ABOVE = 0.6  # of the time that is left, in which nothing begins or ends
FEWEST = 12  # moments: a handful of operations is clear as it is
LEAST_SECONDS = 1e-5  # what folds must leave: below it, times are rounding errors
FOLD_SHOWN = 0.06  # how much of the axis a fold takes


@dataclass(frozen=True, slots=True)
class Fold:
    """A quiet stretch, and the length it has on the axis."""

    at: float
    until: float
    shown: float


@dataclass(frozen=True, slots=True)
class Axis:
    """From time to place: both in seconds, a place being what is left of a time after the folds."""

    span: float
    folds: tuple[Fold, ...]

    @classmethod
    def of(cls, moments: Iterable[float]) -> "Axis":
        """The axis for these beginnings and ends, the first of which is at 0."""
        ordered = sorted({0.0, *moments})
        left, found = ordered[-1], []
        for begin, end in sorted(pairwise(ordered), key=lambda gap: gap[0] - gap[1]):
            rest = left - (end - begin)
            if len(ordered) < FEWEST or end - begin < FOLD_ABOVE * left or rest < LEAST_SECONDS:
                break
            left = rest
            found.append((begin, end))
        folds = tuple(Fold(begin, end, left * FOLD_SHOWN) for begin, end in sorted(found))
        return cls(left + sum(fold.shown for fold in folds), folds)

    def place(self, at: float) -> float:
        """Where a time is shown."""
        place = at
        for fold in self.folds:
            inside = min(max(at - fold.at, 0.0), fold.until - fold.at)
            place -= inside * (1 - fold.shown / (fold.until - fold.at))
        return place

    def ticks(self, most: int = 7) -> Iterator[float]:
        """Round times, at most `most` and one, none of them inside a fold."""
        step = round_step(self.span / most)
        begins = [0.0, *(fold.until for fold in self.folds)]
        ends = [*(fold.at for fold in self.folds), math.inf]
        for begin, end in zip(begins, ends, strict=True):
            at = math.ceil(begin / step - 1e-9) * step
            while at <= end and self.place(at) <= self.span * (1 + 1e-9):
                yield at
                at = round(at / step + 1) * step


def round_step(rough: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50 … from `rough` on."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
