"""A kernel that is killed with SIGKILL in the middle of a chapter: `labkit reset` leaves nothing."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import leftovers
import pytest
from chapter_cases import LABKIT, Case, Lab, cases, every_chapter
from jupyter_client.manager import KernelManager

from labkit.course import sources

MAKES_EVERYTHING = """
import subprocess
from labkit import course
from labkit.kernel import mounts
from labkit.kernel.limits import Limits
course.start("91")
lower, upper, work, merged = (course.scratch(name) for name in ("lower", "upper", "work", "merged"))
course.owns("mount", merged)
mounts.mount("overlay", merged, "overlay", options=f"lowerdir={lower},upperdir={upper},workdir={work}")
mounts.bind(lower, upper)
group = course.cgroup("group", Limits(processes=50))
held = course.child.start("print('in'); input()", namespaces="pid,mnt,uts", cgroup=group)
course.child.sh("sleep 300 & setsid sleep 301 & echo started")
subprocess.Popen(["sleep", "302"])
course.owns("link", "lk91a")
subprocess.run(["ip", "link", "add", "lk91a", "type", "veth", "peer", "name", "lk91b"], check=True)
course.owns("netns", "lk91")
subprocess.run(["ip", "netns", "add", "lk91"], check=True)
course.owns("nft", "inet lk91")
subprocess.run(["nft", "add", "table", "inet", "lk91"], check=True)
print(held.read_line())
"""


@contextmanager
def kernel(lab: Lab) -> Iterator[Any]:
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env=lab.environment, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield manager, client
    finally:
        client.stop_channels()
        if manager.has_kernel:
            manager.shutdown_kernel(now=True)


def run(client: Any, text: str, timeout_seconds: float) -> str:
    """Run one cell and give what it printed."""
    printed: list[str] = []

    def take(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream":
            printed.append(content["text"])
        assert message["msg_type"] != "error", "\n".join(content.get("traceback", []))

    client.execute_interactive(text, output_hook=take, timeout=timeout_seconds)
    return "".join(printed)


def reset(lab: Lab, number: str) -> str:
    done = subprocess.run(
        [LABKIT, "reset", number],
        capture_output=True, text=True, check=False, env=lab.environment, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.requires("root", "overlay", "cgroups", "veth", "nft")
def test_whatever_a_killed_chapter_had_made_is_removed_and_named(lab: Lab) -> None:
    before = leftovers.take()
    with kernel(lab) as (manager, client):
        assert run(client, MAKES_EVERYTHING, 60).endswith("in\n")
        made = leftovers.take().beyond(before)
        os.kill(manager.provisioner.process.pid, signal.SIGKILL)
        manager.provisioner.process.wait()

    for kind in ("mounts: ", "links: lk91a", "tables: table inet lk91", "cgroups: ", "processes: "):
        assert any(thing.startswith(kind) for thing in made), f"nothing of {kind!r} was made: {made}"
    said = reset(lab, "91")

    assert leftovers.left_since(before) == []
    for name in (
        "removed mount",
        "removed cgroup",
        "removed link lk91a",
        "removed netns lk91",
        "removed nft inet lk91",
    ):
        assert name in said
    assert not (lab.paths.root / "scratch" / "course-91").exists()
    assert reset(lab, "91") == "nothing was left behind\n"


@pytest.mark.requires("root")
def test_a_child_ends_with_the_notebook_and_what_it_started_with_the_reset(lab: Lab) -> None:
    with kernel(lab) as (manager, client):
        run(client, 'from labkit import course\ncourse.start("91")', 30)
        code = (
            "held = course.child.start(\"subprocess.Popen(['sleep', '303']); print(os.getpid()); input()\")"
        )
        child = int(run(client, f"{code}\nprint(held.read_line())", 30))
        os.kill(manager.provisioner.process.pid, signal.SIGKILL)
        manager.provisioner.process.wait()

    deadline = time.monotonic() + 5
    while is_running(child):
        assert time.monotonic() < deadline, "the child outlives the notebook"
        time.sleep(0.01)
    assert "removed process" in reset(lab, "91")


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.timeout(300)
@every_chapter()
def test_a_chapter_killed_in_the_middle_leaves_nothing_after_a_reset(case: Case, lab: Lab) -> None:
    code = [cell.text for cell in sources.read(case.course, case.chapter).cells if cell.kind == "code"]
    before = leftovers.take()
    deadline = time.monotonic() + 10
    with kernel(lab) as (manager, client):
        for text in code[: len(code) // 2]:
            run(client, text, 200)
            if time.monotonic() > deadline:
                break
        client.execute(code[len(code) // 2])
        time.sleep(0.1)
        os.kill(manager.provisioner.process.pid, signal.SIGKILL)
        manager.provisioner.process.wait()
    reset(lab, case.chapter.number)

    assert leftovers.left_since(before) == []


def test_the_small_chapter_is_among_the_cases() -> None:
    assert "90" in {case.chapter.number for case in cases()}
