"""archive: take images in: from docker save, from an OCI layout as tar or directory, from a plain tar.

Chapter 7. image-layout.md of image-spec 1.1. Blobs are kept as they came, so whatever
is written again has the digests that it had. Nothing is visible until all of it is there.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.errors import Invalid, NotFound, Unsupported
from labkit.images import blobs, configs, extract, lock, manifests, references, store, unpacked
from labkit.images.bag import Bag, DirectoryBag, TarBag
from labkit.images.compression import Reader, Source
from labkit.images.configs import History, ImageConfig, RunConfig
from labkit.images.fields import Fields
from labkit.images.manifests import Descriptor, Index, Manifest, Platform
from labkit.images.store import Image
from labkit.images.unpacked import Layer
from labkit.paths import Paths

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_MOST_NESTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """An image that was taken in, and the names that it came with."""

    image: Image
    names: tuple[str, ...]


def _silent(_: str) -> None:
    """Nobody listens."""


def load(
    paths: Paths,
    source: "Source | Path",
    *,
    name: str = "",
    platform: Platform | None = None,
    report: Callable[[str], None] = _silent,
) -> list[Loaded]:
    """Take in every image of an archive: a stream, a file, or the directory of an OCI layout.

    `name` is for an image that comes without one, or with a tag alone.
    """
    with lock.adding(paths), ExitStack() as held:
        bag: TarBag | DirectoryBag
        if isinstance(source, Path) and source.is_dir():
            bag = held.enter_context(DirectoryBag(paths, source))
        elif isinstance(source, Path):
            file = held.enter_context(open(source, "rb", buffering=0))
            bag = held.enter_context(TarBag(paths, file))
        else:
            bag = held.enter_context(TarBag(paths, source))
        work = _Load(paths, bag, name, platform, report)
        if "index.json" in bag:
            return work.oci()
        if "manifest.json" in bag:
            return work.docker()
        raise Invalid(
            "there is neither an index.json nor a manifest.json in it: this is no archive of images",
            hint="the files of a root file system are taken in by `labkit image import`",
        )


class _Load:
    def __init__(
        self, paths: Paths, bag: Bag, name: str, platform: Platform | None, report: Callable[[str], None]
    ) -> None:
        self.paths = paths
        self.bag = bag
        self.name = name
        self.platform = platform
        self.report = report

    # -------------------------------------------------------------- OCI layout

    def oci(self) -> list[Loaded]:
        """Every image that index.json names; of one for many platforms, the one that fits."""
        index = Index.parse(self.bag.read("index.json"))
        tags = self._repository_tags() if "manifest.json" in self.bag else {}
        groups: dict[str, list[Descriptor]] = {}
        for number, entry in enumerate(index.manifests):
            if not _is_attestation(entry):
                said = entry.annotations.get(CONTAINERD_NAME) or entry.annotations.get(REF_NAME, "")
                key = said or (f"platform {number}" if entry.platform is None else "")
                groups.setdefault(key, []).append(entry)
        found = []
        for entries in groups.values():
            chosen = entries[0]
            if len(entries) > 1:
                chosen = Index(manifests=tuple(entries)).choose(self.platform)
            found.append(self._oci_image(chosen, tags))
        if not found:
            raise NotFound("the archive's index names no image")
        return found

    def _oci_image(self, entry: Descriptor, tags: dict[str, list[str]]) -> Loaded:
        annotations = entry.annotations
        for _ in range(_MOST_NESTED):
            if entry.media_type not in manifests.INDEXES:
                break
            entry = Index.parse(self._verified(entry)).choose(self.platform)
        encoded = self._verified(entry)
        manifest = Manifest.parse(encoded)
        names = self._names(annotations) or tags.get(manifest.config.digest, [])
        config = ImageConfig.parse(self._verified(manifest.config))
        self.bag.take(_blob(manifest.config), manifest.config)
        return self._add(encoded, config, manifest.layers, [_blob(one) for one in manifest.layers], names)

    def _verified(self, wanted: Descriptor) -> bytes:
        """A small blob, of the digest by which it is named."""
        data = self.bag.read(_blob(wanted))
        if not wanted.digest.startswith("sha256:"):
            raise Unsupported(f"{wanted.digest}: manifests and configs are named by sha256 here")
        if references.digest_of(data) != wanted.digest or len(data) != wanted.size_bytes:
            raise Invalid(f"blob {wanted.digest} is not what it should be: {references.digest_of(data)}")
        return data

    def _names(self, annotations: dict[str, str]) -> list[str]:
        """The names that an image comes with: a whole one, or a tag for the name that was asked for."""
        said = annotations.get(CONTAINERD_NAME) or annotations.get(REF_NAME, "")
        if said and ("/" in said or ":" in said):
            return [said]
        if self.name and said and ":" not in self.name.rpartition("/")[2]:
            return [f"{self.name}:{said}"]
        return [self.name] if self.name else []

    # -------------------------------------------------------------- docker save

    def _rows(self) -> tuple[Fields, ...]:
        """What manifest.json has of each image."""
        try:
            rows: Any = json.loads(self.bag.read("manifest.json"))
        except (ValueError, RecursionError) as error:
            raise Invalid(f"manifest.json is no JSON: {error}") from None
        return Fields({"images": rows}, "manifest.json").many("images", lambda row: row)

    def _repository_tags(self) -> dict[str, list[str]]:
        """The names by config, where an OCI layout says them in Docker's way."""
        found = {}
        for row in self._rows():
            data = self.bag.read(row.text("Config", None))
            found[references.digest_of(data)] = list(row.texts("RepoTags"))
        return found

    def docker(self) -> list[Loaded]:
        """Every image that manifest.json names. Its manifest is made here: docker save has none."""
        rows = self._rows()
        if not rows:
            raise NotFound("the archive's manifest.json names no image")
        return [self._docker_image(row) for row in rows]

    def _docker_image(self, row: Fields) -> Loaded:
        config_file = row.text("Config", None)
        config = ImageConfig.parse(self.bag.read(config_file))
        digest, size = self.bag.take(config_file)
        described = []
        for file in row.texts("Layers"):
            layer, layer_size = self.bag.take(file)
            with blobs.open_blob(self.paths, layer) as blob:
                kind = Reader(blob).kind
            if kind not in ("", "gzip", "zstd"):
                raise Invalid(f"{file}: a layer is compressed with gzip or zstd, not with {kind}")
            media_type = manifests.layer_type(kind)
            described.append(Descriptor(media_type=media_type, digest=layer, size_bytes=layer_size))
        manifest = Manifest(
            config=Descriptor(media_type=manifests.OCI_CONFIG, digest=digest, size_bytes=size),
            layers=tuple(described),
        )
        names = list(row.texts("RepoTags")) or ([self.name] if self.name else [])
        return self._add(manifest.encode(), config, manifest.layers, list(row.texts("Layers")), names)

    # -------------------------------------------------------------- both

    def _add(
        self,
        encoded: bytes,
        config: ImageConfig,
        described: Sequence[Descriptor],
        files: Sequence[str],
        names: Sequence[str],
    ) -> Loaded:
        if config.os != "linux":
            raise Unsupported(f"the image is for {config.os}/{config.architecture}, and this is Linux")
        if len(described) != len(config.diff_ids):
            raise Invalid(f"the image has {len(described)} layers, but its config {len(config.diff_ids)}")
        for name in names:
            references.parse(name)
        layers = []
        for descriptor, file, diff_id in zip(described, files, config.diff_ids, strict=True):
            self.bag.take(file, descriptor)
            layers.append(_unpacked(self.paths, descriptor, diff_id, self.report))
        image = store.add(self.paths, encoded, layers, names)
        known = tuple(references.parse(name).tagged().familiar for name in names)
        for line in [f"Loaded image: {name}" for name in known] or [f"Loaded image ID: {image.id}"]:
            self.report(line)
        return Loaded(image=image, names=known)


def _is_attestation(entry: Descriptor) -> bool:
    """What buildkit puts beside an image, to say how it was made."""
    return entry.platform is not None and entry.platform.os == "unknown"


def _blob(descriptor: Descriptor) -> str:
    return "blobs/" + descriptor.digest.replace(":", "/")


def _unpacked(paths: Paths, descriptor: Descriptor, diff_id: str, report: Callable[[str], None]) -> Layer:
    """The layer of a blob, which is extracted unless it is there."""
    name = diff_id.partition(":")[2]
    with blobs.open_blob(paths, descriptor.digest) as blob:
        reader = Reader(blob)
        verified = not reader.kind and descriptor.digest == diff_id
        if store.layer_directory(paths, name).is_dir():
            if not verified:
                unpacked.verify(reader, diff_id)  # else a blob that is another layer would go on from here
            report(f"{name[:12]}: layer already exists")
            content_bytes = store.content_bytes(paths, name)
        else:
            content_bytes = unpacked.unpack(paths, reader, diff_id, verified=verified)
            report(f"{name[:12]}: layer extracted")
    return Layer(diff_id=diff_id, descriptor=descriptor, content_bytes=content_bytes)


def import_tar(
    paths: Paths,
    source: Source,
    names: Sequence[str] = (),
    *,
    run: RunConfig | None = None,
    message: str = "",
    platform: Platform | None = None,
    created_at: float = 0.0,
) -> Image:
    """An image of one layer from the files of a root file system, as a tar, compressed or not."""
    for name in names:
        references.parse(name)
    here = platform or manifests.here()
    with lock.adding(paths), store.new_layer(paths) as draft:
        extract.apply(Reader(source), draft, hashing=False)
        layer = store.keep(paths, draft)
        config = ImageConfig(
            architecture=here.architecture, os=here.os, variant=here.variant, run=run or RunConfig()
        ).with_step(
            History(created=configs.timestamp(created_at), comment=message or "Imported from -"),
            layer.diff_id,
        )
        return store.make(paths, config, [layer], names)
