"""figures: axes for a still plot that reads well on a light and on a dark page.

Every chapter with a plot. Transparent ground, words in a grey that both
themes leave legible, and colours that stay apart for the colour-blind.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREY = "#7d8792"
TICKS_X, TICKS_Y = "#767f89", "#868f99"
"""Greys on either side of the middle: labels that are all light, or all dark, make a notebook put a sheet of
the other colour behind a transparent figure."""
BLUE, ORANGE, GREEN, PINK = "#1b86b8", "#d9661f", "#1f9d78", "#b9569f"
"""In the order in which a plot takes them."""


def axes(title: str, across: str = "", up: str = "", *, width: float = 6.6, height: float = 2.8) -> "Axes":
    """One empty plot, with its title and what is measured along both sides."""
    from matplotlib import pyplot  # half a second, for the chapters that plot

    figure, plot = pyplot.subplots(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0)
    plot.patch.set_alpha(0)
    plot.set_prop_cycle(color=[BLUE, ORANGE, GREEN, PINK])
    figure.suptitle(title, color=GREY, x=0.01, ha="left", fontsize=11)  # from the edge: long names take room
    plot.set_xlabel(across, color=GREY)
    plot.set_ylabel(up, color=GREY)
    plot.tick_params("x", colors=TICKS_X, which="both")
    plot.tick_params("y", colors=TICKS_Y, which="both")
    plot.grid(color=GREY, alpha=0.2)
    plot.set_axisbelow(True)
    for side, spine in plot.spines.items():
        spine.set_color(GREY)
        spine.set_visible(side in ("left", "bottom"))
    return plot


def legend(plot: "Axes", **options: Any) -> None:
    """Name the lines, in the plot's own grey."""
    plot.legend(frameon=False, labelcolor=GREY, **options)
