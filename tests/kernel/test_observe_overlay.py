"""observe.layers and observe.mounts against a real overlay: the kernel is the second witness."""

import os
import subprocess

import pytest

from labkit.kernel import mounts as kernel_mounts
from labkit.observe import layers, mounts

pytestmark = pytest.mark.requires("root", "overlay")


@pytest.fixture
def overlay(tmp_path):
    """A mounted overlay of two lower layers, on a tmpfs since an overlay takes no overlay as its upper."""
    home = tmp_path / "home"
    home.mkdir()
    kernel_mounts.mount("labkit-test", home, "tmpfs")
    for name in ("low/etc/hosts", "low/etc/motd", "low/opt/a/b", "low/big", "mid/etc/issue"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    for name in ("up", "work", "merged"):
        (home / name).mkdir()
    options = f"lowerdir={home / 'mid'}:{home / 'low'},upperdir={home / 'up'},workdir={home / 'work'}"
    kernel_mounts.mount("overlay", home / "merged", "overlay", options=options)
    yield home
    kernel_mounts.unmount(home / "merged")
    kernel_mounts.unmount(home)


def look(home):
    return layers.look([home / "mid", home / "low"], home / "up")


def test_the_rows_that_are_seen_are_exactly_what_the_merged_directory_holds(overlay):
    merged = overlay / "merged"
    (merged / "etc/hosts").write_text("changed")
    (merged / "big").unlink()
    subprocess.run(["rm", "-r", merged / "opt"], check=True)
    (merged / "opt").mkdir()
    (merged / "opt/fresh").write_text("")
    (merged / "etc/issue").rename(merged / "etc/issue.old")

    seen = {row.path for row in look(overlay).rows if row.origin}

    assert seen == {str(place.relative_to(merged)) for place in merged.rglob("*")}


def test_a_removed_file_of_a_lower_layer_leaves_a_whiteout(overlay):
    (overlay / "merged/big").unlink()

    (row,) = [row for row in look(overlay).rows if row.path == "big"]

    assert (row.is_deleted, row.versions[0].kind) == (True, "whiteout")
    assert os.lstat(overlay / "up/big").st_rdev == 0
    assert [version.layer for version in row.hidden] == ["lower 2"]


def test_a_directory_made_again_is_opaque_and_hides_what_was_below(overlay):
    subprocess.run(["rm", "-r", overlay / "merged/opt"], check=True)
    (overlay / "merged/opt").mkdir()

    rows = {row.path: row for row in look(overlay).rows}

    assert rows["opt"].versions[0].is_opaque
    assert rows["opt/a/b"].is_deleted


def test_opening_a_file_for_writing_copies_it_up_and_the_change_says_so(overlay):
    before = look(overlay)
    (overlay / "merged/etc/motd").chmod(0o600)

    found = layers.changes(before, look(overlay))

    assert layers.Change("etc/motd", "copied up") in found
    assert (overlay / "up/etc/motd").read_text() == "low/etc/motd"


def test_the_layers_of_a_mount_are_read_from_mountinfo(overlay):
    found = mounts.overlay_at(overlay / "merged")

    assert found == mounts.Overlay(
        (str(overlay / "mid"), str(overlay / "low")), str(overlay / "up"), str(overlay / "work")
    )
