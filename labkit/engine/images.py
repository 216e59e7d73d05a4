"""images: remove images that nobody needs, and make them from containers.

Chapter 7. docker-rmi(1), docker-commit(1), docker-export(1): what may be removed, in Docker's words.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from labkit.engine import containers
from labkit.engine.container import Container
from labkit.engine.containers import Record
from labkit.errors import Conflict
from labkit.images import collect, configs, extract, layers, lock, manifests, references, store, view
from labkit.images.collect import Collected
from labkit.images.configs import History, ImageConfig, RunConfig
from labkit.images.layers import Packed, Write
from labkit.images.manifests import Descriptor
from labkit.images.store import Image
from labkit.images.unpacked import Layer, settle
from labkit.paths import Paths
from labkit.runtime import status
from labkit.runtime.status import Status


def _users(paths: Paths, image: Image) -> list[Record]:
    """The containers that were made from an image, those that run first."""
    found = [record for record in containers.all_records(paths) if record.image_id == image.id]
    return sorted(found, key=lambda record: not _runs(paths, record))


def _runs(paths: Paths, record: Record) -> bool:
    return status.load(containers.bundle(paths, record.id)).status in (Status.RUNNING, Status.PAUSED)


def remove(paths: Paths, name: str, *, force: bool = False) -> list[str]:
    """Take a name away, and with the last of them the image; what was done, in docker's lines.

    By its id an image goes with all of its names. Conflict where a container uses it.
    """
    image = store.get(paths, name)
    names = store.all_names(paths).get(image.id, [])
    tag = store.tag_of(paths, name)
    users = _users(paths, image)
    if tag and (len(names) > 1 or (users and force)):
        store.untag(paths, tag)
        return [f"Untagged: {tag}"]
    if tag and users:
        raise Conflict(
            f'conflict: unable to remove repository reference "{name}" (must force) - container '
            f"{users[0].short} is using its referenced image {image.short}"
        )
    if not tag:
        _check_id(paths, image, names, users, force)
    return [f"Untagged: {one}" for one in names] + _delete(paths, image)


def _check_id(paths: Paths, image: Image, names: Sequence[str], users: Sequence[Record], force: bool) -> None:
    said = f"conflict: unable to delete {image.short}"
    if users and _runs(paths, users[0]):
        raise Conflict(
            f"{said} (cannot be forced) - image is being used by running container {users[0].short}"
        )
    if force:
        return
    if users:
        raise Conflict(f"{said} (must be forced) - image is being used by stopped container {users[0].short}")
    if len({references.parse(one).name for one in names}) > 1:
        raise Conflict(f"{said} (must be forced) - image is referenced in multiple repositories")


def _delete(paths: Paths, image: Image) -> list[str]:
    store.forget(paths, image)
    done = collect.collect(paths)
    gone = [line.partition(" ")[2] for line in done.removed if line.startswith("layer ")]
    return [f"Deleted: {image.id}", *(f"Deleted: sha256:{layer}" for layer in gone if layer[0] != ".")]


def prune(paths: Paths, *, every: bool = False) -> Collected:
    """Remove the images that have no name, or with `every` all that no container was made from."""
    names = store.all_names(paths)
    removed = []
    for image in {image.id: image for image in store.all_images(paths)}.values():
        if (every or image.id not in names) and not _users(paths, image):
            removed += [f"untagged: {name}" for name in names.get(image.id, ())] + [f"deleted: {image.id}"]
            store.forget(paths, image)
    done = collect.collect(paths, wait=False)
    return Collected(removed=(*removed, *done.removed), freed_bytes=done.freed_bytes)


# ------------------------------------------------------------------------- from a container


def _layers(paths: Paths, record: Record) -> list[Path]:
    """What a container's root consists of, the lowest first."""
    below = [store.layer_directory(paths, layer) for layer in record.layers]
    return [*below, containers.directory(paths, record.id) / "upper"]


def export(paths: Paths, container: Container, write: Write) -> Packed:
    """All files of a container as one tar, without those of its mounts."""
    root = view.look(
        _layers(paths, container.record),
        lambda place: os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
    )
    try:
        return layers.pack(root, write, whole=True)
    finally:
        os.close(root)


def commit(
    paths: Paths,
    container: Container,
    names: Sequence[str] = (),
    *,
    author: str = "",
    message: str = "",
    run: RunConfig | None = None,
    pause: bool = True,
) -> Image:
    """An image of what a container has written, upon the image that it was made from."""
    record = container.record
    with lock.adding(paths):
        image = store.get(paths, record.image_id)
        with _at_rest(container, pause):
            layer = _copied(paths, containers.directory(paths, record.id) / "upper")
        config = store.config(paths, image)
        step = History(
            created=configs.timestamp(time.time()),
            created_by=" ".join(record.args),
            author=author,
            comment=message,
        )
        config = config.with_step(step, layer.diff_id, run or run_config(config, record))
        config = replace(config, author=author or config.author)
        return store.make(paths, config, [*store.layers_of(paths, image), layer], names)


def run_config(config: ImageConfig, record: Record) -> RunConfig:
    """What the image of a container runs: as the image that it came from, with the container's own words."""
    own = tuple(line for line in record.env if not line.startswith("HOSTNAME="))
    return replace(
        config.run,
        env=own,
        working_directory=record.working_directory if record.working_directory != "/" else "",
        user=record.user,
        entrypoint=config.run.entrypoint,
        command=record.args[len(config.run.entrypoint or ()) :],
    )


@contextmanager
def _at_rest(container: Container, pause: bool) -> Iterator[None]:
    """Frozen while its files are read, if it runs."""
    if not pause or container.status is not Status.RUNNING:
        yield
        return
    container.pause()
    try:
        yield
    finally:
        container.unpause()


def _copied(paths: Paths, upper: Path) -> Layer:
    """A layer of what an upper directory holds, which stays where it is: packed here, extracted there."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    packed: list[Packed | BaseException] = []

    def pack() -> None:
        try:
            with open(writing, "wb", buffering=0) as pipe:
                packed.append(layers.pack(upper, pipe.write))
        except BaseException as error:
            packed.append(error)

    with store.new_layer(paths) as draft, open(reading, "rb", buffering=0) as pipe:
        packer = threading.Thread(target=pack, name="pack")
        packer.start()
        try:
            applied = extract.apply(pipe, draft, hashing=False)
        finally:
            pipe.close()  # so that a packer whose reader failed does not wait
            packer.join()
        (result,) = packed
        if isinstance(result, BaseException):
            raise result
        settle(paths, draft, result.digest)
    described = Descriptor(
        media_type=manifests.layer_type(), digest=result.digest, size_bytes=result.size_bytes
    )
    return Layer(diff_id=result.digest, descriptor=described, content_bytes=applied.content_bytes)
