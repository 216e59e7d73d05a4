"""manifests: what an image consists of, as image-spec writes it: descriptors, manifests, indexes.

Chapter 7. descriptor.md, manifest.md and image-index.md of image-spec 1.1; Docker's
schema 2, whose fields are the same, is read and written too.
"""

import platform as machine
from dataclasses import dataclass, field
from typing import Any, Self

from labkit.errors import Invalid, NotFound
from labkit.images import fields, references
from labkit.images.fields import Fields

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
CONFIGS = (OCI_CONFIG, DOCKER_CONFIG)

_ENDINGS = {"": "", "gzip": "+gzip", "zstd": "+zstd"}
LAYERS = {
    **{OCI_LAYER + ending: kind for kind, ending in _ENDINGS.items()},
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    DOCKER_LAYER: "",
    DOCKER_LAYER + ".gzip": "gzip",
    DOCKER_LAYER + ".zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}
"""The media types of layers, and how each is compressed."""


def layer_type(compression: str = "") -> str:
    """The OCI media type of a layer that is compressed so: "", gzip, zstd."""
    return OCI_LAYER + _ENDINGS[compression]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """For which machines something is, in Go's words."""

    architecture: str
    os: str = "linux"
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def read(cls, found: Fields) -> Self:
        """From JSON."""
        return cls(
            architecture=found.text("architecture", None),
            os=found.text("os", None),
            variant=found.text("variant"),
            os_version=found.text("os.version"),
            os_features=found.texts("os.features"),
        )

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what --platform takes: os/architecture[/variant], or an architecture alone."""
        parts = text.lower().split("/")
        if not all(parts) or len(parts) > 3:
            raise Invalid(f"{text!r} is no platform", hint="such as linux/amd64 or linux/arm64/v8")
        if len(parts) == 1:
            parts = ["linux", *parts]
        return cls(os=parts[0], architecture=parts[1], variant="".join(parts[2:])).normal()

    def normal(self) -> Self:
        """With one word for each architecture, whatever it was called."""
        architecture = _GO_NAMES.get(self.architecture, self.architecture)
        variant = "" if (architecture, self.variant) in (("arm64", "v8"), ("amd64", "v1")) else self.variant
        if architecture == "arm" and not variant:
            variant = "v7"
        return type(self)(os=self.os, architecture=architecture, variant=variant)

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        optional = {
            "os.version": self.os_version,
            "os.features": list(self.os_features),
            "variant": self.variant,
        }
        return {"architecture": self.architecture, "os": self.os} | {k: v for k, v in optional.items() if v}

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


_GO_NAMES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "i386": "386",
    "i686": "386",
    "armv7l": "arm",
    "armhf": "arm",
}


def here() -> Platform:
    """This machine's platform."""
    return Platform(architecture=machine.machine()).normal()


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Names content by what it is: its type, its digest and its size."""

    media_type: str
    digest: str
    size_bytes: int
    annotations: dict[str, str] = field(default_factory=dict)
    platform: Platform | None = None

    @classmethod
    def read(cls, found: Fields) -> Self:
        """From JSON; the digest must be one that can be verified."""
        try:
            digest = references.check_digest(found.text("digest", None))
        except Invalid as error:
            raise found.refuse("digest", f"does not name content: {error}") from None
        return cls(
            media_type=found.text("mediaType", None),
            digest=digest,
            size_bytes=found.number("size", None),
            annotations=found.labels("annotations"),
            platform=found.maybe("platform", Platform.read),
        )

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        found: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size_bytes,
        }
        if self.annotations:
            found["annotations"] = self.annotations
        if self.platform:
            found["platform"] = self.platform.json()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One image: its config, and its layers with the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = OCI_MANIFEST
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From its bytes; what is no manifest of an image that can be run is refused."""
        found = fields.parse(data, "manifest")
        media_type = _checked_type(found, MANIFESTS, OCI_MANIFEST)
        made = cls(
            config=found.one("config", Descriptor.read),
            layers=found.many("layers", Descriptor.read),
            media_type=media_type,
            annotations=found.labels("annotations"),
        )
        if made.config.media_type not in CONFIGS:
            raise found.refuse("config", f"is no image's: {made.config.media_type}")
        for number, layer in enumerate(made.layers):
            if layer.media_type not in LAYERS:
                raise found.refuse(f"layers[{number}]", f"is no layer: {layer.media_type}")
        return made

    def encode(self) -> bytes:
        """Its bytes, whose digest names it."""
        found: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.json(),
            "layers": [layer.json() for layer in self.layers],
        }
        if self.annotations:
            found["annotations"] = self.annotations
        return fields.canonical(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Many images, or one image for many platforms."""

    manifests: tuple[Descriptor, ...]
    media_type: str = OCI_INDEX
    annotations: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From its bytes."""
        found = fields.parse(data, "index")
        return cls(
            manifests=found.many("manifests", Descriptor.read),
            media_type=_checked_type(found, INDEXES, OCI_INDEX),
            annotations=found.labels("annotations"),
        )

    def encode(self) -> bytes:
        """Its bytes, whose digest names it."""
        found: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [manifest.json() for manifest in self.manifests],
        }
        if self.annotations:
            found["annotations"] = self.annotations
        return fields.canonical(found)

    def choose(self, wanted: Platform | None = None) -> Descriptor:
        """The image for a platform, or for this machine; the first that fits, as image-index.md has it."""
        wanted = wanted or here()
        known = [manifest for manifest in self.manifests if manifest.platform]
        for manifest in known:
            if manifest.platform and _fits(manifest.platform.normal(), wanted):
                return manifest
        plain = [manifest for manifest in self.manifests if not manifest.platform]
        if len(plain) == 1 and not known:
            return plain[0]  # one image that does not say for whom: its config will
        told = ", ".join(str(manifest.platform) for manifest in known) or "none that is named"
        raise NotFound(f"no image for {wanted} in this index", hint=f"it has {told}")


def _fits(offered: Platform, wanted: Platform) -> bool:
    same = (offered.os, offered.architecture) == (wanted.os, wanted.architecture)
    return same and (offered.variant == wanted.variant or not wanted.variant)


def _checked_type(found: Fields, allowed: tuple[str, ...], default: str) -> str:
    if found.number("schemaVersion", None) != 2:
        raise found.refuse("schemaVersion", "must be 2; older ones are no longer read")
    media_type = found.text("mediaType") or default
    if media_type not in allowed:
        raise found.refuse("mediaType", f"is {media_type!r}, which is not {' or '.join(allowed)}")
    other = {
        "manifests": MANIFESTS,
        "layers": INDEXES,
    }  # image-spec: a document must not be read as two kinds
    for name, kinds in other.items():
        if name in found and allowed is kinds:
            raise found.refuse(name, f"does not belong into {media_type}")
    return media_type
