"""words: sizes, times and tables as docker(1) writes them."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime

import click


def size(size_bytes: int) -> str:
    """Bytes for people, in steps of a thousand: 1.98MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{value:.3g}{unit}" if unit != "B" else f"{size_bytes}B"


def ago(seconds: float, now: float | None = None) -> str:
    """How long since a time that is counted from 1970; nothing where there is none."""
    if not seconds:
        return "N/A"
    past = (time.time() if now is None else now) - seconds
    for length, unit in (
        (365 * 86_400, "years"), (30 * 86_400, "months"), (7 * 86_400, "weeks"),
        (86_400, "days"), (3_600, "hours"), (60, "minutes"),
    ):  # fmt: skip
        if past >= 2 * length:
            return f"{past / length:.0f} {unit} ago"
    return f"{max(0.0, past):.0f} seconds ago"


def pair(text: str) -> tuple[str, str]:
    """NAME=value, as labels and options are given."""
    name, _, value = text.partition("=")
    if not name:
        raise click.BadParameter(f"{text!r} is not NAME=value")
    return name, value


def moment(seconds: float) -> str:
    """A time that is counted from 1970, as RFC 3339 writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table without frames, in which nothing is cut off: what a script reads too."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        told = "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(told.rstrip())
