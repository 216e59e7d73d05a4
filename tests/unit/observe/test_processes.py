import os
import subprocess

import pytest

from labkit.observe import processes


def test_a_row_says_of_this_process_what_the_library_says():
    mine = processes.row(os.getpid())

    assert mine is not None
    assert (mine.pid, mine.parent_pid) == (os.getpid(), os.getppid())
    assert mine.user == processes.user_name(os.geteuid())
    assert mine.ns_pids[0] == os.getpid()
    assert not mine.is_kernel_thread


def test_ps_agrees_on_parent_name_and_command():
    command = ["sh", "-c", "echo ready; read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # an exec that is under way has no arguments yet
        row = processes.row(child.pid)
        ps = ["ps", "-ww", "-o", "ppid=,comm=,args=", "-p", str(child.pid)]
        said = subprocess.run(ps, capture_output=True, text=True, check=True).stdout

    assert row is not None
    assert said.split() == [str(row.parent_pid), row.name, *row.command.split()]


def test_a_process_that_ended_has_no_row():
    child = subprocess.Popen(["true"])
    child.wait()

    assert processes.row(child.pid) is None
    assert processes.rows([child.pid, os.getpid()])[0].pid == os.getpid()


def test_a_process_that_ends_between_two_files_has_no_row(tmp_path):
    half = tmp_path / "77"
    half.mkdir()
    (half / "stat").write_text("77 (gone) S 1 " + "0 " * 48)

    assert processes.row(77, proc=tmp_path) is None


@pytest.mark.parametrize("name", ["a b", "x) S 9 (y", ") R 1 2", "tab\there"])
def test_a_name_with_blanks_and_brackets_does_not_move_the_fields(tmp_path, name):
    home = tmp_path / "5"
    home.mkdir()
    (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000\n")
    (home / "stat").write_text(f"5 ({name}) S 4 5 5 0 -1 4194304 " + "0 " * 12 + "300 " + "0 " * 30)
    (home / "status").write_text("Name:\tx\nUid:\t0\t0\t0\t0\nNSpid:\t5\t1\n")
    (home / "cmdline").write_bytes(b"")
    (home / "cgroup").write_text("0::/labkit/web\n")

    row = processes.row(5, proc=tmp_path)

    assert row is not None
    assert (row.name, row.state, row.parent_pid, row.start_ticks) == (name, "S", 4, 300)
    assert (row.ns_pids, row.cgroup, row.command) == ((5, 1), "/labkit/web", f"[{name}]")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("0::/labkit/web\n", "/labkit/web"),
        ("4:memory:/labkit/web\n1:name=systemd:/\n0::/\n", "/labkit/web"),
        ("3:pids:/labkit/odd:name\n", "/labkit/odd:name"),
        ("0::/\n", "/"),
        ("", "/"),
    ],
)
def test_the_cgroup_is_that_of_version_2_or_where_it_says_nothing_of_version_1(text, path):
    assert processes.cgroup_path(text) == path
