"""ch07: the checks of the chapter on images: what skopeo, tar(1) and the kernel make of an answer's bytes."""

import gzip
import hashlib
import io
import json
import os
import secrets
import subprocess
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.course import Facts, exercise
from labkit.errors import LabkitError
from labkit.images import archive, base, layers, manifests, store
from labkit.paths import Paths

OCI = "application/vnd.oci.image."
REF_NAME = "org.opencontainers.image.ref.name"
MOST_SECONDS = 60


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _tar(files: Mapping[str, bytes]) -> bytes:
    """A layer of these files, in the order given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _gzip(data: bytes, level: int = 6) -> bytes:
    return gzip.compress(data, level, mtime=0)


def _plain(data: bytes) -> bytes:
    return data


def _put(layout: Path, data: bytes, kind: str) -> dict[str, Any]:
    place = layout / "blobs" / _digest(data).replace(":", "/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return {"mediaType": OCI + kind, "digest": _digest(data), "size": len(data)}


def _image(
    layout: Path,
    tars: Sequence[bytes],
    *,
    pack: Callable[[bytes], bytes] = _gzip,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An image of these layers in a layout; the descriptor of its manifest."""
    kind = "layer.v1.tar+gzip" if pack(b"").startswith(b"\x1f\x8b") else "layer.v1.tar"
    described = {
        "architecture": manifests.here().architecture,
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(tar) for tar in tars]},
        **(config or {}),
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifests.OCI_MANIFEST,
        "config": _put(layout, json.dumps(described).encode(), "config.v1+json"),
        "layers": [_put(layout, pack(tar), kind) for tar in tars],
    }
    return _put(layout, json.dumps(manifest).encode(), "manifest.v1+json")


def _index(layout: Path, tags: Mapping[str, Mapping[str, Any]]) -> None:
    named = [{**top, "annotations": {REF_NAME: tag}} for tag, top in tags.items()]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": named}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _skopeo(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["skopeo", "--insecure-policy", *words],
        capture_output=True, text=True, check=False, timeout=MOST_SECONDS, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def _complaint(done: "subprocess.CompletedProcess[str]") -> str:
    return done.stderr.strip().rpartition("msg=")[2] if done.returncode else ""


# ------------------------------------------------------------------------- 1


@exercise(
    "07.diff_id",
    title="The diff id",
    points=2,
    hint="the first two bytes say whether it is gzip, and one gzip file may be several streams in a row",
)
def diff_id(facts: Facts, answer: object) -> None:
    """The same as gzip(1) and sha256sum(1) say, of layers that were packed in every way."""
    facts.is_function(answer)
    tar = _tar({"etc/nonce": facts.nonce.encode(), "usr/big": os.urandom(300_000) * 4})
    half = len(tar) // 2
    blobs = {
        "a layer in gzip": ("layer.tar.gz", _gzip(tar)),
        "the same with another level": ("again", _gzip(tar, 1)),
        "a layer that is not compressed": ("plain.tar", tar),
        "one whose name says gzip, and that is none": ("not.gz", tar),
        "one in two streams of gzip, as pigz(1) may write it": ("two", _gzip(tar[:half]) + _gzip(tar[half:])),
    }
    place = facts.scratch("blobs")
    for said, (name, data) in blobs.items():
        (place / name).write_bytes(data)
        unpack = "gzip -dc" if data.startswith(b"\x1f\x8b") else "cat"
        told = subprocess.run(
            f"{unpack} < {name} | sha256sum",
            shell=True,
            cwd=place,
            capture_output=True,
            text=True,
            check=True,
        )
        wanted = "sha256:" + told.stdout.split()[0]
        facts.equal(f"sha256sum(1) says the same of {said}", facts.call(answer, str(place / name)), wanted)  # type: ignore[arg-type]


# ------------------------------------------------------------------------- 2


def _held(facts: Facts, layout: Path, *tags: str) -> int:
    """A second witness: what the blobs take in a layout into which skopeo has copied these images."""
    into = facts.scratch("witness")
    for tag in tags:
        done = _skopeo("copy", "--quiet", f"oci:{layout}:{tag}", f"oci:{into}:{tag}")
        facts.equal(f"the check's own image {tag} can be copied", _complaint(done), "")
    return sum(file.stat().st_size for file in (into / "blobs/sha256").iterdir())


@exercise(
    "07.shared_bytes",
    title="What two images share",
    points=2,
    hint="two sets of digests; and a registry has each blob once, however often it is named",
)
def shared_bytes(facts: Facts, answer: object) -> None:
    """As many as skopeo saves when it copies the second image to where the first one is."""
    facts.is_function(answer)
    layout = facts.scratch("layout")
    low, high = _tar({"low": os.urandom(40_000)}), _tar({"high": os.urandom(9_000)})
    own = [_tar({"own": f"{facts.nonce} {number}".encode() * 60}) for number in range(3)]
    _index(
        layout,
        {
            "one": _image(layout, [low, high, own[0]]),
            "two": _image(layout, [low, high, own[1]]),
            "same": _image(layout, [low, high, own[0]]),  # another tag of one
            "twice": _image(layout, [low, own[2], low]),
            "plain": _image(layout, [low, high, own[1]], pack=_plain),
            "other": _image(layout, [_tar({"alone": os.urandom(500)})]),
            "labels": _image(layout, [low], config={"author": facts.nonce}),
        },
    )
    for one, two, said in (
        ("one", "two", "two images on the same layers"),
        ("one", "other", "two that have nothing in common"),
        ("one", "same", "two tags of one image"),
        ("twice", "one", "one that has a layer twice, and one that has it once"),
        ("two", "plain", "the same image with its layers compressed, and not"),
        ("labels", "twice", "one layer, and that layer twice"),
    ):
        wanted = _held(facts, layout, one) + _held(facts, layout, two) - _held(facts, layout, one, two)
        found = facts.call(answer, str(layout), one, two)  # type: ignore[arg-type]
        facts.equal(f"skopeo saves as many bytes with {said}", found, wanted)


# ------------------------------------------------------------------------- 3


def _key() -> str:
    return f"KEY-{secrets.token_hex(8)}"


@exercise(
    "07.unearth",
    title="Unearth",
    points=2,
    hint="which blobs does the image name, and which of them are compressed? A tar itself hides nothing",
)
def unearth(facts: Facts, answer: object) -> None:
    """All keys of an image, and none of another's: deleted, overwritten, shadowed, and never in a file."""
    facts.is_function(answer)
    layout, uncompressed = facts.scratch("layout"), facts.scratch("plain")
    keys = {
        where: _key()
        for where in (
            "a file that a later layer deletes", "a file that a later layer overwrites",
            "a directory that a later layer makes opaque", "a file that is there for all to see",
            "the environment", "the history", "a label",
        )
    }  # fmt: skip
    deleted, replaced, shadowed, seen, env, history, label = keys.values()
    first = {"root/token": deleted, "etc/app.conf": f"key={replaced}\n", "srv/old/a/b": f"{shadowed}\n"}
    tars = [
        _tar({name: text.encode() for name, text in first.items()} | {"bin/pad": os.urandom(50_000)}),
        _tar({"root/.wh.token": b"", "etc/app.conf": b"key=none\n", "srv/old/.wh..wh..opq": b""}),
        _tar({"etc/public": seen.encode()}),
    ]
    config = {
        "config": {"Env": ["PATH=/bin", f"TOKEN={env}"], "Labels": {"built-with": label}},
        "history": [{"created_by": f"RUN curl -H 'token: {history}' example.org", "empty_layer": True}],
    }
    neighbour = _key()
    tags = {
        "wanted": _image(layout, tars, config=config),
        "other": _image(layout, [_tar({"etc/key": neighbour.encode()})]),
    }
    _index(layout, tags)
    _index(uncompressed, {"plain": _image(uncompressed, tars, pack=_plain)})
    done = _skopeo("inspect", f"oci:{layout}:wanted")
    facts.equal("the check's own image can be read", _complaint(done), "")
    found = facts.call(answer, str(layout), "wanted")  # type: ignore[arg-type]
    facts.is_a(found, list)
    for where, key in keys.items():
        facts.true(f"a key in {where} is found", key in found, "it is not")
    facts.true("a key of another image is left out", neighbour not in found, "it is in the answer")
    facts.equal("nothing else is in the answer, and each key is there once", len(found), len(keys))
    of_plain = sorted((deleted, replaced, shadowed, seen))
    found = facts.call(answer, str(uncompressed), "plain")  # type: ignore[arg-type]
    facts.equal("an image with plain layers gives its keys too", sorted(found), of_plain)


# ------------------------------------------------------------------------- 4


def _on_a_machine(answer: Callable[..., Any]) -> Callable[..., Any]:
    """The answer in a mount namespace with a file system, and user names, of its own."""

    def made(target: str, nonce: str, change: str, later: int) -> bool:
        import os
        import stat
        from pathlib import Path

        from labkit.kernel import mounts
        from labkit.kernel.mounts import MountFlag

        users = Path("/etc/passwd").read_text()
        mounts.mount("tmpfs", "/mnt", "tmpfs")
        top = Path("/mnt/there/tree" if later else "/mnt/tree")
        rows = [
            ("bin", 0o755, 0, 0), ("bin/run", 0o4755, 0, 0), ("etc", 0o755, 0, 0), ("etc/a", 0o640, 1, 3),
            ("etc/b c", 0o600, 4000, 4000), ("etc/ü", 0o644, 0, 0), ("empty", 0o1777, 0, 0),
        ]  # fmt: skip
        top.mkdir(parents=True)
        for name in ("bin", "etc", "empty"):
            (top / name).mkdir()
        for name, _, _, _ in reversed(rows) if later else rows:
            if not (top / name).is_dir():
                (top / name).write_text(f"{nonce} {name}")
        (top / "etc/link").symlink_to("b c")
        if change == "content":
            (top / "etc/a").write_text("changed")
        if change == "name":
            (top / "etc/ü").rename(top / "etc/u")
        if change == "link":
            (top / "etc/link").unlink()
            (top / "etc/link").symlink_to("a")
        for name, mode, uid, gid in rows:
            if (top / name).exists():
                os.chown(top / name, uid, gid)
                (top / name).chmod(mode)
        if change == "mode":
            (top / "etc/b c").chmod(0o660)
        if change == "owner":
            os.chown(top / "etc/b c", 4001, 4000)
        if later:
            for path in top.rglob("*"):
                os.utime(path, (10**9, 10**9 + 0.5), follow_symlinks=False)
            Path("/mnt/passwd").write_text(users.replace("daemon:", "someone:") + "more:x:4000:4000::/:\n")
            mounts.mount("/mnt/passwd", "/etc/passwd", flags=MountFlag.BIND)
        answer(str(top), target)
        return stat.S_ISREG(os.lstat(target).st_mode)

    return made


@exercise(
    "07.layer",
    title="The same bytes",
    points=3,
    hint="compare the two archives with `tar --full-time -tvf`: which column is not the same?",
)
def layer(facts: Facts, answer: object) -> None:
    """Equal bytes for equal trees on two machines, others for others; and tar(1) unpacks all there was."""
    facts.is_function(answer)
    place, changes = facts.scratch("made"), ("", "content", "name", "link", "mode", "owner")
    digests = {}
    for later in (False, True):
        for change in changes:
            target = place / f"{change or 'as it is'}-{'later' if later else 'first'}"
            wrapped = _on_a_machine(answer)  # type: ignore[arg-type]
            written = facts.call(wrapped, str(target), facts.nonce, change, int(later))
            facts.true("the archive is a file", written, "it is not")
            digests[later, change] = _digest(target.read_bytes())
        if not later:
            _unpacks(facts, place / "as it is-first")
    for change in changes:
        said = f"with another {change}" if change else "as it is"
        facts.equal(
            f"the tree {said}: another machine, other times, another order, the same digest",
            digests[True, change], digests[False, change],
        )  # fmt: skip
        if change:
            facts.differs(f"the tree {said} has another digest", digests[False, change], digests[False, ""])


def _unpacks(facts: Facts, tar: Path) -> None:
    """What tar(1) makes of an archive: every name with its mode, owner and content."""
    into = facts.scratch("unpacked")
    done = subprocess.run(
        ["tar", "--extract", "--numeric-owner", "--same-permissions", "--file", tar, "--directory", into],
        capture_output=True, text=True, check=False, timeout=MOST_SECONDS,
    )  # fmt: skip
    facts.equal("tar(1) unpacks it", done.stderr.strip(), "")
    names = sorted(str(path.relative_to(into)) for path in into.rglob("*"))
    facts.equal(
        "the names are all there, relative to the directory",
        names, ["bin", "bin/run", "empty", "etc", "etc/a", "etc/b c", "etc/link", "etc/ü"],
    )  # fmt: skip
    for name, mode, owner in (
        ("bin/run", 0o4755, (0, 0)), ("etc/a", 0o640, (1, 3)), ("etc/b c", 0o600, (4000, 4000)),
        ("empty", 0o1777, (0, 0)),
    ):  # fmt: skip
        status = (into / name).lstat()
        facts.equal(f"the mode of {name}", oct(status.st_mode & 0o7777), oct(mode))
        facts.equal(f"the owner of {name}", (status.st_uid, status.st_gid), owner)
    facts.equal("the content of etc/a", (into / "etc/a").read_text(), f"{facts.nonce} etc/a")
    facts.true("etc/link is a symbolic link", (into / "etc/link").is_symlink(), "it is something else")
    facts.equal("and leads where it led", str((into / "etc/link").readlink()), "b c")


# ------------------------------------------------------------------------- 5


@exercise(
    "07.make_image",
    title="An image",
    points=3,
    hint="let `skopeo inspect` and `skopeo copy` read it: they name the blob that they miss",
)
def make_image(facts: Facts, answer: object) -> None:
    """skopeo reads it and copies it with the very layers; the kernel runs it and shows the topmost file."""
    facts.is_function(answer)
    paths = Paths.from_environment()
    layout, place = facts.scratch("layout"), facts.scratch("tars")
    ground = store.layer_directory(paths, base.get(paths, base.BUSYBOX).layers[0])
    with open(place / "0.tar", "wb") as file:
        layers.pack(ground, file.write)
    (place / "1.tar").write_bytes(_tar({"proof": b"the lower one\n", "etc/gone": b"still here\n"}))
    (place / "2.tar").write_bytes(_tar({"proof": facts.nonce.encode(), "etc/.wh.gone": b""}))
    tars = [place / f"{number}.tar" for number in range(3)]
    command = ["/bin/sh", "-c", "cat /proof; echo; ls /etc/gone; echo $1", "sh", f"word of {facts.nonce}"]
    facts.call(answer, [str(tar) for tar in tars], command, str(layout))  # type: ignore[arg-type]
    _skopeo_takes_it(facts, layout, [_digest(tar.read_bytes()) for tar in tars], command)
    name = f"{facts.ledger.owner}/{facts.nonce}"  # what is called so goes with the check
    try:
        archive.load(paths, layout, name=name)
    except LabkitError as error:
        facts.equal("labkit checks every digest and size, and takes it in", str(error), "")
    said = facts.call(_run, f"{name}:latest")
    lines = said["stdout"].splitlines()
    facts.equal("it runs, and the file of the topmost layer is seen", lines[:1], [facts.nonce])
    facts.true(
        "what the topmost layer deletes is gone", "No such file" in said["stderr"], said["stdout"].strip()
    )
    facts.equal("the command has all of its words", lines[-1:], [f"word of {facts.nonce}"])


def _skopeo_takes_it(facts: Facts, layout: Path, diff_ids: list[str], command: list[str]) -> None:
    done = _skopeo("inspect", "--config", f"oci:{layout}:latest")
    facts.equal("skopeo inspect reads its config", _complaint(done), "")
    config = json.loads(done.stdout)
    facts.equal("the config's diff ids are those of the tars", config["rootfs"]["diff_ids"], diff_ids)
    facts.equal("the config has the command", config.get("config", {}).get("Cmd"), command)
    saved = facts.scratch("saved") / "image.tar"
    done = _skopeo("copy", "--quiet", f"oci:{layout}:latest", f"docker-archive:{saved}:made:latest")
    facts.equal("skopeo copy takes every blob", _complaint(done), "")
    with tarfile.open(saved) as tar:
        found = tar.extractfile("manifest.json")
        (row,) = json.loads(found.read()) if found else [{}]
    names = [f"sha256:{Path(name).stem}" for name in row["Layers"]]
    facts.equal("what it has copied are the very tars, the lowest first", names, diff_ids)


def _run(name: str) -> dict[str, str]:
    import labkit

    done = labkit.run(name)
    return {"stdout": done.stdout, "stderr": done.stderr}
