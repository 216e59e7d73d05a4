"""ch10: the checks of the chapter on data: what the kernel shows through a mount, and what is on the disk."""

import os
import signal
import stat
import subprocess
import time
from pathlib import Path

from labkit.course import Facts, Probe, exercise
from labkit.kernel import mounts


def _refusal(held: Probe, directory: str) -> str:
    """What touch(1) says to a new file, asked in the answer's mount namespace."""
    said = held.inside("mnt", "touch", f"{directory}/written")
    return said.rpartition(":")[2].strip() if said.startswith("error") else "written"


def _mounts_at(held: Probe, place: str) -> list[mounts.Mount]:
    return [mount for mount in held.mounts() if mount.mount_point == place]


@exercise(
    "10.show_only",
    title="Look, do not touch",
    points=3,
    hint="which call reaches a whole tree of mounts, and is the tree still detached when you make it?",
)
def show_only(facts: Facts, answer: object) -> None:
    """The kernel shows every mount of the tree as read-only, and the source as before."""
    facts.is_function(answer)
    source, target = facts.scratch("source"), facts.scratch("target")
    (source / "file").write_text(facts.nonce)
    for name in ("below", "below/deeper"):
        (source / name).mkdir()
        facts.owns("mount", str(source / name))
        mounts.mount("tmpfs", source / name, "tmpfs", options="size=64k")
    (source / "below/deeper/file").write_text(facts.nonce)
    with facts.probe(answer, str(source), str(target)) as held:  # type: ignore[arg-type]
        shown = held.inside("mnt", "cat", f"{target}/file")
        facts.equal("cat(1) in there reads the file through the target", shown, facts.nonce)
        numbers = [held.inside("mnt", "stat", "-c", "%d:%i", f"{top}/file") for top in (source, target)]
        facts.equal("it is the same inode, not a copy", numbers[1], numbers[0])
        deep = held.inside("mnt", "cat", f"{target}/below/deeper/file")
        facts.equal("what is mounted below is shown too", deep, facts.nonce)
        for place in (str(target), f"{target}/below", f"{target}/below/deeper"):
            name = place.replace(str(target), "target")
            facts.equal(f"a write to {name} is refused", _refusal(held, place), "Read-only file system")
            options = [mount.options.split(",")[0] for mount in _mounts_at(held, place)]
            facts.equal(f"mountinfo has {name} as read-only, once", options, ["ro"])
        for place in (str(source), f"{source}/below"):
            name = place.replace(str(source), "source")
            facts.equal(f"{name} itself can be written to there", _refusal(held, place), "written")
    facts.true("the host has nothing mounted at the target", not os.path.ismount(target), "a mount")
    for name in ("below/deeper", "below"):
        mounts.unmount(source / name)


@exercise(
    "10.scratch_pad",
    title="A scratch pad with a bottom",
    points=2,
    hint="size, mode and uid are options of the file system; nosuid, nodev and noexec are flags of the mount",
)
def scratch_pad(facts: Facts, answer: object) -> None:
    """statfs and mountinfo say so, a write over the size fails, and a program in it does not start."""
    facts.is_function(answer)
    target, uid, size = facts.scratch("pad"), 4321, 3 << 20
    with facts.probe(answer, str(target), size, uid) as held:  # type: ignore[arg-type]
        found = _mounts_at(held, str(target))
        facts.equal("mountinfo has a tmpfs at the target, once", [mount.kind for mount in found], ["tmpfs"])
        words = held.inside("mnt", "stat", "--file-system", "-c", "%b %S", str(target)).split()
        facts.equal("it has as many bytes as were asked for", int(words[0]) * int(words[1]), size)
        shown = held.inside("mnt", "stat", "-c", "%u %a", str(target))
        facts.equal("its owner and mode, by stat(1)", shown, f"{uid} 700")
        for flag in ("nosuid", "nodev", "noexec"):
            facts.contains(f"the mount is {flag}", found[0].options.split(","), flag)
        held.inside("mnt", "dd", "if=/dev/zero", f"of={target}/all", "bs=64k", "count=200")
        taken = held.inside("mnt", "stat", "-c", "%s", f"{target}/all")
        facts.equal("200 writes of 64 KiB end at its size", taken, str(size))
    facts.true("the host has nothing mounted at the target", not os.path.ismount(target), "a mount")


def _image(place: Path, nonce: str) -> None:
    """What an image may have in one directory."""
    (place / "html/deep").mkdir(parents=True)
    (place / "html/index").write_text(nonce)
    os.chown(place / "html/index", 33, 44)
    (place / "html/index").chmod(0o640)
    os.utime(place / "html/index", (10**9, 10**9))
    os.link(place / "html/index", place / "html/deep/again")
    (place / "latest").symlink_to("html/index")
    (place / ".hidden").write_text("a name that a shell's * passes over")
    os.chown(place / ".hidden", 1000, 1000)
    (place / "html/deep").chmod(0o2770)


def _listing(place: Path) -> dict[str, tuple[object, ...]]:
    rows: dict[str, tuple[object, ...]] = {}
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        file = stat.S_ISREG(status.st_mode)
        rows[str(path.relative_to(place))] = (
            oct(status.st_mode),
            f"owner {status.st_uid}:{status.st_gid}",
            path.read_text() if file else os.readlink(path) if path.is_symlink() else "",  # noqa: PTH115
            f"{status.st_nlink} names" if file else "",
            f"changed at {int(status.st_mtime)}" if file else "",
        )
    return rows


@exercise(
    "10.use_volume",
    title="First use",
    points=3,
    hint="once the volume is mounted, what the image has there is covered: what must come first?",
)
def use_volume(facts: Facts, answer: object) -> None:
    """After the first use the volume is as the image's directory; after a later one it is as it was."""
    facts.is_function(answer)
    volume, target, other = (facts.scratch(name) for name in ("volume", "target", "other"))
    _image(target, facts.nonce)
    wanted = _listing(target)
    with facts.probe(answer, str(volume), str(target)) as held:  # type: ignore[arg-type]
        facts.equal("something is mounted at the target, once", len(_mounts_at(held, str(target))), 1)
        numbers = [held.inside("mnt", "stat", "-c", "%d:%i", str(place)) for place in (target, volume)]
        facts.equal("what is seen there is the volume, by its inode", numbers[0], numbers[1])
        seen = held.inside("mnt", "cat", f"{target}/latest")
        facts.equal("a container finds what the image has", seen, facts.nonce)
        held.inside("mnt", "sh", "-c", f"echo changed > {target}/html/index; rm {target}/.hidden")
    found = _listing(volume)
    facts.equal("the change is in the volume", (volume / "html/index").read_text().strip(), "changed")
    facts.equal("the image's own directory is as it was", _listing(target), wanted)
    for name, row in wanted.items():
        if name not in (".hidden", "html/index", "html/deep/again"):  # those were changed just now
            facts.equal(f"{name} has the same mode, owner and content", found.get(name), row)
    for name in ("html/index", "html/deep/again"):
        facts.equal(f"{name} has its mode, owner and links", found.get(name, ())[:2], wanted[name][:2])
        facts.equal(f"{name} is one file with two names still", found[name][3], "2 names")
    _second_use(facts, answer, volume, target)
    _fresh_use(facts, answer, other, target)


def _second_use(facts: Facts, answer: object, volume: Path, target: Path) -> None:
    """It is not empty any more, and is left alone."""
    with facts.probe(answer, str(volume), str(target)) as held:  # type: ignore[arg-type]
        seen = held.inside("mnt", "cat", f"{target}/html/index")
        facts.equal("at the second use the change is still there", seen, "changed")
    facts.true("and what was deleted has not come back", not (volume / ".hidden").exists(), "it has")


def _fresh_use(facts: Facts, answer: object, volume: Path, target: Path) -> None:
    """Another volume, which nobody writes to: every owner, mode, link and time can be compared."""
    with facts.probe(answer, str(volume), str(target)):  # type: ignore[arg-type]
        pass
    facts.equal("a fresh volume is exactly as the image's directory", _listing(volume), _listing(target))


def _root_with_links(place: Path, nonce: str) -> list[str]:
    """A root in which paths lead about, and paths that are worth asking for."""
    for name in ("run", "var", "etc", "srv/app/data", "deep/er"):
        (place / name).mkdir(parents=True)
    for name, goal in {
        "var/run": "/run", "etc/link": "../srv/./app", "srv/up": "../../../../etc", "loop/one": "/srv/two",
        "srv/two": "app/data", "host": "/etc", "abs": str(place), "deep/er/way": "../../../../../run",
        "self": ".", "chain": "/var/run/inner",
    }.items():  # fmt: skip
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).symlink_to(goal)
    (place / "run/inner").mkdir()
    (place / "etc/passwd").write_text(nonce)
    return [
        "/", "/etc/passwd", "/var/run", "/var/run/inner", "/etc/link/data", "/srv/up/passwd", "/loop/one",
        "/host/passwd", "/deep/er/way/inner", "/self/self/etc", "/chain", "/../../etc/passwd",
        "/srv/../srv//app/./data", "/var/run/../etc/passwd", "/srv/two/../../up",
    ]  # fmt: skip


def _as_the_kernel_sees(root: str, paths: list[str]) -> dict[str, list[int]]:
    """In a child: chroot, and ask for each path's device and inode."""
    os.chroot(root)
    os.chdir("/")
    found = {}
    for path in paths:
        status = os.stat(path)
        found[path] = [status.st_dev, status.st_ino]
    return found


@exercise(
    "10.place_of",
    title="Never outside",
    points=3,
    hint="keep two lists, the names that are done and those still to do. A link's text goes onto the second",
)
def place_of(facts: Facts, answer: object) -> None:
    """For every path the same inode as the kernel finds after chroot, and no link left to lead away."""
    facts.is_function(answer)
    root = facts.scratch("root")
    paths = _root_with_links(root, facts.nonce)
    wanted = facts.call(_as_the_kernel_sees, str(root), paths)
    for path in paths:
        found = facts.call(answer, str(root), path)  # type: ignore[arg-type]
        facts.is_a(found, str)
        below = os.path.normpath(found)
        facts.true(
            f"the place of {path} is below the root",
            f"{below}/".startswith(f"{root}/"),
            found,
            "a path in it",
        )
        facts.true(f"the place of {path} is there", os.path.lexists(below), f"nothing at {found}")
        facts.equal(f"no link is left in the place of {path}", os.path.realpath(below), below)
        status = os.lstat(below)
        facts.equal(
            f"it is what the kernel finds at {path} after chroot",
            [status.st_dev, status.st_ino],
            wanted[path],
        )
    missing = facts.call(answer, str(root), "/var/run/new")  # type: ignore[arg-type]
    facts.equal(
        "a name that is missing comes where it would be made", os.path.normpath(missing), f"{root}/run/new"
    )


FILES = 1500


def _big_tree(place: Path) -> None:
    for number in range(FILES):
        directory = place / f"d{number % 7}"
        directory.mkdir(exist_ok=True)
        (directory / str(number)).write_text("x" * 2000)


def _files(place: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(place))


@exercise(
    "10.copy_whole",
    title="Whole or not at all",
    points=3,
    hint="which call gives a directory its name in one step, and on which file system must it be by then?",
)
def copy_whole(facts: Facts, answer: object) -> None:
    """The target is watched while it appears, and the answer is killed in the middle, more than once."""
    facts.is_function(answer)
    source, place = facts.scratch("source"), facts.scratch("place")
    _big_tree(source)
    target = place / "copy"
    with facts.probe(answer, str(source), str(target), returns=False) as held:  # type: ignore[arg-type]
        appeared = held.until(target.exists, 30.0)
        facts.true("the target appears", appeared, "there is none after 30 s")
        facts.equal("at the moment when it appears, all files are in it", _files(target), FILES)
        facts.true(
            "and the function comes to its end", held.until(lambda: _returned(held), 30.0), "it goes on"
        )
    for number, pause_seconds in enumerate((0.01, 0.03, 0.06)):
        target = place / f"killed-{number}"
        with facts.probe(answer, str(source), str(target), returns=False) as held:  # type: ignore[arg-type]
            time.sleep(pause_seconds)
            for pid in [*held.descendants(), held.pid]:
                _kill(pid)
        left = _files(target) if target.exists() else 0
        facts.contains("killed in the middle, it leaves a whole target or none", (0, FILES), left)
        if not target.exists():
            facts.call(answer, str(source), str(target))  # type: ignore[arg-type]
        facts.equal("the next call makes a whole one", _files(target), FILES)
    sums = [_sum(tree) for tree in (source, target)]
    facts.equal("its content is that of the source", sums[1], sums[0])
    names = sorted(path.name for path in place.iterdir())
    facts.equal("nothing else is left beside it", names, ["copy", "killed-0", "killed-1", "killed-2"])


def _returned(held: Probe) -> bool:
    try:
        held.child.wait_value(0.0)
    except TimeoutError:
        return False
    return True


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _sum(tree: Path) -> str:
    """What sha256sum(1) says of all files in order, as a second witness."""
    command = "find . -type f | LC_ALL=C sort | xargs cat | sha256sum"
    return subprocess.run(
        ["sh", "-c", command], cwd=tree, capture_output=True, text=True, check=True
    ).stdout.split()[0]
