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


def test_the_rows_that_do_not_fit_are_counted_by_their_directory(stack):
    for number in range(20):
        (stack / f"low/bin/tool-{number:02}").write_text("")
    whole = layers.look([stack / "mid", stack / "low"], stack / "up").rows

    short = layers.shorten(whole, 8)

    assert len(short.rows) == 8
    assert len(short.rows) + sum(short.left_out.values()) == len(whole)
    assert short.left_out["bin"] == 18  # of 21, after the telling ones and /bin itself
    assert list(short.rows) == [row for row in whole if row in short.rows]


def test_what_was_changed_is_kept_with_the_directories_on_the_way_to_it(stack):
    short = layers.shorten(layers.look([stack / "mid", stack / "low"], stack / "up").rows, 4)

    assert [row.path for row in short.rows] == ["etc", "etc/hosts", "tmp", "tmp/new"]


def test_all_rows_are_kept_where_they_fit(stack):
    whole = layers.look([stack / "mid", stack / "low"], stack / "up").rows

    assert layers.shorten(whole, len(whole)) == layers.Shortened(whole, {})


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
