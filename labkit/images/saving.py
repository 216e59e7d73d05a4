"""saving: write images so that every other tool can read them: docker save's form and OCI layouts.

Chapter 7. image-layout.md of image-spec 1.1. An archive is both an OCI layout and what
docker load reads; the same images give the same bytes.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from labkit.errors import Conflict, NotFound
from labkit.images import blobs, compression, fields, lock, manifests, references, store, tar, unpacked
from labkit.images.archive import CONTAINERD_NAME, REF_NAME
from labkit.images.compression import Reader
from labkit.images.layers import Write
from labkit.images.manifests import Descriptor, Index, Manifest
from labkit.images.store import Image
from labkit.images.streams import BLOCK_BYTES, Behind, Hasher
from labkit.images.tar import Member
from labkit.paths import Paths


class _TarSink:
    """Files as the members of a tar, of no time and owned by root."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._folders: set[str] = set()

    @contextmanager
    def file(self, name: str, size: int) -> Iterator[Write]:
        """One member."""
        for depth in range(1, name.count("/") + 1):
            folder = "/".join(name.split("/")[:depth]) + "/"
            if folder not in self._folders:
                self._folders.add(folder)
                self._write(tar.head(Member(name=folder.encode(), kind=tar.DIRECTORY, mode=0o755)))
        self._write(tar.head(Member(name=name.encode(), size=size)))
        yield self._write
        self._write(bytes(tar.padding(size)))


class _DirectorySink:
    """Files as files; a blob that is there already stays."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @contextmanager
    def file(self, name: str, size: int) -> Iterator[Write]:  # noqa: ARG002 (a tar needs it beforehand)
        """One file, under its name when it is whole."""
        place = self._directory / name
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(prefix=".draft-", dir=place.parent)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, 0o644)
                yield file.write
            Path(draft).rename(place)
        except BaseException:
            Path(draft).unlink(missing_ok=True)
            raise


def save(paths: Paths, names: Sequence[str], write: Write, *, compress: str | None = None) -> None:
    """Write images as one archive, which docker load, skopeo, podman and labkit read.

    Layers go out as they came; with `compress` ("", gzip, zstd) they are all made so.
    """
    with Behind(write) as behind:
        sink = _TarSink(behind.put)
        with lock.shared(paths):
            saving = _Saving(paths, sink, compress)
            saving.images(names)
            saving.end(for_docker=True)
        behind.put(tar.END)
        behind.finish()


def save_directory(
    paths: Paths, names: Sequence[str], directory: Path, *, compress: str | None = None
) -> None:
    """Write images into the directory of an OCI layout, beside those that it may have already."""
    directory.mkdir(parents=True, exist_ok=True)
    known: tuple[Descriptor, ...] = ()
    if (directory / "index.json").exists():
        known = Index.parse((directory / "index.json").read_bytes()).manifests
    elif any(directory.iterdir()):
        raise Conflict(f"{directory} is not empty, and no OCI layout")
    with lock.shared(paths):
        saving = _Saving(paths, _DirectorySink(directory), compress)
        saving.images(names)
        ours = {entry.annotations.get(REF_NAME, "") for entry in saving.entries} - {""}
        saving.entries = [e for e in known if e.annotations.get(REF_NAME) not in ours] + saving.entries
        saving.end(for_docker=False)


@dataclass(slots=True)
class _Saving:
    paths: Paths
    sink: "_TarSink | _DirectorySink"
    compress: str | None
    entries: list[Descriptor] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)
    written: dict[str, Descriptor] = field(default_factory=dict)  # by what a layer was before

    def images(self, names: Sequence[str]) -> None:
        """Each image once, with all the names it was asked for by."""
        asked: dict[str, tuple[Image, list[str]]] = {}
        for name in names:
            found = store.get(self.paths, name)
            tags = asked.setdefault(found.id, (found, []))[1]
            if tag := store.tag_of(self.paths, name):
                tags.append(tag)
        for image, tags in asked.values():
            self._image(image, list(dict.fromkeys(tags)))

    def _image(self, image: Image, tags: list[str]) -> None:
        manifest = store.manifest(self.paths, image)
        encoded = blobs.read(self.paths, image.manifest)
        described = tuple(
            self._layer(layer, f"sha256:{name}")
            for layer, name in zip(manifest.layers, image.layers, strict=True)
        )
        if described != manifest.layers:
            config = replace(manifest.config, media_type=manifests.OCI_CONFIG)
            manifest = Manifest(config=config, layers=described)
            encoded = manifest.encode()
        self._small(image.id, blobs.read(self.paths, image.id))
        digest = references.digest_of(encoded)
        self._small(digest, encoded)
        entry = Descriptor(media_type=manifest.media_type, digest=digest, size_bytes=len(encoded))
        for tag in tags:
            said = {CONTAINERD_NAME: str(references.parse(tag)), REF_NAME: tag}
            self.entries.append(replace(entry, annotations=said))
        if not tags:
            self.entries.append(entry)
        self.rows.append(
            {
                "Config": _place(image.id),
                "RepoTags": tags,
                "Layers": [_place(layer.digest) for layer in described],
            }
        )

    def _small(self, digest: str, data: bytes) -> None:
        if digest not in self.written:
            self.written[digest] = Descriptor(media_type="", digest=digest, size_bytes=len(data))
            with self.sink.file(_place(digest), len(data)) as write:
                write(data)

    def _layer(self, layer: Descriptor, diff_id: str) -> Descriptor:
        """Write a layer's blob, if it is not written yet; what a manifest says of it then."""
        if layer.digest in self.written:
            return self.written[layer.digest]
        is_now = manifests.LAYERS[layer.media_type]
        if self.compress is None or self.compress == is_now:
            with self.sink.file(_place(layer.digest), layer.size_bytes) as write:
                _copy(self.paths, layer, diff_id, write)
            self.written[layer.digest] = layer
        else:
            self.written[layer.digest] = self._changed(layer, diff_id, self.compress)
        return self.written[layer.digest]

    def _changed(self, layer: Descriptor, diff_id: str, kind: str) -> Descriptor:
        """The layer compressed in another way: into a file first, since a tar has the size beforehand."""
        with tempfile.TemporaryFile(dir=self.paths.blobs) as spool:
            with Hasher() as hasher, Behind(spool.write) as behind:

                def put(block: bytes) -> None:
                    hasher.update(block)
                    behind.put(block)

                writer = compression.Writer(put, kind)
                _copy_plain(self.paths, layer, diff_id, writer.write)
                writer.close()
                behind.finish()
                digest, size = hasher.digest(), hasher.size_bytes
            spool.seek(0)
            with self.sink.file(_place(digest), size) as write:
                while block := spool.read(BLOCK_BYTES):
                    write(block)
        return Descriptor(media_type=manifests.layer_type(kind), digest=digest, size_bytes=size)

    def end(self, *, for_docker: bool) -> None:
        """What leads to the rest comes last."""
        files = {"oci-layout": fields.canonical({"imageLayoutVersion": "1.0.0"})}
        if for_docker:
            files["manifest.json"] = fields.canonical(self.rows)
        files["index.json"] = Index(manifests=tuple(self.entries)).encode()
        for name, data in files.items():
            with self.sink.file(name, len(data)) as write:
                write(data)


def _place(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _copy(paths: Paths, layer: Descriptor, diff_id: str, write: Write) -> None:
    """A layer as its manifest names it: the blob as it came, or the tar of a layer of our own."""
    try:
        blob = blobs.open_blob(paths, layer.digest)
    except NotFound:
        if layer.digest != diff_id:
            raise
        unpacked.write_tar(paths, diff_id, write)
        return
    with blob:
        while block := blob.read(BLOCK_BYTES):
            write(block)


def _copy_plain(paths: Paths, layer: Descriptor, diff_id: str, write: Write) -> None:
    """A layer uncompressed."""
    try:
        blob = blobs.open_blob(paths, layer.digest)
    except NotFound:
        _copy(paths, layer, diff_id, write)
        return
    with blob:
        reader = Reader(blob)
        while block := reader.read(BLOCK_BYTES):
            write(block)
