"""store: which images there are, by what names, and what each one is made of.

Chapter 7. images/<id>.json is a record with all that a start needs, names/<repository>/<tag>
a link to it. A name is made true by one rename, when all that it leads to is on the disk.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labkit import records
from labkit.errors import Invalid, NotFound, Unsupported
from labkit.images import blobs, configs, lock, manifests, references, unpacked
from labkit.images.configs import Healthcheck, ImageConfig
from labkit.images.manifests import Descriptor, Manifest
from labkit.images.references import Reference
from labkit.images.unpacked import Layer
from labkit.images.unpacked import digest as digest
from labkit.images.unpacked import keep as keep
from labkit.images.unpacked import layer_directory as layer_directory
from labkit.images.unpacked import new_layer as new_layer
from labkit.images.unpacked import size_bytes as size_bytes
from labkit.images.unpacked import walk as walk
from labkit.paths import Paths

_ID = re.compile(r"(?:sha256:)?([0-9a-f]{1,64})")
_RECORD = re.compile(r"[0-9a-f]{64}(?:[0-9a-f]{64})?\.json")  # sha256 or sha512
_HINT = "labkit image list shows those that are there"
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image: its layers, the lowest first as OCI has it, and what runs in them.

    `name` is the one that it was asked for by, and belongs to no record.
    """

    name: str = ""
    id: str = ""  # sha256:…, the digest of its config
    manifest: str = ""  # the digest of its manifest
    layers: tuple[str, ...] = ()  # their directories' names
    layer_bytes: tuple[int, ...] = ()  # the sizes of each layer's files
    size_bytes: int = 0
    created_at: float = 0.0  # seconds since 1970
    env: tuple[str, ...] = (DEFAULT_PATH,)
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    working_directory: str = "/"
    user: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    onbuild: tuple[str, ...] = ()
    architecture: str = ""
    os: str = "linux"
    variant: str = ""

    @property
    def short(self) -> str:
        """The first twelve digits of its id."""
        return self.id.partition(":")[2][:12]

    def args(
        self, command: Sequence[str] | None = None, entrypoint: Sequence[str] | None = None
    ) -> tuple[str, ...]:
        """What a container of it runs, by Docker's table."""
        return configs.args(
            image_entrypoint=self.entrypoint,
            image_command=self.command,
            entrypoint=entrypoint,
            command=command,
        )


# ------------------------------------------------------------------------- finding


def normal_name(name: str) -> str:
    """The familiar name, without a `:latest`; Invalid where it cannot be one."""
    return references.parse(name).tagged().familiar.removesuffix(f":{references.DEFAULT_TAG}")


def get(paths: Paths, name: str) -> Image:
    """An image by its name, digest or id; NotFound names the remedy."""
    try:
        reference = references.parse(name).tagged()
    except Invalid:
        if not _ID.fullmatch(name):
            raise
        return _by_id(paths, name)
    try:
        return _load(_link(paths, reference), normal(reference))
    except FileNotFoundError:
        pass
    if reference.digest and (found := _by_digest(paths, reference)):
        return found
    return _by_id(paths, name)


def tag_of(paths: Paths, name: str) -> str:
    """The familiar name with its tag, if that is what an image was asked for by; "" for an id or a digest."""
    try:
        reference = references.parse(name).tagged()
    except Invalid:
        return ""
    return reference.familiar if not reference.digest and _link(paths, reference).exists() else ""


def normal(reference: Reference) -> str:
    """As people know it, without a `:latest`."""
    return reference.familiar.removesuffix(f":{references.DEFAULT_TAG}")


def _link(paths: Paths, reference: Reference) -> Path:
    """Where a name is: one directory for a repository, whose slashes no file name can have."""
    tag = reference.tag if not reference.digest else f"@{reference.digest}"
    return paths.names / reference.familiar_name.replace("/", "!") / tag


def _load(record: Path, name: str) -> Image:
    found: dict[str, Any] = records.load(record)
    for key, value in found.items():
        if type(value) is list:
            found[key] = tuple(value)
    if check := found["healthcheck"]:
        found["healthcheck"] = Healthcheck(**check | {"test": tuple(check["test"])})
    found["name"] = name
    return Image(**found)


def _by_digest(paths: Paths, reference: Reference) -> Image | None:
    """The image of that repository whose manifest, or whose config, has the digest."""
    for _, image_id in _tags(paths, reference.familiar_name):
        found = _load(_record(paths, image_id), normal(reference))
        if reference.digest in (found.manifest, found.id):
            return found
    return None


def _by_id(paths: Paths, name: str) -> Image:
    wanted = _ID.fullmatch(name)
    known = [record for record in _records(paths) if wanted and record.stem.startswith(wanted[1])]
    if len(known) != 1:
        many = f": {len(known)} ids begin so" if known else ""
        shown = name if wanted and known else references.parse(name).tagged().familiar
        raise NotFound(f"No such image: {shown}{many}", hint=_HINT)
    return _load(known[0], known[0].stem[:12])


def _record(paths: Paths, image_id: str) -> Path:
    return paths.images / f"{image_id.partition(':')[2]}.json"


def _records(paths: Paths) -> list[Path]:
    """Every image's record. A file of another name is none: it may be an older labkit's, and stays."""
    return [file for file in paths.images.glob("*.json") if _RECORD.fullmatch(file.name)]


def _tags(paths: Paths, repository: str) -> Iterator[tuple[str, str]]:
    """The tags of a repository and the ids of what they name."""
    with suppress(FileNotFoundError):
        for link in sorted((paths.names / repository.replace("/", "!")).iterdir()):
            if not link.name.startswith(".") and link.exists():
                yield link.name, "sha256:" + link.readlink().stem


def all_names(paths: Paths) -> dict[str, list[str]]:
    """The names of every image that has one, by its id; with their tags or digests."""
    found: dict[str, list[str]] = {}
    for directory in sorted(paths.names.iterdir()) if paths.names.is_dir() else ():
        repository = directory.name.replace("!", "/")
        for tag, image_id in _tags(paths, repository):
            sign = "" if tag.startswith("@") else ":"
            found.setdefault(image_id, []).append(f"{repository}{sign}{tag}")
    return found


def all_images(paths: Paths) -> list[Image]:
    """Every image, once for each of its names and in their order; then those that have none."""
    names = all_names(paths)
    found = []
    for record in _records(paths):
        image = _load(record, "")
        shown = names.get(image.id, [""])
        found += [replace(image, name=name.removesuffix(f":{references.DEFAULT_TAG}")) for name in shown]
    return sorted(found, key=lambda image: (not image.name, image.name, -image.created_at))


# ------------------------------------------------------------------------- reading one


def config(paths: Paths, image: Image) -> ImageConfig:
    """What an image says of itself."""
    return ImageConfig.parse(blobs.read(paths, image.id))


def manifest(paths: Paths, image: Image) -> Manifest:
    """What an image consists of."""
    return Manifest.parse(blobs.read(paths, image.manifest))


def layers_of(paths: Paths, image: Image) -> tuple[Layer, ...]:
    """An image's layers, to make another image of."""
    described = zip(manifest(paths, image).layers, image.layers, image.layer_bytes, strict=True)
    return tuple(
        Layer(diff_id=f"sha256:{name}", descriptor=descriptor, content_bytes=size)
        for descriptor, name, size in described
    )


def content_bytes(paths: Paths, name: str) -> int:
    """The sizes of a layer's files: as an image has noted it, or counted."""
    for record in _records(paths):
        image = _load(record, "")
        if name in image.layers:
            return image.layer_bytes[image.layers.index(name)]
    return size_bytes(layer_directory(paths, name))


# ------------------------------------------------------------------------- making and naming


def make(paths: Paths, config: ImageConfig, layers: Sequence[Layer], names: Iterable[str] = ()) -> Image:
    """An image of a config and layers that are there, under the names given. Hold lock.adding."""
    data = config.encode()
    described = Descriptor(
        media_type=manifests.OCI_CONFIG, digest=blobs.put(paths, data), size_bytes=len(data)
    )
    made = Manifest(config=described, layers=tuple(layer.descriptor for layer in layers))
    return add(paths, made.encode(), layers, names)


def add(paths: Paths, encoded: bytes, layers: Sequence[Layer], names: Iterable[str] = ()) -> Image:
    """An image of a manifest whose config and layers are there: what came from outside, as it came."""
    wanted = [references.parse(name).tagged() for name in names]
    described = Manifest.parse(encoded)
    config = ImageConfig.parse(blobs.read(paths, described.config.digest))
    if config.diff_ids != tuple(layer.diff_id for layer in layers) or len(layers) != len(described.layers):
        raise Invalid(
            f"the config {described.config.digest} names {len(config.diff_ids)} layers, "
            f"and not those {len(layers)} of its manifest"
        )
    for layer in layers:
        if not layer.diff_id.startswith("sha256:"):
            raise Unsupported(f"{layer.diff_id}: layers are named by sha256 here")
        if not layer_directory(paths, layer.name).is_dir():
            raise NotFound(f"no such layer: {layer.diff_id}")
    image = _image(config, described.config.digest, blobs.put(paths, encoded), layers)
    unpacked.sync(paths.layers)  # all of it, before a record makes it true
    records.save(_record(paths, image.id), image)  # the latest manifest counts, where another had that config
    for reference in wanted:
        name_it(paths, image, reference)
    return replace(image, name=normal(wanted[0]) if wanted else image.short)


def _image(config: ImageConfig, image_id: str, manifest: str, layers: Sequence[Layer]) -> Image:
    run = config.run
    return Image(
        id=image_id,
        manifest=manifest,
        layers=tuple(layer.name for layer in layers),
        layer_bytes=tuple(layer.content_bytes for layer in layers),
        size_bytes=sum(layer.content_bytes for layer in layers),
        created_at=configs.seconds(config.created),
        env=run.env or (DEFAULT_PATH,),
        entrypoint=run.entrypoint or (),
        command=run.command or (),
        working_directory=run.working_directory or "/",
        user=run.user,
        labels=run.labels,
        volumes=run.volumes,
        exposed_ports=run.exposed_ports,
        stop_signal=run.stop_signal,
        shell=run.shell,
        healthcheck=run.healthcheck,
        onbuild=run.onbuild,
        architecture=config.architecture,
        os=config.os,
        variant=config.variant,
    )


def tag(paths: Paths, image: Image, name: str) -> Image:
    """Give an image one more name, which another may have had."""
    reference = references.parse(name).tagged()
    if reference.digest:
        raise Invalid("refusing to create a tag with a digest reference")
    with lock.shared(paths):
        if not _record(paths, image.id).exists():
            raise NotFound(f"No such image: {image.id}", hint=_HINT)
        name_it(paths, image, reference)
    return replace(image, name=normal(reference))


def name_it(paths: Paths, image: Image, reference: Reference) -> None:
    """Let a name lead to an image, in one step."""
    place = _link(paths, reference)
    goal = os.path.relpath(_record(paths, image.id), place.parent)
    draft = place.with_name(f"{blobs.DRAFT}{os.getpid()}.{os.urandom(4).hex()}")
    while True:
        try:
            place.parent.mkdir(mode=0o700, exist_ok=True)
            draft.symlink_to(goal)
            draft.rename(place)
            break
        except (FileNotFoundError, FileExistsError):
            continue  # the last other name of the repository was removed just now, and its directory
    with suppress(FileNotFoundError):  # the name was taken away again, just now
        records.sync_directory(place.parent)
    records.sync_directory(paths.names)


def untag(paths: Paths, name: str) -> None:
    """Take a name away; what it named stays."""
    place = _link(paths, references.parse(name).tagged())
    try:
        place.unlink()
    except FileNotFoundError:
        raise NotFound(f"No such image: {name}", hint=_HINT) from None
    with suppress(OSError):
        place.parent.rmdir()  # unless it has other tags


def forget(paths: Paths, image: Image) -> None:
    """Take an image's record away, and with it all of its names at once; the collector does the rest."""
    names = all_names(paths).get(image.id, [])
    _record(paths, image.id).unlink(missing_ok=True)
    records.sync_directory(paths.images)
    for name in names:
        with suppress(NotFound):
            untag(paths, name)
