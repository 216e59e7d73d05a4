"""overlay_microscope: see which layer each path of an overlay comes from.

Chapter 5. The eye looks from the merged directory through the stack: the
first layer that has the path stops it, and what lies behind is hidden.
"""

import os
from collections.abc import Sequence
from typing import Any, Self

import traitlets

from labkit.observe import layers, mounts
from labkit.observe.layers import MOST_ROWS, PathRow, Stack, Version
from labkit.widgets import overlay_picture, plain, svg
from labkit.widgets.base import LabWidget, Ticker, assets

MOST_EVENTS = 6


class OverlayMicroscope(LabWidget):
    """The layers as columns, the paths as rows; a click shows all versions of a path.

    `lower` has the topmost layer first, as lowerdir has. With `merged` alone
    the layers are read from the mount that is there.
    """

    _esm, _css = assets("overlay_microscope")

    layers: "traitlets.List[dict[str, Any]]" = traitlets.List(
        help="name and directory of each layer, topmost first"
    ).tag(sync=True)
    merged = traitlets.Unicode(help="where the overlay is mounted, empty where it is not").tag(sync=True)
    rows: "traitlets.List[dict[str, Any]]" = traitlets.List(help="one row for each path, see describe").tag(
        sync=True
    )
    events: "traitlets.List[dict[str, Any]]" = traitlets.List(
        help="what happened to which path since the first look, newest first"
    ).tag(sync=True)
    left_out = traitlets.Unicode(help="how many paths of which directories did not fit").tag(sync=True)
    watching = traitlets.Bool(help="whether a thread looks again and again").tag(sync=True)

    def __init__(
        self,
        lower: "Sequence[os.PathLike[str] | str] | None" = None,
        upper: "os.PathLike[str] | str | None" = None,
        merged: "os.PathLike[str] | str | None" = None,
        *,
        most_rows: int = MOST_ROWS,
    ) -> None:
        if lower is None:
            if merged is None:
                raise TypeError(
                    "name the layers, lower=[…] and upper=…, or the place of a mounted overlay, merged=…"
                )
            found = mounts.overlay_at(merged)
            lower, upper = found.lower, found.upper
        self._lower, self._upper, self._most_rows = list(lower), upper, most_rows
        self._stack: Stack | None = None
        self._ticker = Ticker(self._tick, self._settle, 0.25)
        super().__init__(merged=plain.printable(os.fspath(merged)) if merged is not None else "")
        self.refresh()

    def refresh(self) -> None:
        """Look again; what has changed since the last look goes into `events`."""
        before, now = self._stack, layers.look(self._lower, self._upper)
        if now == before:
            return
        self._stack = now
        changed = layers.changes(before, now) if before else []
        short = layers.shorten(now.rows, self._most_rows)
        with self.hold_sync():
            self.layers = [
                {"name": name, "place": plain.printable(place)}
                for name, place in zip(now.layers, now.directories, strict=True)
            ]
            self.rows = [describe(row, now.layers) for row in short.rows]
            self.left_out = say_left_out(short.left_out)
            if changed:
                fresh = [{"path": plain.printable(one.path), "what": one.what} for one in reversed(changed)]
                self.events = [*fresh, *self.events][:MOST_EVENTS]

    def watch(self, seconds: float | None = None) -> Self:
        """Look four times a second in the background, until `stop`, `close` or the end of `seconds`."""
        self.watching = True
        self._ticker.start(seconds)
        return self

    def stop(self) -> None:
        """End the watching."""
        self._ticker.stop()

    def __enter__(self) -> Self:
        return self.watch()

    def __exit__(self, *exception: object) -> None:
        self.stop()
        self.refresh()

    def _tick(self) -> bool:
        try:
            self.refresh()
        except FileNotFoundError:
            return False  # the layers were removed: the last picture stays
        return True

    def _settle(self) -> None:
        self.watching = False

    def summary(self) -> str:
        """How many paths, and what happened to them."""
        counts = {
            word: sum(1 for row in self.rows if row["mark"] == word)
            for word in ("copied up", "deleted", "opaque")
        }
        said = [f"{number} {word}" for word, number in counts.items() if number]
        stack = plain.counted(len(self.layers), "layer")
        return ", ".join([f"Overlay of {stack}: {plain.counted(len(self.rows), 'path')}", *said])

    def text(self) -> str:
        """A table: ■ is what is seen, □ hidden, ✕ a whiteout, ▐ an opaque directory."""
        head = ["merged", *(layer["name"] for layer in self.layers), "path", ""]
        body = [
            ["●" if row["seen"] else "", *map(symbol, row["cells"]), indented(row), row["mark"]]
            for row in self.rows
        ]
        more = [f"… and {self.left_out}"] if self.left_out else []
        legend = "● in the merged view  ■ seen  □ hidden  ✕ whiteout  ▐ opaque directory"
        return "\n".join(["OverlayMicroscope", *plain.grid([head, *body]), *more, legend])

    def picture(self) -> str:
        """The stack as a drawing, with a line of sight for each path."""
        drawing = svg.Drawing(self.summary())
        return overlay_picture.draw(
            drawing, [layer["name"] for layer in self.layers], self.rows, self.left_out
        )


def say_left_out(counts: dict[str, int]) -> str:
    """`40 more in bin, 3 in etc`: the directories that lost most, the rest together."""
    named = [f"{count} more in /{plain.printable(place)}" for place, count in list(counts.items())[:3]]
    rest = sum(list(counts.values())[3:])
    return ", ".join([*named, f"{rest} more elsewhere"] if rest else named)


def indented(row: dict[str, Any]) -> str:
    """The name of a path, below that of its directory."""
    return f"{'  ' * row['depth']}{row['name']}"


def symbol(cell: dict[str, Any]) -> str:
    """A cell in the text."""
    sign = {"wins": "■", "merged": "■", "hidden": "□", "whiteout": "✕", "empty": ""}[cell["state"]]
    wall = "▐" if cell["opaque"] else ""
    return f"{sign}{wall} {cell['said'] if cell['state'] in ('wins', 'hidden') else ''}".rstrip()


def describe(row: PathRow, names: Sequence[str]) -> dict[str, Any]:
    """A row as it is drawn: one cell for each layer, and the story that a click tells."""
    versions = {version.layer: version for version in row.versions}
    hidden = {version.layer for version in row.hidden} | _behind(row)
    cells = [_cell(row, versions.get(name), name in hidden) for name in names]
    return {
        "path": plain.printable(row.path),
        "name": plain.printable(row.path.rpartition("/")[2]) + ("/" if row.kind == "directory" else ""),
        "depth": row.depth,
        "kind": row.kind,
        "seen": row.origin is not None,
        "mark": _mark(row),
        "cells": cells,
        "story": [_story(row, version, version.layer in hidden) for version in row.versions],
    }


def _behind(row: PathRow) -> set[str]:
    """The layers in which a directory is cut off by an opaque one, a whiteout or a file above it."""
    cut, found = row.origin is None, set()
    for version in row.versions:
        if cut and version.kind != "whiteout":
            found.add(version.layer)
        cut = cut or version.is_opaque or (row.origin is not None and version.kind != "directory")
    return found - ({row.origin} if row.origin else set())


def _cell(row: PathRow, version: Version | None, is_hidden: bool) -> dict[str, Any]:
    if version is None:
        return {"state": "empty", "said": "", "opaque": False}
    if version.kind == "whiteout":
        return {"state": "whiteout", "said": "✕ whiteout", "opaque": False}
    said = plain.amount(version.size_bytes) if version.kind == "file" else version.kind
    if version.is_opaque:
        said = "opaque"
    state = "hidden" if is_hidden else "wins" if version.layer == row.origin else "merged"
    return {"state": state, "said": said, "opaque": version.is_opaque}


def _mark(row: PathRow) -> str:
    if row.is_deleted:
        return "deleted" if row.versions[0].kind == "whiteout" else "hidden"
    if row.versions[0].is_opaque:
        return "opaque"
    if row.kind == "directory" and sum(version.kind == "directory" for version in row.versions) > 1:
        return "merged"
    if row.is_copied_up:
        return "copied up"
    return "new" if row.origin == "upper" else ""


def _story(row: PathRow, version: Version, is_hidden: bool) -> dict[str, str]:
    """What one version is, and what the overlay makes of it."""
    what = f"{version.kind}, {plain.amount(version.size_bytes)}" if version.kind == "file" else version.kind
    if version.kind == "whiteout":
        fate = "hides every version below it: the path is gone from the merged view, its bytes are not"
    elif is_hidden:
        fate = "hidden, nobody sees it through the overlay, and it still takes its space"
    elif version.layer == row.origin:
        fate = "wins: this is what processes see"
    else:
        fate = "merged: its entries are seen beside those of the layers above"
    if version.is_opaque:
        fate += "; opaque, so the overlay looks no further down"
    if version.layer == "upper" and row.is_copied_up and version.kind != "directory":
        fate += "; copied up from a lower layer" + (
            " (its metadata alone)" if version.is_metadata_only else ""
        )
    if version.moved_from:
        fate += f"; below, it is called {plain.printable(version.moved_from)}"
    return {"layer": version.layer, "what": what, "fate": fate}
