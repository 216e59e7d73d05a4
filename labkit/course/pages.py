"""pages: put a line or a card into the notebook, with a plain form that is the same in every run.

Every chapter. JupyterLab's theme variables, so light and dark both read well.
"""

import html
import sys
from typing import Any

RED = "var(--jp-error-color1, #c62828)"
GREEN = "var(--jp-success-color1, #2e7d32)"
GREY = "var(--jp-ui-font-color2, #757575)"
BLUE = "var(--jp-brand-color1, #1565c0)"
CODE = (
    "font-family: var(--jp-code-font-family, ui-monospace, monospace); "
    "font-size: var(--jp-code-font-size, .9em); line-height: var(--jp-code-line-height, 1.4)"
)
"""How JupyterLab sets what a program says; an exported page has no rule for it in HTML of our own."""


def shell() -> Any:
    """The IPython shell this runs in, None in a plain interpreter."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython

    return get_ipython()


def show(plain: str, rich: str = "") -> None:
    """Show `rich` HTML where a notebook can, and always carry the plain text."""
    if shell() is None:
        print(plain)
        return
    from IPython.display import publish_display_data

    sys.stdout.flush()
    data = {"text/plain": plain}
    if rich:
        data["text/html"] = rich
    publish_display_data(data)  # type: ignore[no-untyped-call]


def card(plain: str, *, colour: str = BLUE) -> None:
    """A text behind a coloured bar; its first line is the heading."""
    heading, _, rest = plain.partition("\n")
    body = f'<div style="white-space: pre-wrap">{html.escape(rest)}</div>' if rest else ""
    show(
        plain,
        f'<div style="border-left: 4px solid {colour}; padding: 2px 10px; margin: 4px 0">'
        f"<b>{html.escape(heading)}</b>{body}</div>",
    )


def failure(plain: str) -> None:
    """An error as the reader would meet it, in red, and not raised."""
    room = "white-space: pre-wrap; margin: 2px 0; padding: 0 var(--jp-code-padding, .8rem)"
    show(plain, f'<pre style="{CODE}; color: {RED}; {room}">{html.escape(plain)}</pre>')
