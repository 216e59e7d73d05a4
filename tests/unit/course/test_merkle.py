"""An image as a tree of digests."""

import hashlib
import json

import pytest

from labkit.course import merkle
from labkit.errors import NotFound


@pytest.fixture
def layout(tmp_path):
    """A layout with one image of these layers, named in the layout by what they hold."""

    def make(name, layers):
        place = tmp_path / name
        (place / "blobs/sha256").mkdir(parents=True)

        def put(data):
            digest = hashlib.sha256(data).hexdigest()
            (place / "blobs/sha256" / digest).write_bytes(data)
            return {"digest": f"sha256:{digest}"}

        config = put(json.dumps({"rootfs": {"diff_ids": [f"sha256:{layer}" for layer in layers]}}).encode())
        manifest = {"config": config, "layers": [put(layer.encode()) for layer in layers]}
        top = put(json.dumps(manifest).encode()) | {"annotations": {merkle.REF_NAME: "v1"}}
        (place / "index.json").write_text(json.dumps({"manifests": [top]}))
        return place

    return make


def test_the_tree_has_each_layer_twice_as_it_travels_and_as_what_it_is(layout):
    top = merkle.read(layout("one", ["base", "app"]), "v1")

    assert [node.name for node in top.below] == [
        "config", "layer 1: as it travels", "layer 2: as it travels",
    ]  # fmt: skip
    assert [node.digest for node in top.below[0].below] == ["sha256:base", "sha256:app"]


def test_one_other_layer_marks_its_branch_up_to_the_root_and_nothing_else(layout, capsys):
    merkle.show(layout("two", ["base", "other"]), "v1", layout("one", ["base", "app"]))

    marked = {
        line.strip().split(" sha256")[0]: "(changed)" in line for line in capsys.readouterr().out.splitlines()
    }
    assert [name.split(" v1")[0] for name, changed in marked.items() if changed] == [
        "index.json", "manifest", "config", "layer 2: the tar", "layer 2: as it travels",
    ]  # fmt: skip
    assert not marked["layer 1: the tar"] and not marked["layer 1: as it travels"]


def test_an_image_alone_has_nothing_marked_and_a_tag_that_is_not_there_is_named(layout, capsys):
    place = layout("one", ["base"])
    merkle.show(place, "v1")

    assert "changed" not in capsys.readouterr().out
    with pytest.raises(NotFound, match="no image is tagged v2"):
        merkle.show(place, "v2")
