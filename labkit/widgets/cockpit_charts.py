"""cockpit_charts: what the four charts of a control group show, in words and as a still drawing.

Chapter 4. A sample is a row of observe.usage with its time from the first one on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from labkit.widgets import plain, svg

Samples = Sequence[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Chart:
    """One of the four: which fields of a row it draws, and in which unit."""

    title: str
    values: tuple[str, ...]
    limit: str  # the field with the limit, "" where a group has none
    hue: int
    floor: float  # the least top of the scale, so that rest looks like rest

    def say(self, value: float | None) -> str:
        """A value in words."""
        if value is None:
            return "not counted here"
        if self.title == "CPU":
            return f"{value:.2f} CPU"
        if self.title == "Processes":
            return plain.counted(round(value), "process", "processes")
        return plain.amount(value) + ("/s" if self.title == "I/O" else "")


CHARTS = (
    Chart("Memory", ("memory_bytes",), "memory_limit_bytes", 1, 2**20),
    Chart("CPU", ("cpu_fraction",), "cpu_limit", 3, 0.1),
    Chart("Processes", ("processes",), "processes_limit", 7, 5),
    Chart("I/O", ("read_bytes_per_second", "written_bytes_per_second"), "", 6, 2**20),
)


def total(chart: Chart, sample: dict[str, Any]) -> float | None:
    """What a chart shows of a sample: its value, or the sum of its values."""
    values = [sample[field] for field in chart.values if sample[field] is not None]
    return sum(values) if values else None


def scale(chart: Chart, samples: Samples) -> float:
    """The top of a chart: the highest value and the limit, unless the limit is far above all values."""
    highest = max((sample[field] or 0 for sample in samples for field in chart.values), default=0)
    limit = samples[-1].get(chart.limit) if samples else None
    if limit is not None and limit < 8 * max(highest, chart.floor):
        highest = max(highest, limit)
    return float(max(highest, chart.floor)) * 1.15


def thin(values: Sequence[float], most: int) -> list[float]:
    """At most `most` values, each the highest of its stretch, so that no peak is lost."""
    step = max(1, -(-len(values) // most))
    return [max(values[start : start + step]) for start in range(0, len(values), step)]


def events(samples: Samples) -> list[str]:
    """What happened, in words, each kind once."""
    kills = [sample for sample in samples if sample["oom_kills_new"]]
    throttled = sum(1 for sample in samples if sample["throttled_fraction"] > 0)
    found = [
        f"✕ at {sample['at']:.1f} s: {sample['oom_kills_new']} killed, out of memory" for sample in kills[-3:]
    ]
    if throttled:
        found.append(f"▀ throttled in {throttled} of {plain.counted(len(samples), 'sample')}")
    if any(sample["frozen"] for sample in samples):
        found.append("▒ frozen" + ("" if samples[-1]["frozen"] else " for a while"))
    return found


def stretches(samples: Samples, holds: str) -> Iterator[tuple[float, float]]:
    """The times from and to which a field of the samples is not zero."""
    began: float | None = None
    for before, sample in pairwise([samples[0], *samples]) if samples else ():
        if sample[holds] and began is None:
            began = before["at"]
        elif not sample[holds] and began is not None:
            yield began, before["at"]
            began = None
    if began is not None:
        yield began, samples[-1]["at"]


def bounds(chart: Chart, samples: Samples) -> str:
    """The limit and the peak, in words."""
    limit = samples[-1].get(chart.limit)
    peak = f"peak {chart.say(max((total(chart, sample) or 0 for sample in samples), default=0))}"
    if not chart.limit:
        return peak
    return f"{'no limit' if limit is None else f'limit {chart.say(limit)}'} · {peak}"


def line(chart: Chart, samples: Samples) -> list[str]:
    """A chart as cells of a line of text."""
    values = [total(chart, sample) or 0 for sample in samples]
    blocks = plain.sparkline(thin(values, 40), scale(chart, samples), 40)
    return [chart.title, blocks, chart.say(total(chart, samples[-1])), bounds(chart, samples)]


@dataclass(frozen=True, slots=True)
class Field:
    """Where a chart lies on the picture, and what its edges mean."""

    x: float
    top: float
    width: float
    height: float
    first_seconds: float
    span_seconds: float
    highest: float

    def across(self, at: float) -> float:
        """The place of a time."""
        return self.x + (at - self.first_seconds) / self.span_seconds * self.width

    def up(self, value: float) -> float:
        """The place of a value."""
        return self.top + self.height * (1 - value / self.highest)


def draw(drawing: svg.Drawing, chart: Chart, samples: Samples, x: float, y: float) -> None:
    """One chart: its last value in large, the curve, the limit and the marks."""
    first = samples[0]["at"] if samples else 0.0
    span = max(1.0, samples[-1]["at"] - first) if samples else 1.0
    field = Field(x, y + 48, 404.0, 96.0, first, span, scale(chart, samples))
    drawing.text(x, y + 14, chart.title, "f-soft small")
    drawing.box(x, field.top, field.width, field.height, "f-host", 4)
    if not samples:
        drawing.text(x, y + 38, "no sample yet", f"f-c{chart.hue} big")
        return
    drawing.text(x, y + 38, chart.say(total(chart, samples[-1])), f"f-c{chart.hue} big")
    drawing.text(x + field.width, y + 38, bounds(chart, samples), "f-soft small", "end")
    _draw_marks(drawing, chart, samples, field)
    _draw_curves(drawing, chart, samples, field)
    limit = samples[-1].get(chart.limit)
    if limit is not None and limit <= field.highest:
        drawing.line(x, field.up(limit), x + field.width, field.up(limit), "s-alarm dashed", 1.4)
    drawing.text(x, field.top + field.height + 14, f"{round(first)} s", "f-soft small")
    drawing.text(
        x + field.width, field.top + field.height + 14, f"{first + span:.0f} s", "f-soft small", "end"
    )


def _draw_curves(drawing: svg.Drawing, chart: Chart, samples: Samples, field: Field) -> None:
    foot = field.top + field.height
    for part, name in enumerate(chart.values):
        points = [(field.across(sample["at"]), field.up(sample[name] or 0)) for sample in samples]
        said = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        colour = f"c{chart.hue if part == 0 else 2}"
        area = f"{points[0][0]:.1f},{foot} {said} {points[-1][0]:.1f},{foot}"
        drawing.add("polygon", points=area, kind=f"f-{colour} tint")
        drawing.add("polyline", points=said, kind=f"s-{colour} none", stroke_width=1.8)


def _draw_marks(drawing: svg.Drawing, chart: Chart, samples: Samples, field: Field) -> None:
    """Frozen stretches on every chart, throttling on the one of CPU, kills on the one of memory."""

    def bands(holds: str, height: float, kind: str) -> None:
        for begin, end in stretches(samples, holds):
            x = field.across(begin)
            drawing.box(x, field.top, field.across(end) - x, height, kind, 0)

    bands("frozen", field.height, "f-c6 tint")
    if chart.title == "CPU":
        bands("throttled_fraction", 5, "f-alarm")
    if chart.title == "Memory":
        for sample in (sample for sample in samples if sample["oom_kills_new"]):
            x = field.across(sample["at"])
            drawing.line(x, field.top, x, field.top + field.height, "s-alarm", 1.5)
            anchor = "middle" if x > field.x + 40 else "start"
            drawing.text(x, field.top + 11, "✕ OOM kill", "f-alarm small", anchor)
