"""build_graph: the stages of a build and their steps, with what the cache gave and what had to be made.

Chapter 9. A lane for each stage; an arrow runs from a stage to the step that
takes from it. The first miss of a lane misses all that follow.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import traitlets

from labkit.build import options
from labkit.build.dockerfile import Instruction
from labkit.build.events import Event, Kind, Step
from labkit.build.progress import printable
from labkit.build.stages import SCRATCH, Plan, Stage
from labkit.widgets import plain, svg
from labkit.widgets.base import LabWidget, assets

STATES = {
    "base": "○", "waiting": "·", "running": "▸", "cached": "=", "done": "+", "failed": "✕", "unused": " ",
}  # fmt: skip
"""The states of a step, each with its sign in the text."""

_ENDS = {Kind.CACHED: "cached", Kind.DONE: "done", Kind.FAILED: "failed"}
_OUTPUT_SECONDS = 0.1
"""How often the last line of what runs is shown anew: each time all steps travel to the browser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphStep:
    """One instruction in its lane. `takes_from` are the titles of the stages it takes from."""

    stage: str
    text: str
    line: int = 0  # of the Dockerfile, 0 where there is none
    takes_from: tuple[str, ...] = ()
    state: str = "waiting"
    seconds: float = 0.0
    size_bytes: int = 0
    note: str = ""  # such as why it was no hit


class BuildGraph(LabWidget):
    """The steps of a build, drawn as it goes on; a click tells all about one.

    `of` makes it of a plan, and `hear` listens to the build; `update` gives one step a new state.
    """

    _esm, _css = assets("build_graph")

    stages: "traitlets.List[str]" = traitlets.List(help="the titles, in the order of the file").tag(sync=True)
    steps: "traitlets.List[dict[str, Any]]" = traitlets.List(help="the fields of GraphStep").tag(sync=True)
    remarks: "traitlets.List[str]" = traitlets.List(help="warnings, and at the end what was built").tag(
        sync=True
    )

    def __init__(self, steps: Sequence[GraphStep]) -> None:
        for step in steps:
            _known(step.state)
        super().__init__(
            stages=list(dict.fromkeys(plain.printable(step.stage) for step in steps)),
            steps=[_printable(asdict(step)) for step in steps],
        )
        self._shown_at = 0.0  # the last line of some output

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """What a Dockerfile's plan will do: a stage that the target does not need is not built."""
        titles: list[str] = []
        for stage in plan.stages:
            again = stage.title in titles
            titles.append(f"{stage.title} ({stage.index})" if again else stage.title)
        needed = plan.needed()
        return cls([card for stage in plan.stages for card in _cards(plan, stage, titles, needed)])

    def hear(self, event: Event) -> None:
        """Take in what a build tells; a listener for `builder.build`."""
        if event.step is None:
            said = f"built {event.text} in {plain.duration(event.seconds)}"
            said = said if event.kind is Kind.BUILT else event.text
            self.remarks = [*self.remarks, plain.printable(said)]
            return
        number = self._number(event.step)
        if event.kind is Kind.BEGUN:
            self.update(number, state="running")
        elif event.kind is Kind.OUTPUT:
            self._show_output(number, event.data)
        else:
            self.update(
                number,
                state=_ENDS[event.kind],
                seconds=event.seconds,
                size_bytes=event.layer_bytes or 0,
                note=self._why(number, event),
            )

    def _number(self, step: Step) -> int:
        """The card of a step. A base image's ONBUILDs stand at the line of FROM, and in no plan."""
        lines = [card["line"] for card in self.steps]
        start = lines.index(step.line)
        if self.steps[start]["state"] != "base":
            return start
        number = start + step.position
        if number >= len(lines) or lines[number] != step.line:
            card = GraphStep(stage=self.steps[start]["stage"], text=f"ONBUILD {step.text}", line=step.line)
            self.steps = [*self.steps[:number], _printable(asdict(card)), *self.steps[number:]]
        return number

    def _show_output(self, number: int, data: bytes) -> None:
        """The last line of what a step has said, as often as an eye can follow."""
        lines = [line for line in printable(data.decode(errors="replace")).split("\n") if line.strip()]
        if lines and time.monotonic() >= self._shown_at + _OUTPUT_SECONDS:
            self._shown_at = time.monotonic()
            self.update(number, note=lines[-1].strip())

    def _why(self, number: int, event: Event) -> str:
        """Why a step was done, as far as the graph knows, or what went wrong."""
        if event.kind is Kind.FAILED:
            return event.text.partition("\n")[0]
        return "after a miss" if event.kind is Kind.DONE and self._stands_on_new(number) else ""

    def _stands_on_new(self, number: int) -> bool:
        """Whether what a step stands on was made in this build."""
        before = self.steps[number - 1]
        if before["state"] != "base":
            return bool(before["state"] == "done")
        last = {card["stage"]: place for place, card in enumerate(self.steps)}
        return any(
            self.steps[last[title]]["state"] == "done"
            or (self.steps[last[title]]["state"] == "base" and self._stands_on_new(last[title] + 1))
            for title in before["takes_from"]
        )

    def update(self, number: int, **changes: Any) -> None:
        """Change fields of the step of this number, counted from 0, such as its `state`."""
        if unknown := changes.keys() - GraphStep.__dataclass_fields__.keys():
            raise TypeError(f"a step has no {', '.join(sorted(unknown))}")
        _known(changes.get("state", "waiting"))
        steps = list(self.steps)
        steps[number] = steps[number] | _printable(changes)
        self.steps = steps

    def summary(self) -> str:
        """How many steps the cache gave, how many were made, in what time."""
        states = [step["state"] for step in self.steps]
        made = [step for step in self.steps if step["state"] in ("done", "failed")]
        said = [f"Build of {plain.counted(len(self.stages), 'stage')}: {states.count('cached')} cached"]
        said += (
            [f"{len(made)} made in {plain.duration(sum(step['seconds'] for step in made))}"] if made else []
        )
        said += [f"{number} {state}" for state in ("running", "waiting") if (number := states.count(state))]
        said += [f"{number} not needed"] if (number := states.count("unused")) else []
        return ", ".join([*said, *(["one failed"] if "failed" in states else [])])

    def text(self) -> str:
        """A table for each stage: ○ base, = cached, + made, ▸ running, ✕ failed, · waiting, or not needed."""
        rows = []
        for title in self.stages:
            rows.append([title, "", "", ""])
            own = [step for step in self.steps if step["stage"] == title]
            rows += [
                [f"  {STATES[step['state']]} {plain.fit(step['text'], 56)}", *_figures(step), step["note"]]
                for step in own
            ]
        return "\n".join(["BuildGraph", *plain.grid(rows, right=(1, 2)), self.summary(), *self.remarks])

    def picture(self) -> str:
        """The lanes as a drawing."""
        return draw(svg.Drawing(self.summary()), self.stages, self.steps, self.summary())


def _cards(plan: Plan, stage: Stage, titles: Sequence[str], needed: Sequence[int]) -> list[GraphStep]:
    """A stage's FROM, and its instructions."""
    parent = () if stage.parent is None else (titles[stage.parent],)
    note = "nothing at all" if stage.base == SCRATCH else "a stage" if parent else "an image"
    is_needed = stage.index in needed
    start = GraphStep(
        stage=titles[stage.index],
        text=stage.start.original,
        line=stage.start.line,
        takes_from=parent,
        state="base" if is_needed else "unused",
        note=note if is_needed else "",
    )
    return [
        start,
        *(
            GraphStep(
                stage=titles[stage.index],
                text=instruction.original,
                line=instruction.line,
                takes_from=tuple(titles[index] for index in _taken_from(plan, stage, instruction)),
                state="waiting" if is_needed else "unused",
            )
            for instruction in stage.instructions
        ),
    ]


def _taken_from(plan: Plan, stage: Stage, instruction: Instruction) -> list[int]:
    """The stages that an instruction names; images are none."""
    found = (plan.find(name, stage.index) for name in options.sources_of(instruction))
    return [index for index in dict.fromkeys(found) if index is not None]


def _known(state: str) -> None:
    if state not in STATES:
        raise ValueError(f"a step is {', '.join(STATES)}, not {state!r}")


def _printable(step: dict[str, Any]) -> dict[str, Any]:
    """Texts of a Dockerfile and its names, harmless."""
    made = {key: plain.printable(value) if isinstance(value, str) else value for key, value in step.items()}
    if "takes_from" in step:
        made["takes_from"] = [plain.printable(title) for title in step["takes_from"]]
    return made


def _figures(step: dict[str, Any]) -> tuple[str, str]:
    """Time and size in words, where there are any."""
    if step["state"] == "base":
        return "", ""
    if step["state"] == "cached":
        return "cached", plain.amount(step["size_bytes"]) if step["size_bytes"] else ""
    if step["state"] not in ("done", "failed"):
        return step["state"] if step["state"] != "unused" else "not needed", ""
    return plain.duration(step["seconds"]), plain.amount(step["size_bytes"]) if step["size_bytes"] else ""


TOP, ROW, GAP, SIDE = 74.0, 40.0, 34.0, 16.0
HUES = {"cached": "c3", "done": "c2", "running": "c1", "failed": "alarm"}


def draw(drawing: svg.Drawing, stages: Sequence[str], steps: Sequence[dict[str, Any]], said: str) -> str:
    """A lane for each stage, a card for each step, an arrow for each taking."""
    width = (drawing.width - 2 * SIDE - GAP * (len(stages) - 1)) / max(1, len(stages))
    lanes = {title: SIDE + (width + GAP) * number for number, title in enumerate(stages)}
    counts = dict.fromkeys(stages, 0)
    places: list[tuple[float, float]] = []
    for step in steps:
        places.append((lanes[step["stage"]], TOP + ROW * counts[step["stage"]]))
        counts[step["stage"]] += 1
    drawing.text(SIDE, 26, "What the build made, and what the cache gave", "f-ink bold")
    for title, x in lanes.items():
        drawing.text(x, 58, title, "f-ink bold", room=width)
    for step, (x, y) in zip(steps, places, strict=True):
        for title in step["takes_from"]:
            if title in lanes and title != step["stage"]:
                lane, far = stages.index(title), stages.index(step["stage"])
                start = lanes[title] + width, TOP + ROW * counts[title] - 24
                _draw_arrow(drawing, start, (x, y + 16), lane, far)
    for step, (x, y) in zip(steps, places, strict=True):
        _draw_card(drawing, step, x, y, width)
    bottom = TOP + ROW * max(counts.values(), default=0) + 18
    drawing.text(SIDE, bottom, said, "f-ink", room=svg.WIDTH - 32)
    drawing.text(
        SIDE, bottom + 18, "green: from the cache · orange: made now · dashed: not needed", "f-soft small"
    )
    return drawing.finish(bottom + 32)


def _draw_card(drawing: svg.Drawing, step: dict[str, Any], x: float, y: float, width: float) -> None:
    hue = HUES.get(step["state"])
    quiet = "none s-edge dashed" if step["state"] == "unused" else "f-host s-edge"
    drawing.box(x, y, width, ROW - 8, "f-paper", 5)
    drawing.box(x, y, width, ROW - 8, f"f-{hue} tint s-{hue}" if hue else quiet, 5)
    ink = "f-soft mono small" if step["state"] == "unused" else "f-ink mono small"
    drawing.text(x + 8, y + 14, step["text"], ink, room=width - 14)
    time, size = _figures(step)
    figures = " · ".join(part for part in (time, size, step["note"]) if part)
    drawing.text(x + 8, y + 27, figures, "f-soft small", room=width - 14)


def _draw_arrow(
    drawing: svg.Drawing, start: tuple[float, float], end: tuple[float, float], lane: int, far: int
) -> None:
    """Over the lanes in between it runs where no card is: in the gap below the row that it comes from."""
    (x1, y1), (x2, y2) = start, end
    path = f"M{x1:.1f},{y1:.1f} "
    if far - lane > 1:
        out, gap = x1 + GAP / 2, y1 + ROW / 2 - 1.5 + 3 * (lane % 2)
        path += f"{_curve(x1, y1, out, gap)} L{x2 - GAP / 2 - 4:.1f},{gap:.1f} "
        x1, y1 = x2 - GAP / 2 - 4, gap
    drawing.add("path", d=path + _curve(x1, y1, x2 - 5, y2), kind="none s-soft", stroke_width=1.5)
    drawing.add(
        "path", d=f"M{x2 - 7:.1f},{y2 - 4:.1f} L{x2:.1f},{y2:.1f} L{x2 - 7:.1f},{y2 + 4:.1f} Z", kind="f-soft"
    )


def _curve(x1: float, y1: float, x2: float, y2: float) -> str:
    middle = (x1 + x2) / 2
    return f"C{middle:.1f},{y1:.1f} {middle:.1f},{y2:.1f} {x2:.1f},{y2:.1f}"
