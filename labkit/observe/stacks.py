"""stacks: what the layers of images weigh, which are shared, and what lies in them unseen.

Chapters 7 and 9. image-spec "layer.md". A file that a higher layer replaces or
deletes stays in its own layer: nobody sees it, everybody downloads it.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labkit.observe import layers

MOST_FILES = 12


@dataclass(frozen=True, slots=True)
class Layer:
    """One unpacked layer and the step that made it."""

    digest: str
    directory: Path
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class Content:
    """One file of a layer. `hidden_by` says, for each image that hides it, which layer does."""

    path: str
    size_bytes: int
    hidden_by: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LayerWeight:
    """What one layer brings. A hard-linked file counts once."""

    layer: Layer
    images: tuple[str, ...]
    size_bytes: int
    files: int
    hidden_bytes: Mapping[str, int]  # by image
    biggest: tuple[Content, ...]


def weigh(images: Mapping[str, Sequence[Layer]]) -> tuple[LayerWeight, ...]:
    """Every layer of these images once, the topmost first; each image has its lowest layer first."""
    hidden = {name: _hidden(stack) for name, stack in images.items()}
    return tuple(_weigh(layer, images, hidden) for layer in reversed(_merged(images.values())))


def _merged(stacks: Iterable[Sequence[Layer]]) -> list[Layer]:
    """All layers in one order in which each stack keeps its own."""
    found: list[Layer] = []
    for stack in stacks:
        place = 0
        for layer in stack:
            digests = [one.digest for one in found]
            if layer.digest in digests:
                place = digests.index(layer.digest) + 1
            else:
                found.insert(place, layer)
                place += 1
    return found


Hidden = dict[tuple[str, str], str]
"""By a layer's digest and a path: the digest of the layer that hides it."""


def _hidden(stack: Sequence[Layer]) -> Hidden:
    """What of each layer nobody sees through the whole stack."""
    digests = {f"lower {number}": layer.digest for number, layer in enumerate(reversed(stack), 1)}
    found: Hidden = {}
    above: dict[str, str] = {}  # who hides a directory hides what is below it
    for row in layers.look([layer.directory for layer in reversed(stack)]).rows:
        first = row.versions[0]
        if row.origin or first.kind == "whiteout":
            hider = digests[row.origin or first.layer]
        else:
            hider = above.get(row.path.rpartition("/")[0], "")
        above[row.path] = hider
        for version in row.hidden:
            found[digests[version.layer], row.path] = hider
    return found


def _weigh(layer: Layer, images: Mapping[str, Sequence[Layer]], hidden: Mapping[str, Hidden]) -> LayerWeight:
    names = [name for name, stack in images.items() if any(one.digest == layer.digest for one in stack)]
    files, weight, count, lost = [], 0, 0, dict.fromkeys(names, 0)
    for path, size_bytes in _files(layer.directory):
        weight, count = weight + size_bytes, count + 1
        hiders = {name: by for name in names if (by := hidden[name].get((layer.digest, path))) is not None}
        for name in hiders:
            lost[name] += size_bytes
        files.append(Content(path, size_bytes, hiders))
    files.sort(key=lambda file: (-file.size_bytes, file.path))
    return LayerWeight(layer, tuple(names), weight, count, lost, tuple(files[:MOST_FILES]))


def _files(directory: Path) -> Iterator[tuple[str, int]]:
    """Every regular file, relative, with its size; further names of the same file weigh nothing."""
    seen: set[int] = set()
    for above, _, names in os.walk(directory):
        for name in names:
            place = Path(above, name)
            found = place.lstat()
            if stat.S_ISREG(found.st_mode):
                yield str(place.relative_to(directory)), 0 if found.st_ino in seen else found.st_size
                seen.add(found.st_ino)
