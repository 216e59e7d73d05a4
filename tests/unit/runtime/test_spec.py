import pytest

from labkit.errors import Invalid, StartFailed
from labkit.kernel.limits import IoLimit, Limits
from labkit.kernel.namespaces import Namespace
from labkit.runtime import init, rootfs, spec, status, users
from labkit.runtime.spec import Spec


def test_limits_are_told_in_the_words_of_config_json():
    limits = Limits(
        memory_bytes=2**26, cpus=0.5, cpu_weight=10_000, processes=9, cpuset_cpus="0",
        io=(IoLimit(device="8:0", write_bytes_per_second=5),),
    )  # fmt: skip

    assert Spec(args=("x",), limits=limits).oci()["linux"]["resources"] == {
        "memory": {"limit": 2**26},
        "cpu": {"quota": 50_000, "period": 100_000, "shares": 262_144, "cpus": "0"},
        "pids": {"limit": 9},
        "blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 5}]},
    }


def test_namespaces_come_back_from_a_config():
    assert spec.namespaces_of(Spec(args=("x",)).oci()) == spec.NAMESPACES
    assert spec.namespaces_of({"linux": {"namespaces": [{"type": "pid"}]}}) == Namespace.PID


@pytest.mark.parametrize(
    "options",
    [
        {"args": ()},
        {"args": ("a\0b",)},
        {"args": ("x",), "env": ("NOVALUE",)},
        {"args": ("x",), "env": ("=x",)},
    ],
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(Invalid):
        Spec(**options)


def test_mount_options_are_flags_and_text():
    flags, text = rootfs.split_options(("nosuid", "ro", "mode=755", "rw", "size=64k"))

    assert (str(flags), text) == ("RDONLY|NOSUID", "mode=755,size=64k")


def test_a_mount_is_not_led_out_of_the_root_by_a_link_of_the_image(tmp_path):
    (tmp_path / "proc").symlink_to("/etc")
    with pytest.raises(OSError, match="symbolic link"):
        rootfs.inside(tmp_path, "/proc/sys")
    with pytest.raises(OSError, match="must not go up"):
        rootfs.inside(tmp_path, "/a/../../etc")
    assert rootfs.inside(tmp_path, "/dev/shm") == tmp_path / "dev" / "shm"


def test_a_program_is_found_as_a_shell_finds_it(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "tool").write_text("not executable")
    (tmp_path / "two" / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "two" / "tool").chmod(0o755)
    search = f"{tmp_path}/one:{tmp_path}/two"

    assert init.find_program("tool", search) == f"{tmp_path}/two/tool"
    with pytest.raises(StartFailed, match="permission denied") as denied:
        init.find_program("tool", f"{tmp_path}/one")
    with pytest.raises(StartFailed, match="not found in \\$PATH") as missing:
        init.find_program("none", search)
    assert (denied.value.exit_code, missing.value.exit_code) == (126, 127)


PASSWD = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1001:Ann:/home/ann:/bin/sh\nbroken line\nbad:x:y:z:::\n"
GROUP = "root:x:0:\nann:x:1001:\nwheel:x:10:ann,root\n"


@pytest.mark.parametrize(
    ("wanted", "uid", "gid", "groups", "home"),
    [
        ("", 0, 0, (10,), "/root"),
        ("ann", 1000, 1001, (10,), "/home/ann"),
        ("1000", 1000, 1001, (10,), "/home/ann"),
        ("ann:wheel", 1000, 10, (), "/home/ann"),
        ("77:88", 77, 88, (), "/"),
        ("77", 77, 0, (), "/"),
    ],
)
def test_a_user_is_looked_up_in_the_images_files(tmp_path, wanted, uid, gid, groups, home):
    (tmp_path / "passwd").write_text(PASSWD)
    (tmp_path / "group").write_text(GROUP)

    found = users.find(wanted, tmp_path)

    assert (found.uid, found.gid, found.groups, found.home) == (uid, gid, groups, home)


def test_an_unknown_user_or_group_is_named_and_an_image_without_files_has_root(tmp_path):
    assert users.find("", tmp_path).uid == 0
    with pytest.raises(StartFailed, match="unable to find user joe"):
        users.find("joe", tmp_path)
    with pytest.raises(StartFailed, match="unable to find group staff"):
        users.find("0:staff", tmp_path)


def test_a_state_that_nobody_keeps_up_has_exited(tmp_path):
    assert status.load(tmp_path).status is status.Status.CREATED
    status.save(tmp_path, status.State(status=status.Status.RUNNING, pid=2**22 + 1, start_ticks=5))

    found = status.load(tmp_path)

    assert (found.status, found.exit_code) == (status.Status.EXITED, 137)
