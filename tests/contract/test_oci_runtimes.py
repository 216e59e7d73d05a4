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
