import os
import subprocess
from pathlib import Path

import pytest

from labkit.kernel import copies, trees

pytestmark = pytest.mark.requires("root")
MIB = 1 << 20


@pytest.fixture
def place(paths):
    """On a file system that has holes and attributes."""
    return paths.root


def all_sorts(top):
    """A directory with everything that a file system can hold."""
    (top / "etc/deep").mkdir(parents=True)
    (top / "etc/hosts").write_text("127.0.0.1\n")
    os.link(top / "etc/hosts", top / "etc/deep/hosts")
    os.link(top / "etc/hosts", top / "again")
    (top / "link").symlink_to("/nowhere at all")
    os.lchown(top / "link", 7, 8)
    os.mkfifo(top / "pipe", 0o640)
    os.mknod(top / "null", 0o020666, os.makedev(1, 3))
    os.mknod(top / "disk", 0o060600, os.makedev(7, 99))
    (top / "tool").write_bytes(b"#!/bin/sh\n")
    os.chown(top / "tool", 1000, 50)
    (top / "tool").chmod(0o6755)
    os.setxattr(top / "tool", "user.colour", b"blue\0red")
    (top / "ping").write_bytes(b"x")
    os.setxattr(
        top / "ping", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000")
    )
    os.setxattr(top / "etc", "trusted.overlay.opaque", b"y")
    with open(top / "holes", "wb") as file:
        file.write(b"begin")
        file.seek(3 * MIB)
        file.write(b"middle")
        file.truncate(64 * MIB)
    (top / "a\nname \\ with: everything\udcff").write_bytes(b"")
    (top / "etc/deep").chmod(0o1777)
    os.chown(top / "etc/deep", 33, 44)
    for name in ("etc/deep/hosts", "etc/deep", "etc", "link", "."):
        os.utime(top / name, ns=(981_173_106_123_456_789, 981_173_106_987_654_321), follow_symlinks=False)


def told(top):
    """find(1) as a second witness: path, kind, mode, owners, size, blocks, links, time, goal, devices."""
    listing = subprocess.check_output(
        ["find", ".", "-printf", r"%p|%y|%m|%U|%G|%s|%k|%n|%T+|%l\0"], cwd=top
    ).split(b"\0")
    rows = [row for row in listing if row]
    # What a directory takes on the disk depends on its history.
    return sorted(b"|".join([*row.split(b"|")[:6], *row.split(b"|")[7:]]) for row in rows)


def test_a_copy_is_what_find_and_getxattr_say_of_the_original(place):
    source, target = place / "source", place / "target"
    source.mkdir()
    all_sorts(source)

    copies.copy(source, target)

    assert told(target) == told(source)
    assert (target / "null").lstat().st_rdev == os.makedev(1, 3)
    assert (target / "again").stat().st_ino == (target / "etc/deep/hosts").stat().st_ino
    assert (target / "holes").read_bytes() == (source / "holes").read_bytes()
    assert (target / "holes").stat().st_blocks * 512 < MIB
    for name in ("tool", "ping"):
        attributes = os.listxattr(source / name)
        assert attributes == os.listxattr(target / name) != []
        assert all(os.getxattr(target / name, a) == os.getxattr(source / name, a) for a in attributes)


def test_what_overlay_notes_for_itself_stays_behind(place):
    source, target = place / "source", place / "target"
    (source / "opaque").mkdir(parents=True)
    os.setxattr(source / "opaque", "trusted.overlay.opaque", b"y")

    copies.copy(source, target)

    assert os.listxattr(target / "opaque") == []


def test_ten_thousand_files_take_no_descriptor_each(place):
    source, target = place / "source", place / "target"
    for directory in range(100):
        (source / str(directory)).mkdir(parents=True)
        for number in range(100):
            (source / f"{directory}/{number}").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))

    copies.copy(source, target)

    assert sum(len(files) for _, _, files in os.walk(target)) == 10_000
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    trees.remove(target)
