import pytest

from labkit.kernel import mounts

LINE = (
    r"36 35 98:0 /mnt1 /mnt2\040with\040space rw master:1 shared:7 - ext3 /dev/root\134x rw,errors=continue"
)


def test_a_line_of_mountinfo_has_its_fields_by_their_names():
    [mount] = mounts.parse_mountinfo(LINE + "\n")

    assert (mount.mount_id, mount.parent_id, mount.device, mount.root) == (36, 35, "98:0", "/mnt1")
    assert mount.mount_point == "/mnt2 with space"
    assert (mount.kind, mount.source) == ("ext3", "/dev/root\\x")
    assert mount.tags == ("master:1", "shared:7")
    assert mount.option("errors") == "continue"
    assert mount.option("nothing") is None


@pytest.mark.parametrize(
    ("tags", "word"),
    [("", "private"), ("shared:1 ", "shared"), ("master:2 ", "slave"), ("unbindable ", "unbindable"),
     ("shared:1 master:2 ", "shared slave")],
)  # fmt: skip
def test_the_tags_tell_the_propagation(tags, word):
    [mount] = mounts.parse_mountinfo(f"1 1 0:1 / / rw {tags}- tmpfs none rw")

    assert mount.propagation == word


def test_a_source_may_be_empty_and_bytes_may_be_no_utf8():
    [mount] = mounts.parse_mountinfo("1 1 0:1 / /\\377 rw - tmpfs  rw")

    assert (mount.source, mount.mount_point) == ("", "/\udcff")


def test_a_comma_in_an_option_comes_back_after_the_split():
    [mount] = mounts.parse_mountinfo(r"1 1 0:1 / / rw - overlay o rw,lowerdir=/a\054b:/c,upperdir=/u")

    assert (mount.option("lowerdir"), mount.option("upperdir")) == ("/a,b:/c", "/u")


def test_a_path_is_escaped_as_overlay_wants_it():
    assert mounts.escape_option("/a:b,c\\d", in_list=True) == r"/a\:b\,c\\d"
    assert mounts.escape_option("/a:b,c\\d") == r"/a:b\,c\\d"
