"""A child of the course: apart from the notebook, heard in the cell, ended with it, never a second kernel."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from labkit.course import ChildFailed, child, orders
from labkit.course.children import Child
from labkit.errors import Invalid
from labkit.kernel import cgroups
from labkit.kernel.idmap import IdMap
from labkit.kernel.limits import Limits
from labkit.kernel.namespaces import Namespace, identities
from labkit.ledger import MARK
from labkit.undo import end_marked

pytestmark = pytest.mark.requires("root", "namespaces")
FACTOR = 3


@pytest.fixture(autouse=True)
def ours(monkeypatch):
    """Children of a mark of this test, none of which is left."""
    mark = f"test-{os.getpid()}"
    monkeypatch.setattr(orders, "mark", mark)
    yield mark
    end_marked(mark)


def times(number):
    return number * FACTOR


def test_what_a_child_prints_shows_in_the_cell_in_order(capfd):
    result = child("print('one'); subprocess.run(['echo', 'two']); print('three', file=sys.stderr)")

    assert capfd.readouterr().out == result.output == "one\ntwo\nthree\n"
    assert result.returncode == 0 and not result.failed


def test_output_comes_while_the_child_still_runs(monkeypatch):
    from labkit.course import children

    seen = []
    monkeypatch.setattr(children, "_print", lambda text: seen.append((text, time.monotonic())))
    child("print('early'); time.sleep(0.4); print('late')")

    assert "".join(text for text, _ in seen) == "early\nlate\n"
    assert seen[-1][1] - seen[0][1] > 0.3


def test_a_failure_is_shown_as_a_reader_would_see_it_and_not_raised(capfd):
    result = child("x = 1\nos.stat('/nowhere')")

    assert result.returncode == 1 and result.error_kind == "FileNotFoundError"
    shown = "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'\n  at: os.stat('/nowhere')"
    assert result.error == shown
    assert capfd.readouterr().out == shown + "\n"


def test_check_raises_and_quiet_shows_nothing(capfd):
    with pytest.raises(ChildFailed, match="ZeroDivisionError"):
        child("print('x'); 1 / 0", check=True, quiet=True)
    child("print('x'); 1 / 0", quiet=True)

    assert capfd.readouterr().out == ""


def test_a_function_brings_its_helpers_and_its_value_comes_back():
    assert child(times, 4, quiet=True).value == 12


def test_keywords_become_variables_of_the_lines():
    result = child("print(place.name, word)", place=Path("/a/b"), word="w", quiet=True)

    assert result.output == "b w\n"


def test_a_value_that_cannot_travel_is_an_error_with_the_remedy():
    def thing():
        return object()

    assert "return numbers, text, lists or dicts" in child(thing, quiet=True).error


@pytest.mark.parametrize(
    "kinds", ["uts", "pid,mnt", "net ipc", "user", "cgroup,time", "user,pid,mnt,uts,net"]
)
def test_a_child_is_apart_in_the_kinds_asked_for_and_in_no_other(kinds):
    ours = identities("self")
    with child.start("print('in'); input()", namespaces=kinds) as held:
        assert held.read_line() == "in"
        apart = {kind for kind, number in identities(held.pid).items() if number != ours[kind]}

    assert apart == {kind for kind in Namespace if kind in orders.kinds_of(kinds)}


def test_in_a_pid_namespace_the_child_is_process_1_and_pid_is_what_the_machine_calls_it():
    with child.start("print(os.getpid()); input()", namespaces="pid") as held:
        assert held.read_line() == "1"
        witness = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(held.pid)], capture_output=True, text=True
        )
        assert "inside.py" in witness.stdout
        assert Path(f"/proc/{held.pid}/status").read_text().split("NSpid:")[1].split()[:2] == [
            str(held.pid),
            "1",
        ]


def test_root_of_a_user_namespace_is_nobody_outside_unless_another_map_is_given():
    with child.start("print(os.getuid()); input()", namespaces="user") as held:
        assert held.read_line() == "0"
        assert os.stat(f"/proc/{held.pid}").st_uid == 100_000
    with child.start("input()", namespaces="user", ids=[IdMap(0, 0)]) as held:
        assert Path(f"/proc/{held.pid}/uid_map").read_text().split() == ["0", "0", "1"]


def test_the_notebook_stays_where_it_is():
    before = identities("self")
    child("socket.sethostname('box')", namespaces="uts,mnt,pid,net,ipc")

    assert identities("self") == before


def test_a_mount_made_in_a_child_with_its_own_mounts_is_not_seen_outside(tmp_path):
    result = child(
        "mounts.mount('tmpfs', place, 'tmpfs'); print(os.path.ismount(place))",
        place=tmp_path, namespaces="mnt", quiet=True,
    )  # fmt: skip

    assert result.output == "True\n"
    assert not os.path.ismount(tmp_path)


def test_a_root_of_its_own_with_a_fresh_proc(tmp_path):
    for name in ("bin", "proc", "lib"):
        (tmp_path / name).mkdir()
    subprocess.run(["cp", "/bin/busybox", str(tmp_path / "bin" / "sh")], check=True)

    result = child.sh("echo /*; exec /bin/sh -c 'echo $$'", namespaces="pid", root=tmp_path, quiet=True)

    assert result.output == "/bin /lib /proc\n1\n"


def test_a_shell_stops_at_its_first_failure_and_at_an_unknown_name(capfd):
    assert child.sh("echo a; false; echo b").returncode == 1
    assert child.sh("echo $nothing_of_that_name").returncode != 0
    assert "b\n" not in capfd.readouterr().out


def test_a_child_that_hangs_is_killed_and_said_to_have_been():
    began = time.monotonic()
    result = child("print('x'); time.sleep(60)", timeout_seconds=0.3, quiet=True)

    assert result.error == "not done after 0.3 s, so it was killed"
    assert result.output == "x\n" and time.monotonic() - began < 3


def test_a_child_that_prints_without_end_is_stopped():
    result = child("while True: print('y' * 10_000)", quiet=True)

    assert "printed more than 4 MiB" in result.error
    assert len(result.output) < 6 << 20


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("sys.exit(3)", "ended with exit code 3"),
        ("os._exit(4)", "ended with exit code 4"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "killed by SIGTERM"),
        ("os.execvp('false', ['false'])", "ended with exit code 1"),
        ("def f(:", "SyntaxError: invalid syntax\n  at: def f(:"),
        ("raise SystemExit", ""),
    ],
)
@pytest.mark.parametrize("namespaces", ["", "time"])
def test_every_end_is_told(code, error, namespaces):
    assert child(code, quiet=True, namespaces=namespaces).error == error


@pytest.mark.requires("cgroup.memory")
def test_the_oom_killer_is_named_and_takes_the_child_alone():
    path = f"{cgroups.HOME}/oom"
    group = cgroups.create(path, Limits(memory_bytes=32 << 20, memory_swap_bytes=32 << 20))
    try:
        result = child("block = bytearray(200 << 20)", cgroup=group, quiet=True)
    finally:
        cgroups.remove_everywhere(path)

    assert result.error == "killed by SIGKILL: the OOM killer took it, since its cgroup ran out of memory"


def test_a_child_is_in_its_cgroup_before_its_first_line():
    path = f"{cgroups.HOME}/born"
    group = cgroups.create(path, Limits(processes=5))
    try:
        result = child("print(open('/proc/self/cgroup').read())", cgroup=group, quiet=True)
    finally:
        cgroups.remove_everywhere(path)

    assert path in result.output


def test_a_line_said_is_a_line_read_and_a_block_ends_the_child():
    with child.start("print('name?'); print('hello', input()); input()") as held:
        assert held.read_line() == "name?"
        held.say("you")
        assert held.read_line() == "hello you"
        assert held.alive and os.pidfd_open(held.pid)
        pid = held.pid

    assert held.result is not None and held.result.returncode == -signal.SIGKILL
    assert not Path(f"/proc/{pid}").exists()


def test_a_child_that_ends_without_the_line_waited_for_says_why():
    with child.start("1 / 0") as held, pytest.raises(Exception, match="division by zero"):
        held.read_line()


def descriptors():
    """The open ones, less the one that looks."""
    return {file.name for file in Path("/proc/self/fd").iterdir() if file.exists()}


def test_no_descriptor_and_no_zombie_is_left():
    child("pass", quiet=True)
    before = descriptors()
    for _ in range(3):
        child("print(1)", namespaces="pid", quiet=True)
        with child.start("input()"):
            pass

    assert descriptors() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_a_fork_that_nobody_ends_tells_nothing_twice():
    def forks():
        os.fork()
        return "told"

    result = child(forks, quiet=True)

    assert result.value == "told" and result.error == ""


def test_what_runs_in_the_background_keeps_the_mark_and_does_not_hold_the_cell(ours):
    began = time.monotonic()
    result = child.sh("sleep 60 & echo $!", quiet=True)
    pid = int(result.output)

    assert time.monotonic() - began < 5
    assert f"{MARK}={ours}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert end_marked(ours) == [pid]


def test_a_child_dies_with_the_process_that_started_it(tmp_path):
    """The notebook is another process here, which is killed; PR_SET_PDEATHSIG is asked of the kernel."""
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "from labkit.course import child\n"
        "held = child.start('print(os.getpid()); input()', namespaces='pid,user')\n"
        "held.read_line(); print(held.pid, held.outer.pid, flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    import sys

    notebook = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert notebook.stdout is not None
    pids = [int(word) for word in notebook.stdout.readline().split()]
    notebook.kill()
    notebook.wait()
    notebook.stdout.close()

    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, "the child outlives the notebook"
        time.sleep(0.01)


def test_children_can_be_started_from_a_thread():
    results = []
    thread = threading.Thread(target=lambda: results.append(child("print('t')", quiet=True)))
    thread.start()
    thread.join()

    assert results[0].output == "t\n"


def test_the_notebooks_own_variables_stay_with_it(monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "secret")

    assert child("print('JPY_SESSION_NAME' in os.environ)", quiet=True).output == "False\n"


@pytest.mark.parametrize("namespaces", ["moon", "pid,moon"])
def test_an_unknown_kind_is_refused_with_those_there_are(namespaces):
    with pytest.raises(Invalid, match="'moon'; there are mount, uts, ipc, pid, network"):
        child("pass", namespaces=namespaces)


def test_a_root_that_is_not_there_is_refused_before_anything_is_started():
    with pytest.raises(FileNotFoundError):
        child.sh("true", root="/nowhere")


def test_a_map_that_the_kernel_refuses_is_raised_and_leaves_no_process(ours):
    with pytest.raises(OSError, match="Invalid argument"):
        child("pass", namespaces="user", ids=[IdMap(0, 0, 10), IdMap(5, 100, 10)])

    assert end_marked(ours) == []


def test_start_up_takes_no_longer_than_a_blink():
    def seconds() -> float:
        began = time.monotonic()
        child("pass", quiet=True)
        return time.monotonic() - began

    assert min(seconds() for _ in range(5)) < 0.25  # 40 ms on a quiet machine


def test_a_child_says_nothing_of_its_pid_when_it_is_shown():
    with child.start("input()") as held:
        assert isinstance(held, Child) and repr(held) == "<child, running>"
    assert repr(held) == "<child, ended>"
