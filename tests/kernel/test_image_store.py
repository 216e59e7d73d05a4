"""Images come whole or not at all, share what is equal, and what nobody needs is collected."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

from labkit.errors import Conflict, Invalid, NotFound
from labkit.images import archive, bag, blobs, collect, lock, manifests, references, saving, store
from labkit.images.configs import History, ImageConfig, RunConfig

pytestmark = pytest.mark.requires("root")


def make(paths, *contents: bytes, name: str = "test/image", run: RunConfig | None = None, below=None):
    """An image with one layer for each of the contents, upon another where one is given."""
    config = store.config(paths, below) if below else ImageConfig(architecture=manifests.here().architecture)
    layers = list(store.layers_of(paths, below)) if below else []
    with lock.adding(paths):
        for content in contents:
            with store.new_layer(paths) as draft:
                (draft / "file").write_bytes(content)
                os.utime(draft / "file", (5, 5))
                layers.append(store.keep(paths, draft))
            config = config.with_step(History(created_by="a test"), layers[-1].diff_id, run)
        return store.make(paths, config, layers, [name] if name else [])


def saved(paths, *names: str, **options) -> bytes:
    made = io.BytesIO()
    saving.save(paths, names, made.write, **options)
    return made.getvalue()


def standing(paths) -> list[str]:
    """Everything that is on the disk."""
    roots = (paths.layers, paths.blobs, paths.images, paths.names)
    return sorted(
        str(path.relative_to(paths.root))
        for root in roots
        for path in root.glob("*/*" if root == paths.blobs else "*")
    )


def test_an_image_is_found_by_name_id_and_digest(paths):
    image = make(paths, b"one", name="example.org/a/b:1.0")

    for name in (
        "example.org/a/b:1.0",
        image.id,
        image.id[7:],
        image.short,
        f"example.org/a/b@{image.manifest}",
    ):
        assert store.get(paths, name).id == image.id
    assert store.get(paths, "example.org/a/b:1.0").name == "example.org/a/b:1.0"
    for name in ("example.org/a/b", "a/b:1.0", "ffff" if image.id[7:11] != "ffff" else "eeee"):
        with pytest.raises(NotFound, match="No such image: "):
            store.get(paths, name)
    with pytest.raises(Invalid, match="invalid reference format"):
        store.get(paths, "a/B")


def test_what_runs_is_in_the_one_record(paths):
    run = RunConfig(
        env=("A=b",), entrypoint=("/e",), command=("c",), working_directory="/w", user="u", labels={"l": "m"},
        volumes=("/v",), exposed_ports=("80/tcp",), stop_signal="SIGINT", shell=("/bin/ash", "-c"),
    )  # fmt: skip
    image = store.get(paths, make(paths, b"x", run=run).id)

    assert image.args() == ("/e", "c")
    assert image.args(["d"]) == ("/e", "d")
    assert image.args(["d"], entrypoint=["/f"]) == ("/f", "d")
    assert (image.env, image.user, image.labels, image.volumes) == (("A=b",), "u", {"l": "m"}, ("/v",))
    assert store.config(paths, image).run == run


def test_a_record_of_an_older_labkit_is_no_image_and_is_left_alone(paths):
    older = paths.images / "lab%2Fbusybox.json"
    older.write_text('{"name": "lab/busybox", "layers": []}')
    image = make(paths, b"one")

    assert [found.id for found in store.all_images(paths)] == [image.id]
    collect.collect(paths, wait=True)
    assert older.exists() and store.get(paths, "test/image").id == image.id


def test_images_that_share_a_layer_share_its_directory(paths):
    low = make(paths, b"low", name="low")
    one, two = make(paths, b"one", name="one", below=low), make(paths, b"two", name="two", below=low)

    assert one.layers[0] == two.layers[0] == low.layers[0]
    assert len(list(paths.layers.iterdir())) == 3


def test_a_name_moves_and_the_image_stays_without_one(paths):
    first, second = make(paths, b"1", name="app"), make(paths, b"2", name="app")
    assert store.get(paths, "app").id == second.id
    assert store.get(paths, first.id).layers == first.layers

    store.tag(paths, first, "app:old")
    assert store.all_names(paths) == {second.id: ["app:latest"], first.id: ["app:old"]}
    store.untag(paths, "app")
    with pytest.raises(NotFound):
        store.untag(paths, "app")
    store.untag(paths, "app:old")
    assert not list(paths.names.iterdir())
    assert {image.name for image in store.all_images(paths)} == {""}


def test_many_who_tag_and_untag_one_repository_do_not_disturb_each_other(paths):
    image = make(paths, b"x", name="")
    failures = []

    def work(number: int) -> None:
        try:
            for _ in range(30):
                store.tag(paths, image, f"many:{number}")
                store.untag(paths, f"many:{number}")
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_what_is_removed_is_collected_and_what_is_shared_stays(paths):
    low = make(paths, b"low", name="low")
    before = standing(paths)
    high = make(paths, b"high", name="high", below=low)
    store.forget(paths, high)
    done = collect.collect(paths)

    assert standing(paths) == before
    assert len([line for line in done.removed if line.startswith("blob")]) == 2
    assert done.freed_bytes > 4
    assert store.get(paths, "low").layers == low.layers


def test_layers_of_containers_and_of_the_builds_cache_are_not_garbage(paths):
    one, two = make(paths, b"1", name=""), make(paths, b"2", name="")
    (paths.containers / "c").mkdir()
    (paths.containers / "c/container.json").write_text(json.dumps({"layers": one.layers}))
    (paths.cache / "build").mkdir()
    (paths.cache / "build/k.json").write_text(json.dumps({"layer": two.layers[0]}))
    (paths.cache / "build/torn.json").write_text("{")
    for image in (one, two):
        store.forget(paths, image)
    collect.collect(paths)

    assert all(store.layer_directory(paths, image.layers[0]).is_dir() for image in (one, two))


def test_nothing_is_collected_while_somebody_adds(paths):
    with store.new_layer(paths) as draft:
        assert collect.collect(paths).removed == ()
        assert draft.is_dir()
    store.forget(paths, make(paths, b"x"))
    with lock.shared(paths):
        assert collect.collect(paths).removed == ()
    assert collect.collect(paths).removed


def test_a_start_collects_only_where_something_may_be_left(paths):
    store.forget(paths, make(paths, b"x"))
    assert collect.if_needed(paths).removed
    assert collect.if_needed(paths).removed == ()
    make(paths, b"y", name="")
    (paths.layers / ".draft-left").mkdir()
    assert collect.if_needed(paths).removed == ("layer .draft-left",)
    (paths.layers / ".draft-left").mkdir()
    assert collect.if_needed(paths).removed == ()
    (paths.run / "collected").unlink()  # as after a boot
    assert collect.if_needed(paths).removed == ("layer .draft-left",)


# ------------------------------------------------------------------------- archives


@pytest.fixture
def other(tmp_path_factory, paths):
    from labkit.paths import Paths

    made = Paths(root=paths.root.with_name("root-2"), run=paths.run.with_name("run-2"))
    made.prepare()
    return made


@pytest.mark.parametrize("compress", [None, "gzip", "zstd"])
def test_a_saved_image_is_the_same_image_elsewhere(paths, other, compress):
    image = make(paths, b"one", b"two", run=RunConfig(labels={"a": "b"}))
    data = saved(paths, "test/image", compress=compress)
    assert data == saved(paths, "test/image", compress=compress)

    (loaded,) = archive.load(other, io.BytesIO(data))
    assert loaded.names == ("test/image:latest",)
    assert (loaded.image.id, loaded.image.layers) == (image.id, image.layers)
    assert saved(other, "test/image") == data
    assert saved(other, "test/image", compress="") == saved(paths, "test/image")


def test_a_directory_takes_several_images_and_gives_them_back(paths, other):
    one, two = make(paths, b"1", name="one"), make(paths, b"2", name="two:x")
    for name in ("one", "two:x", "one"):
        saving.save_directory(paths, [name], paths.run / "layout", compress="gzip")

    loaded = archive.load(other, paths.run / "layout")
    assert {(found.names[0], found.image.id) for found in loaded} == {
        ("one:latest", one.id),
        ("two:x", two.id),
    }


def test_a_compressed_archive_is_loaded_too(paths, other):
    import gzip

    image = make(paths, b"x")
    (loaded,) = archive.load(other, io.BytesIO(gzip.compress(saved(paths, "test/image"))))
    assert loaded.image.id == image.id


def rewritten(data: bytes, change) -> io.BytesIO:
    """An archive with some files of it changed; None takes one out."""
    made = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=made, mode="w") as new:
        for member in old:
            content = old.extractfile(member).read() if member.isreg() else b""
            content = change(member.name, content)
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    made.seek(0)
    return made


def put(**files):
    """Other content for some files; names with _ for the dot."""
    return lambda name, content: files.get(name.replace(".", "_"), content)


def large(content: bytes) -> bool:
    """Whether it is the layer."""
    return len(content) > 3000


PASSWD = b'[{"Config":"/etc/passwd","Layers":[]}]'
NOT_ITSELF = {
    "a layer that is damaged": (lambda n, c: c[:-1024] + b"x" * 1024 if large(c) else c, "sha256:"),
    "a layer that is missing": (lambda n, c: None if large(c) else c, "is not in the archive"),
    "a config that is changed": (lambda n, c: c.replace(b'"linux"', b'"Linux"'), "is not what it should be"),
    "an index that is none": (put(index_json=b"[]"), "index must be an object"),
    "an index of nothing": (put(index_json=b'{"schemaVersion":2,"manifests":[]}'), "no image"),
    "no index at all": (put(index_json=None, manifest_json=None), "no archive of images"),
    "manifest.json alone, and no list": (put(index_json=None, manifest_json=b"{}"), "must be a list"),
    "manifest.json alone, and a file of the host": (
        put(index_json=None, manifest_json=PASSWD), "etc/passwd is not in the archive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_ITSELF)
def test_an_archive_that_is_not_what_it_should_be_leaves_nothing(paths, other, case):
    change, named = NOT_ITSELF[case]
    make(paths, os.urandom(5000))
    with pytest.raises((Invalid, NotFound), match=named):
        archive.load(other, rewritten(saved(paths, "test/image"), change))

    assert store.all_images(other) == []
    collect.collect(other)
    assert standing(other) == []


def odd(*members: tarfile.TarInfo) -> io.BytesIO:
    """An archive of images with members that do not belong there."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as new:
        for member in members:
            new.addfile(member, io.BytesIO(b"{}" * (member.size // 2)))
    made.seek(0)
    return made


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, 2 if kind == tarfile.REGTYPE else 0
    return made


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ([member("x"), member("./x")], "x: the archive has it twice"),
        ([member("x"), member("y/../x")], "has it twice"),
        ([member("device", tarfile.BLKTYPE)], "device: an archive of images holds no such file"),
        ([member("manifest.json", tarfile.SYMTYPE, "manifest.json")], "no archive of images"),
        ([member("manifest.json", tarfile.SYMTYPE, "../../../etc/passwd")], "no archive of images"),
        ([member(f"{number}") for number in range(12)], "more than 10 members"),
    ],
)
def test_an_archive_with_odd_members_is_refused(paths, monkeypatch, members, named):
    monkeypatch.setattr(bag, "MOST_MEMBERS", 10)
    with pytest.raises(Invalid, match=named):
        archive.load(paths, odd(*members))
    assert standing(paths) == []


def test_no_link_in_a_layout_s_directory_is_followed(paths, other):
    make(paths, b"x")
    saving.save_directory(paths, ["test/image"], paths.run / "layout")
    (secret,) = (paths.run / "layout/blobs/sha256").glob(store.get(paths, "test/image").id[7:])
    secret.rename(paths.run / "elsewhere")
    secret.symlink_to(paths.run / "elsewhere")
    with pytest.raises(Invalid, match="cannot be read from the directory"):
        archive.load(other, paths.run / "layout")


def test_a_directory_that_is_no_layout_is_not_written_to(paths):
    make(paths, b"x")
    (paths.run / "mine").mkdir()
    (paths.run / "mine/file").touch()
    with pytest.raises(Conflict, match="not empty"):
        saving.save_directory(paths, ["test/image"], paths.run / "mine")


def test_of_an_index_for_many_platforms_the_one_that_fits_is_loaded(paths, other):
    here, there = manifests.here(), manifests.Platform(architecture="s390x")
    ids = {}
    for platform in (here, there):
        with lock.adding(paths), store.new_layer(paths) as draft:
            (draft / "file").write_text(str(platform))
            layer = store.keep(paths, draft)
            config = ImageConfig(architecture=platform.architecture, variant=platform.variant)
            config = config.with_step(History(created_by="a test"), layer.diff_id)
            ids[str(platform)] = store.make(paths, config, [layer], [f"for:{platform.architecture}"])
    names = [f"for:{platform.architecture}" for platform in (here, there)]
    saving.save_directory(paths, names, paths.run / "layout")
    index = json.loads((paths.run / "layout/index.json").read_text())
    inner = []
    for entry, platform in zip(index["manifests"], (here, there), strict=True):
        del entry["annotations"]
        inner.append(entry | {"platform": platform.json()})
    attestation = inner[0] | {"platform": {"architecture": "unknown", "os": "unknown"}}
    nested = json.dumps({"schemaVersion": 2, "manifests": [attestation, *inner]}).encode()
    digest = references.digest_of(nested)
    (paths.run / "layout/blobs/sha256" / digest[7:]).write_bytes(nested)
    entry = {"mediaType": manifests.OCI_INDEX, "digest": digest, "size": len(nested)}
    (paths.run / "layout/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))

    (ours,) = archive.load(other, paths.run / "layout", name="multi")
    (theirs,) = archive.load(other, paths.run / "layout", name="multi:z", platform=there)
    assert (ours.image.id, theirs.image.id) == (ids[str(here)].id, ids[str(there)].id)
    with pytest.raises(NotFound, match="no image for linux/riscv64"):
        archive.load(other, paths.run / "layout", platform=manifests.Platform.parse("riscv64"))


@pytest.mark.parametrize("is_known", [False, True])
def test_a_layer_that_is_not_the_configs_is_refused(paths, other, is_known):
    """The blob's digest is right, its diff id is not: only reading it can tell."""
    image = make(paths, b"one")
    config = store.config(paths, image)
    there = [make(other, b"two", name="known")] if is_known else []
    claimed = f"sha256:{there[0].layers[0]}" if is_known else "sha256:" + "0" * 64
    lying = ImageConfig(architecture="amd64", diff_ids=(claimed,), history=config.history)
    data = lying.encode()
    with lock.adding(paths):
        digest = blobs.put(paths, data)
    row = [{"Config": "c.json", "RepoTags": ["lie:1"], "Layers": ["layer.tar"]}]
    made = io.BytesIO()
    layer = io.BytesIO()
    from labkit.images import unpacked

    unpacked.write_tar(paths, config.diff_ids[0], layer.write)
    with tarfile.open(fileobj=made, mode="w") as archive_:
        manifest = json.dumps(row).encode()
        for name, content in (("c.json", data), ("layer.tar", layer.getvalue()), ("manifest.json", manifest)):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive_.addfile(member, io.BytesIO(content))
    made.seek(0)
    with pytest.raises(Invalid, match="is not what its image says"):
        archive.load(other, made)
    assert digest and [found.id for found in store.all_images(other)] == [image.id for image in there]


def test_a_layer_that_was_changed_on_the_disk_is_not_given_away(paths):
    image = make(paths, b"as it was")
    (store.layer_directory(paths, image.layers[0]) / "file").write_bytes(b"changed")
    with pytest.raises(Invalid, match="was changed on the disk"):
        saved(paths, "test/image")


def test_a_root_file_system_is_imported(paths):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as root:
        member = tarfile.TarInfo("etc/hostname")
        member.size = 4
        root.addfile(member, io.BytesIO(b"box\n"))
    made.seek(0)
    run = RunConfig(command=("/bin/sh",))
    image = archive.import_tar(paths, made, ["imported:1"], run=run, message="by hand")

    assert store.get(paths, "imported:1").command == ("/bin/sh",)
    assert (store.layer_directory(paths, image.layers[0]) / "etc/hostname").read_text() == "box\n"
    assert store.config(paths, image).history[0].comment == "by hand"


# ------------------------------------------------------------------------- killed in the middle

CHILD = """
import sys, time
from pathlib import Path
from labkit.paths import Paths
from labkit.images import archive, collect, store
paths = Paths(Path(sys.argv[1]), Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[3] == "load":
    archive.load(paths, Path(sys.argv[4]))
else:
    store.forget(paths, store.get(paths, sys.argv[4]))
    collect.collect(paths, wait=True)
print("done", flush=True)
"""


def killed_after(seconds: float, paths, *words: str) -> bool:
    """Begin something in a process of its own and kill that; whether it was done before."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(paths.root), str(paths.run), *words],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout.readline() == "ready\n"
    child.stdin.write("go\n")
    child.stdin.flush()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    return "done" in child.communicate(timeout=30)[0]


def whole(paths, image) -> bool:
    """Whether an image that can be seen is there with everything that it is made of."""
    found = store.get(paths, image.id)
    complete = all(
        (store.layer_directory(paths, name) / "file").stat().st_size == size
        for name, size in zip(found.layers, found.layer_bytes, strict=True)
    )
    return complete and store.config(paths, found) == store.config(paths, image)


def test_a_load_that_is_killed_at_any_moment_is_whole_or_nothing(paths, other):
    image = make(paths, *(bytes([n]) * 3_000_000 for n in range(4)), name="big")
    file = Path(paths.run, "big.tar")
    file.write_bytes(saved(paths, "big", compress="gzip"))
    ends = set()
    for number in range(14):
        done = killed_after(0.012 * number, other, "load", str(file))
        seen = store.all_images(other)
        assert all(found.id == image.id and found.layers == image.layers for found in seen)
        assert all(store.layer_directory(other, name).is_dir() for found in seen for name in found.layers)
        ends.add((done, bool(seen)))
        collect.if_needed(other)
        if not seen:
            assert standing(other) == []
        for found in seen:
            store.forget(other, found)
        collect.collect(other)
        assert standing(other) == []
    assert (False, False) in ends  # some were killed in the middle


def test_a_removal_that_is_killed_at_any_moment_leaves_no_half_image(paths):
    for number in range(8):
        keep = make(paths, b"stays", name="stays")
        make(paths, *(bytes([n]) * 3000 for n in range(60)), name="gone", below=keep)
        killed_after(0.003 * number, paths, "remove", "gone")
        for found in store.all_images(paths):
            assert all(store.layer_directory(paths, name).is_dir() for name in found.layers)
        collect.if_needed(paths)
        assert store.get(paths, "stays").layers == keep.layers
        for name in [found.id for found in store.all_images(paths) if found.name == "gone"]:
            store.forget(paths, store.get(paths, name))
        collect.collect(paths)
        assert (
            len([line for line in standing(paths) if line.startswith("layers") and ".json" not in line]) == 1
        )
