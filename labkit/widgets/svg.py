"""svg: draw a still picture in Python that is right in light and in dark.

For exports and saved notebooks, where no JavaScript runs. Colours are classes
whose values change with prefers-color-scheme; every text is escaped here.
"""

import base64
from html import escape

from labkit.widgets.plain import fit, printable

WIDTH = 860
SANS = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, 'SFMono-Regular', Menlo, 'DejaVu Sans Mono', monospace"

# Eight hues that stay apart for the colour-blind, each for a light and a dark ground; theme.css has the same.
PALETTE = (
    ("#0072b2", "#5aaef0"), ("#c9540a", "#ff9155"), ("#00835f", "#35cb9f"), ("#a8408a", "#e592cd"),
    ("#9a6b00", "#e8bb45"), ("#1b86b8", "#83d6f8"), ("#6f51b5", "#bba4f0"), ("#5f6b76", "#b4bec8"),
)  # fmt: skip
GROUND = {
    "paper": ("#ffffff", "#15181c"), "ink": ("#1f2429", "#e6e9ec"), "soft": ("#5c6670", "#a2abb4"),
    "edge": ("#d5dae0", "#3a4149"), "host": ("#eef0f3", "#23282e"), "alarm": ("#c4262e", "#ff7b80"),
}  # fmt: skip


def _rules(dark: int) -> str:
    """The class rules of one of the two grounds: `f-` fills, `s-` strokes."""
    named = {name: pair[dark] for name, pair in GROUND.items()}
    named |= {f"c{number}": pair[dark] for number, pair in enumerate(PALETTE, 1)}
    return "".join(
        f".f-{name}{{fill:{colour}}}.s-{name}{{stroke:{colour}}}" for name, colour in named.items()
    )


STYLE = (
    f"text{{font-family:{SANS};font-size:12px}}.mono{{font-family:{MONO}}}.small{{font-size:10.5px}}"
    ".big{font-size:20px;font-weight:600}.bold{font-weight:600}.struck{text-decoration:line-through}"
    ".tint{fill-opacity:.16}.none{fill:none}.dashed{stroke-dasharray:5 4}.faint{opacity:.55}"
    f"{_rules(0)}@media (prefers-color-scheme:dark){{{_rules(1)}}}"
)


def hue(number: int) -> str:
    """The class of a colour: 0 is the host's neutral, the others go round."""
    return "soft" if number == 0 else f"c{(number - 1) % len(PALETTE) + 1}"


class Drawing:
    """A picture that grows element by element; `kind` is a list of the classes above."""

    def __init__(self, title: str, width: float = WIDTH) -> None:
        self.title = title
        self.width = width
        self._parts: list[str] = []

    def add(self, name: str, content: str = "", **attributes: object) -> None:
        """Any element; an attribute's underscore is a hyphen, `kind` is its class."""
        words = {
            ("class" if key == "kind" else key.replace("_", "-")): value for key, value in attributes.items()
        }
        said = "".join(f' {key}="{_value(value)}"' for key, value in words.items() if value != "")
        self._parts.append(f"<{name}{said}>{_text(content)}</{name}>" if content else f"<{name}{said}/>")

    def box(self, x: float, y: float, width: float, height: float, kind: str, radius: float = 4) -> None:
        """A rectangle with round corners."""
        self.add("rect", x=x, y=y, width=max(0, width), height=max(0, height), rx=radius, kind=kind)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, width: float = 1) -> None:
        """A straight line."""
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke_width=width, kind=kind)

    def text(
        self, x: float, y: float, content: str, kind: str = "f-ink", anchor: str = "start", room: float = 0
    ) -> None:
        """Words at a base line, shortened where `room` pixels do not hold them."""
        if room:
            content = fit(printable(content), max(1, int(room / character_width(kind))))
        self.add("text", content, x=x, y=y, text_anchor="" if anchor == "start" else anchor, kind=kind)

    def finish(self, bottom: float) -> str:
        """The document, on a sheet of its own colour, so it is readable on any page."""
        width, height = _value(self.width), _value(bottom)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}"'
            f' role="img"><title>{_text(self.title)}</title><style>{STYLE}</style>'
            f'<rect x=".5" y=".5" width="{float(width) - 1}" height="{float(height) - 1}" rx="8"'
            f' class="f-paper s-edge"/>{"".join(self._parts)}</svg>'
        )


def character_width(kind: str) -> float:
    """A careful guess, in pixels, for the fonts above."""
    size = 10.5 if "small" in kind else 20 if "big" in kind else 12
    return size * (0.61 if "mono" in kind else 0.68 if "bold" in kind else 0.6)


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return escape(str(value), quote=True)


def _text(content: str) -> str:
    return escape(printable(content), quote=True)


def as_image(picture: str, alt: str) -> str:
    """The picture as an HTML image: untrusted notebooks keep it, while they strip a bare <svg>."""
    encoded = base64.b64encode(picture.encode()).decode()
    return f'<img src="data:image/svg+xml;base64,{encoded}" alt="{_text(alt)}" style="max-width:100%">'
