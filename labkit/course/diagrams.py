"""diagrams: a few boxes and arrows, where a reader would rather look than read.

Every chapter. A drawing that is right on a light and on a dark page, with a
plain form of its own for where no picture shows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from labkit.course import pages
from labkit.widgets import svg

LEFT, TOP, GAP, TALL = 72.0, 44.0, 18.0, 52.0

Rows = Mapping[str, Mapping[str, str]]
"""For each row its name and its boxes: what stands in one, and below it, smaller, what it is."""


def chain(title: str, rows: Rows, ground: tuple[str, str]) -> None:
    """Boxes from left to right, a row for each kind of chain, and what they all stand on."""
    pages.show(_plain(title, rows, ground), svg.as_image(_picture(title, rows, ground), title))


def _plain(title: str, rows: Rows, ground: tuple[str, str]) -> str:
    lines = [
        f"{name}: " + " → ".join(f"{head} ({what})" for head, what in boxes.items())
        for name, boxes in rows.items()
    ]
    return "\n".join([title, *lines, f"below: {ground[0]} ({ground[1]})"])


def _picture(title: str, rows: Rows, ground: tuple[str, str]) -> str:
    drawing = svg.Drawing(title)
    drawing.text(16, 26, title, "f-ink bold")
    columns = max(len(boxes) for boxes in rows.values())
    left = max(LEFT, 18 + 9.0 * max(map(len, rows)))  # the names of the rows stand there
    wide = (svg.WIDTH - left - 16 - GAP * (columns - 1)) / columns
    y = TOP
    for number, (name, boxes) in enumerate(rows.items(), 1):
        colour = svg.hue(number)
        drawing.text(16, y + TALL / 2 + 4, name, f"f-{colour} bold", room=left - 22)
        for place, (head, what) in enumerate(boxes.items()):
            x = left + place * (wide + GAP)
            drawing.box(x, y, wide, TALL, f"f-{colour} s-{colour} tint", 6)
            drawing.text(x + wide / 2, y + 23, head, "f-ink bold", "middle", room=wide - 6)
            drawing.text(x + wide / 2, y + 40, what, "f-soft small", "middle", room=wide - 4)
            if place:
                _arrow(drawing, x - GAP + 3, x - 3, y + TALL / 2)
        y += TALL + 20
    drawing.box(left, y, svg.WIDTH - left - 16, TALL - 8, "f-host", 6)
    middle = left + (svg.WIDTH - left - 16) / 2
    drawing.text(middle, y + 19, ground[0], "f-ink bold", "middle")
    drawing.text(middle, y + 35, ground[1], "f-soft small", "middle")
    return drawing.finish(y + TALL + 8)


def _arrow(drawing: svg.Drawing, x1: float, x2: float, y: float) -> None:
    drawing.line(x1, y, x2 - 4, y, "s-soft", 1.5)
    drawing.add(
        "path", d=f"M{x2 - 6:.1f} {y - 4:.1f}L{x2:.1f} {y:.1f}L{x2 - 6:.1f} {y + 4:.1f}Z", kind="f-soft"
    )


@dataclass(frozen=True, slots=True)
class Box:
    """What stands in a box of a tree, below it, smaller, what it is; and the boxes that it leads to."""

    head: str
    what: str
    below: "tuple[Box, ...]" = ()
    changed: bool = False


def tree(title: str, top: Box) -> None:
    """Boxes from the top down; those that have changed stand out, and the plain form says so too."""
    pages.show(
        "\n".join([title, *_lines(top)]),
        svg.as_image(_tree(title, top), f"{title}: {'; '.join(_lines(top))}"),
    )


def _lines(box: Box, depth: int = 0) -> Iterator[str]:
    yield f"{'  ' * depth}{box.head} {box.what}" + (" (changed)" if box.changed else "")
    for lower in box.below:
        yield from _lines(lower, depth + 1)


def _width(box: Box) -> int:
    """How many boxes lie beside each other where it is widest."""
    return sum(map(_width, box.below)) or 1


def _depth(box: Box) -> int:
    return 1 + max(map(_depth, box.below), default=0)


def _tree(title: str, top: Box) -> str:
    drawing = svg.Drawing(title)
    drawing.text(16, 26, title, "f-ink bold")
    column = (svg.WIDTH - 32) / _width(top)
    _branch(drawing, top, 16, TOP, column, min(column - GAP, 190.0))
    return drawing.finish(TOP + _depth(top) * (TALL + 34) - 18)


def _branch(drawing: svg.Drawing, box: Box, left: float, y: float, column: float, wide: float) -> float:
    """Draw a box above the middle of those below it; where that middle is."""
    middles, x = [], left
    for lower in box.below:
        middles.append(_branch(drawing, lower, x, y + TALL + 34, column, wide))
        x += column * _width(lower)
    middle = (middles[0] + middles[-1]) / 2 if middles else left + column / 2
    for number, lower_middle in enumerate(middles):
        line = "s-alarm" if box.changed and box.below[number].changed else "s-soft"
        drawing.line(middle, y + TALL, lower_middle, y + TALL + 34, line, 1.5)
    colour, words, mark = ("alarm", "alarm", "≠ ") if box.changed else ("c1", "soft", "")
    drawing.box(middle - wide / 2, y, wide, TALL, f"f-{colour} s-{colour} tint", 6)
    drawing.text(middle, y + 22, box.head, "f-ink bold", "middle", room=wide - 8)
    drawing.text(middle, y + 40, mark + box.what, f"f-{words} small mono", "middle", room=wide - 8)
    return middle
