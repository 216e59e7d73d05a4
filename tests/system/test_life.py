import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from labkit.engine.engine import Engine
from labkit.errors import Conflict, Invalid, NotFound
from labkit.kernel import process
from labkit.runtime.status import Status

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")
BUSYBOX = "lab/busybox"
POLITE = ["sh", "-c", "trap 'echo bye; exit 7' TERM; echo up; while true; do sleep 0.05; done"]


def until(condition, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


def test_a_container_goes_from_created_to_running_to_exited_and_back(engine):
    container = engine.create(BUSYBOX, POLITE, name="web")
    assert container.status is Status.CREATED
    container.start()
    assert container.status is Status.RUNNING
    until(lambda: "up" in container.logs())
    assert container.stop() == 7
    assert container.status is Status.EXITED
    container.start()
    assert container.status is Status.RUNNING


def test_stop_is_kill_after_the_grace_period_for_one_that_will_not_hear(engine):
    container = engine.create(BUSYBOX, ["sleep", "60"])  # a pid 1 without a handler ignores SIGTERM
    container.start()
    began = time.monotonic()

    assert container.stop(timeout_seconds=0.3) == 128 + signal.SIGKILL
    assert 0.3 <= time.monotonic() - began < 5


def test_a_second_process_sees_what_the_first_one_sees(engine):
    container = engine.create(BUSYBOX, ["sh", "-c", "echo mine > /file; exec sleep 60"], hostname="shared")
    container.start()
    until(lambda: container.exec(["test", "-s", "/file"]).exit_code == 0)
    result = container.exec(
        ["sh", "-c", "cat /file; hostname; tr '\\0' ' ' < /proc/1/cmdline; echo; id -u"], user="nobody"
    )

    assert result.stdout.split() == ["mine", "shared", "sleep", "60", "65534"]
    assert container.exec(["sh", "-c", "exit 9"]).exit_code == 9


def test_nsenter_finds_the_process_that_exec_started(engine):
    container = engine.create(BUSYBOX, ["sleep", "60"])
    container.start()
    seen = subprocess.run(
        ["nsenter", "--target", str(container.pid), "--all", "/bin/busybox", "hostname"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert seen.stdout.strip() == container.id[:12]
    pids = container.cgroup.processes()
    assert pids == [container.pid], "an exec that has ended leaves nobody in the group"


def test_a_process_started_by_exec_is_counted_with_the_container(engine):
    container = engine.create(BUSYBOX, ["sleep", "60"])
    container.start()
    ended: list[int] = []
    thread = threading.Thread(target=lambda: ended.append(container.exec(["sleep", "1"]).exit_code))
    thread.start()
    until(lambda: len(container.cgroup.processes()) == 2)
    thread.join(20)

    assert ended == [0]


def test_a_paused_container_stands_still(engine):
    container = engine.create(BUSYBOX, ["sh", "-c", "while true; do :; done"])
    container.start()
    container.pause()
    assert container.status is Status.PAUSED
    before = container.usage().cpu_seconds
    time.sleep(0.2)
    assert container.usage().cpu_seconds == pytest.approx(before, abs=0.02)
    with pytest.raises(Conflict, match="paused"):
        container.exec(["true"])
    container.unpause()
    until(lambda: container.usage().cpu_seconds > before + 0.05)


def test_a_signal_reaches_the_first_process(engine):
    container = engine.create(
        BUSYBOX, ["sh", "-c", "trap 'echo got; exit 4' USR1; echo up; while true; do sleep 0.05; done"]
    )
    container.start()
    until(lambda: "up" in container.logs())
    container.kill("usr1")

    assert container.wait(10) == 4
    assert container.logs() == "up\ngot\n"


def test_what_was_written_is_kept_until_the_removal_and_the_image_never_changes(engine):
    from labkit.images import store

    first = engine.create(BUSYBOX, ["sh", "-c", "echo data > /kept; rm /bin/ls"])
    layer = store.layer_directory(engine.paths, first.record.layers[0])
    before = store.digest(layer)
    first.start()
    assert first.wait(10) == 0
    second = engine.create(BUSYBOX, ["ls", "/kept"])
    second.start()

    assert (engine.paths.containers / first.id / "upper" / "kept").read_text() == "data\n"
    assert second.wait(10) == 1, "another container of the same image does not see it"
    assert store.digest(layer) == before
    first.remove()
    assert not (engine.paths.containers / first.id).exists()


def test_the_wrong_moment_is_a_conflict_and_changes_nothing(engine):
    container = engine.create(BUSYBOX, ["sleep", "60"], name="one")
    with pytest.raises(Conflict, match="not running"):
        container.kill()
    with pytest.raises(Conflict, match="never been started"):
        container.wait()
    container.start()
    for move in (container.start, container.unpause, container.remove):
        with pytest.raises(Conflict):
            move()
    with pytest.raises(Conflict, match="already in use"):
        engine.create(BUSYBOX, name="one")
    assert container.status is Status.RUNNING


def test_of_two_starts_at_once_one_wins_and_the_other_is_a_conflict(engine):
    container = engine.create(BUSYBOX, ["sleep", "60"])
    told: list[str] = []

    def start() -> None:
        try:
            container.start()
            told.append("started")
        except Conflict as refusal:
            told.append(str(refusal))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(told)[-1] == "started"
    assert told.count("started") == 1, told
    assert container.status is Status.RUNNING
    assert len(container.cgroup.processes()) == 1


def test_names_are_checked_and_found_and_ids_may_be_short(engine):
    container = engine.create(BUSYBOX, ["true"], name="web-1")

    assert engine.get("web-1").id == engine.get(container.id[:8]).id == container.id
    with pytest.raises(NotFound, match="No such container: web"):
        engine.get("web")
    with pytest.raises(Invalid, match="Invalid container name"):
        engine.create(BUSYBOX, name="../x")
    with pytest.raises(Invalid, match="Invalid signal"):
        container.start() or container.kill("LOUD")


def test_a_detached_container_outlives_its_engine_and_another_engine_finds_it(paths):
    first = Engine(paths)
    container = first.create(BUSYBOX, POLITE, name="survivor")
    container.start()
    pid = container.pid
    launcher = first.launcher.pid
    first.close()
    assert not Path(f"/proc/{launcher}").exists()

    second = Engine(paths)
    found = second.get("survivor")
    assert (found.status, found.pid) == (Status.RUNNING, pid)
    until(lambda: "up" in found.logs())
    assert found.stop() == 7
    found.remove()
    second.close()


def test_one_that_ends_by_itself_while_it_is_removed_by_force_is_removed(engine):
    for pause_seconds in (0.0, 0.005, 0.01, 0.02, 0.03):
        container = engine.create(BUSYBOX, ["sleep", "0.02"])
        container.start()
        time.sleep(pause_seconds)
        container.remove(force=True)

    assert engine.containers() == []


@pytest.mark.parametrize("victim", ["monitor", "init"])
def test_after_a_sigkill_of_either_the_next_engine_tells_and_cleans(engine, victim):
    container = engine.create(BUSYBOX, ["sleep", "60"])
    container.start()
    state = container.state
    pid, ticks = (
        (state.monitor_pid, state.monitor_start_ticks)
        if victim == "monitor"
        else (state.pid, state.start_ticks)
    )
    assert process.kill(pid, ticks)
    until(lambda: not process.is_alive(state.pid, state.start_ticks))
    until(lambda: not process.is_alive(state.monitor_pid, state.monitor_start_ticks))
    engine.sweep()

    assert container.status is Status.EXITED
    assert container.state.exit_code == 137
    assert not engine.paths.ledger.joinpath(f"container-{container.id}").exists()
    container.start()
    assert container.status is Status.RUNNING


def test_after_a_sigkill_of_the_engine_an_attached_container_is_gone(paths, tmp_path):
    import fresh

    engine = fresh.start(
        """
        sys.path.insert(0, sys.argv[3])
        from labkit.engine.engine import Engine
        from labkit.paths import Paths
        engine = Engine(Paths(Path(sys.argv[1]), Path(sys.argv[2])))
        print(engine.run("lab/busybox", ["true"]).exit_code, engine.launcher.pid, flush=True)
        engine.run("lab/busybox", ["sleep", "60"])
        """,
        paths.root,
        paths.run,
        "",
    )
    assert engine.stdout is not None
    exit_code, launcher = engine.stdout.readline().split()
    assert exit_code == "0"
    until(lambda: any("sleep\0" in _command(pid) for pid in _children(int(launcher))))
    running = [(pid, process.started_at(pid)) for pid in _children(int(launcher))]
    fresh.end(engine)
    for pid, ticks in running:
        until(lambda pid=pid, ticks=ticks: not process.is_alive(pid, ticks))
    until(lambda: not Path(f"/proc/{launcher}").exists())

    Engine(paths).close()
    assert (
        list(paths.ledger.iterdir())
        == list(paths.containers.iterdir())
        == list(paths.bundles.iterdir())
        == []
    )


def test_after_a_sigkill_of_the_launcher_the_next_run_has_a_new_one(engine):
    engine.run(BUSYBOX, ["true"])
    first = engine.launcher.pid
    start_ticks = process.started_at(first)
    os.kill(first, signal.SIGKILL)
    until(lambda: not process.is_alive(first, start_ticks))

    assert engine.run(BUSYBOX, ["echo", "again"]).stdout == "again\n"
    assert engine.launcher.pid != first


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_who_pipes_an_engine_does_not_wait_for_a_detached_containers_end(engine):
    environment = {**os.environ, "LABKIT_ROOT": str(engine.paths.root), "LABKIT_RUN": str(engine.paths.run)}
    code = """
        from labkit.engine.engine import Engine
        container = Engine().create("lab/busybox", ["sleep", "60"])
        container.start()
        print(container.id)
    """

    started = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, env=environment, timeout=60, cwd=Path(__file__).parents[2],
    )  # fmt: skip

    (container,) = engine.containers()
    assert (started.returncode, started.stdout) == (0, f"{container.id}\n")
    state = container.state
    assert state.status == "running"
    for pid in (state.pid, state.monitor_pid):
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")
    assert {os.stat(f"/proc/{state.monitor_pid}/fd/{number}").st_rdev for number in (1, 2)} == {
        os.makedev(1, 3)
    }


def test_a_container_that_is_being_made_or_removed_is_seen_by_nobody(engine):
    container = engine.create(BUSYBOX, ["true"], name="web")
    place = engine.paths.containers / container.id
    hidden = place.rename(place.with_name(f".draft-{container.id}"))

    assert engine.containers() == []
    with pytest.raises(NotFound):
        engine.get("web")
    hidden.rename(place)
    assert engine.get("web").id == container.id
