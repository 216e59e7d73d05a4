"""The ledger undoes each kind of kernel object backwards, says what was there, and can be asked twice."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.errors import Invalid
from labkit.kernel import cgroups, mounts, process
from labkit.ledger import KINDS, MARK, Entry, Ledger
from labkit.undo import UNDO

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def ledger(paths):
    return Ledger.of(paths, "test-owner")


def test_every_kind_can_be_undone():
    assert set(UNDO) == set(KINDS)


def test_a_mount_is_taken_off_and_so_is_a_second_one_on_top(ledger, tmp_path):
    ledger.enter("mount", tmp_path)
    mounts.mount("labkit-test", tmp_path, "tmpfs")
    mounts.mount("labkit-test", tmp_path, "tmpfs")

    assert ledger.undo() == [f"mount {tmp_path}"]
    assert not os.path.ismount(tmp_path)
    assert subprocess.run(["mountpoint", "-q", tmp_path]).returncode == 32 or not os.path.ismount(tmp_path)


def test_objects_are_undone_newest_first(ledger, tmp_path):
    outer, inner = tmp_path / "outer", tmp_path / "outer" / "inner"
    outer.mkdir()
    ledger.enter("mount", outer)
    mounts.mount("labkit-test", outer, "tmpfs")
    inner.mkdir()
    ledger.enter("mount", inner)
    mounts.mount("labkit-test", inner, "tmpfs")

    assert ledger.undo() == [f"mount {inner}", f"mount {outer}"]


def test_a_cgroup_goes_with_its_processes_and_those_below_it(ledger):
    path = f"{cgroups.HOME}/ledger"
    ledger.enter("cgroup", path)
    group = cgroups.create(f"{path}/deep/down")
    sleeper = subprocess.Popen(["sleep", "60"])
    group.add(sleeper.pid)

    assert ledger.undo() == [f"cgroup {path}"]
    assert sleeper.wait(timeout=5) == -9
    assert not any(directory.exists() for directory in group.all_directories)


def test_a_cgroup_of_others_is_not_touched_and_stays_written_down(ledger):
    ledger.enter("cgroup", "somebody/else")

    with pytest.raises(ExceptionGroup, match="test-owner is only partly undone") as failed:
        ledger.undo()
    assert "not below" in str(failed.value.exceptions[0])
    assert ledger.entries() == [Entry("cgroup", "somebody/else")]


def test_one_that_cannot_be_removed_hides_no_other(ledger, tmp_path):
    ledger.enter("mount", tmp_path)
    mounts.mount("labkit-test", tmp_path, "tmpfs")
    ledger.enter("cgroup", "somebody/else")

    with pytest.raises(ExceptionGroup):
        ledger.undo()
    assert not os.path.ismount(tmp_path)


@pytest.mark.requires("veth", "nft")
def test_links_network_namespaces_and_tables_are_removed(ledger):
    for kind, name, command in (
        ("link", "lkledger", "ip link add lkledger type veth peer name lkledgerb"),
        ("netns", "lkledger", "ip netns add lkledger"),
        ("nft", "inet lkledger", "nft add table inet lkledger"),
    ):
        ledger.enter(kind, name)
        subprocess.run(command.split(), check=True)

    assert ledger.undo() == ["nft inet lkledger", "netns lkledger", "link lkledger"]
    assert not Path("/sys/class/net/lkledger").exists() and not Path("/run/netns/lkledger").exists()
    assert "lkledger" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout


def test_a_tree_is_removed_but_not_through_a_mount_that_lies_in_it(ledger, tmp_path):
    tree, elsewhere = tmp_path / "tree", tmp_path / "elsewhere"
    for directory in (tree / "point", elsewhere):
        directory.mkdir(parents=True)
    (elsewhere / "precious").write_text("kept")
    ledger.enter("tree", tree)
    mounts.bind(elsewhere, tree / "point")

    with pytest.raises(ExceptionGroup):
        ledger.undo()
    mounts.unmount(tree / "point")
    assert (elsewhere / "precious").read_text() == "kept"
    assert ledger.undo() == [f"tree {tree}"]
    assert not tree.exists()


def test_a_link_in_a_tree_is_removed_and_what_it_points_to_is_not(ledger, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "pointer").symlink_to(target)
    ledger.enter("tree", tmp_path / "pointer")

    assert ledger.undo() == [f"tree {tmp_path / 'pointer'}"]
    assert target.is_dir()


def test_a_process_is_ended_and_another_one_of_its_number_is_not(ledger):
    ours, others = (subprocess.Popen(["sleep", "60"]) for _ in range(2))
    ledger.enter("process", str(ours.pid), start_ticks=process.started_at(ours.pid))
    ledger.enter("process", str(others.pid), start_ticks=1)  # this pid, but of long ago

    assert ledger.undo() == [f"process {ours.pid}"]
    assert ours.wait(timeout=5) == -9
    assert others.poll() is None
    others.kill()
    others.wait()


def test_marked_processes_are_ended_with_their_children(ledger):
    command = ["sh", "-c", "sleep 60 & sleep 61 & wait"]
    shell = subprocess.Popen(command, env={**os.environ, MARK: "test-mark"}, start_new_session=True)
    deadline = time.monotonic() + 5
    while len(Path(f"/proc/{shell.pid}/task/{shell.pid}/children").read_text().split()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    ledger.enter("marked", "test-mark")

    assert ledger.undo() == ["marked test-mark"]
    assert shell.wait(timeout=5) == -9


def test_what_is_not_there_is_not_told_of(ledger, tmp_path):
    for kind, name in (
        ("mount", tmp_path), ("cgroup", f"{cgroups.HOME}/never"), ("link", "lknever"), ("netns", "lknever"),
        ("nft", "inet lknever"), ("tree", tmp_path / "never"), ("marked", "never"), ("loop", "/dev/loop4000"),
    ):  # fmt: skip
        ledger.enter(kind, name)

    assert ledger.undo() == []
    assert ledger.undo() == []
    assert ledger.entries() == []


def test_a_line_that_a_kill_has_torn_loses_no_other(ledger):
    ledger.enter("link", "first")
    with ledger.file.open("a") as file:
        file.write('["link", "to')
    ledger.enter("link", "second")

    assert [entry.name for entry in ledger.entries()] == ["first", "second"]


def test_a_held_ledger_is_let_go_by_the_death_of_its_holder(ledger):
    ledger.enter("link", "lkheld")
    code = (
        f"import os, sys; sys.path.insert(0, {os.getcwd()!r}); from pathlib import Path\n"
        f"from labkit.ledger import Ledger\nfd = Ledger(Path({str(ledger.file)!r}), 'x').hold()\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == "held\n"
    assert ledger.is_held()
    holder.kill()
    holder.wait()
    assert not ledger.is_held()
    holder.stdin.close()
    holder.stdout.close()


@pytest.mark.parametrize("owner", ["", "a/b", ".hidden", ".."])
def test_an_owner_that_is_no_plain_name_is_refused(paths, owner):
    with pytest.raises(Invalid, match="plain file name"):
        Ledger.of(paths, owner)


def test_a_kind_that_nobody_can_undo_is_refused_before_it_is_made(ledger):
    with pytest.raises(Invalid, match="knows no 'moon', only process"):
        ledger.enter("moon", "x")
    assert not ledger.file.exists()


def test_nobody_else_can_write_into_a_ledger(ledger, paths):
    ledger.enter("link", "x")

    assert ledger.file.stat().st_mode & 0o777 == 0o600
    assert paths.ledger.stat().st_mode & 0o077 == 0
