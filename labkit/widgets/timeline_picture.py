"""timeline_picture: the lanes of a timeline as a still drawing."""

from collections.abc import Mapping, Sequence
from typing import Any

from labkit.widgets import plain, svg
from labkit.widgets.timeline_axis import Axis

LEFT, END, ROW = 92.0, svg.WIDTH - 16.0, 20.0

Operations = Sequence[dict[str, Any]]


def draw(
    drawing: svg.Drawing, lanes: Mapping[str, Operations], axis: Axis, families: Sequence[Mapping[str, Any]]
) -> str:
    """A lane for each process, the axis with its folds, and the legend."""
    scale = (END - LEFT) / (axis.span or 1.0)
    drawing.text(16, 26, "What was asked of the kernel", "f-ink bold")
    drawing.text(END, 26, drawing.title.partition(": ")[2], "f-soft", "end")
    top = y = 46.0
    for lane, operations in lanes.items():
        height = (1 + max(one["row"] for one in operations)) * ROW + 8
        drawing.text(16, y + 18, lane, "f-ink bold", room=LEFT - 24)
        drawing.box(LEFT, y, END - LEFT, height, "f-host", 4)
        _draw_lane(drawing, operations, axis, scale, y + 4)
        y += height + 8
    _draw_axis(drawing, axis, scale, top, y - 8)
    return drawing.finish(_draw_legend(drawing, families, y + 32) + 18)


def _draw_lane(drawing: svg.Drawing, operations: Operations, axis: Axis, scale: float, y: float) -> None:
    edges = [LEFT + axis.place(fold.at) * scale for fold in axis.folds]
    for one, following in zip(operations, [*operations[1:], None], strict=True):
        x, end = LEFT + one["from"] * scale, LEFT + one["to"] * scale
        width = max(2.5, end - x)
        x, top = min(x, END - width), y + one["row"] * ROW
        drawing.box(x, top, width, ROW - 2, f"f-{'alarm' if one['error'] else svg.hue(one['hue'])}", 2)
        words = f"✕ {one['call']}" if one["error"] else one["call"]
        until = LEFT + following["from"] * scale if following else END
        until = min([until, *(edge for edge in edges if edge >= x)])  # no word lies across a fold
        if width > len(words) * 6.5 + 8:
            drawing.text(x + 5, top + 13, words, "f-paper small bold")
        elif until - x - width > len(words) * 6.5 + 8:
            drawing.text(x + width + 4, top + 13, words, "f-ink small")


def _draw_axis(drawing: svg.Drawing, axis: Axis, scale: float, top: float, bottom: float) -> None:
    taken: list[float] = []
    for fold in axis.folds:
        x, width = LEFT + axis.place(fold.at) * scale, fold.shown * scale
        drawing.box(x, top, width, bottom - top, "f-paper", 0)
        for edge in (x, x + width):
            drawing.line(edge, top, edge, bottom, "s-soft dashed")
        words = f"{plain.duration(fold.until - fold.at)} quiet"
        drawing.text(x + width / 2, bottom + 16, words, "f-ink small", "middle")
        taken.append(x + width / 2)
    for at in axis.ticks() if axis.span else ():
        x = LEFT + axis.place(at) * scale
        if all(abs(x - other) >= 68 for other in taken):
            taken.append(x)
            words, anchor = (plain.duration(at), "middle") if at else ("0", "start")
            drawing.text(min(x, END - 14), bottom + 16, words, "f-soft small", anchor)


def _draw_legend(drawing: svg.Drawing, families: Sequence[Mapping[str, Any]], y: float) -> float:
    x = 16.0
    for family in families:
        words = f"{family['chapter']} {family['name']}"
        if x + 24 + len(words) * 6.4 > END:
            x, y = 16.0, y + 20
        drawing.box(x, y - 9, 11, 11, f"f-{svg.hue(family['hue'])}", 2)
        drawing.text(x + 17, y + 1, words, "f-soft small")
        x += 34 + len(words) * 6.4
    return y
