import os
import signal
import subprocess

import fresh
import pytest

from labkit.kernel import process

pytestmark = pytest.mark.requires("root")


def test_a_clone_gives_the_child_new_namespaces_and_the_parent_a_pidfd():
    told = fresh.run("""
        pid, pidfd = process.clone(int(Namespace.UTS | Namespace.PID))
        if pid == 0:
            os._exit(3 if os.getpid() == 1 else 4)
        print(process.wait(pidfd), os.readlink(f"/proc/self/fd/{pidfd}"))
    """)

    assert told.startswith(("3 anon_inode:[pidfd]", "3 pidfd:"))


def test_an_exit_code_is_the_childs_own_or_128_and_the_signal():
    told = fresh.run("""
        codes = []
        for end in (lambda: os._exit(7), lambda: os.kill(os.getpid(), signal.SIGTERM)):
            pid, pidfd = process.clone()
            if pid == 0:
                end()
            codes.append(process.wait(pidfd))
        print(*codes)
    """)

    assert told == f"7 {128 + signal.SIGTERM}"


def test_a_process_is_known_by_its_pid_and_its_start_and_no_other_is_killed():
    child = subprocess.Popen(["sleep", "60"])
    start_ticks = process.started_at(child.pid)

    assert process.is_alive(child.pid, start_ticks)
    assert not process.is_alive(child.pid, start_ticks - 1)
    assert not process.kill(child.pid, start_ticks - 1), "a reused pid is somebody else"
    assert child.poll() is None
    assert process.kill(child.pid, start_ticks)
    assert child.wait(10) == -signal.SIGKILL
    assert not process.is_alive(child.pid, start_ticks)
    with pytest.raises(ProcessLookupError):
        process.started_at(child.pid)


def test_a_zombie_is_not_alive():
    child = subprocess.Popen(["true"])
    start_ticks = process.started_at(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not process.is_alive(child.pid, start_ticks)
    child.wait()


def test_a_child_dies_with_its_parent():
    parent = fresh.start("""
        pid, pidfd = process.clone()
        if pid == 0:
            process.die_with_parent()
            os.write(1, f"{os.getpid()}\\n".encode())
            signal.pause()
        signal.pause()
    """)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    start_ticks = process.started_at(child)
    fresh.end(parent)

    pidfd_gone(child, start_ticks)


def pidfd_gone(pid: int, start_ticks: int) -> None:
    import time

    deadline = time.monotonic() + 10
    while process.is_alive(pid, start_ticks):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.005)


def test_all_descriptors_but_the_named_ones_are_closed():
    told = fresh.run("""
        kept = os.open("/dev/null", os.O_RDONLY)
        lost = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
        keep = lost.pop(2)
        process.close_all_but({kept, keep})
        alive = []
        for descriptor in (kept, keep, *lost):
            try:
                os.fstat(descriptor)
                alive.append(descriptor)
            except OSError:
                pass
        print(alive == [kept, keep])
    """)

    assert told == "True"


def test_a_process_shows_the_name_it_gave_itself():
    assert (
        fresh.run('process.set_name("labkit:test"); print(open("/proc/self/comm").read())') == "labkit:test"
    )


def test_an_orphan_is_adopted_by_the_one_who_asked_for_it():
    told = fresh.run("""
        process.adopt_orphans()
        ready, go = os.pipe(), os.pipe()
        parent, pidfd = process.clone()
        if parent == 0:
            if os.fork() == 0:
                os.read(go[0], 1)
                os.write(ready[1], str(os.getppid()).encode())
            os._exit(0)
        process.wait(pidfd)
        os.write(go[1], b"1")
        print(int(os.read(ready[0], 20)) == os.getpid())
    """)

    assert told == "True"
