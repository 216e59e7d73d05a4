"""A chapter begins clean, owns what it makes, and ends with nothing left behind."""

import io
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import leftovers
import pytest

import labkit
from labkit import course
from labkit.course import chapter as chapters
from labkit.course import gradebook
from labkit.engine import default
from labkit.errors import Conflict, Invalid, NotFound, Unsupported
from labkit.images import archive, store
from labkit.kernel import cgroups, mounts
from labkit.kernel.limits import Limits
from labkit.ledger import MARK
from labkit.network import connections, networks

MINI = Path(__file__).parents[1] / "notebooks" / "data" / "mini"
pytestmark = pytest.mark.requires("root", "cgroups")


@pytest.fixture(autouse=True)
def lab(paths, monkeypatch):
    for name, value in (
        ("ROOT", paths.root),
        ("RUN", paths.run),
        ("PROGRESS", paths.root / "p"),
        ("COURSE", MINI),
    ):
        monkeypatch.setenv(f"LABKIT_{name}", str(value))
    monkeypatch.setenv(MARK, "restored afterwards")
    monkeypatch.setattr(chapters, "_session", None)
    yield paths
    course.reset("91")


def test_start_says_what_the_chapter_is_and_can_be_run_again(capsys):
    course.start("91")
    course.start("91")

    lines = "Chapter 91: A chapter that is killed in the middle\nneeds nothing special; about 2 minutes\n"
    assert capsys.readouterr().out == lines * 2
    assert gradebook.load()["chapters"]["91"]["finished"] is None


def test_an_unknown_chapter_and_a_need_that_is_missing_are_named(monkeypatch):
    from labkit.observe import machine

    with pytest.raises(NotFound, match="no chapter '77'"):
        course.start("77")
    with monkeypatch.context() as without:
        without.delenv("LABKIT_COURSE")
        without.setattr(machine, "has", lambda need: need != "overlay")
        without.setattr(machine, "why_not", lambda need: "no overlay: the module is not loaded")
        with pytest.raises(Unsupported, match=r"chapter 05 cannot run here: no overlay: .* not loaded"):
            course.start("05")


def test_without_a_chapter_nothing_can_be_owned():
    with pytest.raises(Invalid, match="no chapter has been started"):
        course.scratch("x")


def test_a_scratch_directory_is_fresh_each_time_and_takes_an_overlay():
    course.start("91")
    lower, upper, work, merged = (course.scratch(name) for name in ("lower", "upper", "work", "merged"))
    (lower / "file").write_text("below")
    mounts.mount("overlay", merged, "overlay", options=f"lowerdir={lower},upperdir={upper},workdir={work}")
    (merged / "file").write_text("changed")

    assert (upper / "file").read_text() == "changed"
    again = course.scratch("merged")
    assert list(again.iterdir()) == [] and not os.path.ismount(again)
    assert (lower / "file").read_text() == "below"


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b"])
def test_a_scratch_name_that_is_a_path_is_refused(name):
    course.start("91")

    with pytest.raises(Invalid, match="not a plain name"):
        course.scratch(name)


def test_a_cgroup_lies_below_the_chapters_own_and_is_fresh_each_time():
    course.start("91")
    first = course.cgroup("web", Limits(processes=7))
    second = course.cgroup("web", Limits(processes=8))

    assert first.path == second.path == f"{cgroups.HOME}/course-91/web"
    assert (second.directory("pids") / "pids.max").read_text() == "8\n"


def test_finish_takes_away_what_the_helpers_made_and_says_so(capsys, lab):
    course.start("91")
    place, group = course.scratch("x"), course.cgroup("web")
    course.finish()

    assert "Chapter 91: nothing left behind; 0 of 0 exercises passed" in capsys.readouterr().out
    assert not place.exists() and not any(directory.exists() for directory in group.all_directories)
    assert gradebook.load()["chapters"]["91"]["finished"]


def test_finish_raises_for_what_a_cell_made_and_did_not_take_away(capsys):
    course.start("91")
    place = course.scratch("x")
    course.owns("mount", place)
    mounts.mount("labkit-test", place, "tmpfs")
    held = course.child.start("input()")

    with pytest.raises(course.LeftOver) as left:
        course.finish()

    assert f"mount {place}" in str(left.value) and "inside.py" in str(left.value)
    assert str(left.value).startswith("chapter 91 left 2 things behind")
    assert left.value._render_traceback_() == [str(left.value)]
    assert "left behind" in capsys.readouterr().out
    assert not os.path.ismount(place) and not held.alive
    held.kill()
    course.finish()


def test_a_process_left_behind_is_named_by_its_script_however_long_the_path(tmp_path):
    script = tmp_path / ("deep/" * 20) / "forgotten.py"
    script.parent.mkdir(parents=True)
    script.write_text("input()")
    course.start("91")
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE) as held:
        with pytest.raises(course.LeftOver, match=r"process python.* … .*/forgotten\.py"):
            course.finish()
        held.kill()


def test_a_mount_in_a_scratch_directory_is_found_although_nobody_wrote_it_down():
    course.start("91")
    place = course.scratch("x")
    mounts.mount("labkit-test", place, "tmpfs")

    with pytest.raises(course.LeftOver, match=f"mount {place}"):
        course.finish()
    assert not os.path.ismount(place)


@pytest.mark.requires("veth", "nft")
def test_links_tables_and_network_namespaces_are_found_and_undone():
    course.start("91")
    commands = {
        ("link", "lkt91"): "ip link add lkt91 type veth peer name lkt91b",
        ("netns", "lkt91"): "ip netns add lkt91",
        ("nft", "inet lkt91"): "nft add table inet lkt91",
    }
    for (kind, name), command in commands.items():
        assert course.owns(kind, name) == name
        subprocess.run(command.split(), check=True)

    with pytest.raises(course.LeftOver) as left:
        course.finish()
    for kind, name in commands:
        assert f"{kind} {name}" in str(left.value)
    assert subprocess.run(["ip", "link", "show", "lkt91"], capture_output=True).returncode == 1
    assert subprocess.run(["nft", "list", "table", "inet", "lkt91"], capture_output=True).returncode == 1


@pytest.mark.requires("veth", "nft", "overlay", "busybox")
def test_networks_go_after_the_containers_on_them_and_leave_no_bridge(lab):
    before = leftovers.take()
    course.start("91")
    kept = connections.create(lab, "kept")
    blue = course.network("blue", "10.91.0.0/24")
    on_blue = labkit.run("lab/busybox", ["sleep", "100"], network="blue", detach=True)
    labkit.run("lab/busybox", ["true"], network="bridge")
    made = leftovers.take().beyond(before)
    assert f"links: {blue.bridge}" in made and f"links: {networks.find(lab, 'bridge').bridge}" in made

    with pytest.raises(course.LeftOver, match=f"container {on_blue.name}"):
        course.finish()

    default.engine().close()
    assert leftovers.left_since(before) == []
    assert {one.name for one in networks.all_networks(lab)} == {"kept", "bridge"}
    connections.remove(lab, kept)


@pytest.mark.requires("veth", "nft", "overlay", "busybox")
def test_a_network_of_the_chapter_is_fresh_each_time_and_a_strangers_is_left_alone(lab):
    course.start("91")
    first, second = (course.network("blue", "10.91.0.0/24", internal=yes) for yes in (False, True))
    assert first.id != second.id and second.internal
    assert [one.id for one in networks.all_networks(lab)] == [second.id]
    stranger = connections.create(lab, "green")
    with pytest.raises(Conflict, match="network with name green already exists"):
        course.network("green")
    assert "network blue" in course.reset("91")
    assert [one.id for one in networks.all_networks(lab)] == [stranger.id]
    connections.remove(lab, stranger)


def test_start_clears_what_an_earlier_run_left_and_says_it_without_pids(capsys):
    course.start("91")
    place = course.scratch("x")
    course.owns("mount", place)
    mounts.mount("labkit-test", place, "tmpfs")
    course.child.sh("sleep 60 & sleep 61 &", quiet=True)
    capsys.readouterr()
    course.start("91")

    said = capsys.readouterr().out
    assert "Cleared what an earlier run had left" in said
    assert f"mount {place}" in said and "2 processes" in said
    assert not os.path.ismount(place)


def test_a_process_that_a_cell_starts_by_itself_is_the_chapters_too():
    course.start("91")
    process = subprocess.Popen(["sleep", "60"])

    with pytest.raises(course.LeftOver, match="process sleep 60"):
        course.finish()
    assert process.wait(timeout=5) == -9


def test_another_lab_on_the_machine_is_not_touched(tmp_path, monkeypatch):
    course.start("91")
    held = course.child.start("input()")
    monkeypatch.setenv("LABKIT_ROOT", str(tmp_path / "root"))
    monkeypatch.setenv("LABKIT_RUN", str(tmp_path / "run"))
    course.reset("91")
    time.sleep(0.05)

    assert held.alive
    held.kill()


def test_reset_of_all_names_what_it_removed_and_a_second_one_nothing(capsys):
    course.start("91")
    place = course.scratch("x")
    mounts.mount("labkit-test", place, "tmpfs")

    removed = course.reset()

    assert f"mount {place}" in removed and any(line.startswith("tree ") for line in removed)
    assert course.reset() == []


def test_images_that_a_chapter_has_named_go_with_it_and_no_others(lab):
    course.start("91")
    for text, name in ((b"a", "mine"), (b"b", "course-91/own:v1")):
        archive.import_tar(lab, io.BytesIO(tar_of(text)), [name])
    mine, own = store.get(lab, "mine"), store.get(lab, "course-91/own:v1")
    store.tag(lab, mine, "course-91/borrowed")
    assert all(store.layer_directory(lab, image.layers[0]).is_dir() for image in (mine, own))

    course.finish()

    assert store.all_names(lab) == {mine.id: ["mine:latest"]}
    assert [image.id for image in store.all_images(lab)] == [mine.id]
    assert sorted(path.name for path in lab.layers.iterdir()) == list(mine.layers)


def test_images_of_a_chapter_that_was_killed_go_when_it_begins_again(capsys, lab):
    course.start("91")
    archive.import_tar(lab, io.BytesIO(tar_of(b"a")), ["course-91/own"])
    course.start("91")

    assert "image course-91/own:latest" in capsys.readouterr().out
    assert store.all_images(lab) == []


def tar_of(content: bytes) -> bytes:
    """A layer with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def test_a_ledger_entry_that_cannot_be_removed_hides_no_other(lab):
    course.start("91")
    place = course.scratch("x")
    course.owns("mount", place)
    mounts.mount("labkit-test", place, "tmpfs")
    chapters.current().ledger.enter("cgroup", "not-ours/group")

    with pytest.raises(ExceptionGroup, match="course-91 is only partly undone"):
        course.reset("91")
    assert not os.path.ismount(place)
    chapters.current().ledger.close()
