"""reading: open the file that holds what a chapter has built, at the right place.

Every chapter ends with it.
"""

import html
import inspect
import re
import types
from pathlib import Path
from typing import Any

from labkit.course import pages
from labkit.course.chapters import REPOSITORY
from labkit.errors import Invalid

LISTING = (
    f"{pages.CODE}; white-space: pre; overflow: auto; max-height: 44em; resize: vertical; "
    "padding: 6px 0; border: 1px solid var(--jp-border-color2, #8886); border-radius: 4px"
)
NUMBER = f"color: {pages.GREY}; user-select: none; margin: 0 1.5em 0 .5em"
"""Numbers that a reader who copies the lines does not copy along."""


def show(thing: Any) -> None:
    """Show the source of a module, class or function, with its path in the repository and its chapters."""
    try:
        thing = inspect.unwrap(thing) if callable(thing) else thing
        lines, first = inspect.getsourcelines(thing)
        file = Path(inspect.getsourcefile(thing) or "")
    except (TypeError, OSError):
        raise Invalid(f"{thing!r} has no source to show: give a module, a class or a function") from None
    text = "".join(lines).rstrip() + "\n"
    first = first or 1  # a module begins at 0
    heading = f"{_place(file)}, lines {first} to {first + len(lines) - 1}{_chapters(thing)}"
    pages.show(f"{heading}\n\n{text}", _coloured(heading, text, first))


def _place(file: Path) -> str:
    return str(file.relative_to(REPOSITORY)) if file.is_relative_to(REPOSITORY) else file.name


def _chapters(thing: Any) -> str:
    """The chapters that the module says it belongs to: `Chapter 3.` or `Chapters 2 and 6.`"""
    module = thing if isinstance(thing, types.ModuleType) else inspect.getmodule(thing)
    found = re.search(r"\bChapters? (\d+(?:(?:, | and )\d+)*)\.", (module and module.__doc__) or "")
    if not found:
        return ""
    return f" · chapter{'s' if not found[1].isdigit() else ''} {found[1]}"


def _coloured(heading: str, text: str, first: int) -> str:
    from pygments import highlight  # type: ignore[import-untyped]
    from pygments.formatters import HtmlFormatter  # type: ignore[import-untyped]
    from pygments.lexers import PythonLexer  # type: ignore[import-untyped]

    # Pygments' classes are those that JupyterLab's own theme colours, light and dark.
    lines = highlight(text, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).rstrip("\n").split("\n")
    width = len(str(first + len(lines) - 1))
    body = "\n".join(
        f'<span style="{NUMBER}">{number:>{width}}</span>{line}' for number, line in enumerate(lines, first)
    )
    return (
        f"<details open><summary><b>{html.escape(heading)}</b></summary>"
        f'<div class="highlight"><pre style="{LISTING}">{body}</pre></div></details>'
    )
