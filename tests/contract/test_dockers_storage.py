"""Volumes, bind mounts and tmpfs beside a real dockerd: the same files, the same words."""

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from labkit.engine import volumes
from labkit.engine.engine import Engine
from labkit.errors import LabkitError
from labkit.images import base, store
from labkit.images.configs import History
from labkit.observe import machine

NEEDS = ("root", "overlay", "cgroups", "namespaces", "busybox", "dockerd")
pytestmark = pytest.mark.requires(*NEEDS)


@pytest.fixture(scope="module")
def tree(tmp_path_factory, request):
    """One root file system for both: busybox, and a directory with all sorts of things in it."""
    for need in NEEDS:
        if not machine.has(need):
            pytest.skip(machine.why_not(need))
    top = Path(shutil.os.path.realpath("/var/tmp")) / f"labkit-tree-{os.getpid()}"
    (top / "bin").mkdir(parents=True)
    shutil.copyfile(base._find_busybox(), top / "bin/busybox")
    (top / "bin/busybox").chmod(0o755)
    for applet in ("sh", "stat", "find", "true", "grep", "ls", "cat", "touch", "sort", "xargs"):
        (top / "bin" / applet).symlink_to("busybox")
    data = top / "data"
    (data / "sub").mkdir(parents=True)
    (data / "file").write_text("content\n")
    os.chown(data / "file", 12, 34)
    (data / "file").chmod(0o640)
    os.link(data / "file", data / "sub/hard")
    (data / "link").symlink_to("file")
    os.lchown(data / "link", 3, 4)
    os.mkfifo(data / "pipe", 0o600)
    (data / "sub").chmod(0o2750)
    os.chown(data / "sub", 1000, 1000)
    data.chmod(0o1770)
    os.chown(data, 5, 6)
    (top / "empty").mkdir(mode=0o700)
    os.chown(top / "empty", 77, 88)
    (top / "run").mkdir()
    (top / "var").mkdir()
    (top / "var/run").symlink_to("/run")
    (top / "dangling").symlink_to("/nowhere")
    for name in ("data/file", "data/sub"):
        os.utime(top / name, (10**9, 10**9))
    yield top
    shutil.rmtree(top)


@pytest.fixture(scope="module")
def image(docker, tree):
    """The same image for Docker."""
    docker.import_tree(tree, "test/tree")
    docker.import_tree(tree, "test/declared", "VOLUME /data")
    return "test/tree"


@pytest.fixture
def engine(paths, tree):
    """The same image for labkit."""
    made = Engine(paths)
    with store.new_layer(paths) as draft:
        subprocess.run(["cp", "-a", f"{tree}/.", draft], check=True)
        layer = store.keep(paths, draft)
        config = store.config(paths, base.get(paths, base.BUSYBOX))
        for name, declared in (("test/tree", ()), ("test/declared", ("/data",))):
            run = dataclasses.replace(config.run, volumes=declared)
            fresh = dataclasses.replace(config, run=run, diff_ids=(), history=())
            whole = fresh.with_step(History(created_by="a test"), layer.diff_id)
            store.make(paths, whole, [layer], [name])
    yield made
    for container in made.containers():
        container.remove(force=True, volumes=True)
    made.close()


LOOK = "find {0} | sort | xargs stat -c '%n %a %u %g %F %h'; stat -c '%n %Y' {0}/file; ls -n {0}/link"


def both(docker, engine, script, *, image="test/tree", words=(), **options):
    """What a script says in a container of each."""
    theirs = docker.run(*words, image, "sh", "-c", script)
    ours = engine.run(image, ["sh", "-c", script], **options)
    assert (theirs.returncode, ours.exit_code) == (0, 0), (theirs.stderr, ours.stderr)
    return theirs.stdout, ours.stdout


def test_a_new_volume_gets_what_the_image_has_with_owners_modes_and_links(docker, image, engine):
    theirs, ours = both(
        docker, engine, LOOK.format("/data"), words=("-v", "first:/data"), volumes=["first:/data"]
    )

    assert ours.splitlines() == theirs.splitlines()
    assert "/data/sub/hard 640 12 34 regular file 2" in ours


def test_a_volume_over_an_empty_directory_gets_its_owner_and_mode(docker, image, engine):
    theirs, ours = both(
        docker, engine, "stat -c '%a %u %g' /empty", words=("-v", "void:/empty"), volumes=["void:/empty"]
    )

    assert ours == theirs == "700 77 88\n"


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (("-v", "bare:/data:nocopy"), {"volumes": ["bare:/data:nocopy"]}),
        (("--mount", "src=bare2,dst=/data,volume-nocopy"), {"mounts": ["src=bare2,dst=/data,volume-nocopy"]}),
    ],
)
def test_nocopy_leaves_it_empty(docker, image, engine, words, options):
    theirs, ours = both(docker, engine, "ls -A /data; stat -c %a /data", words=words, **options)

    assert ours == theirs == "755\n"


def test_what_is_in_a_volume_already_is_left_alone(docker, image, engine):
    both(docker, engine, "touch /x/mine", words=("-v", "used:/x"), volumes=["used:/x"])
    theirs, ours = both(docker, engine, "ls -A /data", words=("-v", "used:/data"), volumes=["used:/data"])

    assert ours == theirs == "mine\n"


def test_declared_volumes_are_anonymous_and_gone_with_rm(docker, image, engine):
    script = "grep -c ' /data ' /proc/self/mountinfo; ls /data"
    theirs, ours = both(docker, engine, script, image="test/declared")

    assert ours == theirs
    assert docker.must("volume", "ls", "-q", "-f", "dangling=true").split() == [
        name for name in docker.must("volume", "ls", "-q").split() if len(name) < 64
    ]
    assert volumes.all_volumes(engine.paths) == []


@pytest.mark.parametrize("target", ["/var/run/x", "/dangling/x", "/data/../run/x"])
def test_a_target_behind_a_link_lands_where_docker_puts_it(docker, image, engine, target):
    script = "grep -o ' /[a-z/]*/x ' /proc/self/mountinfo"
    theirs, ours = both(docker, engine, script, words=("-v", f"land:{target}"), volumes=[f"land:{target}"])

    assert ours == theirs


@pytest.mark.parametrize(
    "words",
    [
        ("--tmpfs", "/t"),
        ("--tmpfs", "/t:size=64k,exec,mode=700,uid=5"),
        ("--tmpfs", "/data"),
        ("--mount", "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0750"),
        ("--mount", "type=tmpfs,target=/t,readonly"),
    ],
)
def test_a_tmpfs_has_the_options_that_docker_gives_it(docker, image, engine, words):
    from labkit.engine import mount_syntax

    script = (
        r"grep -E ' /(t|data) ' /proc/self/mountinfo | busybox sed 's/.* \(\/[a-z]* [^ ]*\).* - /\1 /'; "
        "ls -lnd /t /data"
    )
    read = mount_syntax.tmpfs if words[0] == "--tmpfs" else mount_syntax.mount
    theirs = docker.run(*words, image, "busybox", "sh", "-c", script).stdout
    ours = engine.run("test/tree", ["busybox", "sh", "-c", script], mounts=[read(words[1])]).stdout

    # Our mode is said even where the covered directory's is taken; the directory itself says the same.
    def plain(text):
        return [line.replace(",mode=1770", "") for line in text.splitlines()]

    assert plain(ours)[0].split()[:2] == plain(theirs)[0].split()[:2]
    assert [line.split()[:4] for line in plain(ours)[1:]] == [line.split()[:4] for line in plain(theirs)[1:]]
    of_the_file_system = [set(plain(said)[0].split(" ")[-1].split(",")) for said in (theirs, ours)]
    assert of_the_file_system[0] - {"rw"} <= of_the_file_system[1]  # Docker closes the mount alone


REFUSED = [
    ("-v", "x/y:/data"),
    ("-v", "/tmp:/d:weird"),
    ("-v", "/tmp:d"),
    ("-v", "/tmp:/"),
    ("-v", "a1:/d:ro:rw"),
    ("-v", ":/d"),
    ("-v", "/tmp:/d:ro,rw"),
    ("-v", "/tmp:/d:nocopy"),
    ("-v", "vol:/d:rshared"),
    ("-v", "vol:ro"),
    ("--mount", "type=bind,source=/not/there,target=/d"),
    ("--mount", "type=bind,source=/tmp,target=d"),
    ("--mount", "type=bind,source=/tmp,foo=bar,target=/d"),
    ("--mount", "type=bind,target=/d"),
    ("--mount", "type=bind,source=tmp,target=/d"),
    ("--mount", "type=bind,source=/tmp"),
    ("--mount", "type=what,source=/tmp,target=/d"),
    ("--mount", "type=bind,source=/tmp,target=/d,volume-nocopy"),
    ("--mount", "type=tmpfs,source=/tmp,target=/d"),
    ("--mount", "type=tmpfs,target=/d,tmpfs-size=abc"),
    ("--mount", "type=tmpfs,target=/d,tmpfs-mode=9"),
    ("--mount", "type=bind,source=/tmp,target=/d,readonly=maybe"),
    ("--mount", "type=bind,source=/tmp,target=/d,bind-propagation=odd"),
    ("--mount", "type=bind,source=/tmp,target=/"),
    ("--mount", "readonly"),
    ("--mount", "foo"),
    ("--tmpfs", "d"),
    ("--tmpfs", "/d:foo"),
    ("--volumes-from", "nobody"),
    ("-v", "/tmp:/d", "-v", "vv:/d"),
    ("-v", "/tmp:/d", "--tmpfs", "/d"),
    ("-v", "/tmp:/d", "--mount", "type=tmpfs,target=/d"),
]


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_it_refuses_what_docker_refuses_in_the_same_words(docker, image, engine, words, capsys, monkeypatch):
    from labkit.cli import main

    monkeypatch.setenv("LABKIT_ROOT", str(engine.paths.root))
    monkeypatch.setenv("LABKIT_RUN", str(engine.paths.run))
    theirs = docker.run(*words, image, "true")
    code = main.run(["run", "--detach", *words, "test/tree", "true"])
    ours = capsys.readouterr().err.splitlines()[0].removeprefix("labkit: ")

    said = theirs.stderr.splitlines()[0].removeprefix("docker: ").removeprefix("Error response from daemon: ")
    assert theirs.returncode != 0 and code != 0
    assert ours == said.removesuffix(".").removesuffix(".\nSee")


def test_a_volume_is_refused_removed_and_missed_in_the_same_words(docker, image, engine):
    theirs_id = docker.must("create", "--network", "none", "-v", "busy:/d", image, "true").strip()
    ours = engine.create("test/tree", ["true"], volumes=["busy:/d"])
    theirs = {
        name: docker("volume", *words).stderr.strip().removeprefix("Error response from daemon: ")
        for name, words in {
            "busy": ("rm", "busy"), "gone": ("rm", "gone"),
            "short": ("create", "a"), "bad": ("create", ".bad"),
        }.items()
    }  # fmt: skip
    docker.must("rm", theirs_id)

    def said(action, *arguments):
        with pytest.raises(LabkitError) as refused:
            action(engine.paths, *arguments)
        return str(refused.value)

    assert said(volumes.remove, "busy") == theirs["busy"].replace(theirs_id, ours.id)
    assert said(volumes.remove, "gone") == theirs["gone"]
    assert said(volumes.create, "a") == theirs["short"]
    assert said(volumes.create, ".bad") == theirs["bad"]
