"""syscall_timeline: see which process asked the kernel for what, and when.

Chapter 0. A lane for each of engine, launcher, monitor and init; a bar for
each operation, whose colour says which chapter explains it.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import traitlets

from labkit.kernel.trace import Operation, Trace
from labkit.widgets import plain, svg
from labkit.widgets.base import LabWidget, assets

LANES = ("engine", "launcher", "monitor", "init")
MOST_LISTED = 200
ROW = 20.0  # pixels of the still picture

# What the chapters explain, in the order of the legend; the hue is the place in it.
FAMILIES = {
    "02": "namespaces and processes", "03": "mounts and roots", "04": "control groups", "05": "layers",
    "06": "starting the program", "11": "networks", "15": "privileges",
}  # fmt: skip


class SyscallTimeline(LabWidget):
    """What a `labkit.trace()` recorded; click a bar, or walk with the arrow keys, for its explanation."""

    _esm, _css = assets("syscall_timeline")

    lanes = traitlets.List(traitlets.Unicode(), help="the processes, in the order of a start").tag(sync=True)
    operations: "traitlets.List[dict[str, Any]]" = traitlets.List(
        help="one entry for each operation, see describe"
    ).tag(sync=True)
    families: "traitlets.List[dict[str, Any]]" = traitlets.List(help="the legend: chapter, name and hue").tag(
        sync=True
    )
    span_seconds = traitlets.Float(help="from the first operation to the end of the last").tag(sync=True)
    selected = traitlets.Int(-1, help="the operation that is explained, -1 for none").tag(sync=True)

    def __init__(self, trace: "Trace | Iterable[Operation]") -> None:
        found = sorted(
            trace.operations if isinstance(trace, Trace) else trace, key=lambda one: one.at_seconds
        )
        began = found[0].at_seconds if found else 0.0
        seen = {one.process for one in found}
        lanes = [lane for lane in LANES if lane in seen] + sorted(seen.difference(LANES))
        used = [chapter for chapter in FAMILIES if any(one.chapter == chapter for one in found)]
        super().__init__(
            lanes=[plain.printable(lane) for lane in lanes],
            operations=stack([describe(one, began) for one in found]),
            families=[
                {"chapter": chapter, "name": FAMILIES[chapter], "hue": family_hue(chapter)}
                for chapter in used
            ],
            span_seconds=max((one.at_seconds + one.took_seconds - began for one in found), default=0.0),
        )

    def summary(self) -> str:
        """How many operations of how many processes, in what time."""
        failed = sum(1 for one in self.operations if one["error"])
        operations = plain.counted(len(self.operations), "operation")
        lanes = plain.counted(len(self.lanes), "process", "processes")
        said = f"{operations} of {lanes} in {plain.duration(self.span_seconds)}"
        return f"Kernel operations: {said}" + (f", {failed} failed" if failed else "")

    def text(self) -> str:
        """A lane of characters for each process, then the operations one by one."""
        width = 60
        span = self.span_seconds or 1.0
        lanes = []
        for lane in self.lanes:
            marks = [" "] * width
            for one in self._of(lane):
                first = min(width - 1, int(one["at"] / span * width))
                last = min(width - 1, int((one["at"] + one["took"]) / span * width))
                marks[first : last + 1] = ["█" if last > first else "▌"] * (last - first + 1)
            lanes.append([lane, "│" + "".join(marks) + "│"])
        head = ["at ms", "took ms", "process", "chapter", "call", "what"]
        body = [listed(one) for one in self.operations[:MOST_LISTED]]
        more = len(self.operations) - len(body)
        rest = [f"… and {plain.counted(more, 'more operation')}"] if more else []
        table = plain.grid([head, *body], right=[0, 1]) if body else ["nothing was recorded"]
        return "\n".join([self.summary(), *(plain.grid(lanes) if lanes else []), *table, *rest])

    def _of(self, lane: str) -> list[dict[str, Any]]:
        return [one for one in self.operations if one["process"] == lane]

    def picture(self) -> str:
        """All lanes over the whole time."""
        left, right = 92.0, 16.0
        wide = svg.WIDTH - left - right
        span = self.span_seconds or 1.0
        drawing = svg.Drawing(self.summary())
        drawing.text(16, 26, "What was asked of the kernel", "f-ink bold")
        drawing.text(svg.WIDTH - 16, 26, self.summary().partition(": ")[2], "f-soft", "end")
        y = 46.0
        for lane in self.lanes:
            operations = self._of(lane)
            rows = 1 + max(one["row"] for one in operations)
            drawing.text(16, y + 18, lane, "f-ink bold", room=left - 24)
            drawing.box(left, y, wide, rows * ROW + 8, "f-host", 4)
            self._draw_lane(drawing, operations, left, wide / span, y + 4)
            y += rows * ROW + 16
        for at in ticks(span):
            words, anchor = (plain.duration(at), "middle") if at else ("0", "start")
            drawing.text(left + wide * at / span, y + 8, words, "f-soft small", anchor)
        return drawing.finish(self._draw_legend(drawing, y + 32) + 18)

    def _draw_legend(self, drawing: svg.Drawing, y: float) -> float:
        x = 16.0
        for family in self.families:
            words = f"{family['chapter']} {family['name']}"
            if x + 24 + len(words) * 6.4 > svg.WIDTH - 16:
                x, y = 16.0, y + 20
            drawing.box(x, y - 9, 11, 11, f"f-{svg.hue(family['hue'])}", 2)
            drawing.text(x + 17, y + 1, words, "f-soft small")
            x += 34 + len(words) * 6.4
        return y

    def _draw_lane(
        self, drawing: svg.Drawing, mine: Sequence[dict[str, Any]], left: float, scale: float, y: float
    ) -> None:
        end = svg.WIDTH - 16
        for one, following in zip(mine, [*mine[1:], None], strict=True):
            width = max(2.5, min(one["took"] * scale, end - left))
            x, top = min(left + one["at"] * scale, end - width), y + one["row"] * ROW
            drawing.box(x, top, width, ROW - 2, f"f-{'alarm' if one['error'] else svg.hue(one['hue'])}", 2)
            words = f"✕ {one['call']}" if one["error"] else one["call"]
            until = left + following["at"] * scale if following else end
            if width > len(words) * 6.5 + 8:
                drawing.text(x + 5, top + 13, words, "f-paper small bold")
            elif until - x - width > len(words) * 6.5 + 8:
                drawing.text(x + width + 4, top + 13, words, "f-ink small")


def listed(one: dict[str, Any]) -> list[str]:
    """An operation as a row of the text."""
    said = plain.fit(one["said"], 90) + (f" ✕ {one['error']}" if one["error"] else "")
    times = [f"{one[when] * 1e3:.3f}" for when in ("at", "took")]
    return [*times, one["process"], one["chapter"], one["call"], said]


def ticks(span: float) -> list[float]:
    """Round times from 0 on, at most eight."""
    power = 10.0 ** math.floor(math.log10(span / 7))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= span / 7)
    return [number * step for number in range(int(span / step * 0.99) + 1)]


def family_hue(chapter: str) -> int:
    """The hue of a chapter's operations; 0, the neutral one, where none explains them."""
    order = {"02": 1, "03": 3, "04": 2, "05": 4, "06": 5, "11": 6, "15": 7}
    return order.get(chapter, 0)


def describe(one: Operation, began: float) -> dict[str, Any]:
    """An operation as it is drawn, with its time from the first one on."""
    return {
        "process": plain.printable(one.process),
        "call": plain.printable(one.call),
        "said": plain.printable(one.said),
        "at": round(one.at_seconds - began, 7),
        "took": round(one.took_seconds, 7),
        "error": plain.printable(one.error),
        "chapter": one.chapter,
        "family": FAMILIES.get(one.chapter, ""),
        "hue": family_hue(one.chapter),
    }


def stack(operations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put operations of one process that overlap in time into rows below each other."""
    free: dict[str, list[float]] = {}
    for one in operations:
        ends = free.setdefault(one["process"], [])
        row = next((number for number, end in enumerate(ends) if end <= one["at"]), len(ends))
        if row == len(ends):
            ends.append(0.0)
        ends[row] = one["at"] + one["took"]
        one["row"] = row
    return operations
