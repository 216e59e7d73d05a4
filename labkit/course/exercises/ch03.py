"""ch03: the checks of the chapter on roots and mounts.

Evidence is /proc/PID/root and mountinfo, and what nsenter(1) finds: it goes to
the root of the mount namespace, which chroot(2) does not change.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.course import Facts, Probe, exercise
from labkit.images import base, store
from labkit.kernel import mounts, namespaces
from labkit.kernel.mounts import MountFlag
from labkit.kernel.namespaces import Namespace
from labkit.paths import Paths


def _fresh_root(facts: Facts, name: str) -> Path:
    """A copy of lab/busybox, with a file that nobody could have foreseen."""
    paths = Paths.from_environment()
    layer = store.layer_directory(paths, base.get(paths, "lab/busybox").layers[0])
    root = facts.scratch(name)
    shutil.copytree(layer, root, symlinks=True, dirs_exist_ok=True)
    (root / facts.nonce).write_text(facts.nonce)
    return root


def _is(pid: int, place: "Path | str") -> bool:
    """Whether a directory is the root of a process."""
    return os.path.samestat(os.stat(f"/proc/{pid}/root"), os.stat(place))


def _root(pid: int) -> str:
    return str(Path(f"/proc/{pid}/root").readlink())


def _points(pid: "int | str") -> list[str]:
    return [mount.mount_point for mount in mounts.mounts(pid)]


@exercise(
    "03.escape",
    title="Break out of a chroot",
    hint="a second chroot moves the wall and not you: whoever stands outside of his root can climb with ..",
)
def escape(facts: Facts, answer: Any) -> None:
    """It was in the jail, and afterwards its root is the machine's."""
    jail = _fresh_root(facts, "jail")
    facts.is_function(answer)
    with facts.probe(_jailed(answer), str(jail), namespaces="") as held:
        facts.equal("it began in the jail", held.value, [jail.stat().st_dev, jail.stat().st_ino])
        root = _root(held.pid)
        facts.true("its root is the machine's root", _is(held.pid, "/"), f"{root or 'another'}", "/")
        facts.equal("the kernel calls it / too", root, "/")
        facts.equal("it has left no namespace for that", held.own_namespaces(), set())


def _jailed(answer: Callable[[], None]) -> Callable[[str], list[int]]:
    def jailed(directory: str) -> list[int]:
        os.chroot(directory)
        os.chdir("/")
        seen = os.stat("/")
        answer()
        return [seen.st_dev, seen.st_ino]

    return jailed


@exercise(
    "03.pivot",
    title="Enter a root for good",
    points=3,
    hint="a namespace first, then private mounts, then a new root that is a mount; the old one must go",
)
def pivot(facts: Facts, answer: Any) -> None:
    """nsenter arrives in the new root, only one mount is left, and the shared neighbour saw nothing."""
    root = _fresh_root(facts, "root")
    with facts.probe(_share_everything) as neighbour:
        before = _points(neighbour.pid)
        facts.equal("the neighbour's mounts are shared", _propagation(neighbour, "/"), "shared")
        with facts.probe(_beside(answer), neighbour.pid, str(root), namespaces="") as held:
            theirs = namespaces.identity(neighbour.pid, Namespace.MOUNT)
            facts.differs(
                "it has a mount namespace of its own", namespaces.identity(held.pid, Namespace.MOUNT), theirs
            )
            facts.true("its root is the directory", _is(held.pid, root), _root(held.pid))
            found = held.inside("mount", "/bin/cat", f"/{facts.nonce}")
            facts.equal("whoever enters its namespace arrives in the new root", found, facts.nonce)
            facts.equal("nothing but the root is mounted there", _points(held.pid), ["/"])
            here = os.path.realpath(f"/proc/{held.pid}/cwd")
            facts.true(
                "it stands inside", os.path.samestat(os.stat(f"/proc/{held.pid}/cwd"), root.stat()), here, "/"
            )
            facts.equal("the neighbour has the same mounts as before", _points(neighbour.pid), before)
    facts.true("and so has the notebook", str(root) not in _points("self"), f"{root} is mounted")


def _share_everything() -> None:
    mounts.propagate("/", MountFlag.SHARED)


def _beside(answer: Callable[[str], None]) -> Callable[[int, str], None]:
    def beside(neighbour: int, directory: str) -> None:
        namespaces.enter(neighbour, Namespace.MOUNT)
        answer(directory)

    return beside


def _propagation(held: Probe, place: str) -> str:
    found = [mount.propagation for mount in held.mounts() if mount.mount_point == place]
    return found[-1] if found else "not mounted"


@exercise(
    "03.oneway",
    title="Mounts that arrive and do not leave",
    points=2,
    hint="there is a kind of propagation that listens and does not speak: mount_namespaces(7)",
)
def oneway(facts: Facts, answer: Any) -> None:
    """A mount on either side, made by nsenter, and who sees it."""
    stage = facts.scratch("stage")
    for name in ("theirs", "ours"):
        (stage / name).mkdir()
    with (
        facts.probe(_share_one, str(stage)) as neighbour,
        facts.probe(_beside(answer), neighbour.pid, str(stage), namespaces="") as held,
    ):
        facts.equal("the neighbour's is a shared mount", _propagation(neighbour, str(stage)), "shared")
        theirs = namespaces.identity(neighbour.pid, Namespace.MOUNT)
        facts.differs(
            "it has a mount namespace of its own", namespaces.identity(held.pid, Namespace.MOUNT), theirs
        )
        for side, name in ((neighbour, "theirs"), (held, "ours")):
            said = side.inside("mount", "mount", "-t", "tmpfs", facts.nonce, str(stage / name))
            facts.contains(
                f"a mount can be made on {name[:-1]} side {said}".rstrip(),
                _points(side.pid),
                str(stage / name),
            )
        facts.contains("a mount of theirs arrives", _points(held.pid), str(stage / "theirs"))
        facts.true(
            "a mount of ours does not leave",
            str(stage / "ours") not in _points(neighbour.pid),
            "that it shows there",
        )


def _share_one(directory: str) -> None:
    mounts.bind(directory, directory)
    mounts.propagate(directory, MountFlag.SHARED)


@exercise(
    "03.seal",
    title="Close a root",
    points=2,
    hint="read-only takes a second call; and an empty file must exist before the root is closed",
)
def seal(facts: Facts, answer: Any) -> None:
    """A shell in its namespaces tries to write and to read."""
    root = _fresh_root(facts, "root")
    facts.is_function(answer)
    with facts.probe(_in_root(answer), str(root), namespaces="pid,mount") as held:
        facts.equal("before, all of it was open", held.value, [True, True, True])
        facts.true(
            "its root is still the one it was given",
            _is(held.pid, root),
            _root(held.pid),
        )
        shell = ("/bin/sh", "-c")
        for place in ("/", "/etc/"):
            said = held.inside("mount,pid", *shell, f"echo x > {place}{facts.nonce}-new")
            facts.contains(f"nobody can write to {place}", said, "Read-only file system")
        facts.contains("the mount of / says ro", held.mounts()[0].options.split(","), "ro")
        name = held.inside("mount,pid", "/bin/cat", "/proc/1/comm")
        facts.equal("/proc still knows process 1", name, Path(f"/proc/{held.pid}/comm").read_text().strip())
        said = held.inside("mount,pid", *shell, ": >> /proc/sys/vm/swappiness")
        facts.contains("nobody can open a switch in /proc/sys to write", said, "Read-only file system")
        length = held.inside("mount,pid", *shell, "cat /proc/interrupts | wc -c")
        facts.equal("/proc/interrupts has no bytes", length, "0")
        note = held.inside("mount,pid", *shell, f"echo {facts.nonce} > /tmp/note && cat /tmp/note")
        facts.equal("in /tmp one can write", note, facts.nonce)
    facts.true(
        "the machine's own /proc/interrupts has not changed", Path("/proc/interrupts").read_text() != ""
    )


def _in_root(answer: Callable[[], None]) -> Callable[[str], list[bool]]:
    def in_root(directory: str) -> list[bool]:
        mounts.bind(directory, directory)
        mounts.enter_root(directory)
        mounts.mount("proc", "/proc", "proc")
        with open("/proc/interrupts") as interrupts:
            before = [os.access(place, os.W_OK) for place in ("/", "/proc/sys/vm/swappiness")]
            before.append(interrupts.read() != "")
        answer()
        return before

    return in_root


@exercise(
    "03.world",
    title="A small world",
    points=3,
    hint="process 1 is born after unshare, and it is the one that must mount /proc, once it is in its root",
)
def world(facts: Facts, answer: Any) -> None:
    """Process 1, its root, its two mounts, and a /proc that knows only the inside."""
    root = _fresh_root(facts, "root")
    with facts.probe(answer, str(root), namespaces="") as held:
        pid = held.value
        facts.is_a(pid, int)
        facts.contains("the pid is that of a process it has started", held.descendants(), pid)
        comm = Path(f"/proc/{pid}/comm")
        held.until(lambda: not Path(f"/proc/{pid}").exists() or comm.read_text() == "sleep\n", 2.0)
        facts.equal("it has become sleep", comm.read_text().strip(), "sleep")
        facts.equal("inside, it is process 1", held.status("NSpid", pid)[1:], ["1"])
        facts.contains("it has a mount namespace of its own", held.own_namespaces(pid), Namespace.MOUNT)
        facts.true("its root is the directory", _is(pid, root), _root(pid))
        program = os.stat(f"/proc/{pid}/exe")
        facts.true("its program is the image's", os.path.samestat(program, (root / "bin/busybox").stat()))
        there = [(mount.mount_point, mount.kind) for mount in mounts.mounts(pid)]
        facts.equal("two things are mounted there", [point for point, _ in there], ["/", "/proc"])
        facts.equal("the second is a proc file system", there[1][1], "proc")
        found = held.inside("mount,pid", "/bin/cat", f"/{facts.nonce}", "/proc/1/comm", pid=pid)
        facts.equal(
            "whoever goes in finds the image, and sleep as process 1", found.split(), [facts.nonce + "sleep"]
        )
    facts.true(
        "nothing of it is mounted on the machine", str(root) not in _points("self"), f"{root} is mounted"
    )
