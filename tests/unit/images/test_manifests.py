import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from labkit.errors import Invalid, NotFound
from labkit.images import manifests
from labkit.images.configs import ImageConfig
from labkit.images.manifests import Descriptor, Index, Manifest, Platform

DIGEST = "sha256:" + "0123456789abcdef" * 4
CONFIG = {"mediaType": manifests.OCI_CONFIG, "digest": DIGEST, "size": 7}
LAYER = {"mediaType": manifests.layer_type("gzip"), "digest": DIGEST, "size": 9}
MANIFEST = {"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}

anything = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_manifest_survives_writing_and_reading():
    made = Manifest(
        config=Descriptor(media_type=manifests.DOCKER_CONFIG, digest=DIGEST, size_bytes=7),
        layers=(
            Descriptor(
                media_type=manifests.DOCKER_LAYER, digest=DIGEST, size_bytes=8, annotations={"a": "b"}
            ),
        ),
        media_type=manifests.DOCKER_MANIFEST,
    )

    assert Manifest.parse(made.encode()) == made
    assert made.encode() == made.encode()


def test_an_index_survives_writing_and_reading():
    platform = Platform(architecture="arm64", variant="v8", os_features=("x",))
    made = Index(
        manifests=(
            Descriptor(media_type=manifests.OCI_MANIFEST, digest=DIGEST, size_bytes=1, platform=platform),
        ),
        annotations={"k": "v"},
    )

    assert Index.parse(made.encode()) == made


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"schemaVersion": 1}, "manifest.schemaVersion"),
        ({"schemaVersion": "2"}, "manifest.schemaVersion"),
        ({"mediaType": "text/html"}, "manifest.mediaType"),
        ({"mediaType": manifests.OCI_INDEX}, "manifest.mediaType"),
        ({"config": None}, "manifest.config"),
        ({"config": [1]}, "manifest.config"),
        ({"config": CONFIG | {"digest": "sha256:short"}}, "manifest.config.digest"),
        ({"config": CONFIG | {"digest": "../../etc/passwd"}}, "manifest.config.digest"),
        ({"config": CONFIG | {"size": -1}}, "manifest.config.size"),
        ({"config": CONFIG | {"size": 1 << 70}}, "manifest.config.size"),
        ({"config": CONFIG | {"size": True}}, "manifest.config.size"),
        ({"config": CONFIG | {"mediaType": "application/vnd.cncf.helm.config.v1+json"}}, "manifest.config"),
        ({"layers": {}}, "manifest.layers"),
        ({"layers": [LAYER, 3]}, r"manifest.layers\[1\]"),
        ({"layers": [LAYER | {"mediaType": "text/plain"}]}, r"manifest.layers\[0\]"),
        ({"layers": [LAYER | {"annotations": {"a": 1}}]}, r"manifest.layers\[0\].annotations\['a'\]"),
        ({"manifests": [CONFIG]}, "manifest.manifests"),
        ({"annotations": {"a": "\ud800"}}, "half a character"),
        ({"annotations": {"a": "\0"}}, "zero byte"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    with pytest.raises(Invalid, match=named):
        Manifest.parse(json.dumps(MANIFEST | change).encode())


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"NaN", b" " * (5 << 20)])
def test_what_is_no_json_object_is_refused(data):
    for parse in (Manifest.parse, Index.parse, ImageConfig.parse):
        with pytest.raises(Invalid):
            parse(data)


@given(
    change=some.dictionaries(some.sampled_from(["schemaVersion", "mediaType", "config", "layers"]), anything)
)
def test_a_random_manifest_is_read_or_refused(change):
    with_change = json.dumps(MANIFEST | change).encode()
    try:
        found = Manifest.parse(with_change)
    except Invalid:
        return
    assert Manifest.parse(found.encode()) == found


def offer(*platforms):
    return Index(
        manifests=tuple(
            Descriptor(
                media_type=manifests.OCI_MANIFEST,
                digest=DIGEST,
                size_bytes=number,
                platform=Platform.parse(platform) if platform else None,
            )
            for number, platform in enumerate(platforms)
        )
    )


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (("linux/arm64", "linux/amd64"), "linux/amd64", 1),
        (("windows/amd64", "linux/amd64"), "amd64", 1),
        (("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7", 1),
        (("linux/arm64/v8",), "linux/aarch64", 0),
        (("linux/x86_64",), "linux/amd64", 0),
        (("unknown/unknown", "linux/386"), "linux/i386", 1),
        ((None,), "linux/s390x", 0),
    ],
)
def test_the_image_for_a_platform_is_chosen(offered, wanted, chosen):
    assert offer(*offered).choose(Platform.parse(wanted)).size_bytes == chosen


def test_where_no_image_fits_those_that_are_there_are_named():
    with pytest.raises(NotFound) as refusal:
        offer("linux/arm64", "windows/amd64").choose(Platform.parse("linux/amd64"))

    assert "linux/arm64" in refusal.value.hint
    with pytest.raises(Invalid):
        Platform.parse("linux//x")


def test_this_machine_has_a_platform():
    assert manifests.here() == dataclasses.replace(manifests.here().normal())
    assert manifests.here().os == "linux"
