import os

import pytest

from labkit.observe import stacks
from labkit.observe.stacks import Layer


@pytest.fixture
def layer(tmp_path):
    """A layer of files of so many bytes; a name that ends with / is a directory."""

    def make(name, files, created_by=""):
        home = tmp_path / name
        home.mkdir()
        for path, size_bytes in files.items():
            place = home / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if size_bytes is None:
                place.touch()
                os.setxattr(place, "user.overlay.whiteout", b"y")  # what overlay takes for one, without root
            else:
                place.write_bytes(b"x" * size_bytes)
        return Layer(f"sha256:{name}", home, created_by)

    return make


def by_digest(weights):
    return {weight.layer.digest.removeprefix("sha256:"): weight for weight in weights}


def test_layers_come_once_the_topmost_first_with_the_images_that_have_them(layer):
    base, one, two = layer("base", {"a": 10}), layer("one", {"b": 20}), layer("two", {"c": 30})
    weights = stacks.weigh({"x": [base, one], "y": [base, two]})

    assert [w.layer.digest for w in weights][-1] == "sha256:base"
    assert {name: w.images for name, w in by_digest(weights).items()} == {
        "base": ("x", "y"), "one": ("x",), "two": ("y",),
    }  # fmt: skip
    assert {name: w.size_bytes for name, w in by_digest(weights).items()} == {
        "base": 10,
        "one": 20,
        "two": 30,
    }


def test_what_a_higher_layer_replaces_or_deletes_is_hidden_and_named(layer):
    low = layer("low", {"kept": 1, "etc/changed": 100, "secret": 1000, "gone/deep/file": 10000})
    top = layer("top", {"etc/changed": 7, "secret": None, "gone": None})
    found = by_digest(stacks.weigh({"x": [low, top], "y": [low]}))["low"]

    assert found.size_bytes == 11101
    assert found.hidden_bytes == {"x": 11100, "y": 0}
    assert {file.path: dict(file.hidden_by) for file in found.biggest} == {
        "gone/deep/file": {"x": "sha256:top"}, "secret": {"x": "sha256:top"},
        "etc/changed": {"x": "sha256:top"}, "kept": {},
    }  # fmt: skip


def test_an_opaque_directory_hides_what_was_below_it(layer):
    low, top = layer("low", {"etc/a": 5, "etc/b": 6}), layer("top", {"etc/b": 1})
    os.setxattr(top.directory / "etc", "user.overlay.opaque", b"y")
    found = by_digest(stacks.weigh({"x": [low, top]}))["low"]

    assert {file.path: file.hidden_by.get("x") for file in found.biggest} == {
        "etc/a": "sha256:top", "etc/b": "sha256:top",
    }  # fmt: skip


def test_a_hard_linked_file_weighs_once(layer):
    made = layer("one", {"a": 50})
    (made.directory / "b").hardlink_to(made.directory / "a")
    (weight,) = stacks.weigh({"x": [made]})

    assert (weight.size_bytes, weight.files) == (50, 2)


def test_the_largest_files_come_first_and_the_rest_is_counted(layer):
    made = layer("one", {f"f{number:02}": number for number in range(30)})
    (weight,) = stacks.weigh({"x": [made]})

    assert [file.path for file in weight.biggest][:2] == ["f29", "f28"]
    assert len(weight.biggest) == stacks.MOST_FILES and weight.files == 30
