"""ch06: the checks of the chapter on containers: what the kernel shows of one, and how it really ends."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.course import Facts, Probe, exercise
from labkit.course.probes import AnswerFailed
from labkit.images import base, store
from labkit.kernel.namespaces import Namespace
from labkit.paths import Paths

OWN = (Namespace.MOUNT, Namespace.UTS, Namespace.IPC, Namespace.PID, Namespace.NETWORK)


@exercise(
    "06.contain",
    title="Contain",
    points=3,
    hint="the order: namespaces, fork, private mounts, the root made a mount, /proc, pivot_root, name, exec",
)
def contain(facts: Facts, answer: object) -> None:
    """Process 1, by NSpid; nothing of the host's, by mountinfo and by a witness who goes in after it."""
    facts.is_function(answer)
    paths = Paths.from_environment()
    root = facts.scratch("root") / "image"
    layer = store.layer_directory(paths, base.get(paths, base.BUSYBOX).layers[0])
    subprocess.run(["cp", "-a", layer, root], check=True)
    (root / "proof").write_text(facts.nonce)
    host_mounts, argv = _mount_points("self"), ["/bin/sleep", "45"]
    with facts.probe(answer, str(root), facts.nonce, argv, returns=False) as held:  # type: ignore[arg-type]
        running = held.until(lambda: bool(_named(held, "sleep")) or not held.alive)
        if not held.alive and (ended := held.child.wait(1.0)).error:
            raise AnswerFailed(f"it ended with {ended.error}", kind=ended.error_kind)
        facts.true("the command runs", running and held.alive, "it does not")
        pid = _named(held, "sleep")[0]
        facts.equal("it is process 1 where it lives, by NSpid", held.status("NSpid", pid)[1:], ["1"])
        own = held.own_namespaces(pid)
        for kind in OWN:
            facts.contains(f"it has a namespace of its own for {kind.oci}", own, kind)
        facts.equal(
            "hostname(1) in there prints the name", held.inside("uts", "hostname", pid=pid), facts.nonce
        )
        seen = held.inside("mnt", "/bin/cat", "/proof", pid=pid)
        facts.equal("who enters its mount namespace is in the image's root", seen, facts.nonce)
        points = _mount_points(pid)
        facts.contains("/proc is mounted", points, "/proc")
        facts.true(
            "the host's mounts are gone", len(points) < 12, f"{len(points)} mounts: {' '.join(points)}"
        )
        listed = held.inside("mnt,pid", "/bin/ps", "-o", "pid,comm", pid=pid).splitlines()[1:]
        facts.true(
            "ps in there sees the command as 1", any(r.split() == ["1", "sleep"] for r in listed), listed
        )
        facts.true("and no process of the host", len(listed) <= 3, listed)
    facts.equal("the host's own mounts are as before", _mount_points("self"), host_mounts)


def _mount_points(pid: int | str) -> list[str]:
    return [line.split()[4] for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]


def _named(held: Probe, name: str) -> list[int]:
    """The probe itself and what it has started, those that are called so."""
    found = []
    for pid in [held.pid, *held.descendants()]:
        try:
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(pid)
        except OSError:
            continue  # it ended while we looked
    return found


def _polite(file: str, pause_seconds: float) -> None:
    """End a moment after SIGTERM, and leave a note that one could."""
    import signal
    import time
    from pathlib import Path

    def leave(*_: object) -> None:
        time.sleep(pause_seconds)
        Path(file).write_text("put away")
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)


def _stubborn(file: str) -> None:
    """Note a SIGTERM and go on."""
    import signal
    from pathlib import Path

    signal.signal(signal.SIGTERM, lambda *_: bool(Path(file).write_text("asked")))


@exercise(
    "06.stop",
    title="Stop",
    points=2,
    hint="a pidfd becomes readable when its process has ended: poll(2) waits for that, or for the time",
)
def stop(facts: Facts, answer: object) -> None:
    """One that ends by itself in time, and one that has to be made."""
    facts.is_function(answer)
    notes = facts.scratch("notes")
    with facts.probe(_polite, str(notes / "polite"), 0.6) as held:
        facts.true("before, the polite one is alive", held.alive)
        said, seconds = _timed(facts, answer, held.pid, 4.0)
        facts.true("the polite one is gone", _gone(held), "it is still there")
        facts.true("and could put its things away", (notes / "polite").exists(), "it was killed at once")
        facts.between("in seconds, it took no longer than was needed", round(seconds, 1), 0.5, 2.5)
        facts.equal("it ended by", said, "TERM")
    with facts.probe(_stubborn, str(notes / "stubborn")) as held:
        said, seconds = _timed(facts, answer, held.pid, 0.7)
        facts.true("the stubborn one was asked", (notes / "stubborn").exists(), "no SIGTERM came")
        facts.true("and is gone", _gone(held), "it is still there")
        facts.between("in seconds, it had its grace period and no more", round(seconds, 1), 0.7, 1.8)
        facts.equal("it ended by", said, "KILL")


def _timed(facts: Facts, answer: Any, pid: int, grace_seconds: float) -> tuple[Any, float]:
    value = facts.call(_with_clock(answer), pid, grace_seconds)
    return value["said"], value["seconds"]


def _with_clock(answer: Callable[..., Any]) -> Callable[..., Any]:
    def clocked(pid: int, grace_seconds: float) -> dict[str, Any]:
        import time

        began = time.monotonic()
        said = answer(pid, grace_seconds)
        return {"said": said, "seconds": time.monotonic() - began}

    return clocked


def _gone(held: Probe) -> bool:
    return held.until(lambda: not held.alive, 0.2)


@exercise(
    "06.init",
    title="Be a good process 1",
    points=3,
    hint="wait for any child, not only for yours; and process 1 gets no signal for which it has no handler",
)
def init(facts: Facts, answer: object) -> None:
    """The exit code, the orphans, the signal."""
    facts.is_function(answer)
    for script, code in (("exit 0", 0), ("exit 5", 5), ("kill -9 $$", 137)):
        found = facts.call(answer, ["sh", "-c", script], namespaces="pid,mnt")  # type: ignore[arg-type]
        facts.equal(f"the exit code of `{script}`", found, code)
    place = facts.scratch("init")
    orphans = "for n in 1 2 3 4 5; do (sh -c 'sleep 0.1' &) ; done; sleep 0.4;"
    orphans += f"touch {place}/ready; sleep 30"
    with facts.probe(answer, ["sh", "-c", orphans], namespaces="pid,mnt", returns=False) as held:  # type: ignore[arg-type]
        facts.true("the program runs", held.until((place / "ready").exists, 8.0), "it never came so far")
        facts.equal("it is process 1", held.status("NSpid")[-1], "1")
        facts.true("the program is a child of it", bool(held.descendants()), "it has no children")
        held.until(lambda: not _zombies(held), 1.0)
        facts.equal("of its orphans that have ended, none is left as a zombie", len(_zombies(held)), 0)
    script = f"trap 'touch {place}/told; exit 9' TERM; touch {place}/set; while :; do sleep 0.05; done"
    with facts.probe(answer, ["sh", "-c", script], namespaces="pid,mnt", returns=False) as held:  # type: ignore[arg-type]
        facts.true(
            "a program with a trap runs", held.until((place / "set").exists, 8.0), "it never came so far"
        )
        os.kill(held.pid, signal.SIGTERM)
        told = held.until(lambda: (place / "told").exists() and held.child.wait_value(2.0) is not None, 3.0)
        facts.true("SIGTERM to process 1 reaches the program", told, "it did not come")
        facts.equal("and its exit code comes back", held.child.value, 9)


def _zombies(held: Probe) -> list[int]:
    """Descendants that have ended and that nobody has waited for."""
    found = []
    for pid in held.descendants():
        try:
            if held.status("State", pid)[0] == "Z":
                found.append(pid)
        except OSError:
            continue  # reaped while we looked
    return found


SURVIVES = {
    "a file in /var": "test -e /var/mark",
    "a file in /dev/shm": "test -e /dev/shm/mark",
    "the image's /etc/passwd, deleted": "test ! -e /etc/passwd",
    "a background process": "ps | grep -q '[s]leep 7331'",
    "the hostname that create was given": "test $(hostname) = kept",
    "the image's /bin/busybox": "test -x /bin/busybox",
}


@exercise(
    "06.survives",
    title="What survives?",
    points=2,
    hint="ask of each: is it memory, the container's upper directory, its record, or the image?",
)
def survives(facts: Facts, answer: object) -> None:
    """What is said, against what really happens."""
    facts.is_a(answer, dict)
    assert isinstance(answer, dict)
    facts.equal("it speaks of the six", sorted(map(str, answer)), sorted(SURVIVES))
    after, anew = _experiment()
    for name, stop_and_start, new in zip(SURVIVES, after, anew, strict=True):
        facts.equal(
            f"{name}: after a stop and a start, and in a new container",
            tuple(answer[name]),
            (stop_and_start, new),
        )


def _experiment() -> tuple[list[bool], list[bool]]:
    import labkit

    def look() -> list[bool]:
        return [container.exec(["sh", "-c", test]).exit_code == 0 for test in SURVIVES.values()]

    container = labkit.create("lab/busybox", ["sleep", "600"], hostname="kept")
    try:
        container.start()
        container.exec(["sh", "-c", "touch /var/mark /dev/shm/mark; rm /etc/passwd; sleep 7331 &"])
        if not all(look()):
            raise RuntimeError("the experiment could not be prepared")
        container.stop(timeout_seconds=0.05)
        container.start()
        after = look()
    finally:
        container.remove(force=True)
    container = labkit.create("lab/busybox", ["sleep", "600"])
    try:
        container.start()
        return after, look()
    finally:
        container.remove(force=True)
