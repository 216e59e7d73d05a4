"""Volumes, bind mounts and tmpfs. findmnt(8) in the container's mount namespace is the second witness."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from labkit.engine import volumes
from labkit.engine.engine import Engine
from labkit.engine.mount import Mount
from labkit.errors import Conflict, Invalid, LabkitError, NotFound, StartFailed
from labkit.images import base, store
from labkit.images.configs import History
from labkit.kernel import mounts
from labkit.kernel.mounts import MountFlag

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")
BUSYBOX = "lab/busybox"


def findmnt(container, target):
    """What the kernel holds for a place inside, or nothing where nothing is mounted."""
    columns = "FSTYPE,OPTIONS,PROPAGATION,SOURCE"
    asked = ["findmnt", "--task", str(container.pid), "--json", "--output", columns, target]
    told = subprocess.run(asked, capture_output=True, text=True)
    return json.loads(told.stdout)["filesystems"][-1] if told.stdout else {}


def sleeping(engine, **options):
    container = engine.create(BUSYBOX, ["sleep", "300"], **options)
    container.start()
    return container


@contextmanager
def mounted_on_the_host(place, *, shared=False):
    place.mkdir(exist_ok=True)
    mounts.mount("tmpfs", place, "tmpfs", options="size=1m")
    try:
        mounts.propagate(place, MountFlag.SHARED if shared else MountFlag.PRIVATE)
        yield place
    finally:
        mounts.unmount(place, mounts.DETACH)


def image_with(paths, fill, *, name="test/data", declared=()):
    """lab/busybox and one more layer, which `fill` puts its files into."""
    return image_upon(paths, base.get(paths, BUSYBOX), fill, name=name, declared=declared)


def image_upon(paths, below, fill, *, name, declared=()):
    """An image and one more layer."""
    with store.new_layer(paths) as draft:
        fill(draft)
        layer = store.keep(paths, draft)
        config = store.config(paths, below)
        run = dataclasses.replace(config.run, volumes=tuple(declared))
        config = config.with_step(History(created_by="a test"), layer.diff_id, run)
        store.make(paths, config, [*store.layers_of(paths, below), layer], [name])
    return name


def owned_data(layer):
    (layer / "data/sub").mkdir(parents=True)
    (layer / "data/file").write_text("from the image\n")
    os.chown(layer / "data/file", 12, 34)
    (layer / "data/file").chmod(0o640)
    os.link(layer / "data/file", layer / "data/sub/hard")
    (layer / "data/link").symlink_to("file")
    (layer / "data").chmod(0o1770)
    os.chown(layer / "data", 5, 6)
    os.setxattr(layer / "data/file", "user.colour", b"blue")
    os.utime(layer / "data/file", ns=(10**18, 10**18 + 7))


# ------------------------------------------------------------------ volumes


def test_a_volume_outlives_its_containers_and_is_seen_by_all_of_them(engine):
    engine.run(BUSYBOX, ["sh", "-c", "echo kept > /data/note"], volumes=["notes:/data"])
    other = sleeping(engine, mounts=[Mount.volume("notes", "/elsewhere")])

    assert other.exec(["cat", "/elsewhere/note"]).stdout == "kept\n"
    assert (volumes.directory(engine.paths, "notes") / "note").read_text() == "kept\n"
    assert findmnt(other, "/elsewhere")["options"].startswith("rw")
    assert findmnt(other, "/elsewhere")["propagation"] == "private"


def test_a_volume_to_read_only_takes_no_write(engine):
    container = sleeping(engine, volumes=["notes:/data:ro"], read_only=True)
    refused = container.exec(["touch", "/data/x"])

    assert refused.exit_code == 1 and "Read-only file system" in refused.stderr
    assert findmnt(container, "/data")["options"].startswith("ro")


def test_a_read_only_root_lets_a_volume_be_written_to(engine):
    result = engine.run(
        BUSYBOX,
        ["sh", "-c", "touch /x; touch /data/x && echo written"],
        volumes=["notes:/data"],
        read_only=True,
    )

    assert result.stdout == "written\n" and "/x: Read-only file system" in result.stderr


def test_the_first_use_copies_what_the_image_has_there(engine):
    name = image_with(engine.paths, owned_data)
    engine.run(name, ["true"], volumes=["fresh:/data"])
    place = volumes.directory(engine.paths, "fresh")
    original = store.layer_directory(engine.paths, store.get(engine.paths, name).layers[-1]) / "data"
    told = [
        subprocess.check_output(["find", ".", "-printf", r"%p %y %m %U %G %s %n %T+ %l\n"], cwd=top)
        for top in (place, original)
    ]

    assert sorted(told[0].splitlines()) == sorted(told[1].splitlines())
    assert os.getxattr(place / "file", "user.colour") == b"blue"
    assert (place / "file").stat().st_ino == (place / "sub/hard").stat().st_ino


def test_the_copy_is_of_what_a_container_would_see_through_all_layers_and_links(engine):
    def under_a_link(layer):
        (layer / "srv/app/gone").mkdir(parents=True)
        (layer / "srv/app/gone/old").touch()
        (layer / "srv/app/low").write_text("low")
        (layer / "app").symlink_to("/srv/app")

    def over_it(layer):
        (layer / "srv/app").mkdir(parents=True)
        os.mknod(layer / "srv/app/gone", 0o020000, os.makedev(0, 0))
        (layer / "srv/app/high").write_text("high")

    paths = engine.paths
    image_with(paths, under_a_link, name="test/low")
    low = store.get(paths, "test/low")
    image_upon(paths, low, over_it, name="test/high")

    engine.run("test/high", ["true"], volumes=["app:/app"])

    assert sorted(p.name for p in volumes.directory(paths, "app").iterdir()) == ["high", "low"]
    assert "labkit-view" not in {thread.name for thread in threading.enumerate()}


def test_only_an_empty_volume_is_filled_and_nocopy_leaves_even_that(engine):
    name = image_with(engine.paths, owned_data)
    listing = ["sh", "-c", "ls /data"]

    assert engine.run(name, listing, volumes=["bare:/data:nocopy"]).stdout == ""
    assert engine.run(BUSYBOX, ["touch", "/v/mine"], volumes=["own:/v"]).exit_code == 0
    assert engine.run(name, listing, volumes=["own:/data"]).stdout == "mine\n"
    assert engine.run(name, listing, volumes=["bare:/data"]).stdout == "file\nlink\nsub\n"


def test_a_volume_that_a_running_container_has_is_filled_for_it_too(engine):
    name = image_with(engine.paths, owned_data)
    running = sleeping(engine, volumes=["shared:/v"])
    engine.run(name, ["true"], volumes=["shared:/data"])

    assert running.exec(["cat", "/v/file"]).stdout == "from the image\n"


def test_a_volume_that_the_image_declares_is_anonymous_and_goes_with_an_attached_container(engine):
    name = image_with(engine.paths, owned_data, declared=["/data", "/cache"])
    seen = []

    def look() -> None:
        seen.extend(volumes.all_volumes(engine.paths))

    watcher = threading.Timer(0.4, look)
    watcher.start()
    result = engine.run(name, ["sh", "-c", "ls /data; sleep 1; grep -c /volumes/ /proc/self/mountinfo"])
    watcher.join()

    assert result.stdout == "file\nlink\nsub\n2\n"
    assert len(seen) == 2 and all(one.anonymous and len(one.name) == 64 for one in seen)
    assert volumes.all_volumes(engine.paths) == []


def test_a_mount_that_was_asked_for_hides_a_declared_volume(engine):
    name = image_with(engine.paths, owned_data, declared=["/data"])
    engine.create(name, ["true"], volumes=["named:/data"])
    engine.create(name, ["true"], tmpfs={"/data": ""})

    assert [one.name for one in volumes.all_volumes(engine.paths)] == ["named"]


def test_anonymous_volumes_stay_with_a_kept_container_and_go_with_rm_v(engine):
    container = sleeping(engine, volumes=["/one", "/two", "named:/three"])
    container.exec(["touch", "/one/kept"])
    container.stop(0.1)
    container.start()
    assert container.exec(["ls", "/one"]).stdout == "kept\n"
    other = sleeping(engine, volumes_from=[container.name])
    anonymous = [one.name for one in volumes.all_volumes(engine.paths) if one.anonymous]

    container.remove(force=True, volumes=True)
    assert [one.name for one in volumes.all_volumes(engine.paths) if one.anonymous] == anonymous
    assert other.exec(["ls", "/one"]).stdout == "kept\n"
    other.remove(force=True, volumes=True)
    assert len(volumes.all_volumes(engine.paths)) == 3, "they are no longer one container's own"
    removed, _ = volumes.prune(engine.paths)
    assert sorted(removed) == sorted(anonymous)
    assert [one.name for one in volumes.all_volumes(engine.paths)] == ["named"]


def test_a_volume_in_use_is_not_removed_and_its_users_are_named(engine):
    kept = engine.create(BUSYBOX, ["true"], volumes=["busy:/v"])
    with pytest.raises(Conflict) as refused:
        volumes.remove(engine.paths, "busy")
    assert str(refused.value) == f"remove busy: volume is in use - [{kept.id}]"
    kept.remove()
    runner = threading.Thread(
        target=engine.run, args=(BUSYBOX, ["sleep", "1"]), kwargs={"volumes": ["busy:/v"]}
    )
    runner.start()
    time.sleep(0.5)
    with pytest.raises(Conflict, match=r"remove busy: volume is in use - \[[0-9a-f]{64}\]"):
        volumes.remove(engine.paths, "busy")
    assert volumes.prune(engine.paths, everything=True) == ([], 0)
    runner.join()

    volumes.remove(engine.paths, "busy")
    with pytest.raises(NotFound, match="get busy: no such volume"):
        volumes.get(engine.paths, "busy")
    assert list(engine.paths.volumes.iterdir()) == []


def test_volumes_are_found_by_label_and_by_use(engine):
    paths = engine.paths
    volumes.create(paths, "web", labels={"tier": "front"})
    assert volumes.create(paths, "web", labels={"tier": "other"}).labels == {"tier": "front"}, "it was there"
    volumes.create(paths, "db", labels={"tier": "back"})
    engine.create(
        BUSYBOX, ["true"], mounts=["source=logs,target=/l,volume-label=tier=front", "src=db,dst=/d"]
    )

    def names(**wanted):
        return [one.name for one in volumes.all_volumes(paths, **wanted)]

    assert names(labels={"tier": "front"}) == ["logs", "web"]
    assert names(labels={"tier": None}) == ["db", "logs", "web"]
    assert names(dangling=True) == ["web"]
    assert names(dangling=False) == ["db", "logs"]
    assert volumes.prune(paths, everything=True, labels={"tier": "back"}) == ([], 0)
    assert volumes.prune(paths, everything=True)[0] == ["web"]


def test_volumes_from_another_container_can_be_had_to_read_only(engine, tmp_path):
    (tmp_path / "f").write_text("bound\n")
    first = sleeping(engine, volumes=["data:/data", f"{tmp_path}:/host:ro"], tmpfs={"/tmp": ""})
    second = sleeping(engine, volumes_from=[f"{first.name}:ro"], volumes=["mine:/host"])

    assert findmnt(second, "/data")["options"].startswith("ro")
    assert findmnt(second, "/tmp") == {}
    assert second.exec(["ls", "/host"]).stdout == "", "its own mount hides the other's"
    with pytest.raises(NotFound, match="No such container: nobody"):
        engine.create(BUSYBOX, ["true"], volumes_from=["nobody"])


# ------------------------------------------------------------------ bind mounts


def test_a_bind_mount_shows_the_hosts_own_files_and_a_file_can_be_one(engine, tmp_path):
    (tmp_path / "dir").mkdir()
    (tmp_path / "one").write_text("1\n")
    engine.run(
        BUSYBOX, ["sh", "-c", "cat /etc/one > /d/copy; echo 2 >> /etc/one"],
        mounts=[Mount.bind(tmp_path / "dir", "/d"), f"type=bind,src={tmp_path}/one,dst=/etc/one"],
    )  # fmt: skip

    assert (tmp_path / "dir/copy").read_text() == "1\n"
    assert (tmp_path / "one").read_text() == "1\n2\n"


def test_a_missing_source_is_made_for_v_and_refused_for_mount(engine, tmp_path):
    with pytest.raises(Invalid) as refused:
        engine.run(BUSYBOX, ["true"], mounts=[Mount.bind(tmp_path / "no", "/d")])
    assert str(refused.value) == (
        f'invalid mount config for type "bind": bind source path does not exist: {tmp_path}/no'
    )
    engine.run(BUSYBOX, ["touch", "/d/x"], volumes=[f"{tmp_path}/new/deep:/d"])
    assert (tmp_path / "new/deep/x").exists()
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o755


def test_a_source_that_went_before_the_start_is_named(engine, tmp_path):
    (tmp_path / "there").mkdir()
    container = engine.create(BUSYBOX, ["true"], mounts=[Mount.bind(tmp_path / "there", "/d")])
    (tmp_path / "there").rmdir()

    with pytest.raises(Invalid, match=f"bind source path does not exist: {tmp_path}/there"):
        container.start()


def test_read_only_reaches_what_is_mounted_below_unless_asked_otherwise(engine, tmp_path):
    with mounted_on_the_host(tmp_path / "below"):
        deep = sleeping(engine, mounts=[Mount.bind(tmp_path, "/d", read_only=True)])
        flat = sleeping(engine, mounts=[f"type=bind,src={tmp_path},dst=/d,ro,bind-recursive=writable"])
        alone = sleeping(engine, mounts=[f"type=bind,src={tmp_path},dst=/d,bind-nonrecursive"])

        assert "Read-only" in deep.exec(["touch", "/d/below/x"]).stderr
        assert findmnt(deep, "/d/below")["options"].startswith("ro")
        assert flat.exec(["touch", "/d/below/x"]).exit_code == 0
        assert "Read-only" in flat.exec(["touch", "/d/x"]).stderr
        assert findmnt(alone, "/d/below") == {}
        for container in (deep, flat, alone):
            container.remove(force=True)


def test_what_was_mounted_on_the_host_just_before_is_seen(engine, tmp_path):
    """An init that was made ahead has the mounts of its own birth."""
    for number in range(3):
        with mounted_on_the_host(tmp_path / "late") as place:
            (place / "f").write_text(str(number))
            assert engine.run(BUSYBOX, ["cat", "/d/f"], volumes=[f"{place}:/d"]).stdout == str(number)


def test_mounts_travel_as_the_propagation_says(engine, tmp_path):
    with mounted_on_the_host(tmp_path / "peer", shared=True) as place:
        held = {
            how: sleeping(engine, mounts=[f"type=bind,src={place},dst=/d,bind-propagation={how}"])
            for how in ("rprivate", "rslave", "rshared")
        }
        (place / "later").mkdir()
        with mounted_on_the_host(place / "later"):
            found = {how: bool(findmnt(container, "/d/later")) for how, container in held.items()}
        for how, container in held.items():
            (place / how).mkdir()
            inside = [
                "nsenter",
                "-t",
                str(container.pid),
                "-m",
                "/bin/mount",
                "-t",
                "tmpfs",
                "x",
                f"/d/{how}",
            ]
            subprocess.run(inside, check=True)
        back = [how for how in held if os.path.ismount(place / how)]
        for how in back:
            mounts.unmount(place / how)
        for container in held.values():
            container.remove(force=True)

    assert found == {"rprivate": False, "rslave": True, "rshared": True}
    assert back == ["rshared"]


def test_a_source_that_is_not_shared_cannot_be_mounted_shared(engine, tmp_path):
    with mounted_on_the_host(tmp_path / "own") as place:
        (place / "d").mkdir()
        for how, kind in (("rshared", "a shared"), ("rslave", "a shared or slave")):
            with pytest.raises(Invalid) as refused:
                engine.run(BUSYBOX, ["true"], volumes=[f"{place}/d:/d:{how}"])
            assert str(refused.value) == f"path {place}/d is mounted on {place} but it is not {kind} mount"


@pytest.mark.parametrize(("source", "target"), [("file", "/etc"), ("dir", "/bin/busybox")])
def test_a_directory_is_not_mounted_onto_a_file_nor_the_other_way(engine, tmp_path, source, target):
    (tmp_path / "file").touch()
    (tmp_path / "dir").mkdir()
    with pytest.raises(StartFailed, match="mount a directory onto a file") as failure:
        engine.run(BUSYBOX, ["true"], volumes=[f"{tmp_path / source}:{target}"])
    assert str(tmp_path / source) in str(failure.value) and target in str(failure.value)


def test_no_device_of_the_host_opens_through_a_mount_but_those_that_every_container_has(engine, tmp_path):
    os.mknod(tmp_path / "disk", 0o060666, os.makedev(*map(int, _a_disk().split(":"))))
    script = "head -c 1 /d/disk; head -c1 /zero | wc -c; wc -c < /etc/passwd; mount | grep ' /d '"
    shown = [f"{tmp_path}:/d", "/dev/zero:/zero", "/dev/null:/etc/passwd"]
    result = engine.run(BUSYBOX, ["sh", "-c", script], volumes=shown)

    assert result.stdout.split("\n")[:2] == ["1", "0"]
    assert "nodev" in result.stdout
    assert "/d/disk: Permission denied" in result.stderr


@pytest.mark.parametrize("read_only", [False, True])
def test_no_device_that_an_image_brings_along_opens(engine, read_only):
    """Whoever may make an image would else have every disk of whoever runs it."""

    def jail(layer):
        (layer / "jail").mkdir()
        for name, number in {"null": os.makedev(1, 3), "loop-control": os.makedev(10, 237)}.items():
            os.mknod(layer / f"jail/{name}", 0o020666, number)

    name = image_with(engine.paths, jail)
    script = "ls /jail; for d in /jail/*; do (exec 3< $d) && echo open; done"
    result = engine.run(name, ["sh", "-c", script], read_only=read_only)

    assert result.stdout == "loop-control\nnull\n"
    assert result.stderr.count("Permission denied") == 2


def _a_disk():
    """The number of a block device that there is."""
    return next(iter(Path("/sys/class/block").iterdir())).joinpath("dev").read_text().strip()


def test_a_disk_that_is_full_in_the_middle_of_a_first_copy_leaves_the_volume_empty(engine, tmp_path):
    def heavy(layer):
        (layer / "data").mkdir()
        (layer / "data/first").write_text("x")
        (layer / "data/heavy").write_bytes(b"x" * (2 << 20))

    name = image_with(engine.paths, heavy)
    volumes.create(engine.paths, "small")
    place = engine.paths.volumes / "small"
    record = (place / "volume.json").read_text()
    mounts.mount("tmpfs", place, "tmpfs", options="size=1m")
    try:
        (place / "_data").mkdir()
        (place / "volume.json").write_text(record)
        with pytest.raises(LabkitError, match="no space left on the file system"):
            engine.run(name, ["true"], volumes=["small:/data"])
        assert sorted(entry.name for entry in place.iterdir()) == ["_data", "volume.json"]
        assert list((place / "_data").iterdir()) == []
    finally:
        mounts.unmount(place, mounts.DETACH)


# ------------------------------------------------------------------ where it lands


def test_a_target_behind_a_link_of_the_image_is_inside_its_root(engine, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()

    def links(layer):
        (layer / "run").mkdir()
        (layer / "var").mkdir()
        (layer / "var/run").symlink_to("/run")
        (layer / "out").symlink_to("../" * 20 + str(outside).lstrip("/"))
        (layer / "abs").symlink_to(outside)

    name = image_with(engine.paths, links)
    script = "touch /var/run/a/x /out/b/x /abs/x; ls -d /run/a/x; grep -c ' /run/a ' /proc/self/mountinfo"
    result = engine.run(
        name, ["sh", "-c", script], volumes=["v1:/var/run/a", "v2:/out/b"], tmpfs={"/abs": "size=64k"}
    )

    assert result.stdout == "/run/a/x\n1\n", result.stderr
    assert list(outside.iterdir()) == []
    assert [p.name for p in volumes.directory(engine.paths, "v2").iterdir()] == ["x"]


def test_nothing_is_mounted_inside_proc_not_even_through_a_link(engine):
    name = image_with(engine.paths, lambda layer: (layer / "sneaky").symlink_to("/proc/sys"))
    for target in ("/proc/x", "/sneaky", "/proc"):
        with pytest.raises(StartFailed, match="cannot be mounted because it is inside /proc"):
            engine.run(name, ["true"], volumes=[f"v1:{target}"])


def test_mounts_lie_in_one_another_in_the_order_of_their_depth(engine, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/deep").write_text("deep\n")
    result = engine.run(
        BUSYBOX,
        ["sh", "-c", "cat /a/b/in/deep; ls /a"],
        volumes=[f"{tmp_path}:/a/b", "outer:/a"],
        tmpfs={"/a/t": ""},
    )

    assert result.stdout == "deep\nb\nt\n"


def test_the_containers_own_mounts_can_be_replaced(engine, tmp_path):
    result = engine.run(
        BUSYBOX,
        ["sh", "-c", "df -m /dev/shm | tail -1; touch /dev/shm/x; ls -l /dev/null"],
        mounts=[Mount.tmpfs("/dev/shm", size_bytes=2 << 20)],
    )

    assert result.stdout.split()[1] == "2", result.stdout
    assert engine.run(BUSYBOX, ["touch", "/dev/shm/y"], volumes=[f"{tmp_path}:/dev/shm"]).exit_code == 0
    assert (tmp_path / "y").exists()


def test_one_target_twice_is_refused(engine):
    for options in (
        {"volumes": ["v1:/d", "/tmp:/d"]},
        {"volumes": ["v1:/d/"], "tmpfs": {"/d": ""}},
        {"mounts": ["target=/d"], "tmpfs": {"/d": ""}},
    ):
        with pytest.raises(Invalid, match=r"^Duplicate mount point: /d$"):
            engine.create(BUSYBOX, ["true"], **options)
    assert volumes.all_volumes(engine.paths) == []


# ------------------------------------------------------------------ tmpfs


def test_a_tmpfs_has_its_size_and_mode_and_is_gone_at_the_next_start(engine):
    container = sleeping(engine, mounts=[Mount.tmpfs("/t", size_bytes=1 << 20, mode=0o710)])
    told = container.exec(["sh", "-c", "stat -c %a /t; dd if=/dev/zero of=/t/x bs=64k; stat -c %s /t/x"])

    assert told.stdout == "710\n1048576\n" and "No space left" in told.stderr
    assert findmnt(container, "/t")["fstype"] == "tmpfs"
    assert {"nosuid", "nodev", "noexec"} <= set(findmnt(container, "/t")["options"].split(","))
    container.stop(0.1)
    container.start()
    assert container.exec(["ls", "/t"]).stdout == ""


def test_a_tmpfs_takes_the_mode_of_the_directory_it_covers(engine):
    name = image_with(engine.paths, owned_data)
    result = engine.run(name, ["stat", "-c", "%a", "/data", "/new"], tmpfs={"/data": "", "/new": "exec"})

    assert result.stdout == "1770\n1777\n"


# ------------------------------------------------------------------ killed in the middle


KILLED = """
import os, sys, threading, time
from labkit.engine import volumes
from labkit.engine.engine import Engine
engine = Engine()
round_, number = sys.argv[1], 0
while True:
    began, number = time.monotonic(), number + 1
    engine.create("test/many", ["true"], volumes=[f"v{round_}-{number}:/data", "/anon"])
    volumes.create(engine.paths, f"other{number}")
    volumes.remove(engine.paths, f"other{number}")
    if number == 1:  # killed within the second or third turn, however fast this machine is
        delay = (time.monotonic() - began) * (0.1 + 0.23 * int(round_))
        threading.Timer(delay, lambda: os.kill(os.getpid(), 9)).start()
"""


def test_killed_at_any_moment_it_leaves_no_half_volume(engine):
    def many(layer):
        (layer / "data").mkdir()
        for number in range(40):
            (layer / f"data/{number}").write_text("x" * 1000)

    paths = engine.paths
    image_with(paths, many, name="test/many")
    environment = os.environ | {"LABKIT_ROOT": str(paths.root), "LABKIT_RUN": str(paths.run)}
    for round_ in range(8):
        command = [sys.executable, "-c", KILLED, str(round_)]
        child = subprocess.run(command, env=environment, capture_output=True)
        assert child.returncode == -signal.SIGKILL, child.stderr.decode()
        later = Engine(paths)
        later.close()
        assert list(paths.volumes.rglob(".*")) == []
        counts = {
            one.name: len(list(volumes.directory(paths, one.name).iterdir()))
            for one in volumes.all_volumes(paths)
        }
        assert {count for name, count in counts.items() if name[0] == "v"} <= {0, 40}, counts
        known = {mount.source for container in later.containers() for mount in container.record.mounts}
        assert {name for name in counts if len(name) == 64} <= known, "an anonymous volume that nobody has"
        assert {place.name for place in paths.volumes.iterdir()} == counts.keys()
    assert len(later.containers()) > 0
    for draft in paths.containers.glob(".draft-*"):
        os.utime(draft, (0, 0))  # a young one may still be at work, for all that a sweep knows
    assert len(engine.run("test/many", ["ls", "/data"], volumes=["v0-1:/data"]).stdout.split()) == 40


def test_a_first_copy_that_was_decided_is_finished_by_who_comes_next(engine):
    volumes.create(engine.paths, "half")
    place = volumes.directory(engine.paths, "half")
    (place.parent / ".filling/rest").mkdir(parents=True)
    (place.parent / ".filling").chmod(0o700)
    (place / "moved").touch()

    assert engine.run(BUSYBOX, ["ls", "/v"], volumes=["half:/v"]).stdout == "moved\nrest\n"
    assert place.stat().st_mode & 0o777 == 0o700


def test_an_attached_container_that_is_killed_with_its_engine_takes_its_volumes_along(engine):
    script = (
        "from labkit.engine.engine import Engine\n"
        f"Engine().run({BUSYBOX!r}, ['sleep', '300'], volumes=['/anon', 'named:/n'])"
    )
    paths = engine.paths
    environment = os.environ | {"LABKIT_ROOT": str(paths.root), "LABKIT_RUN": str(paths.run)}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment)
    deadline = time.monotonic() + 20
    while not (paths.volumes / "named").exists() or not list(paths.bundles.glob("*/config.json")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)
    assert len(volumes.all_volumes(paths)) == 2
    child.kill()
    child.wait()
    while any(one.name != "named" for one in volumes.all_volumes(paths)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        engine.sweep()

    assert [one.name for one in volumes.all_volumes(paths)] == ["named"]


def test_without_mounts_nothing_of_this_is_on_the_way(engine):
    from labkit.kernel import trace

    engine.run(BUSYBOX, ["true"])
    with trace.record() as seen:
        engine.run(BUSYBOX, ["true"])

    assert not {"open_tree", "move_mount", "mount_setattr"} & {operation.call for operation in seen}
    assert not Path(engine.paths.volumes / "x").exists()


def test_the_path_that_a_link_of_the_host_leads_to_is_shown(engine, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/f").write_text("real\n")
    (tmp_path / "alias").symlink_to("real")

    assert engine.run(BUSYBOX, ["cat", "/d/f"], volumes=[f"{tmp_path}/alias:/d"]).stdout == "real\n"
