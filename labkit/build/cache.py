"""cache: what a step made the last time it was the same step on the same ground.

Chapter 9. A step's key is made of the step before it, its own words, and the
sums of the files it takes. Each time a step really runs its result gets a new
id, and the next key is made from that: so after the first miss all that follow miss.
"""

import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from labkit import records
from labkit.images import configs, store
from labkit.images.configs import History
from labkit.images.manifests import Descriptor
from labkit.images.unpacked import Layer
from labkit.paths import Paths

_MARK = "labkit.build "


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a step made."""

    key: str
    id: str  # new with every run of the step
    layer: str = ""  # the digits of its diff id, "" where it made none
    content_bytes: int = 0
    tar_bytes: int = 0
    media_type: str = ""
    blob: str = ""  # what a manifest names: of what a build has made itself, the diff id
    created_at: float = 0.0

    @property
    def made(self) -> Layer | None:
        """The layer, None where there is none."""
        if not self.layer:
            return None
        described = Descriptor(media_type=self.media_type, digest=self.blob, size_bytes=self.tar_bytes)
        return Layer(diff_id=f"sha256:{self.layer}", descriptor=described, content_bytes=self.content_bytes)

    @property
    def comment(self) -> str:
        """What an image's history says of it, so that the image can be a cache elsewhere."""
        return f"{_MARK}{self.key} {self.id}"


def directory(paths: Paths) -> Path:
    """One small file for each step."""
    return paths.cache / "build"


def key(parent: str, *material: object) -> str:
    """The key of a step: of what it stands on, and all that decides what it does."""
    text = json.dumps([parent, *material], sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new(step: str, layer: Layer | None = None) -> Result:
    """The result of a step that has just run."""
    return _result(step, secrets.token_hex(16), layer, time.time())


def _result(step: str, result_id: str, layer: Layer | None, created_at: float) -> Result:
    if layer is None:
        return Result(key=step, id=result_id, created_at=created_at)
    return Result(
        key=step,
        id=result_id,
        layer=layer.name,
        content_bytes=layer.content_bytes,
        tar_bytes=layer.descriptor.size_bytes,
        media_type=layer.descriptor.media_type,
        blob=layer.descriptor.digest,
        created_at=created_at,
    )


def save(paths: Paths, result: Result) -> None:
    """Keep it for the next build; without a sync: it can be made again."""
    place = directory(paths)
    place.mkdir(mode=0o700, exist_ok=True)
    records.save(place / f"{result.key}.json", result, durable=False)


def find(paths: Paths, step: str, others: Mapping[str, Result]) -> Result | None:
    """What is known of a step here, or in the images of --cache-from; its layer must still be there."""
    try:
        found = Result(**records.load(directory(paths) / f"{step}.json"))
    except (FileNotFoundError, ValueError, TypeError):
        if step not in others:
            return None
        found = others[step]
    if found.layer and not store.layer_directory(paths, found.layer).is_dir():
        return None
    return found


def of_history(history: Iterable[History], layers: Iterable[Layer]) -> dict[str, Result]:
    """What the history of an image tells of the steps that made it, by key."""
    found = {}
    remaining = iter(layers)
    for step in history:
        layer = None if step.empty_layer else next(remaining, None)
        words = step.comment.removeprefix(_MARK).split()
        if step.comment.startswith(_MARK) and len(words) == 2:
            found[words[0]] = _result(words[0], words[1], layer, configs.seconds(step.created))
    return found


def forget(paths: Paths) -> int:
    """Remove every record; how many there were."""
    place = directory(paths)
    files = list(place.iterdir()) if place.is_dir() else []
    for file in files:
        file.unlink(missing_ok=True)
    return sum(file.suffix == ".json" for file in files)  # the others are drafts of a process that was killed
