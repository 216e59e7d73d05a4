"""collect: remove what no image, no container and no build needs any more, and what was left half made.

Chapter 7. Alone under the lock, nobody adds anything: every draft is one that was
left behind, and every blob and layer that no record names is garbage.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from labkit import records
from labkit.images import blobs, lock, overlay, store, unpacked
from labkit.images.manifests import Manifest
from labkit.kernel import trees
from labkit.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was removed, and the room that it took."""

    removed: tuple[str, ...] = ()
    freed_bytes: int = 0


def collect(paths: Paths, *, wait: bool = False) -> Collected:
    """Remove garbage, if nobody adds or uses anything just now; `wait` until that is so."""
    with lock.alone(paths, wait=wait) as free:
        if not free or not paths.images.is_dir():
            return Collected()
        return _collect(paths)


def _collect(paths: Paths) -> Collected:
    needed_layers, needed_blobs = set(layers_in_use(paths)), set(_blobs_in_use(paths))
    removed, freed = [], 0
    for layer in paths.layers.iterdir():
        if layer.name not in needed_layers and layer.name != overlay.LINKS:
            freed += unpacked.size_bytes(layer)
            grave = layer.with_name(f"{blobs.DRAFT}{layer.name}") if layer.name[0] != "." else layer
            layer.rename(grave)  # a removal that is cut off leaves no half of a layer under its name
            trees.remove(grave)
            removed.append(f"layer {layer.name}")
    for blob in paths.blobs.glob("*/*"):
        digest = f"{blob.parent.name}:{blob.name}"
        if digest not in needed_blobs:
            freed += blob.stat().st_size
            blob.unlink()
            removed.append(f"blob {digest}")
    removed += [f"name {name}" for name in _remove_dangling(paths)]
    lock.mark(paths).unlink(missing_ok=True)
    return Collected(removed=tuple(removed), freed_bytes=freed)


def layers_in_use(paths: Paths) -> Iterator[str]:
    """The layers that images, containers and the steps of builds are made of."""
    for image in store.all_images(paths):
        yield from image.layers
    for file in paths.containers.glob("*/container.json"):
        with suppress(FileNotFoundError):  # removed just now
            yield from records.load(file)["layers"]
    yield from _of_builds(paths, "layer")


def _of_builds(paths: Paths, key: str) -> Iterator[str]:
    """What the cache of builds says of one key. It is kept without a sync, so a record may be torn."""
    for file in (paths.cache / "build").glob("*.json"):
        with suppress(FileNotFoundError, ValueError):
            yield records.load(file).get(key, "")


def _blobs_in_use(paths: Paths) -> Iterator[str]:
    yield from _of_builds(paths, "blob")
    for image in store.all_images(paths):
        yield image.id
        yield image.manifest
        described = Manifest.parse(blobs.read(paths, image.manifest))
        yield from (layer.digest for layer in described.layers)


def _remove_dangling(paths: Paths) -> Iterator[str]:
    """Links that lead to no record, drafts of links and records, and directories without any."""
    links = (paths.layers / overlay.LINKS).glob("*")
    for file in [*paths.names.glob("*/*"), *paths.images.glob(".*"), *links]:
        if file.name.startswith(".") or not file.exists():
            file.unlink()
            yield str(file.relative_to(paths.root))
    for directory in paths.names.iterdir():
        if not any(directory.iterdir()):
            directory.rmdir()


def if_needed(paths: Paths) -> Collected:
    """Collect at a start, where something may have been left by a killed process or by a loss of power."""
    boot = paths.run / "collected"
    if boot.exists() and not lock.mark(paths).exists():
        return Collected()
    done = collect(paths)
    boot.touch(mode=0o600)
    return done
