"""chapter: begin one, own what it makes, end one with nothing left behind.

Every chapter. The ledger of `course-NN` holds each kernel object before it is
made, so that a chapter killed in the middle begins again on a clean machine.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.course import gradebook, orders, pages
from labkit.course.chapters import Chapter, Course
from labkit.errors import Invalid, LabkitError, Unsupported
from labkit.kernel import cgroups, mounts
from labkit.kernel.cgroups import Cgroup
from labkit.kernel.limits import Limits
from labkit.ledger import MARK, Entry, Ledger
from labkit.network import links
from labkit.paths import Paths
from labkit.undo import end_marked, loop_devices, marked

if TYPE_CHECKING:
    from labkit.network.networks import Network

HELPERS_OWN = ("tree", "cgroup")
"""What `scratch` and `cgroup` make, and `finish` takes away itself: not a leak of the reader's."""


class LeftOver(LabkitError):
    """A chapter ended and something of its making was still there."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass(frozen=True, slots=True)
class Session:
    """The chapter that this notebook is in."""

    chapter: Chapter
    paths: Paths

    @property
    def ledger(self) -> Ledger:
        """What the chapter owns."""
        return Ledger.of(self.paths, self.chapter.owner)

    @property
    def scratch(self) -> Path:
        """Its directory, on the file system of LABKIT_RUN's neighbour: fit to be an overlay's layer."""
        return self.paths.root / "scratch" / self.chapter.owner


_session: Session | None = None


def current() -> Session:
    """The chapter that has been started here."""
    if _session is None:
        raise Invalid("no chapter has been started", hint='run the cell with course.start("NN") first')
    return _session


def start(number: str) -> None:
    """Begin a chapter: check what it needs, clear its own leftovers, load its checks. Run it at any time."""
    global _session
    from labkit.course import magics

    course = Course.from_environment()
    chapter = course.chapter(number)
    _require(chapter)
    paths = Paths.from_environment()
    paths.prepare()
    _session = Session(chapter, paths)
    orders.mark = os.environ[MARK] = mark_of(paths, chapter.owner)  # for a cell's own subprocesses too
    cleared = _undo(paths, chapter.owner) + _take_down_networks(paths)
    course.load_exercises(chapter.number)
    gradebook.chapter_started(chapter.number)
    magics.register()
    needs = ", ".join(chapter.needs) or "nothing special"
    pages.card(f"Chapter {chapter.number}: {chapter.title}\nneeds {needs}; about {chapter.minutes} minutes")
    if cleared:
        pages.card(
            "Cleared what an earlier run had left\n" + "\n".join(_without_pids(cleared)), colour=pages.GREY
        )


def _require(chapter: Chapter) -> None:
    if not chapter.needs:
        return
    from labkit.observe import machine

    missing = [need for need in chapter.needs if not machine.has(need)]
    if missing:
        reasons = "; ".join(machine.why_not(need) for need in missing)
        raise Unsupported(f"chapter {chapter.number} cannot run here: {reasons}", hint="see labkit doctor")


def _without_pids(removed: list[str]) -> list[str]:
    processes = sum(line.startswith("process ") for line in removed)
    lines = [line for line in removed if not line.startswith("process ")]
    return lines + ([f"{processes} process{'es' if processes > 1 else ''}"] if processes else [])


def _undo(paths: Paths, owner: str) -> list[str]:
    """Undo the ledgers of a chapter and of its checks."""
    return undo(paths, f"{owner}-check") + undo(paths, owner)


def undo(paths: Paths, owner: str) -> list[str]:
    """Undo one ledger; its processes end first, and what is mounted in its directories comes off."""
    ledger = Ledger.of(paths, owner)
    mark = mark_of(paths, owner)
    removed = [f"process {pid}" for pid in end_marked(mark)] + _remove_containers(paths, mark)
    removed += _remove_networks(paths, mark)
    for entry in ledger.entries():
        if entry.kind == "tree":
            removed += _unmount_below(Path(entry.name))
    return removed + _remove_images(paths, owner) + ledger.undo()


def mark_of(paths: Paths, owner: str) -> str:
    """What an owner's processes carry in their environment; two labs on one machine do not meet."""
    return f"{owner}@{paths.run}"


def _containers(paths: Paths, mark: str) -> dict[str, str]:
    """The containers that were made in a chapter and kept: the id and the name of each."""
    if not paths.containers.is_dir() or not any(paths.containers.iterdir()):
        return {}
    from labkit.engine import containers, starting

    records = containers.all_records(paths)
    return {r.id: r.name for r in records if r.labels.get(starting.OWNER_LABEL) == mark}


def _remove_containers(paths: Paths, mark: str) -> list[str]:
    made = _containers(paths, mark)
    if made:
        from labkit.engine.engine import Engine

        engine = Engine(paths)
        for container_id in made:
            engine.get(container_id).remove(force=True, volumes=True)
        engine.close()
    return [f"container {name}" for name in made.values()]


def _remove_networks(paths: Paths, mark: str) -> list[str]:
    """The networks that `network` has made; nobody is on them any more."""
    if not paths.networks.is_dir() or not any(paths.networks.iterdir()):
        return []
    from labkit.network import connections, networks

    made = [one for one in networks.all_networks(paths) if one.labels.get(networks.OWNER_LABEL) == mark]
    if made:
        _sweep(paths)  # a container that was killed while it ran in the foreground is still on its network
    for one in made:
        connections.remove(paths, one)
    return [f"network {one.name}" for one in made]


def _remove_images(paths: Paths, owner: str) -> list[str]:
    """The images that are called course-NN/…, and of what they were made of that which nothing else needs."""
    if not paths.names.is_dir():
        return []
    from labkit.images import collect, store

    names = [name for names in store.all_names(paths).values() for name in names]
    made = [name for name in names if name.startswith(f"{owner}/")]
    for name in made:
        image = store.get(paths, name)
        store.untag(paths, name)
        if image.id not in store.all_names(paths):
            store.forget(paths, image)
    if made:
        collect.collect(paths)
    return [f"image {name}" for name in made]


def _unmount_below(directory: Path) -> list[str]:
    """Take off what is mounted in a scratch directory, the last first, so that a removal goes no further."""
    inside = [m.mount_point for m in mounts.mounts() if Path(m.mount_point).is_relative_to(directory)]
    for point in reversed(inside):
        mounts.unmount(point, mounts.DETACH)
    return [f"mount {point}" for point in reversed(inside)]


def owns(kind: str, name: "str | os.PathLike[str]") -> str:
    """Write an object down before a cell makes it, by a kind that the ledger knows; gives the name."""
    current().ledger.enter(kind, name)
    return os.fspath(name)


def scratch(name: str) -> Path:
    """A fresh directory of the chapter, emptied if it was there; it goes when the chapter ends."""
    session = current()
    if not name or name.startswith(".") or "/" in name:
        raise Invalid(f"{name!r} is not a plain name for a directory")
    session.scratch.mkdir(parents=True, exist_ok=True)
    session.scratch.parent.chmod(0o711)  # a remapped root must be able to pass through
    directory = session.scratch / name
    session.ledger.enter("tree", session.scratch)
    if directory.exists():
        _unmount_below(directory)
        shutil.rmtree(directory)
    directory.mkdir()
    return directory


def cgroup(name: str, limits: Limits | None = None) -> Cgroup:
    """A fresh cgroup of the chapter with these limits; one of that name from before goes first."""
    session = current()
    path = f"{cgroups.HOME}/{session.chapter.owner}/{name}"
    session.ledger.enter("cgroup", f"{cgroups.HOME}/{session.chapter.owner}")
    cgroups.remove_everywhere(path)
    return cgroups.create(path, limits)


def network(name: str, subnet: str = "", **options: Any) -> "Network":
    """A fresh network of the chapter, with the options of `connections.create`; it goes with the chapter.

    One of that name that the chapter has made before goes first.
    """
    from labkit.network import addresses, connections, networks

    session = current()
    mark = mark_of(session.paths, session.chapter.owner)
    for one in networks.all_networks(session.paths):
        if one.name == name and one.labels.get(networks.OWNER_LABEL) == mark:
            connections.remove(session.paths, one)
    if subnet:
        options["subnets"] = [addresses.check(subnet)]
    labels = {**options.pop("labels", {}), networks.OWNER_LABEL: mark}
    return connections.create(session.paths, name, labels=labels, **options)


def left_over() -> list[str]:
    """What the chapter made and has not taken away, as the kernel sees it."""
    session = current()
    mark = mark_of(session.paths, session.chapter.owner)
    found = [f"process {_name_of(pid)}" for pid in marked(mark) if _counts(pid)]
    found += [f"container {name}" for name in _containers(session.paths, mark).values()]
    found += [
        f"mount {m.mount_point}"
        for m in mounts.mounts()
        if Path(m.mount_point).is_relative_to(session.scratch)
    ]
    for entry in session.ledger.entries():
        if entry.kind not in HELPERS_OWN and str(entry) not in found and is_there(entry):
            found.append(str(entry))
    return found


def _counts(pid: int) -> bool:
    """A zombie is not running any more: its parent has only not asked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _name_of(pid: int) -> str:
    try:
        program, *words = map(os.fsdecode, Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    except OSError:
        return "?"
    line = " ".join([Path(program).name, *filter(None, words)]) or "?"
    return line if len(line) <= 80 else f"{line[:24]} … {line[-53:]}"  # a path's end says more than its start


def is_there(entry: Entry) -> bool:
    """Whether an object of the ledger exists now, asked of the kernel."""
    match entry.kind:
        case "mount":
            return any(m.mount_point == entry.name for m in mounts.mounts())
        case "link":
            return bool(links.index(entry.name))
        case "netns":
            return Path("/run/netns", entry.name).exists()
        case "cgroup":
            return any((h.mount_point / entry.name).is_dir() for h in cgroups.hierarchies())
        case "tree":
            return os.path.lexists(entry.name)
        case "process":
            return Path("/proc", entry.name).exists()
        case "loop":
            return bool(loop_devices(entry.name))
        case _:
            return _succeeds("nft", "list", "table", *entry.name.split())


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def finish() -> None:
    """End the chapter: report what it left in the kernel (must be nothing), take all away, sum up."""
    session = current()
    number = session.chapter.number
    found = left_over()
    _undo(session.paths, session.chapter.owner)
    _take_down_networks(session.paths)
    from labkit.course import checks

    wanted = checks.of_chapter(number)
    passed = gradebook.passed(number)
    lines = [f"  {'✓' if e.id in passed else '·'} {e.id}  {e.title}" for e in wanted]
    score = f"{len(passed & {e.id for e in wanted})} of {len(wanted)} exercises passed"
    if found:
        pages.card(f"Chapter {number}: left behind\n" + "\n".join(f"  {f}" for f in found), colour=pages.RED)
        raise LeftOver(
            f"chapter {number} left {len(found)} thing{'s' * (len(found) > 1)} behind: {'; '.join(found)}",
            hint="they are gone now; take each away in the cell that made it",
        )
    gradebook.chapter_finished(number)
    pages.card(f"Chapter {number}: nothing left behind; {score}\n" + "\n".join(lines), colour=pages.GREEN)


def reset(number: str | None = None) -> list[str]:
    """Undo whatever a chapter (or every one) left, wherever it was killed; what was removed."""
    paths = Paths.from_environment()
    if number is None:
        owners = {ledger.owner.removesuffix("-check") for ledger in Ledger.all(paths)}
        owners = {o for o in owners if o == "course" or o.startswith("course-")} | {"course"}
        owners |= {chapter.owner for chapter in Course.from_environment().chapters()}
    else:
        owners = {Course.from_environment().chapter(number).owner}
    removed = [line for owner in sorted(owners) for line in _undo(paths, owner)] + _sweep(paths)
    removed += _take_down_networks(paths)
    if number is None:
        cgroups.remove_home()  # empty by now, unless containers run that no chapter made
    return removed


def _take_down_networks(paths: Paths) -> list[str]:
    """Bridges and rules stay between containers, in case there is a next one; with a chapter they go."""
    if not any(ledger.owner.startswith(("network-", "firewall")) for ledger in Ledger.all(paths)):
        return []
    from labkit.network import connections

    return connections.take_down_unused(paths)


def _sweep(paths: Paths) -> list[str]:
    """Undo containers whose engine and monitor were killed: an engine does so whenever it begins."""
    stale = [led for led in Ledger.all(paths) if led.owner.startswith("container-") and not led.is_held()]
    if stale:
        from labkit.engine.engine import Engine

        Engine(paths).close()
    return [f"what was left of {ledger.owner}" for ledger in stale if not ledger.file.exists()]
