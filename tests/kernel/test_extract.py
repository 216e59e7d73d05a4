"""Hostile archives: each is refused by the member's name or made harmless, and nothing outside is touched."""

import io
import os
import stat
import tarfile
import tempfile
from pathlib import Path

import pytest

from labkit.errors import Invalid
from labkit.images import compression, extract, layers, tar
from labkit.images.extract import Limits
from labkit.images.tar import Member

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def place():
    """A layer's directory with a secret beside it, which must be there unchanged afterwards."""
    with tempfile.TemporaryDirectory(prefix="labkit-extract-", dir="/var/tmp") as made:
        secret = Path(made, "outside", "secret")
        secret.parent.mkdir()
        secret.write_text("untouched")
        before = (secret.lstat(), secret.parent.lstat())
        layer = Path(made, "layer")
        layer.mkdir()
        yield layer
        assert secret.read_text() == "untouched"
        for old, new in zip(before, (secret.lstat(), secret.parent.lstat()), strict=True):
            assert (old.st_mode, old.st_uid, old.st_mtime_ns, old.st_nlink) == (
                new.st_mode, new.st_uid, new.st_mtime_ns, new.st_nlink,
            )  # fmt: skip
        assert sorted(path.name for path in Path(made).iterdir()) == ["layer", "outside"]
        assert [path.name for path in secret.parent.iterdir()] == ["secret"]


def archive(*members: "Member | tuple[Member, bytes]") -> bytes:
    """An archive with those members, whatever they are."""
    data = b""
    for given in members:
        member, content = given if isinstance(given, tuple) else (given, b"")
        if content and not member.size:
            member.size = len(content)
        data += tar.head(member) + content + bytes(-len(content) % 512)
    return data + tar.END


def file(name: str, content: bytes = b"new", **more) -> tuple[Member, bytes]:
    return Member(name=name.encode(), **more), content


def folder(name: str, **more) -> Member:
    return Member(name=name.encode(), kind=tar.DIRECTORY, mode=more.pop("mode", 0o755), **more)


def symlink(name: str, target: str) -> Member:
    return Member(name=name.encode(), kind=tar.SYMLINK, target=target.encode())


def link(name: str, target: str) -> Member:
    return Member(name=name.encode(), kind=tar.LINK, target=target.encode())


def apply(data: bytes, place: Path, **limits: int) -> extract.Applied:
    return extract.apply(io.BytesIO(data), place, limits=Limits(**limits))


UP = "../outside/secret"

REFUSED = {
    "a name that leads up": ([file(UP)], "outside/secret"),
    "a name that leads up in the middle": ([file("a/../../outside/secret")], "outside/secret"),
    "a name that leads up and stays": ([file("a/../b")], r"a/\.\./b"),
    "a directory that leads up": ([folder("../outside/new")], "outside/new"),
    "a hard link to outside": ([link("x", UP)], "x: "),
    "a hard link to outside, absolute": (
        [link("x", "/outside/secret")],
        "x: a hard link to '/outside/secret'",
    ),
    "a hard link through a symbolic link": ([symlink("s", "../outside"), link("x", "s/secret")], "x: "),
    "a hard link to a directory": ([folder("d"), link("x", "d")], "x: "),
    "a hard link to nothing": ([link("x", "nothing")], "x: a hard link to 'nothing'"),
    "a hard link to the root": ([link("x", "/")], "x: "),
    "a hard link to a whiteout": ([file(".wh.gone", b""), link("x", "gone")], "x: "),
    "a file below a file": ([file("a"), file("a/b")], "a/b: "),
    "a file below a fifo": ([Member(name=b"a", kind=tar.FIFO), file("a/b")], "a/b: "),
    "a file below a device": ([Member(name=b"a", kind=tar.BLOCKDEVICE, major=8), file("a/b")], "a/b: "),
    "a file below a link to nowhere": ([symlink("a", "nowhere"), file("a/b")], "a/b: "),
    "a file below a link to itself": ([symlink("a", "a"), file("a/b")], "a/b: "),
    "a whiteout of the parent": ([file(".wh...", b"")], r"\.wh\.\.\."),
    "a whiteout of itself": ([file("d/.wh..", b"")], r"d/\.wh\.\."),
    "a whiteout of nothing": ([file("d/.wh.", b"")], r"d/\.wh\."),
    "something below a whiteout": ([file("d/.wh.x/y")], r"d/\.wh\.x/y"),
    "a device that is a whiteout": ([Member(name=b"d", kind=tar.CHARACTER)], "d: a character device 0:0"),
    "the root as a file": ([file("./")], r"\./: the root"),
    "the root as a link": ([symlink(".", "/etc")], "the root"),
    "a name longer than the kernel has": ([file("n" * 256)], "File name too long"),
    "a path longer than the kernel has": ([file("d/" * 3000 + "f")], "File name too long"),
    "an owner that means nobody": ([file("f", uid=2**32 - 1)], "f: its owner"),
    "an owner that is too large": ([file("f", gid=2**40)], "f: its owner"),
    "a kind that nobody knows": ([Member(name=b"f", kind=b"V")], "'f': b'V' is no kind"),
    "a size that is not there": ([Member(name=b"f", size=10**6)], "cut off"),
    "a size that is more than is allowed": ([Member(name=b"f", size=1 << 60)], r"f: .* more than is allowed"),
    "an attribute that nobody knows": ([file("f", xattrs={"nonsense.x": b"1"})], "f: "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_hostile_archive_is_refused_by_the_members_name(place, case):
    members, named = REFUSED[case]
    with pytest.raises(Invalid, match=named):
        apply(archive(*members), place)


def test_a_name_with_a_slash_in_front_lies_in_the_layer(place):
    apply(archive(file("/etc/passwd"), file("//./x//y")), place)

    assert (place / "etc/passwd").read_text() == "new"
    assert (place / "x/y").read_text() == "new"


@pytest.mark.parametrize("target", ["../outside", "../../../../../../../", "/outside", "/proc/self/root"])
def test_a_write_through_a_symbolic_link_stays_in_the_layer(place, target):
    try:
        apply(archive(symlink("s", target), file("s/secret")), place)
    except Invalid as refusal:
        assert "s/secret" in str(refusal)  # there is no such place in the layer


def test_a_write_through_an_absolute_link_means_the_layers_root(place):
    apply(archive(folder("etc"), symlink("s", "/etc"), file("s/passwd")), place)

    assert (place / "etc/passwd").read_text() == "new"


def test_a_file_takes_the_place_of_a_link_and_is_not_written_through_it(place):
    outside = place.parent / "outside/secret"
    apply(archive(symlink("s", str(outside)), file("s", b"mine")), place)

    assert not (place / "s").is_symlink()
    assert (place / "s").read_bytes() == b"mine"


def test_a_hard_link_to_a_symbolic_link_links_the_link(place):
    outside = place.parent / "outside/secret"
    apply(archive(symlink("s", str(outside)), link("x", "s"), Member(name=b"x", mode=0o777, uid=5)), place)

    assert (place / "s").is_symlink()
    assert not (place / "x").is_symlink()


def test_a_later_member_takes_the_place_of_an_earlier_one(place):
    apply(
        archive(
            file("a", b"1"), file("a", b"2"),
            folder("d"), file("d/x"), file("d", b"file now"),
            file("f"), folder("f"), file("f/y"),
            folder("keep"), file("keep/z"), folder("keep", mode=0o700),
            symlink("l", "x"), symlink("l", "y"),
            Member(name=b"p", kind=tar.FIFO), Member(name=b"p", kind=tar.CHARACTER, major=1, minor=3),
        ),
        place,
    )  # fmt: skip

    assert (place / "a").read_bytes() == b"2"
    assert (place / "d").read_bytes() == b"file now"
    assert (place / "f/y").read_bytes() == b"new"
    assert (place / "keep/z").exists() and (place / "keep").stat().st_mode & 0o777 == 0o700
    assert (place / "l").readlink() == Path("y")
    assert (place / "p").stat().st_rdev == os.makedev(1, 3)


def test_a_directory_that_is_replaced_leaves_nothing_open_behind(place):
    before = len(list(Path("/proc/self/fd").iterdir()))
    apply(archive(*(member for n in range(200) for member in (file(f"d{n}/a/b"), file(f"d{n}/a")))), place)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert (place / "d199/a").is_file()


def test_a_link_into_what_it_replaces_is_refused(place):
    with pytest.raises(Invalid, match="d: a hard link"):
        apply(archive(file("d/x"), link("d", "d/x")), place)


def test_devices_and_setuid_are_made_as_they_are_and_never_opened(place):
    capability = bytes.fromhex("0100000200200000" + "00" * 12)  # cap_net_raw+ep
    # 10:130 is the watchdog: whoever opens it and goes away restarts the machine.
    apply(
        archive(
            Member(name=b"dev/watchdog", kind=tar.CHARACTER, major=10, minor=130, mode=0o600, uid=7),
            Member(name=b"dev/pipe", kind=tar.FIFO, mode=0o622),
            file("bin/su", mode=0o4755, uid=1000),
            file(
                "bin/ping",
                xattrs={"security.capability": capability},
                uid=3,
            ),
        ),
        place,
    )

    found = (place / "dev/watchdog").lstat()
    assert (found.st_rdev, found.st_uid) == (os.makedev(10, 130), 7)
    assert stat.S_ISFIFO((place / "dev/pipe").lstat().st_mode)
    assert (place / "bin/su").stat().st_mode & 0o7777 == 0o4755
    assert len(os.getxattr(place / "bin/ping", "security.capability")) >= 20


def test_attributes_that_steer_overlay_are_not_taken_over(place):
    apply(archive(folder("d", xattrs={"trusted.overlay.redirect": b"/x", "user.ok": b"1"})), place)

    assert os.listxattr(place / "d") == ["user.ok"]


def test_whiteouts_become_what_overlay_knows_and_are_whiteouts_again(place):
    apply(
        archive(
            file(".wh.gone", b""), folder("d"), file("d/.wh..wh..opq", b""), file("d/inside"),
            file("deep/down/.wh.x", b""), file(".wh..wh.plnk/1.2", b"aufs"),
        ),
        place,
    )  # fmt: skip

    assert extract.is_whiteout((place / "gone").lstat()) and extract.is_whiteout(
        (place / "deep/down/x").lstat()
    )
    assert os.getxattr(place / "d", "trusted.overlay.opaque") == b"y"
    stream = io.BytesIO()
    layers.pack(place, stream.write)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as made:
        names = made.getnames()
    assert {".wh.gone", "d/.wh..wh..opq", "deep/down/.wh.x", "d/inside"} <= set(names)
    assert not any("plnk" in name for name in names)


def test_a_whiteout_hides_what_is_below_and_not_what_comes_with_it(place):
    apply(
        archive(
            file("stays"), file(".wh.stays", b""),
            file("d/x"), file(".wh.d", b""),
            file(".wh.again", b""), file("again/y"),
            file(".wh.file", b""), file("file", b"here"),
        ),
        place,
    )  # fmt: skip

    assert (place / "stays").read_bytes() == b"new"
    assert (place / "file").read_bytes() == b"here"
    for name, inside in (("d", "x"), ("again", "y")):
        assert (place / name / inside).is_file()
        assert os.getxattr(place / name, "trusted.overlay.opaque") == b"y"


@pytest.mark.parametrize("at", range(0, 512, 13))
def test_a_header_with_one_wrong_byte_is_refused(place, at):
    data = bytearray(archive(file("f", mode=0o644)))
    data[at] ^= 0x55
    with pytest.raises(Invalid, match="makes no sense"):
        apply(bytes(data), place)


@pytest.mark.parametrize("size", [1, 511, 513, 700, 1411])
def test_an_archive_that_is_cut_off_is_refused(place, size):
    with pytest.raises(Invalid, match="cut off"):
        apply(archive(file("f", b"x" * 900))[:size], place)


@pytest.mark.parametrize("end", [b"", bytes(509), bytes(1021), bytes(10240)])
def test_an_archive_may_end_with_or_without_its_padding_and_its_two_blocks(place, end):
    apply(archive(file("f"))[:515] + end, place)

    assert (place / "f").read_bytes() == b"new"


def test_what_follows_a_single_block_of_zeros_is_not_overlooked(place):
    one = archive(file("f"))[:1024]
    with pytest.raises(Invalid, match="zeros"):
        apply(one + bytes(512) + one, place)


HEADERS = {
    "an extended header of 1 GiB": (b"x", b"", 1 << 30),
    "a long name of 1 GiB": (b"L", b"", 1 << 30),
    "a record without a length": (b"x", b"path=x\n", None),
    "a record that is longer than the header": (b"x", b"99 path=x\n", None),
    "a record without an end": (b"x", b"9 path=xy", None),
    "a record without a name": (b"x", b"5 =x\n", None),
    "a size that is negative": (b"x", b"11 size=-1\n", None),
    "a size with many digits": (b"x", b"39 size=" + b"9" * 30 + b"\n", None),
    "a time that is none": (b"x", b"14 mtime=noon\n", None),
    "a name with a zero byte": (b"x", b"13 path=a\0bc\n", None),
    "a map of holes that leads out": (
        b"x", b"22 GNU.sparse.size=10\n25 GNU.sparse.map=0,3,9,5\n", None,
    ),
    "a map of holes that overlaps": (
        b"x", b"22 GNU.sparse.size=10\n25 GNU.sparse.map=0,2,1,1\n", None,
    ),
    "a map of holes that does not fit": (b"x", b"22 GNU.sparse.size=10\n21 GNU.sparse.map=0,9\n", None),
    "a map of holes of billions": (
        b"x",
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n26 GNU.sparse.realsize=10\n",
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HEADERS)
def test_a_hostile_extended_header_is_refused(place, case):
    kind, content, size = HEADERS[case]
    header = Member(name=b"header", kind=kind, size=len(content) if size is None else size)
    text = b"999999999999\n".ljust(512, b"0") if "billions" in case else b"new"
    with pytest.raises(Invalid):
        apply(archive((header, content), file("f", text)), place)


def test_a_bomb_is_stopped_by_its_members_and_by_its_bytes(place):
    with pytest.raises(Invalid, match=r"f100: .* more than 100 members"):
        apply(archive(*(file(f"f{n}", b"") for n in range(200))), place, members=100)
    with pytest.raises(Invalid, match="big: 20000000 bytes"):
        apply(archive(Member(name=b"big", size=20_000_000)), place, bytes=10_000_000)
    with pytest.raises(Invalid, match="larger than is allowed"):
        apply(archive() + bytes(20_000_000), place, bytes=10_000_000)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_compressed_bomb_unpacks_no_further_than_the_limit(place, kind):
    packed: list[bytes] = []
    writer = compression.Writer(packed.append, kind)
    writer.write(tar.head(Member(name=b"bomb", size=8 << 30)))
    for _ in range(256):
        writer.write(bytes(1 << 20))
    writer.close()
    assert sum(map(len, packed)) < 4 << 20

    source = compression.Reader(io.BytesIO(b"".join(packed)))
    with pytest.raises(Invalid, match="bomb"):
        extract.apply(source, place, limits=Limits(bytes=1 << 26))
    assert source.read(1)  # most of it was never unpacked


def test_zeros_take_no_room_on_the_disk(place):
    apply(archive(file("zeros", bytes(8 << 20))), place)

    found = (place / "zeros").stat()
    assert found.st_size == 8 << 20
    assert found.st_blocks < 256


def test_a_million_directories_do_not_fill_the_memory(place, monkeypatch):
    from labkit.images import tree

    monkeypatch.setattr(tree, "_MOST_NAMES_BYTES", 5000)
    with pytest.raises(Invalid, match="more directories than is allowed"):
        apply(archive(*(folder(f"d{n}") for n in range(100))), place)
