"""results: what a build reads from the image store, and what it leaves there.

Chapter 9. A step's directory becomes a layer by being renamed; nothing is copied.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from labkit.images import base, store, view
from labkit.images.configs import ImageConfig
from labkit.images.unpacked import Layer
from labkit.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a stage stands on: an image, another stage, or nothing."""

    id: str
    config: ImageConfig
    layers: tuple[Layer, ...] = ()


@contextmanager
def draft(paths: Paths) -> Iterator[Path]:
    """A directory on the layers' file system, gone at the end of the block with what is still in it."""
    place = Path(tempfile.mkdtemp(prefix=".draft-", dir=paths.layers))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _directories(paths: Paths, layers: Sequence[Layer]) -> list[Path]:
    """The layers' directories, the lowest first."""
    return [store.layer_directory(paths, layer.name) for layer in layers]


def open_view(paths: Paths, layers: Sequence[Layer]) -> int:
    """A descriptor of what the layers show together. It lasts as long as it is open; nobody sees a mount."""
    if not layers:
        with draft(paths) as empty:
            return _open(empty)
    return view.look(_directories(paths, layers), _open)


@contextmanager
def changing(paths: Paths, layers: Sequence[Layer], upper: Path, work: Path) -> Iterator[int]:
    """A descriptor of the same to be written to: the changes go to `upper`."""
    root = view.change(_directories(paths, layers), upper, work, _open) if layers else _open(upper)
    try:
        yield root
    finally:
        os.close(root)


def _open(place: Path) -> int:
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def image(paths: Paths, name: str) -> Ground:
    """An image as a ground to build on."""
    found = base.get(paths, name)
    return Ground(id=found.id, config=store.config(paths, found), layers=store.layers_of(paths, found))
