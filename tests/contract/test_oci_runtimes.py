"""The bundle that the engine writes is a real one: other people's runtimes run it the same way."""

import json
import subprocess
import uuid

import pytest

from labkit.engine import starting
from labkit.engine.engine import Engine
from labkit.images.overlay import Overlay
from labkit.kernel.limits import Limits

SCRIPT = "echo $GREETING; hostname; id -u; cat /proc/self/status | grep CapEff; pwd; exit 5"


@pytest.fixture
def bundle(paths):
    """A bundle as the engine writes it, with its root file system under it as a plain directory."""
    engine = Engine(paths)
    record = starting.new_record(
        paths, "lab/busybox", ["sh", "-c", SCRIPT],
        env={"GREETING": "hello"}, hostname="witness", working_directory="/tmp",
        limits=Limits(memory_bytes=64 * 2**20, processes=50, cpus=0.5),
    )  # fmt: skip
    ours = engine.run(
        "lab/busybox", ["sh", "-c", SCRIPT],
        env={"GREETING": "hello"}, hostname="witness", working_directory="/tmp",
        limits=Limits(memory_bytes=64 * 2**20, processes=50, cpus=0.5),
    )  # fmt: skip
    engine.close()
    place = paths.run / "bundle"
    place.mkdir()
    config = starting.spec_of(record).oci()
    config["root"]["path"] = str(paths.layers / record.layers[0])
    (place / "config.json").write_text(json.dumps(config))
    return place, ours


@pytest.mark.requires("root", "overlay", "cgroups", "runc")
def test_runc_runs_the_bundle_and_says_the_same(bundle):
    place, ours = bundle
    name = f"labkit-test-{uuid.uuid4().hex[:8]}"
    theirs = subprocess.run(["runc", "run", "--bundle", str(place), name], capture_output=True, text=True)

    assert (theirs.returncode, theirs.stdout) == (ours.exit_code, ours.stdout) == (5, ours.stdout), (
        theirs.stderr
    )


@pytest.mark.requires("root", "overlay", "cgroups", "crun")
def test_crun_runs_the_bundle_and_says_the_same(bundle):
    place, ours = bundle
    name = f"labkit-test-{uuid.uuid4().hex[:8]}"
    # crun 1.8 refuses a hybrid hierarchy: it gets a mount namespace in which there is none.
    hidden = (
        'test -d /sys/fs/cgroup/unified && umount /sys/fs/cgroup/unified; exec crun run --bundle "$1" "$2"'
    )
    theirs = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", str(place), name], capture_output=True, text=True
    )

    assert (theirs.returncode, theirs.stdout) == (ours.exit_code, ours.stdout), theirs.stderr


@pytest.mark.requires("root", "overlay")
def test_an_overlay_of_ours_is_what_findmnt_and_stat_say(paths):
    import fresh

    for name in ("low", "up", "work", "all"):
        (paths.root / name).mkdir()
    (paths.root / "low" / "file").write_text("x")
    plan = Overlay(lower=(paths.root / "low",), upper=paths.root / "up", work=paths.root / "work").plan(
        paths.root / "all"
    )
    told = fresh.run(
        """
        import json, subprocess
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.PlannedMount(*json.loads(sys.argv[1])).apply()
        place = json.loads(sys.argv[1])[1]
        shown = subprocess.check_output(["findmnt", "--noheadings", "--output", "FSTYPE", place], text=True)
        print(shown.strip())
        print(Path(place, "file").read_text())
        """,
        json.dumps([plan.source, plan.target, plan.kind, plan.flags, plan.options, plan.directory]),
    )

    assert told.splitlines() == ["overlay", "x"]


@pytest.mark.requires("root", "overlay", "cgroups", "runc")
def test_runc_makes_the_mounts_of_the_bundle_and_says_the_same(paths, tmp_path):
    """`rro` reaches what is mounted below: crun and runc 1.1 know the word too."""
    from labkit.kernel import mounts

    (tmp_path / "below").mkdir()
    options = {
        "volumes": ["data:/data", f"{tmp_path}:/host:ro"],
        "tmpfs": {"/t": "size=64k,mode=710,exec"},
    }
    script = "touch /data/x && ls /data; touch /host/below/y; stat -c %a /t; grep ' /t ' /proc/self/mountinfo"
    script += " | cut -d' ' -f5,6"
    mounts.mount("tmpfs", tmp_path / "below", "tmpfs")
    engine = Engine(paths)
    try:
        ours = engine.run("lab/busybox", ["sh", "-c", script], **options)
        record = starting.new_record(paths, "lab/busybox", ["sh", "-c", script], **options)
        place = paths.run / "bundle"
        place.mkdir()
        config = starting.spec_of(record).oci()
        config["root"]["path"] = str(paths.layers / record.layers[0])
        (place / "config.json").write_text(json.dumps(config))
        name = f"labkit-test-{uuid.uuid4().hex[:8]}"
        theirs = subprocess.run(["runc", "run", "--bundle", place, name], capture_output=True, text=True)
    finally:
        mounts.unmount(tmp_path / "below")
        engine.close()

    assert theirs.stdout == ours.stdout == "x\n710\n/t rw,nosuid,nodev,relatime\n", theirs.stderr
    assert "Read-only file system" in theirs.stderr and "Read-only file system" in ours.stderr
