"""standing: how far a reader has come, as a picture and as a table.

Every chapter.
"""

import html

from labkit.course import checks, gradebook, pages
from labkit.course.chapters import Chapter, Course


def table() -> list[tuple[Chapter, str, int, int]]:
    """For each chapter: what has become of it, how many exercises are passed, how many there are."""
    started = gradebook.load()["chapters"]
    rows = []
    for chapter in Course.from_environment().chapters():
        wanted = {e.id for e in checks.of_chapter(chapter.number)}
        passed = len(gradebook.passed(chapter.number) & wanted)
        entry = started.get(chapter.number)
        state = "not begun" if entry is None else "finished" if entry["finished"] else "begun"
        rows.append((chapter, state, passed, len(wanted)))
    return rows


def plain() -> str:
    """The table as text."""
    rows = table()
    width = max((len(chapter.title) for chapter, *_ in rows), default=0)
    lines = [
        f"{chapter.number}  {chapter.title:<{width}}  {_bar(passed, all_)}  {passed} of {all_}  {state}"
        for chapter, state, passed, all_ in rows
    ]
    return "\n".join(lines)


def _bar(passed: int, all_: int) -> str:
    filled = round(10 * passed / all_) if all_ else 0
    return "█" * filled + "░" * (10 - filled)


def show() -> None:
    """How far you have come, chapter by chapter."""
    pages.show(plain(), _picture())


def _picture() -> str:
    rows = []
    for chapter, state, passed, all_ in table():
        share = 100 * passed / all_ if all_ else 0
        rows.append(
            f"<tr><td style='text-align:left'>{chapter.number} {html.escape(chapter.title)}</td>"
            f"<td><div style='width:160px;height:10px;border:1px solid {pages.GREY};border-radius:3px'>"
            f"<div style='width:{share:.0f}%;height:100%;background:{pages.GREEN}'></div></div></td>"
            f"<td>{passed} of {all_}</td><td style='text-align:left'>{state}</td></tr>"
        )
    return f"<table>{''.join(rows)}</table>"
