import os

import pytest

from labkit.observe import layers


@pytest.fixture
def stack(tmp_path):
    """Two lower layers and an upper: files seen, hidden and changed."""
    for name, content in {
        "low/etc/hosts": "old", "low/etc/motd": "base", "low/bin/sh": "shell", "low/file-or-dir": "a file",
        "mid/etc/hosts": "newer", "mid/file-or-dir/inside": "x", "up/etc/hosts": "changed", "up/tmp/new": "n",
    }.items():  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path


def by_path(stack):
    found = layers.look([stack / "mid", stack / "low"], stack / "up")
    return {row.path: row for row in found.rows}


def test_the_topmost_version_wins_and_the_others_are_hidden(stack):
    hosts = by_path(stack)["etc/hosts"]

    assert hosts.origin == "upper"
    assert hosts.size_bytes == len("changed")
    assert [version.layer for version in hosts.hidden] == ["lower 1", "lower 2"]
    assert hosts.is_copied_up


def test_what_only_one_layer_has_comes_from_there(stack):
    rows = by_path(stack)

    assert (rows["bin/sh"].origin, rows["bin/sh"].hidden) == ("lower 2", ())
    assert (rows["tmp/new"].origin, rows["tmp/new"].is_copied_up) == ("upper", False)


def test_directories_merge_and_a_file_below_one_is_out_of_sight(stack):
    rows = by_path(stack)

    assert (rows["file-or-dir"].kind, rows["file-or-dir"].origin) == ("directory", "lower 1")
    assert rows["file-or-dir/inside"].origin == "lower 1"
    assert rows["etc"].hidden == ()


def test_the_rows_that_do_not_fit_are_counted(stack):
    whole = layers.look([stack / "mid", stack / "low"], stack / "up")
    part = layers.look([stack / "mid", stack / "low"], stack / "up", most_rows=3)

    assert (len(part.rows), part.left_out) == (3, len(whole.rows) - 3)
    assert part.rows == whole.rows[:3]


def test_a_layer_that_is_not_there_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        layers.look([tmp_path / "nowhere"])


def test_a_name_that_is_no_text_has_a_row_too(stack):
    (stack / "up" / os.fsdecode(b"\xff<b>")).write_text("")

    assert by_path(stack)[os.fsdecode(b"\xff<b>")].origin == "upper"


def test_changes_tell_what_happened_between_two_looks(stack):
    def look():
        return layers.look([stack / "mid", stack / "low"], stack / "up")

    before = look()
    (stack / "up/etc/motd").write_text("base")
    (stack / "up/tmp/new").unlink()
    (stack / "up/tmp/more").write_text("")
    (stack / "up/etc/hosts").write_text("changed again")

    found = {(change.path, change.what) for change in layers.changes(before, look())}

    assert {
        ("etc/motd", "copied up"),
        ("tmp/new", "deleted"),
        ("tmp/more", "created"),
        ("etc/hosts", "changed"),
    } <= found
    assert layers.changes(before, before) == []
