"""Images as a user has them: removed when nobody needs them, made from containers, told of in tables."""

import io
import json
import tarfile

import pytest
from click.testing import CliRunner

from labkit.cli import image as cli
from labkit.engine import images
from labkit.errors import Conflict, NotFound
from labkit.images import base, collect, lock, overlay, store, usage
from labkit.images.configs import History

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")
BUSYBOX = "lab/busybox"


@pytest.fixture
def running(engine):
    script = "echo data > /new; rm /etc/hostname; sleep 60"
    container = engine.create(BUSYBOX, ["sh", "-c", script], name="writer")
    container.start()
    container.exec(["sh", "-c", "until test -s /new && ! test -e /etc/hostname; do sleep 0.01; done"])
    return container


def test_an_image_that_a_container_uses_stays_in_dockers_words(engine, running):
    image = store.get(engine.paths, BUSYBOX)
    short = running.id[:12]
    with pytest.raises(Conflict, match=rf'unable to remove repository reference "{BUSYBOX}" \(must force\)'):
        images.remove(engine.paths, BUSYBOX)
    for force in (False, True):
        with pytest.raises(Conflict, match=rf"\(cannot be forced\) - .* by running container {short}"):
            images.remove(engine.paths, image.id, force=force)
    running.stop(0.1)
    with pytest.raises(Conflict, match=rf"\(must be forced\) - .* by stopped container {short}"):
        images.remove(engine.paths, image.short)

    assert images.remove(engine.paths, image.short, force=True)[1] == f"Deleted: {image.id}"
    running.start()  # its layers are its own as long as it is there
    assert running.exec(["cat", "/new"]).stdout == "data\n"
    running.remove(force=True)
    assert collect.collect(engine.paths).removed == (f"layer {image.layers[0]}",)


def test_a_name_goes_first_and_the_image_with_its_last(engine):
    image = base.get(engine.paths, BUSYBOX)
    store.tag(engine.paths, image, "other/name:1")
    with pytest.raises(Conflict, match="referenced in multiple repositories"):
        images.remove(engine.paths, image.id)

    assert images.remove(engine.paths, BUSYBOX) == ["Untagged: lab/busybox:latest"]
    assert engine.run("other/name:1", ["echo", "there"]).stdout == "there\n"
    assert images.remove(engine.paths, "other/name:1") == [
        "Untagged: other/name:1", f"Deleted: {image.id}", f"Deleted: sha256:{image.layers[0]}",
    ]  # fmt: skip
    with pytest.raises(NotFound, match="No such image: other/name:1"):
        images.remove(engine.paths, "other/name:1")
    assert not list(engine.paths.layers.iterdir())


def test_prune_takes_what_has_no_name_and_with_all_what_has_no_container(engine, running):
    paths = engine.paths
    images.commit(paths, running, ["app"])
    left = images.commit(paths, running, ["app"])
    running.exec(["rm", "/new"])
    images.commit(paths, running, ["app"])  # the second has lost its name to this one

    assert f"deleted: {left.id}" in images.prune(paths).removed
    assert {one.name for one in store.all_images(paths)} == {BUSYBOX, "app"}
    done = images.prune(paths, every=True)
    assert "untagged: app:latest" in done.removed
    assert {one.name for one in store.all_images(paths)} == {BUSYBOX}


def test_what_a_container_wrote_becomes_an_image(engine, running):
    image = images.commit(engine.paths, running, ["made:1"], author="me", message="by hand")
    result = engine.run("made:1", ["sh", "-c", "cat /new; test -e /etc/hostname || echo gone"])

    assert result.stdout == "data\ngone\n"
    assert image.layers[:-1] == store.get(engine.paths, BUSYBOX).layers
    assert image.command == running.record.args
    newest = usage.history(engine.paths, image)[0]
    assert (newest.comment, newest.size_bytes, newest.image_id) == ("by hand", 5, image.id)
    assert store.config(engine.paths, image).author == "me"
    assert str(running.status) == "running"


def test_an_export_holds_what_the_container_sees_and_no_whiteouts(engine, running):
    made = io.BytesIO()
    packed = images.export(engine.paths, running, made.write)
    made.seek(0)
    with tarfile.open(fileobj=made) as archive:
        names = archive.getnames()
        assert archive.extractfile("new").read() == b"data\n"

    assert packed.size_bytes == len(made.getvalue())
    assert "bin/busybox" in names and "etc/hostname" not in names
    assert not any(".wh." in name or name.startswith("proc/") for name in names)


def test_images_that_share_layers_are_counted_once(engine, running):
    paths = engine.paths
    images.commit(paths, running, ["app:1"])
    rooms = {room.names: room for room in usage.rooms(paths)}
    low, high = rooms[("lab/busybox:latest",)], rooms[("app:1",)]

    assert low.shared_bytes == high.shared_bytes == low.size_bytes
    assert (low.unique_bytes, high.unique_bytes) == (0, 5)
    assert usage.layers_bytes(paths) == low.size_bytes + 5


# ------------------------------------------------------------------------- the command line


@pytest.fixture
def labkit(paths, monkeypatch):
    """One verb of `labkit image`, and what it prints."""
    monkeypatch.setenv("LABKIT_ROOT", str(paths.root))
    monkeypatch.setenv("LABKIT_RUN", str(paths.run))

    def call(*words: str, stdin: bytes = b"") -> str:
        done = CliRunner().invoke(cli.image, [*map(str, words)], input=stdin, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return call


def test_the_verbs_of_an_image_s_life(labkit, paths):
    assert BUSYBOX in labkit("make", BUSYBOX)
    labkit("tag", BUSYBOX, "app:1")
    listed = labkit("ls")
    assert [line.split()[:2] for line in listed.splitlines()[1:]] == [["app", "1"], ["lab/busybox", "latest"]]
    (image_id,) = labkit("ls", "-q", "--no-trunc").split()
    assert labkit("list", "app").count("\n") == 2

    (told,) = json.loads(labkit("inspect", "app:1"))
    assert (told["Id"], told["RepoTags"]) == (image_id, ["app:1", "lab/busybox:latest"])
    assert told["Config"]["Cmd"] == ["sh"]
    assert "busybox" in labkit("history", "app:1")
    labkit("save", "-o", str(paths.run / "a.tar"), "app:1")
    labkit("save", "--directory", str(paths.run / "layout"), "--compress", "zstd", BUSYBOX)
    assert labkit("rm", "app:1") == "Untagged: app:1\n"
    assert f"Deleted: {image_id}" in labkit("rm", BUSYBOX)

    assert "Loaded image: app:1" in labkit("load", "-i", str(paths.run / "a.tar"))
    assert labkit("load", "-q", "-i", str(paths.run / "layout")) == "Loaded image: lab/busybox:latest\n"
    assert labkit("ls", "-q", "--no-trunc").split() == [image_id]
    assert "SHARED SIZE" in labkit("df", "-v")
    assert labkit("df").splitlines()[1].split()[:3] == ["Images", "1", "0"]
    assert "Total reclaimed space" in labkit("prune", "-a", "-f")
    assert labkit("ls", "-q") == ""


def test_a_tar_is_imported_with_changes(labkit, paths):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("file"))
    changes = ["-c", 'CMD ["/file"]', "-c", "ENV A=b", "-c", "EXPOSE 80"]
    image_id = labkit("import", *changes, "-", "imported", stdin=made.getvalue()).strip()

    found = store.get(paths, "imported")
    assert found.id == image_id
    assert (found.command, found.env, found.exposed_ports) == (("/file",), ("A=b",), ("80/tcp",))


def test_an_image_of_a_hundred_layers_runs_and_its_short_links_go_with_it(engine):
    paths = engine.paths
    below = base.get(paths, BUSYBOX)
    config, layers = store.config(paths, below), list(store.layers_of(paths, below))
    with lock.adding(paths):
        for number in range(100):
            with store.new_layer(paths) as draft:
                (draft / f"file-{number}").write_text(str(number))
                layers.append(store.keep(paths, draft))
            config = config.with_step(History(created_by=f"layer {number}"), layers[-1].diff_id)
        store.make(paths, config, layers, ["many"])

    assert engine.run("many", ["sh", "-c", "cat /file-* | wc -c"]).stdout.strip() == "190"
    images.remove(paths, "many")
    assert list((paths.layers / overlay.LINKS).iterdir()) != []  # lab/busybox was one of them
    images.remove(paths, BUSYBOX)
    assert list((paths.layers / overlay.LINKS).iterdir()) == []
