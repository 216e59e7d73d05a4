from pathlib import Path

import pytest

from labkit.errors import Invalid, Unsupported
from labkit.images.overlay import Overlay

PLAIN = "redirect_dir=off,metacopy=off,index=off"


def test_the_options_name_the_layers_from_the_top_down():
    overlay = Overlay(lower=(Path("/l/2"), Path("/l/1")), upper=Path("/u"), work=Path("/w"), volatile=True)

    assert overlay.options() == f"lowerdir=/l/2:/l/1,upperdir=/u,workdir=/w,{PLAIN},volatile"
    assert overlay.options(below=Path("/l")) == f"lowerdir=2:1,upperdir=/u,workdir=/w,{PLAIN},volatile"


@pytest.mark.parametrize(
    "layers",
    [
        {"lower": ()},
        {"lower": (Path("/a"),)},
        {"lower": (Path("/a"),), "upper": Path("/u")},
        {"lower": (Path("/a"),) * 501, "upper": Path("/u"), "work": Path("/w")},
    ],
)
def test_what_the_kernel_would_refuse_with_einval_is_refused_in_words(layers):
    with pytest.raises(Invalid):
        Overlay(**layers)


def test_a_missing_layer_is_named(tmp_path):
    overlay = Overlay(lower=(tmp_path / "a", tmp_path))
    with pytest.raises(FileNotFoundError) as refusal:
        overlay.plan(tmp_path)

    assert refusal.value.filename == str(tmp_path / "a")


def test_many_layers_are_named_relative_to_the_directory_that_holds_them(tmp_path):
    layers = [tmp_path / f"{number:064}" for number in range(60)]
    for layer in layers:
        layer.mkdir()

    plan = Overlay(lower=tuple(layers[:50])).plan(tmp_path)
    assert plan.directory == str(tmp_path)
    assert len(plan.options) < 4096


def test_very_many_layers_have_short_names(tmp_path):
    layers = [tmp_path / f"{number % 3:032}{number:032}" for number in range(400)]
    for layer in layers:
        layer.mkdir()

    plan = Overlay(lower=tuple(layers[:300])).plan(tmp_path)
    names = plan.options.removeprefix("lowerdir=").split(":")
    assert [(tmp_path / name).resolve() for name in names] == layers[:300]
    assert Overlay(lower=tuple(layers[:300])).plan(tmp_path) == plan
    with pytest.raises(Unsupported, match="400 layers do not fit"):
        Overlay(lower=tuple(layers)).plan(tmp_path)


def test_layers_whose_last_digits_are_the_same_have_links_of_their_own(tmp_path):
    layers = [tmp_path / f"{number:056}{'f' * 8}" for number in range(80)]
    for layer in layers:
        layer.mkdir()
    plan = Overlay(lower=tuple(layers)).plan(tmp_path)

    names = plan.options.removeprefix("lowerdir=").split(":")
    assert [(tmp_path / name).resolve() for name in names] == layers
