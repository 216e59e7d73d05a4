"""syscall_timeline: see which process asked the kernel for what, and when.

Chapter 0. A lane for each of engine, launcher, monitor and init; a bar for
each operation, whose colour says which chapter explains it.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import traitlets

from labkit.kernel.trace import Operation, Trace
from labkit.widgets import plain, svg, timeline_picture
from labkit.widgets.base import LabWidget, assets
from labkit.widgets.timeline_axis import Axis

LANES = ("engine", "launcher", "monitor", "init")
MOST_LISTED = 200

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
    axis_seconds = traitlets.Float(help="how long the axis is after the folds").tag(sync=True)
    folds: "traitlets.List[dict[str, float]]" = traitlets.List(
        help="quiet stretches: from when, until when, shown as how long"
    ).tag(sync=True)
    selected = traitlets.Int(-1, help="the operation that is explained, -1 for none").tag(sync=True)

    def __init__(self, trace: "Trace | Iterable[Operation]") -> None:
        found = sorted(
            trace.operations if isinstance(trace, Trace) else trace, key=lambda one: one.at_seconds
        )
        began = found[0].at_seconds if found else 0.0
        seen = {one.process for one in found}
        lanes = [lane for lane in LANES if lane in seen] + sorted(seen.difference(LANES))
        used = [chapter for chapter in FAMILIES if any(one.chapter == chapter for one in found)]
        operations = stack([describe(one, began) for one in found])
        self._axis = Axis.of(moment for one in operations for moment in (one["at"], one["at"] + one["took"]))
        for one in operations:
            one["from"] = self._axis.place(one["at"])
            one["to"] = self._axis.place(one["at"] + one["took"])
        super().__init__(
            lanes=[plain.printable(lane) for lane in lanes],
            operations=operations,
            families=[{"chapter": one, "name": FAMILIES[one], "hue": family_hue(one)} for one in used],
            span_seconds=max((one["at"] + one["took"] for one in operations), default=0.0),
            axis_seconds=self._axis.span,
            folds=[asdict(fold) for fold in self._axis.folds],
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
        span = self.axis_seconds or 1.0
        lanes = []
        for lane in self.lanes:
            marks = [" "] * width
            for one in self._of(lane):
                first, last = (min(width - 1, int(one[end] / span * width)) for end in ("from", "to"))
                marks[first : last + 1] = ["█" if last > first else "▌"] * (last - first + 1)
            for fold in self.folds:
                middle = self._axis.place((fold["at"] + fold["until"]) / 2)
                marks[min(width - 1, int(middle / span * width))] = "≈"
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
        lanes = {lane: self._of(lane) for lane in self.lanes}
        return timeline_picture.draw(svg.Drawing(self.summary()), lanes, self._axis, self.families)


def listed(one: dict[str, Any]) -> list[str]:
    """An operation as a row of the text."""
    said = plain.fit(one["said"], 90) + (f" ✕ {one['error']}" if one["error"] else "")
    times = [f"{one[when] * 1e3:.3f}" for when in ("at", "took")]
    return [*times, one["process"], one["chapter"], one["call"], said]


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
