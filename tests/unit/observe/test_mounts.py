import subprocess

import pytest

from labkit.errors import NotFound
from labkit.observe import mounts

TABLE = r"""
20 1 8:1 / / rw - ext4 /dev/sda1 rw
22 20 0:5 / /proc rw shared:3 - proc proc rw
23 20 0:6 / /a\040b rw master:4 - tmpfs tmpfs rw
24 23 0:7 / /a\040b/c ro - overlay overlay ro,lowerdir=/l\134:1:/l2,upperdir=/u\054p,workdir=/w
"""


def test_the_tree_follows_the_parents_and_knows_the_propagation():
    found = mounts.rows(TABLE)

    assert [(row.mount_point, row.depth, row.propagation) for row in found] == [
        ("/", 0, "private"),
        ("/proc", 1, "shared"),
        ("/a b", 1, "slave"),
        ("/a b/c", 2, "private"),
    ]


def test_an_overlay_is_taken_apart_with_its_escapes_undone():
    overlay = mounts.rows(TABLE)[3].overlay

    assert overlay == mounts.Overlay(lower=("/l:1", "/l2"), upper="/u,p", work="/w")


def test_layers_of_the_newer_mount_calls_come_one_by_one():
    overlay = mounts.decode_overlay(r"ro,lowerdir+=/l\0541,lowerdir+=/l:2,redirect_dir=on")

    assert overlay == mounts.Overlay(lower=("/l,1", "/l:2"), upper=None, work=None)


def test_findmnt_sees_the_same_mount_points():
    said = subprocess.run(
        ["findmnt", "--noheadings", "--list", "--output", "ID"], capture_output=True, text=True, check=True
    )

    assert {row.mount_id for row in mounts.tree()} == {int(number) for number in said.stdout.split()}


def test_a_place_without_an_overlay_is_named_with_the_remedy(tmp_path):
    with pytest.raises(NotFound, match=str(tmp_path)) as refusal:
        mounts.overlay_at(tmp_path)

    assert "lower=" in refusal.value.hint
