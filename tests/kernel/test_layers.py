"""A directory becomes a layer's tar and a directory again: nothing is lost, and the bytes are the same."""

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import forest
import pytest
from hypothesis import HealthCheck, given, settings

from labkit.errors import Invalid
from labkit.images import extract, layers

pytestmark = pytest.mark.requires("root")

GROUND = "/var/tmp"  # extended attributes of every kind, which an overlay would take for its own
PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="labkit-layers-", dir=GROUND) as made:
        yield Path(made)


def packed(directory: Path) -> tuple[layers.Packed, bytes]:
    stream = io.BytesIO()
    return layers.pack(directory, stream.write), stream.getvalue()


def unpacked(data: bytes, directory: Path, **options) -> extract.Applied:
    directory.mkdir()
    return extract.apply(io.BytesIO(data), directory, **options)


@settings(PROPERTY, max_examples=150)
@given(forest.trees)
def test_a_random_tree_survives_as_a_layer_and_back(tree):
    with tempfile.TemporaryDirectory(prefix="labkit-layers-", dir=GROUND) as place:
        first, second = Path(place, "first"), Path(place, "second")
        first.mkdir()
        forest.plant(tree, os.fsencode(first))

        before, data = packed(first)
        applied = unpacked(data, second)

        assert forest.see(os.fsencode(second)) == forest.see(os.fsencode(first))
        assert packed(second) == (before, data)
        assert (applied.digest, applied.tar_bytes) == (before.digest, before.size_bytes)
        assert applied.content_bytes == before.content_bytes


@settings(PROPERTY, max_examples=40)
@given(forest.trees)
def test_gnu_tar_and_python_see_the_same_members(tree):
    """Two more witnesses: what we wrote is a tar to others too."""
    with tempfile.TemporaryDirectory(prefix="labkit-layers-", dir=GROUND) as place:
        forest.plant(tree, os.fsencode(place))
        _, data = packed(Path(place))

    listed = subprocess.run(["tar", "--list", "--quoting-style=escape"], input=data, capture_output=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = archive.getmembers()
    assert listed.returncode == 0, listed.stderr
    assert len(listed.stdout.splitlines()) == len(members)


def test_the_same_files_in_another_order_give_the_same_digest(place):
    for folder, names in (("one", "abc"), ("two", "cab")):
        (place / folder).mkdir()
        for name in names:
            (place / folder / name).write_text(name)
            os.utime(place / folder / name, ns=(0, 5 * 10**9 + 7))

    assert packed(place / "one") == packed(place / "two")


def test_what_gnu_tar_writes_in_each_of_its_formats_arrives(place):
    source = place / "source"
    (source / ("long" * 30) / ("name" * 40)).mkdir(parents=True)
    (source / ("long" * 30) / ("name" * 40) / "file").write_text("content")
    os.link(source / ("long" * 30) / ("name" * 40) / "file", source / ("hard" * 50))
    (source / ("soft" * 50)).symlink_to("target" * 40)
    os.setxattr(source, "user.root", b"1")
    with (source / "sparse").open("wb") as file:
        for at in (3 << 20, 9 << 20, 30 << 20):
            file.seek(at)
            file.write(b"data" * 1000)
        file.truncate(64 << 20)
    os.chown(source / "sparse", 1 << 22, 1 << 22)
    for path in [*source.rglob("*"), source]:
        os.utime(path, ns=(0, 10**18), follow_symlinks=False)
    seen = forest.see(os.fsencode(source))

    options = [["gnu"], ["gnu", "--sparse"], ["posix", "--xattrs"]]
    options += [["posix", "--sparse", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")]
    for number, (form, *more) in enumerate(options):
        made = subprocess.run(
            ["tar", "--create", f"--format={form}", *more, "--directory", source, "."],
            capture_output=True, check=True,
        ).stdout  # fmt: skip
        unpacked(made, place / f"{number}")
        assert forest.see(os.fsencode(place / f"{number}")) == seen, (form, more)
        assert (place / f"{number}" / "sparse").stat().st_blocks < 8192
    assert os.getxattr(place / "2", "user.root") == b"1"


def test_what_python_writes_in_each_of_its_formats_arrives(place):
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
            member = tarfile.TarInfo("deep/" * 20 + "file")
            member.size, member.uid, member.mode, member.mtime = 3, 12345, 0o4711, 1_600_000_000
            archive.addfile(member, io.BytesIO(b"abc"))
        unpacked(stream.getvalue(), place / str(form))

        found = (place / str(form) / member.name).stat()
        assert (found.st_size, found.st_uid, found.st_mode & 0o7777) == (3, 12345, 0o4711)
        assert found.st_mtime == 1_600_000_000
        assert (place / str(form) / "deep").stat().st_mtime == 0  # nobody said, so it is always the same


def test_parents_that_are_not_in_the_archive_give_the_same_layer_each_time(place):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a/b/c"))
    for name in ("one", "two"):
        unpacked(stream.getvalue(), place / name)

    assert packed(place / "one") == packed(place / "two")


def test_an_upper_directory_that_is_no_plain_layer_is_refused(place):
    (place / "d").mkdir()
    os.setxattr(place / "d", "trusted.overlay.redirect", b"/elsewhere")
    with pytest.raises(Invalid, match="redirect"):
        layers.pack(place)


def test_a_file_that_a_reader_would_take_for_a_whiteout_is_refused(place):
    (place / ".wh.passwd").touch()
    with pytest.raises(Invalid, match=r"\.wh\.passwd"):
        layers.pack(place)
    assert layers.pack(place, whole=True).content_bytes == 0


def test_sockets_stay_out_and_overlays_notes_too(place):
    import socket

    (place / "root/d").mkdir(parents=True)
    os.setxattr(place / "root/d", "trusted.overlay.origin", b"x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "root/socket"))
        _, data = packed(place / "root")

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == ["d"]
        assert not any("overlay" in key for member in archive for key in member.pax_headers)


def test_a_file_that_shrinks_while_it_is_read_is_padded(place, monkeypatch):
    (place / "log").write_bytes(b"x" * 1000)
    real = os.fstat

    def larger(descriptor):
        found = real(descriptor)
        if found.st_size != 1000:
            return found
        values = list(found)
        values[6] = 3000
        return os.stat_result(values, {"st_mtime_ns": 0})

    monkeypatch.setattr(layers.os, "fstat", larger)
    _, data = packed(place)
    monkeypatch.undo()

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.extractfile("log").read() == b"x" * 1000 + bytes(2000)
