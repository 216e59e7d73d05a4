"""cgroup_cockpit: watch a control group live, with its limits and what they do to it.

Chapter 4. Ten samples a second from a thread of its own; the charts stay as
they were when the group is gone or the sampling was stopped.
"""

import errno
from collections import deque
from dataclasses import asdict
from typing import Any, Self

import traitlets

from labkit.observe import usage
from labkit.observe.usage import UsageRow
from labkit.widgets import cockpit_charts, plain, svg
from labkit.widgets.base import LabWidget, Ticker, assets
from labkit.widgets.cockpit_charts import CHARTS, events, total

SAMPLES_PER_SECOND = 10
HISTORY_SECONDS = 60
KEYFRAME_SECONDS = 5


class CgroupCockpit(LabWidget):
    """Memory, CPU, processes and I/O of a cgroup, with limits as lines and events as marks.

    `with CgroupCockpit(group) as cockpit:` samples for the length of the
    block; `start(seconds)` and `stop()` do so by hand.
    """

    _esm, _css = assets("cgroup_cockpit")

    path = traitlets.Unicode(help="the cgroup, below the roots of the hierarchies").tag(sync=True)
    charts: "traitlets.List[dict[str, Any]]" = traitlets.List(help="what is drawn, see Chart").tag(sync=True)
    state = traitlets.Unicode("ready", help="ready, live, stopped or ended (the group is gone)").tag(
        sync=True
    )
    latest: "traitlets.List[dict[str, Any]]" = traitlets.List(
        help="the samples since the last message, the increment"
    ).tag(sync=True)
    history: "traitlets.List[dict[str, Any]]" = traitlets.List(
        help="all samples that are kept, sent every few seconds"
    ).tag(sync=True)
    keep_seconds = traitlets.Int(HISTORY_SECONDS, help="how far back the charts reach").tag(sync=True)

    def __init__(self, cgroup: usage.Group) -> None:
        self._cgroup = cgroup
        self._sampler: usage.Sampler | None = None
        self._samples: deque[dict[str, Any]] = deque(maxlen=SAMPLES_PER_SECOND * HISTORY_SECONDS)
        self._began: float | None = None
        self._ticker = Ticker(self._tick, self._settle, 1 / SAMPLES_PER_SECOND)
        super().__init__(path=plain.printable(cgroup.path), charts=[asdict(chart) for chart in CHARTS])

    def start(self, seconds: float | None = None) -> Self:
        """Sample in the background, for `seconds` or until `stop`, `close` or the group's end."""
        if not self._ticker.is_running:
            self._sampler = usage.Sampler(self._cgroup)
            self.state = "live"
            self._ticker.start(seconds)
        return self

    def stop(self) -> None:
        """End the sampling; the last picture stays."""
        self._ticker.stop()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until the sampling has ended by itself."""
        self._ticker.wait(seconds)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _tick(self) -> bool:
        assert self._sampler is not None  # start made it
        try:
            row = self._sampler.sample()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):  # the group was removed, maybe while we read
                raise
            self.state = "ended"
            return False
        self._began = self._began if self._began is not None else row.at_seconds
        sample = compact(row, self._began)
        self._samples.append(sample)
        self.latest = [sample]
        if len(self._samples) % (SAMPLES_PER_SECOND * KEYFRAME_SECONDS) == 0:
            self.history = list(self._samples)
        return True

    def _settle(self) -> None:
        """What a notebook that is opened later needs."""
        self.history = list(self._samples)
        if self.state == "live":
            self.state = "stopped"

    def summary(self) -> str:
        """The last values, and what happened."""
        samples = list(self._samples)
        if not samples:
            return f"Control group {self.path}: no sample yet"
        said = [f"{chart.title} {chart.say(total(chart, samples[-1]))}" for chart in CHARTS]
        happened = "; ".join(events(samples)) or "no events"
        return f"Control group {self.path}, {self.state}: {', '.join(said)}; {happened}"

    def text(self) -> str:
        """A line of blocks for each chart."""
        samples = list(self._samples)
        if not samples:
            return f"CgroupCockpit {self.path}: no sample yet, start() begins"
        rows = [cockpit_charts.line(chart, samples) for chart in CHARTS]
        elapsed = samples[-1]["at"] - samples[0]["at"]
        counted = plain.counted(len(samples), "sample")
        head = f"CgroupCockpit {self.path}: {self.state}, {counted} in {elapsed:.1f} s"
        return "\n".join([head, *plain.grid(rows, right=[2]), *events(samples)])

    def picture(self) -> str:
        """The four charts as they are now."""
        samples = list(self._samples)
        drawing = svg.Drawing(self.summary())
        drawing.text(16, 26, "Control group", "f-ink bold")
        drawing.text(120, 26, self.path, "f-ink mono", room=480)
        drawing.text(svg.WIDTH - 16, 26, self.state, "f-soft", "end")
        for number, chart in enumerate(CHARTS):
            cockpit_charts.draw(drawing, chart, samples, 16 + number % 2 * 424.0, 42 + number // 2 * 176.0)
        bottom = 42 + 2 * 176 + 14
        said = events(samples)
        drawing.text(16, bottom, "; ".join(said) or "no events", "f-alarm" if said else "f-soft", room=800)
        return drawing.finish(bottom + 16)


def compact(row: UsageRow, began: float) -> dict[str, Any]:
    """A row as the charts want it: short numbers, time from the first sample on."""
    sample = {
        key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(row).items()
    }
    sample["at"] = round(sample.pop("at_seconds") - began, 3)
    return sample
