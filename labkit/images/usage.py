"""usage: what images take on the disk, what of it they share, and how an image came to be.

Chapter 7. docker-system-df(1), docker-history(1).
"""

from collections import Counter
from dataclasses import dataclass, replace

from labkit.images import configs, store
from labkit.images.store import Image
from labkit.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What one image takes: `shared` is in layers that other images have too."""

    image: Image
    names: tuple[str, ...]
    shared_bytes: int
    unique_bytes: int

    @property
    def size_bytes(self) -> int:
        """Both."""
        return self.shared_bytes + self.unique_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of an image's history, the newest first."""

    image_id: str  # "" for the steps below the last: nobody keeps an image of each
    created_at: float
    created_by: str
    size_bytes: int
    comment: str
    empty: bool


def rooms(paths: Paths) -> list[Room]:
    """What every image takes, the largest first."""
    names = store.all_names(paths)
    images = {image.id: image for image in store.all_images(paths)}
    owners = Counter(layer for image in images.values() for layer in set(image.layers))
    found = []
    for image in images.values():
        sizes = dict(zip(image.layers, image.layer_bytes, strict=True))
        shared = sum(size for layer, size in sizes.items() if owners[layer] > 1)
        found.append(
            Room(
                image=image,
                names=tuple(names.get(image.id, ())),
                shared_bytes=shared,
                unique_bytes=sum(sizes.values()) - shared,
            )
        )
    return sorted(found, key=lambda room: -room.size_bytes)


def layers_bytes(paths: Paths) -> int:
    """What the layers of all images take together, each counted once."""
    sizes: dict[str, int] = {}
    for image in store.all_images(paths):
        sizes |= dict(zip(image.layers, image.layer_bytes, strict=True))
    return sum(sizes.values())


def blobs_bytes(paths: Paths) -> int:
    """What is kept as it came: manifests, configs, and the layers of images from elsewhere."""
    return sum(blob.stat().st_size for blob in paths.blobs.glob("*/*"))


def history(paths: Paths, image: Image) -> list[Step]:
    """How an image came to be, as its config tells it. What that leaves out stands at the bottom."""
    told = store.config(paths, image).history
    sizes = list(image.layer_bytes)
    missing = len(sizes) - sum(not step.empty_layer for step in told)
    steps = [_step(configs.History(), size) for size in sizes[: max(0, missing)]]
    remaining = iter(sizes[max(0, missing) :])
    steps += [_step(step, 0 if step.empty_layer else next(remaining, 0)) for step in told]
    newest_first = steps[::-1]
    return [replace(step, image_id="" if number else image.id) for number, step in enumerate(newest_first)]


def _step(step: configs.History, size_bytes: int) -> Step:
    return Step(
        image_id="",
        created_at=configs.seconds(step.created),
        created_by=step.created_by,
        size_bytes=size_bytes,
        comment=step.comment,
        empty=step.empty_layer,
    )
