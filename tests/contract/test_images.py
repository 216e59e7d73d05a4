"""Images go between labkit and other people's programs, both ways, and keep their digests and their files."""

import contextlib
import json
import os
import stat
import subprocess
import tempfile
from pathlib import Path

import forest
import pytest
from forest import Node

from labkit.engine.engine import Engine
from labkit.images import archive, base, configs, lock, saving, store, view
from labkit.images.configs import History, RunConfig
from labkit.paths import Paths

pytestmark = pytest.mark.requires("root", "overlay", "busybox")

NAME = "lab/rich:1"
CAPABILITY = bytes.fromhex("0100000200200000" + "00" * 12)

FIRST = {
    b"data": Node("directory", mode=0o1777, mtime_ns=10**18, children={
        b"plain": Node("file", content=b"x" * 3000, mode=0o640, uid=12, gid=34, mtime_ns=10**18),
        b"setuid": Node("file", content=b"s", mode=0o4755, mtime_ns=1),
        b"capable": Node("file", content=b"c", mode=0o755, xattrs={"security.capability": CAPABILITY}),
        b"noted": Node("file", content=b"n", xattrs={"user.note": b"\x00binary"}),
        b"hard": Node("link"),
        b"soft": Node("symlink", content=b"../data/plain", uid=5, gid=6, mtime_ns=10**18),
        b"fifo": Node("fifo", mode=0o622),
        b"null": Node("device", device=(1, 3), mode=0o666),
        b"large-owner": Node("file", uid=3_000_000, gid=3_000_001),
        b"n" * 150: Node("file", content=b"long name"),
        "ä€𝄞".encode(): Node("file", content=b"text"),
        b"zeros": Node("file", content=bytes(3 << 20)),
    }),
    b"hidden": Node("directory", mode=0o755, children={b"old": Node("file", content=b"old")}),
    b"replaced": Node("directory", mode=0o755, children={b"old": Node("file", content=b"old")}),
    b"gone": Node("file", content=b"gone"),
}  # fmt: skip
SECOND = {
    b"gone": Node("whiteout"),
    b"hidden": Node("directory", mode=0o711, opaque=True, children={b"new": Node("file", content=b"new")}),
    b"replaced": Node("file", content=b"no directory any more"),
    b"data": Node("directory", mode=0o1777, mtime_ns=10**18, children={b"noted": Node("whiteout")}),
}  # fmt: skip


@pytest.fixture
def rich(paths):
    """An image with all sorts of things in it, upon lab/busybox."""
    below = base.get(paths, "lab/busybox")
    config, layers = store.config(paths, below), list(store.layers_of(paths, below))
    run = RunConfig(
        env=("PATH=/bin:/usr/bin", "GREETING=hello"), entrypoint=("/bin/sh", "-c"),
        command=("echo $GREETING",), labels={"test": "rich"},
        working_directory="/data", exposed_ports=("80/tcp",), volumes=("/vol",),
        stop_signal="SIGINT", user="0",
    )  # fmt: skip
    with lock.adding(paths):
        for number, tree in enumerate((FIRST, SECOND)):
            with store.new_layer(paths) as draft:
                forest.plant(tree, os.fsencode(draft))
                layers.append(store.keep(paths, draft))
            said = History(created=configs.timestamp(1.7e9 + number), created_by=f"layer {number}")
            config = config.with_step(said, layers[-1].diff_id, run)
        return store.make(paths, config, layers, [NAME])


@pytest.fixture
def other(paths):
    made = Paths(root=paths.root.with_name("root-2"), run=paths.run.with_name("run-2"))
    made.prepare()
    return made


@pytest.fixture
def place(paths):
    made = paths.run / "files"
    made.mkdir()
    return made


def ask(*words: "str | Path", **options) -> str:
    """What a program prints; its failure is shown with what it said."""
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{' '.join(map(str, words))}:\n{done.stdout}{done.stderr}"
    return done.stdout


def save(paths, file: Path, **options) -> Path:
    with file.open("wb") as out:
        saving.save(paths, [NAME], out.write, **options)
    return file


def see(paths, image) -> forest.Seen:
    """The files of an image, as a container has them."""
    layers = [store.layer_directory(paths, name) for name in image.layers]
    return view.look(layers, lambda root: forest.see(os.fsencode(root)))


def without_times(seen: forest.Seen) -> forest.Seen:
    """What can be compared where a program sets the times of directories itself."""
    return {path: (*row[:6], 0 if stat.S_ISDIR(row[0]) else row[6], row[7]) for path, row in seen.items()}


# ------------------------------------------------------------------------- skopeo


@pytest.mark.requires("skopeo")
@pytest.mark.parametrize("form", ["docker-archive:{}", "oci-archive:{}"])
@pytest.mark.parametrize("compress", [None, "gzip", "zstd"])
def test_skopeo_sees_the_config_and_the_manifest_that_we_have(paths, rich, place, form, compress):
    where = form.format(save(paths, place / "ours.tar", compress=compress))
    if compress == "zstd" and form.startswith("docker"):
        where += ":" + NAME
    config = ask("skopeo", "inspect", "--config", "--raw", where)

    assert configs.ImageConfig.parse(config.encode()) == store.config(paths, rich)
    if form.startswith("oci") and compress is None:
        raw = ask("skopeo", "inspect", "--raw", where)
        assert raw.encode() == store.manifest(paths, rich).encode()


@pytest.mark.requires("skopeo")
@pytest.mark.parametrize("ours", ["docker-archive", "oci-archive", "oci"])
@pytest.mark.parametrize("theirs", ["docker-archive", "oci-archive", "oci"])
def test_an_image_that_skopeo_carried_is_the_same_image(paths, other, rich, place, ours, theirs):
    if ours == "oci":
        saving.save_directory(paths, [NAME], place / "ours", compress="gzip")
        source = f"oci:{place}/ours:{NAME}"
    else:
        source = f"{ours}:{save(paths, place / 'ours.tar')}"
    ask("skopeo", "copy", "--insecure-policy", source, f"{theirs}:{place}/theirs:{NAME}")

    (loaded,) = archive.load(other, place / "theirs")
    assert loaded.names == (NAME,)
    assert loaded.image.layers == rich.layers
    assert see(other, loaded.image) == see(paths, rich)
    if ("docker" in ours) == ("docker" in theirs):  # else skopeo writes the config anew
        assert loaded.image.id == rich.id
    assert store.config(other, loaded.image).run.labels == {"test": "rich"}


@pytest.mark.requires("skopeo")
def test_what_skopeo_wrote_as_blobs_comes_back_to_it_with_the_same_manifest(paths, other, rich, place):
    """oci: → labkit → oci-archive: → dir:, and the manifest is the one that skopeo wrote first."""
    save(paths, place / "ours.tar")
    ask("skopeo", "copy", "--insecure-policy", f"oci-archive:{place}/ours.tar", f"oci:{place}/first:{NAME}")
    archive.load(other, place / "first")
    save(other, place / "again.tar")
    ask("skopeo", "copy", "--insecure-policy", f"oci-archive:{place}/again.tar", f"dir:{place}/dir")

    first = ask("skopeo", "inspect", "--raw", f"oci:{place}/first:{NAME}")
    assert (place / "dir/manifest.json").read_text() == first
    names = {path.name for path in (place / "dir").iterdir()}
    assert {layer["digest"][7:] for layer in json.loads(first)["layers"]} <= names


@pytest.mark.requires("skopeo")
def test_docker_schema_2_is_read_too(paths, other, rich, place):
    save(paths, place / "ours.tar")
    ask("skopeo", "copy", "--insecure-policy", f"docker-archive:{place}/ours.tar", f"dir:{place}/dir")
    manifest = (place / "dir/manifest.json").read_bytes()
    described = json.loads(manifest)
    assert described["mediaType"] == "application/vnd.docker.distribution.manifest.v2+json"

    from labkit.images.manifests import Manifest

    read = Manifest.parse(manifest)
    assert [layer.digest for layer in read.layers] == [layer["digest"] for layer in described["layers"]]
    layout = place / "layout"
    (layout / "blobs/sha256").mkdir(parents=True)
    for path in (place / "dir").iterdir():
        if len(path.name) == 64:
            os.link(path, layout / "blobs/sha256" / path.name)
    from labkit.images import references

    digest = references.digest_of(manifest)
    (layout / "blobs/sha256" / digest[7:]).write_bytes(manifest)
    entry = {"mediaType": described["mediaType"], "digest": digest, "size": len(manifest)}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))

    (loaded,) = archive.load(other, layout, name="schema/two")
    assert loaded.image.manifest == digest
    assert loaded.image.layers == rich.layers


# ------------------------------------------------------------------------- umoci


@pytest.mark.requires("umoci")
def test_umoci_unpacks_the_files_that_we_see(paths, rich, place):
    saving.save_directory(paths, [NAME], place / "layout", compress="gzip")
    layout = json.loads((place / "layout/index.json").read_text())
    layout["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "tag"}
    (place / "layout/index.json").write_text(json.dumps(layout))
    ask("umoci", "unpack", "--image", f"{place}/layout:tag", place / "bundle")

    theirs = forest.see(os.fsencode(place / "bundle/rootfs"))
    assert without_times(theirs) == without_times(see(paths, rich))


@pytest.mark.requires("umoci")
def test_what_umoci_inserted_removed_and_repacked_is_what_we_see(paths, other, rich, place):
    saving.save_directory(paths, [NAME], place / "layout", compress="gzip")
    layout = json.loads((place / "layout/index.json").read_text())
    layout["manifests"][0]["annotations"] = {"org.opencontainers.image.ref.name": "tag"}
    (place / "layout/index.json").write_text(json.dumps(layout))
    (place / "new").mkdir()
    (place / "new/file").write_text("inserted")
    ask("umoci", "insert", "--image", f"{place}/layout:tag", place / "new", "/inserted")
    ask("umoci", "insert", "--image", f"{place}/layout:tag", "--whiteout", "/data/soft")
    ask("umoci", "insert", "--image", f"{place}/layout:tag", "--opaque", place / "new", "/hidden")
    ask("umoci", "unpack", "--image", f"{place}/layout:tag", place / "bundle")
    root = place / "bundle/rootfs"
    (root / "data/plain").unlink()
    (root / "added").write_text("repacked")
    os.setxattr(root / "added", "user.x", b"y")
    os.utime(root / "added", (5, 5))  # umoci rounds to seconds
    ask("umoci", "repack", "--image", f"{place}/layout:tag", place / "bundle")

    (loaded,) = archive.load(other, place / "layout", name="from/umoci")
    assert loaded.names == ("from/umoci:tag",)
    ours = see(other, loaded.image)
    assert without_times(ours) == without_times(forest.see(os.fsencode(root)))
    assert b"inserted/file" in ours and b"data/soft" not in ours and b"hidden/new" not in ours


# ------------------------------------------------------------------------- buildah and podman


@pytest.fixture
def containers_storage(place):
    """podman and buildah with a storage of their own; crun would refuse a hybrid hierarchy."""
    hidden = 'test -d /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec "$0" "$@"'
    words = ["--root", f"{place}/storage", "--runroot", f"{place}/runroot", "--storage-driver", "vfs"]
    with tempfile.TemporaryDirectory(prefix="labkit-home-", dir="/var/tmp") as home:
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": home, "TMPDIR": home}

        def call(program: str, *more: "str | Path") -> str:
            return ask("unshare", "--mount", "sh", "-c", hidden, program, *words, *more, env=environment)

        yield call
        with contextlib.suppress(AssertionError):
            call("podman", "rm", "--all", "--force")


@pytest.mark.requires("podman", "crun")
def test_podman_loads_and_runs_what_we_save(paths, rich, place, containers_storage):
    save(paths, place / "ours.tar")
    containers_storage("podman", "load", "--input", place / "ours.tar")
    image_id = containers_storage("podman", "images", "--no-trunc", "--quiet").strip()
    quiet = ["--network", "none", "--cgroups", "disabled", "--log-driver", "none"]
    quiet += ["--ulimit", "nofile=1000:1000", "--ulimit", "nproc=1000:1000"]  # fewer than any machine allows
    said = containers_storage("podman", "run", "--rm", *quiet, image_id)

    assert image_id == rich.id
    assert said == "hello\n"


@pytest.mark.requires("buildah")
def test_what_buildah_makes_of_our_image_we_load_and_run(paths, rich, place, containers_storage):
    save(paths, place / "ours.tar")
    working = containers_storage("buildah", "from", "--pull-never", f"oci-archive:{place}/ours.tar").strip()
    (place / "new").write_text("from buildah\n")
    containers_storage("buildah", "copy", "--chown", "12:34", working, place / "new", "/data/new")
    containers_storage("buildah", "config", "--env", "GREETING=goodbye", working)
    containers_storage("buildah", "commit", working, f"oci-archive:{place}/theirs.tar:from/buildah:1")

    (loaded,) = archive.load(paths, place / "theirs.tar")
    assert loaded.names == ("from/buildah:1",)
    assert loaded.image.layers[:3] == rich.layers
    engine = Engine(paths)
    assert engine.run("from/buildah:1").stdout == "goodbye\n"
    assert (
        engine.run("from/buildah:1", ["cat /data/new; stat -c %u:%g /data/new"]).stdout
        == "from buildah\n12:34\n"
    )
    engine.close()


# ------------------------------------------------------------------------- Docker


@pytest.mark.requires("dockerd")
def test_docker_loads_what_we_save_under_the_same_id_and_runs_it(paths, rich, place, docker):
    for compress in (None, "gzip"):
        docker.must("load", "--input", save(paths, place / "ours.tar", compress=compress))
        assert docker.must("images", "--no-trunc", "--quiet", NAME).strip() == rich.id
        assert docker.run(NAME).stdout == "hello\n"
        found = docker.run(
            "--entrypoint", "/bin/sh", NAME, "-c", "ls /hidden; stat -c %u:%g:%a /data/plain; ls /"
        )
        assert found.stdout.splitlines()[:2] == ["new", "12:34:640"]
        assert "gone" not in found.stdout
        docker.must("rmi", "--force", NAME)


@pytest.mark.requires("dockerd")
def test_we_load_what_docker_saves_under_the_same_id_and_run_it(paths, other, rich, place, docker):
    docker.must("load", "--input", save(paths, place / "ours.tar"))
    docker.must("tag", NAME, "lab/second:2")
    docker.must("save", "--output", place / "theirs.tar", NAME, "lab/second:2")

    (loaded,) = archive.load(other, place / "theirs.tar")
    assert set(loaded.names) == {NAME, "lab/second:2"}
    assert (loaded.image.id, loaded.image.layers) == (rich.id, rich.layers)
    assert see(other, loaded.image) == see(paths, rich)
    engine = Engine(other)
    assert engine.run("lab/second:2").stdout == "hello\n"
    engine.close()


@pytest.mark.requires("dockerd")
def test_a_container_that_docker_exports_we_import(paths, other, rich, place, docker):
    docker.must("load", "--input", save(paths, place / "ours.tar"))
    container = docker.must("create", "--network", "none", NAME).strip()
    docker.must("export", "--output", place / "root.tar", container)
    docker.must("rm", container)
    with (place / "root.tar").open("rb") as file:
        image = archive.import_tar(other, file, ["from/docker"])

    ours, theirs = without_times(see(paths, rich)), without_times(see(other, image))
    made_by_docker = {path for path in theirs if path not in ours}
    assert {path.split(b"/")[0] for path in made_by_docker} <= {
        b".dockerenv", b"dev", b"etc", b"vol", b"proc", b"sys",
    }  # fmt: skip
    changed = {path for path in ours if ours[path] != theirs.get(path)}
    # export leaves out extended attributes but capabilities, and Docker lays its own files over these three
    assert changed <= {b"etc/hostname", b"etc/hosts", b"etc/resolv.conf", b"dev", b"etc", b"proc", b"sys"}
