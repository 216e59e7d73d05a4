"""ch05: the checks of the chapter on layers. What counts is what the kernel shows through a mount."""

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.course import Facts, exercise
from labkit.images.overlay import Overlay


def _directories(place: Path, *names: str) -> list[Path]:
    for name in names:
        (place / name).mkdir(parents=True)
    return [place / name for name in names]


@contextmanager
def _mounted(facts: Facts, layers: list[Path]) -> Iterator[Path]:
    """What the kernel makes of these layers, the topmost first."""
    place = facts.scratch("witness")
    upper, work, merged = _directories(place, "upper", "work", "merged")
    facts.owns("mount", str(merged))
    Overlay(lower=tuple(layers), upper=upper, work=work).mount(merged)
    yield merged  # the ledger of the check takes it away


def _names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def _whiteout(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(0, 0))


def _opaque(directory: Path) -> None:
    os.setxattr(directory, "trusted.overlay.opaque", b"y")


@exercise(
    "05.stack",
    title="Lay layers over each other",
    points=2,
    hint="lowerdir has the topmost layer first, and an image's list has it last",
)
def stack(facts: Facts, answer: object) -> None:
    """The mount is there, the order is right, and a write lands in upper alone."""
    facts.is_function(answer)
    place = facts.scratch("stack")
    low, middle, high, upper, work, merged = _directories(place, "a", "b", "c", "upper", "work", "merged")
    for directory in (low, middle, high):
        (directory / "who").write_text(directory.name)
        (directory / f"only-{directory.name}").write_text(facts.nonce)
    (middle / "two").write_text("b")
    (low / "two").write_text("a")
    layers = [str(low), str(middle), str(high)]
    with facts.probe(answer, layers, str(upper), str(work), str(merged)) as held:  # type: ignore[arg-type]
        kinds = [mount.kind for mount in held.mounts() if mount.mount_point == str(merged)]
        facts.equal("mountinfo has an overlay at merged, once", kinds, ["overlay"])
        seen = Path(f"/proc/{held.pid}/root{merged}")  # magic: it leads into its mount namespace
        facts.equal(
            "of a name that all layers have, the last one's version is seen", (seen / "who").read_text(), "c"
        )
        facts.equal("of a name that two have, the higher one's", (seen / "two").read_text(), "b")
        for name in "abc":
            facts.equal(f"what only layer {name} has is seen too", _text(seen / f"only-{name}"), facts.nonce)
        said = held.inside("mnt", "sh", "-c", f"echo {facts.nonce} > {merged}/made && cat {merged}/made")
        facts.equal("a process inside can write to it", said, facts.nonce)
        facts.equal("what it wrote lies in upper", _text(upper / "made"), facts.nonce)
        facts.true("and in no layer", not any(Path(layer, "made").exists() for layer in layers), "it does")
    facts.true("outside that process nothing is mounted", not os.path.ismount(merged), "a mount on the host")


def _text(file: Path) -> str:
    return file.read_text().strip() if file.is_file() else "no such file"


@exercise(
    "05.names",
    title="Any name at all",
    points=2,
    hint="which characters does the kernel take for the end of a name, and which says that it is not one?",
)
def names(facts: Facts, answer: object) -> None:
    """The kernel accepts the text and finds the very directories."""
    facts.is_function(answer)
    for number, (one, two, up, scratch_pad) in enumerate(
        (
            ("plain", "simple", "upper", "work"),
            ("with,comma", "simple", "up,per", "wo,rk"),
            ("ratio 16:9", "a:b:c", "upper", "w:k"),
            ("back\\slash", "end\\", "up\\per", "work"),
            ("all\\:,of,them", "\\,:", "u\\,p", "\\"),
        )
    ):
        place = facts.scratch(f"names{number}")
        first, second, upper, work, merged = _directories(place, one, two, up, scratch_pad, "merged")
        for directory in (first, second):
            (directory / directory.name.replace("/", "")).write_text(facts.nonce)
        text = facts.call(answer, [str(first), str(second)], str(upper), str(work))  # type: ignore[arg-type]
        facts.is_a(text, str)
        found = facts.call(_mount_and_look, str(merged), text)
        facts.equal(
            f"mount(2) takes the options for {one!r} over {two!r}",
            found["error"].replace(f"{place}/", ""),
            "",
        )
        facts.equal("and shows both layers", sorted(found["names"]), sorted([one, two]))
        facts.equal("and writes to that upper directory", _text(upper / "written"), "yes")


def _mount_and_look(merged: str, text: str) -> dict[str, object]:
    """In a child with its own mount namespace: what the kernel makes of the options."""
    from labkit.kernel import mounts

    try:
        mounts.mount("overlay", merged, "overlay", options=text)
        found = [path.name for path in Path(merged).iterdir()]
        Path(merged, "written").write_text("yes")
    except OSError as error:
        return {"error": f"{error.strerror}, with the options {text}", "names": []}
    return {"error": "", "names": found}


@exercise(
    "05.forget",
    title="Delete by hand",
    points=2,
    hint="what did lstat say of upper's news, and getxattr of upper's docs? Make the same two",
)
def forget(facts: Facts, answer: object) -> None:
    """Laid over a layer that has both, the file is gone and the directory is empty."""
    facts.is_function(answer)
    below, layer = facts.scratch("below"), facts.scratch("layer")
    file, directory = f"srv/{facts.nonce}", f"opt/{facts.nonce}"
    for name in (file, f"{directory}/one", f"{directory}/deep/two", "srv/stays", "opt/stays"):
        (below / name).parent.mkdir(parents=True, exist_ok=True)
        (below / name).write_text(name)
    with _mounted(facts, [below]) as merged:
        facts.true(
            "before, both are there", (merged / file).exists() and (merged / directory / "one").exists()
        )
    facts.call(answer, str(layer), file, directory)  # type: ignore[arg-type]
    with _mounted(facts, [layer, below]) as merged:
        names = _names(merged / "srv")
        facts.true("laid over it, the file is gone", Path(file).name not in names, f"in srv: {names}")
        facts.true("the directory is there", (merged / directory).is_dir(), "it is not")
        facts.equal("and shows nothing of what is below", _names(merged / directory), [])
        facts.true(
            "what was not to go is still there",
            (merged / "srv/stays").exists() and (merged / "opt/stays").exists(),
        )
    facts.true(
        "the layer below was left alone", (below / file).exists() and (below / directory / "one").exists()
    )


def _tricky(facts: Facts) -> list[Path]:
    """Three layers, topmost first, with all that can happen to a name."""
    top, middle, low = layers = [facts.scratch(name) for name in ("top", "middle", "low")]
    for directory in ("etc", "var/log", "opt/app/old", "srv/data", "usr/share", "was", facts.nonce):
        (low / directory).mkdir(parents=True)
    for name in (
        "etc/hosts",
        "etc/passwd",
        "var/log/a",
        "opt/app/old/x",
        "srv/data/d",
        "usr/share/s",
        "was/in",
        "now",
        f"{facts.nonce}/f",
    ):
        (low / name).write_text(f"low {name} {facts.nonce}")
    (middle / "etc").mkdir()
    (middle / "etc/hosts").write_text("middle")
    (middle / "opt/app").mkdir(parents=True)
    _opaque(middle / "opt/app")
    (middle / "opt/app/new").write_text("middle new")
    _whiteout(middle / "var")
    (middle / "srv").write_text("a file where a directory was")
    (middle / "now").mkdir()
    (middle / "now/inside").write_text("a directory where a file was")
    (middle / "link").symlink_to("etc/hosts")
    (top / "etc").mkdir()
    _whiteout(top / "etc/passwd")
    (top / "var").mkdir()
    (top / "var/fresh").write_text("top fresh")
    (top / "srv/data").mkdir(parents=True)
    (top / "usr").mkdir()
    _whiteout(top / "usr/share")
    (top / "opt").mkdir()
    return layers


@exercise(
    "05.layer_of",
    title="Be the kernel",
    points=3,
    hint="walk the path part by part, and keep the layers in which the next part is still looked for",
)
def layer_of(facts: Facts, answer: object) -> None:
    """For every path of three tricky layers, the same as the kernel's own mount of them."""
    facts.is_function(answer)
    layers = _tricky(facts)
    paths = sorted({str(found.relative_to(layer)) for layer in layers for found in layer.rglob("*")})
    paths += ["no/such", f"{facts.nonce}/no"]
    texts = [str(layer) for layer in layers]
    found = {path: facts.call(answer, path, texts) for path in paths}  # type: ignore[arg-type]
    with _mounted(facts, layers) as merged:
        for path in paths:
            place = merged / path
            if not os.path.lexists(place):
                facts.equal(f"{path} is not to be seen, says the kernel", found[path], None)
                continue
            wanted = next(i for i, layer in enumerate(layers) if _is_version(layer / path, place))
            facts.equal(f"the kernel takes {path} from layer {wanted}", found[path], wanted)


def _is_version(candidate: Path, seen: Path) -> bool:
    """Whether what is seen through the mount is this layer's version of it."""
    if not os.path.lexists(candidate):
        return False
    theirs, ours = seen.lstat(), candidate.lstat()
    if stat.S_IFMT(theirs.st_mode) != stat.S_IFMT(ours.st_mode):
        return False
    if stat.S_ISREG(ours.st_mode):
        return candidate.read_bytes() == seen.read_bytes()
    return True


@exercise(
    "05.squash",
    title="Squash",
    points=3,
    hint="the kernel already knows how to look through all of them: let it, and copy what you see",
)
def squash(facts: Facts, answer: object) -> None:
    """One layer that shows the same, and has nothing else in it."""
    facts.is_function(answer)
    layers = _tricky(facts)
    (layers[2] / "big").write_bytes(os.urandom(3 << 20))
    _whiteout(layers[0] / "big")
    (layers[1] / "etc/hosts").chmod(0o751)
    os.chown(layers[1] / "etc/hosts", 7, 8)
    target = facts.scratch("target")
    facts.call(answer, [str(layer) for layer in layers], str(target))  # type: ignore[arg-type]
    facts.true("nothing is left mounted on it", not os.path.ismount(target), "a mount")
    devices = [p.name for p in target.rglob("*") if stat.S_ISCHR(p.lstat().st_mode)]
    facts.equal("the new layer has no whiteouts: there is nothing below to hide", devices, [])
    with _mounted(facts, layers) as merged:
        wanted, found = _listing(merged), _listing(target)
        missing, extra = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        facts.equal("nothing that is seen through all layers is missing", missing, [])
        facts.equal("nothing is there that cannot be seen through all layers", extra, [])
        for name, row in wanted.items():
            facts.equal(f"{name} has the same kind, mode, owner and content", found[name], row)
    told = subprocess.run(["du", "-sm", target], capture_output=True, text=True, check=True).stdout
    facts.between("its size on the disk, in MiB, is that of what is seen", int(told.split()[0]), 0, 2)


def _listing(root: Path) -> dict[str, tuple[object, ...]]:
    rows: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        status = path.lstat()
        content: object = None
        if stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        elif stat.S_ISLNK(status.st_mode):
            content = str(path.readlink())
        rows[str(path.relative_to(root))] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return rows
