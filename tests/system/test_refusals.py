"""Bad input has an error that names the thing and the remedy, and leaves nothing (the fixture looks)."""

import subprocess
import sys

import pytest

from labkit.engine.engine import Engine
from labkit.errors import Invalid, LabkitError, NotFound, StartFailed
from labkit.kernel.limits import IoLimit, Limits
from labkit.paths import Paths

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")
BUSYBOX = "lab/busybox"


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["nosuch"], 127, 'exec: "nosuch": executable file not found in $PATH'),
        (["/nosuch"], 127, 'exec: "/nosuch": no such file or directory'),
        (["/etc/passwd"], 126, 'exec: "/etc/passwd": permission denied'),
        (["/tmp"], 126, 'exec: "/tmp": is a directory'),
    ],
)
def test_a_command_that_cannot_be_run_has_dockers_exit_code(engine, command, code, words):
    with pytest.raises(StartFailed) as refusal:
        engine.run(BUSYBOX, command)

    assert (refusal.value.exit_code, str(refusal.value)) == (code, words)


def test_a_kept_container_whose_command_is_missing_says_so_in_its_state(engine):
    container = engine.create(BUSYBOX, ["nosuch"])
    with pytest.raises(StartFailed):
        container.start()

    assert (container.state.exit_code, container.state.error) == (
        127,
        'exec: "nosuch": executable file not found in $PATH',
    )


def test_an_unknown_image_is_named_with_the_remedy(engine):
    with pytest.raises(NotFound, match="No such image: lab/nothing") as refusal:
        engine.run("lab/nothing", ["true"])

    assert "labkit image list" in refusal.value.hint


@pytest.mark.parametrize("name", ["Lab/Busybox", "lab busybox", "/etc", "../x", ""])
def test_what_cannot_be_an_images_name_is_refused(engine, name):
    with pytest.raises(Invalid, match="invalid reference format"):
        engine.run(name, ["true"])


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memory_bytes": 1024}, "memory_bytes is 1024, but must be from 6291456"),
        ({"cpus": 0}, "cpus is 0"),
        ({"processes": 0}, "processes is 0"),
        ({"cpu_weight": 10_001}, "cpu_weight is 10001"),
        ({"cpuset_cpus": "zero"}, "cpuset_cpus is 'zero'"),
        ({"memory_swap_bytes": 2**25}, "counts memory and swap together"),
    ],
)
def test_a_limit_out_of_range_is_refused_with_the_range(limits, words):
    with pytest.raises(Invalid, match=words):
        Limits(**limits)


def test_a_device_of_an_io_limit_is_given_by_its_numbers():
    with pytest.raises(Invalid, match="such as 8:0"):
        IoLimit(device="/dev/sda", read_bytes_per_second=1)


def test_a_cpu_that_the_machine_lacks_is_refused_by_the_kernel_and_named(engine):
    with pytest.raises(StartFailed, match=r"while writing '4000' to .*cpuset\.cpus"):
        engine.run(BUSYBOX, ["true"], limits=Limits(cpuset_cpus="4000"))


def test_a_user_that_the_image_does_not_know_is_named(engine):
    with pytest.raises(StartFailed, match="unable to find user joe: no matching entries in passwd file"):
        engine.run(BUSYBOX, ["true"], user="joe")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"working_directory": "relative"}, "must begin with /"),
        ({"env": {"A\0": "b"}}, "zero byte"),
        ({"hostname": "x" * 65}, "longer than the kernel's 64"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_before_anything_is_made(engine, options, words):
    with pytest.raises(Invalid, match=words):
        engine.run(BUSYBOX, ["true"], **options)


def test_a_line_of_shell_is_no_command(engine):
    with pytest.raises(Invalid, match="a list of words"):
        engine.run(BUSYBOX, "echo hello")


def test_an_unknown_option_is_an_error(engine):
    with pytest.raises(TypeError, match="priviledged"):
        engine.run(BUSYBOX, ["true"], priviledged=True)


def test_a_long_command_runs_and_one_too_long_for_the_kernel_is_named(engine):
    words = [f"{number:01000}" for number in range(1000)]

    assert engine.run(BUSYBOX, ["echo", *words]).stdout == " ".join(words) + "\n"
    with pytest.raises(StartFailed, match="argument list too long"):
        engine.run(BUSYBOX, ["echo", "x" * 200_000])
    with pytest.raises(StartFailed, match="too long"):
        engine.run(BUSYBOX, ["echo", *words, *words, *words, *words, *words])


@pytest.mark.parametrize("name", ["with:colon", "with,comma", "with\\backslash", "with space", 'with"quote'])
def test_the_store_may_lie_at_a_path_that_overlay_must_have_escaped(paths, name):
    engine = Engine(Paths(paths.root / name, paths.run / name))
    try:
        assert engine.run(BUSYBOX, ["echo", name]).stdout == name + "\n"
    finally:
        engine.close()


def test_without_root_nothing_is_begun(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from labkit.engine.engine import Engine; from labkit.paths import Paths\n"
        "os.setresuid(65534, 65534, 65534)\n"
        "try: Engine(Paths(Path(sys.argv[2]) / 'root', Path(sys.argv[2]) / 'run'))\n"
        "except Exception as error: print(error, '|', error.hint)"
    )
    package = str(pytest.importorskip("labkit").__path__[0]).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, package, str(tmp_path)], capture_output=True, text=True
    )

    assert "must be root | sudo" in done.stdout, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    import fresh

    told = fresh.run(
        """
        place = Path(sys.argv[1])
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.mount("small", place, "tmpfs", options="size=4m")
        from labkit.engine.engine import Engine
        from labkit.paths import Paths
        engine = Engine(Paths(place / "root", place / "run"))
        print(engine.run("lab/busybox", ["echo", "room"]).stdout.strip())
        before = sorted(place.rglob("*"))
        filler = place / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError as error:
                print(error.strerror)
        for verb in (engine.run, engine.create):
            try:
                verb("lab/busybox", ["true"])
            except Exception as error:
                print(type(error).__name__, error.hint)
        filler.unlink()
        print(sorted(place.rglob("*")) == before, engine.run("lab/busybox", ["echo", "again"]).stdout.strip())
        engine.close()
        """,
        tmp_path,
    )

    hint = "remove containers and images, or move LABKIT_ROOT"
    assert told.splitlines() == [
        "room", "No space left on device", f"LabkitError {hint}", f"LabkitError {hint}", "True again",
    ]  # fmt: skip


def test_a_controller_that_is_not_there_is_named(engine, monkeypatch):
    import fresh

    told = fresh.run(
        """
        from labkit.kernel.cgroups import Hierarchy
        found = [h for h in cgroups.hierarchies() if not h.has("memory") and h.version == 1]
        if not found:  # version 2: a tree that offers only pids
            found = [Hierarchy(2, h.mount_point, frozenset({"pids"})) for h in cgroups.hierarchies()]
        try:
            cgroups.create(cgroups.HOME + "/test-lacking", Limits(memory_bytes=64 << 20), found)
        except Exception as error:
            print(error, error.hint)
        """
    )

    assert "no cgroup controller 'memory' here" in told
    assert "cgroup_enable=memory" in told
    assert isinstance(engine, Engine) and issubclass(NotFound, LabkitError)
