"""overlay_picture: the layers of an overlay as a still drawing.

Chapter 5. A column for each layer; a line of sight runs from the merged view
to the layer that stops it, and through all layers that a directory merges.
"""

from collections.abc import Sequence
from typing import Any

from labkit.widgets import svg

MOST_DRAWN = 60
TOP, ROW, LEFT, RIGHT = 78.0, 24.0, 292.0, 14.0
LEGEND = "filled: seen in merged · dashed: hidden · ✕ whiteout · thick edge: opaque directory"

Rows = Sequence[dict[str, Any]]


def draw(drawing: svg.Drawing, layers: Sequence[str], rows: Rows, left_out: str) -> str:
    """The whole picture; rows beyond MOST_DRAWN are counted below it."""
    width = (drawing.width - LEFT - RIGHT) / (len(layers) + 1)
    shown = rows[:MOST_DRAWN]
    drawing.text(16, 26, "Which layer each path comes from", "f-ink bold")
    for number, name in enumerate(["merged", *layers]):
        ground = "s-edge f-host" if number == 0 else f"f-{svg.hue(number)} tint"
        x, height = LEFT + width * number, TOP - 38 + ROW * len(shown)
        drawing.box(x + 3, 42, width - 6, height, f"{ground} faint", 6)
        drawing.text(x + width / 2, 60, name, f"f-{svg.hue(number) if number else 'ink'} bold", "middle")
    for number, row in enumerate(shown):
        _draw_row(drawing, row, TOP + ROW * number, width)
    bottom = TOP + ROW * len(shown) + 24
    drawing.text(16, bottom, LEGEND, "f-soft small")
    missing = [f"{len(rows) - len(shown)} more rows below"] if len(rows) > len(shown) else []
    missing += [left_out] if left_out else []
    if missing:
        bottom += 18
        drawing.text(16, bottom, f"left out: {', '.join(missing)}", "f-soft small", room=svg.WIDTH - 32)
    return drawing.finish(bottom + 14)


def _draw_row(drawing: svg.Drawing, row: dict[str, Any], y: float, width: float) -> None:
    middle, indent = y + ROW / 2, 16 + 14 * row["depth"]
    name_kind = "f-ink mono" if row["seen"] else "f-soft mono struck"
    mark_kind = "f-alarm small" if row["mark"] == "deleted" else "f-soft small"
    drawing.text(indent, middle + 4, row["name"], name_kind, room=LEFT - indent - 76)
    drawing.text(LEFT - 8, middle + 4, row["mark"], mark_kind, "end")
    seen = [number for number, cell in enumerate(row["cells"], 1) if cell["state"] in ("wins", "merged")]
    if seen:
        eye, sight = LEFT + width * 0.5, LEFT + width * (seen[-1] + 0.5)
        drawing.line(eye, middle, sight, middle, f"s-{svg.hue(seen[0])}", 2)
        drawing.add("circle", cx=eye, cy=middle, r=5, kind=f"f-{svg.hue(seen[0])}")
    for number, cell in enumerate(row["cells"], 1):
        if cell["state"] != "empty":
            _draw_cell(drawing, cell, svg.hue(number), LEFT + width * number + 12, y + 3, width - 24)


def _draw_cell(
    drawing: svg.Drawing, cell: dict[str, Any], hue: str, x: float, y: float, width: float
) -> None:
    height = ROW - 6
    edge = {"whiteout": "none s-alarm", "hidden": "none s-soft dashed"}
    words = {"whiteout": "f-alarm small", "hidden": "f-soft small"}
    drawing.box(x, y, width, height, "f-paper", 4)
    drawing.box(x, y, width, height, edge.get(cell["state"], f"f-{hue} s-{hue} tint"), 4)
    if cell["opaque"]:
        drawing.box(x + width - 5, y, 5, height, f"f-{hue}", 1)
    said_kind = words.get(cell["state"], "f-ink small")
    drawing.text(x + width / 2, y + height / 2 + 4, cell["said"], said_kind, "middle", room=width - 8)
