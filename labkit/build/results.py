"""results: what a build reads from the image store, and what it leaves there.

Chapter 9. A step's directory becomes a layer by being renamed; nothing is copied.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from labkit.images import base, layers, manifests, store, view
from labkit.images.configs import ImageConfig, RunConfig
from labkit.images.store import Image
from labkit.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a stage stands on: an image, another stage, or nothing."""

    id: str
    config: ImageConfig
    layers: tuple[str, ...] = ()


@contextmanager
def draft(paths: Paths) -> Iterator[Path]:
    """A directory on the layers' file system, gone at the end of the block with what is still in it."""
    place = Path(tempfile.mkdtemp(prefix=".draft-", dir=paths.layers))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def directories(paths: Paths, names: Sequence[str]) -> list[Path]:
    """The layers' directories, the lowest first."""
    return [store.layer_directory(paths, name) for name in names]


def open_view(paths: Paths, names: Sequence[str]) -> int:
    """A descriptor of what the layers show together. It lasts as long as it is open; nobody sees a mount."""
    if not names:
        with draft(paths) as empty:
            return _open(empty)
    return view.look(directories(paths, names), _open)


@contextmanager
def changing(paths: Paths, names: Sequence[str], upper: Path, work: Path) -> Iterator[int]:
    """A descriptor of the same to be written to: the changes go to `upper`."""
    root = view.change(directories(paths, names), upper, work, _open) if names else _open(upper)
    try:
        yield root
    finally:
        os.close(root)


def _open(place: Path) -> int:
    return os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def keep_layer(paths: Paths, directory: Path) -> tuple[str, int]:
    """Make a layer of a directory; its name, and how many bytes its files have."""
    packed = layers.pack(directory)
    name = packed.digest.partition(":")[2]
    place = store.layer_directory(paths, name)
    with suppress(OSError):
        directory.rename(place)
    if not place.is_dir():
        raise FileNotFoundError(2, "the layer could not be kept", str(place))
    return name, packed.content_bytes


def image(paths: Paths, name: str) -> Ground:
    """An image as a ground to build on."""
    found = base.get(paths, name)
    here = manifests.here()
    run = RunConfig(
        env=found.env,
        command=found.command,
        working_directory="",
        user=found.user,
        labels=found.labels,
    )
    config = ImageConfig(architecture=here.architecture, os=here.os, variant=here.variant, run=run)
    return Ground(id=":".join((found.name, *found.layers)), config=config, layers=found.layers)


def commit(paths: Paths, config: ImageConfig, names: Sequence[str], tags: Sequence[str]) -> Image:
    """An image of a config and layers that are there, under the names given."""
    size = sum(store.size_bytes(store.layer_directory(paths, layer)) for layer in names)
    made = Image(
        name=tags[0] if tags else "built",
        layers=tuple(names),
        size_bytes=size,
        created_at=time.time(),
        env=config.run.env,
        command=(*(config.run.entrypoint or ()), *(config.run.command or ())),
    )
    store.tag(paths, made)
    return made
