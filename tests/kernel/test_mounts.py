import json
import subprocess

import fresh
import pytest

from labkit.kernel import mounts

pytestmark = pytest.mark.requires("root", "namespaces")


def test_findmnt_sees_every_mount_that_we_parse():
    listed = subprocess.run(
        ["findmnt", "--json", "--list", "--output", "ID,TARGET,FSTYPE,SOURCE,PROPAGATION"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    theirs = {(int(m["id"]), m["target"], m["fstype"]) for m in json.loads(listed)["filesystems"]}

    assert theirs == {(m.mount_id, m.mount_point, m.kind) for m in mounts.mounts()}


def test_a_path_with_spaces_and_colons_comes_back_as_it_was(tmp_path):
    place = tmp_path / "a b:c,d\\e\tf"
    place.mkdir()
    told = fresh.run(
        """
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.mount("t m p", sys.argv[1], "tmpfs", options="size=64k")
        [mount] = [m for m in mounts.mounts() if m.mount_point == sys.argv[1]]
        print(mount.source, mount.kind, mount.propagation, mount.option("size"))
        """,
        place,
    )

    assert told == "t m p tmpfs private 64k"


def test_a_bind_mount_shows_the_same_file_and_can_be_made_read_only(tmp_path):
    (tmp_path / "here").write_text("x")
    (tmp_path / "there").touch()
    told = fresh.run(
        """
        here, there = sys.argv[1:]
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.bind(here, there)
        print(os.stat(here).st_ino == os.stat(there).st_ino, end=" ")
        mounts.remount(there, MountFlag.RDONLY)
        try:
            open(there, "w")
        except OSError as error:
            print(error.strerror)
        mounts.unmount(there)
        """,
        tmp_path / "here",
        tmp_path / "there",
    )

    assert told == "True Read-only file system"
    assert (tmp_path / "there").read_text() == ""


@pytest.mark.parametrize(
    ("how", "seen", "word"),
    [("SHARED", True, "shared"), ("SLAVE", True, "slave"), ("PRIVATE", False, "private")],
)
def test_a_mount_travels_to_a_copy_as_its_propagation_says(tmp_path, how, seen, word):
    (tmp_path / "sub").mkdir()
    told = fresh.run(
        """
        place, how = sys.argv[1:]
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.mount("base", place, "tmpfs")
        mounts.propagate(place, MountFlag.SHARED)
        os.mkdir(place + "/sub")
        ready, go = os.pipe(), os.pipe()
        pid, pidfd = process.clone(int(Namespace.MOUNT))
        if pid == 0:
            mounts.propagate(place, MountFlag[how])
            os.write(ready[1], b"1")
            os.read(go[0], 1)
            found = [m for m in mounts.mounts() if m.mount_point == place + "/sub"]
            [base] = [m for m in mounts.mounts() if m.mount_point == place]
            print(bool(found), base.propagation.split()[0])
            sys.stdout.flush()
            os._exit(0)
        os.read(ready[0], 1)
        mounts.mount("new", place + "/sub", "tmpfs")
        os.write(go[1], b"1")
        process.wait(pidfd)
        """,
        tmp_path,
        how,
    )

    assert told == f"{seen} {word}"


def test_pivot_root_leaves_nothing_of_the_old_root(tmp_path):
    told = fresh.run(
        """
        root = sys.argv[1]
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.mount("newroot", root, "tmpfs")
        Path(root, "mark").write_text("new")
        mounts.enter_root(root)
        print(os.listdir("/"), os.getcwd())
        """,
        tmp_path,
    )

    assert told == "['mark'] /"


@pytest.mark.requires("idmap")
def test_an_idmapped_mount_shows_a_file_of_root_as_the_users(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(mode=0o755)
    target.mkdir()
    (source / "file").write_text("x")
    told = fresh.run(
        """
        source, target = sys.argv[1:]
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        table = [IdMap(0, 100000, 1000)]
        with idmap.user_namespace(table, table) as user:
            mounts.bind_idmapped(source, target, user)
        seen = os.stat(target + "/file")
        print(seen.st_uid, seen.st_gid, os.stat(source + "/file").st_uid)
        """,
        source,
        target,
    )

    assert told == "100000 100000 0"


def test_a_refusal_names_the_call_and_the_path():
    with pytest.raises(FileNotFoundError) as refusal:
        mounts.unmount("/nonexistent/place")

    assert (refusal.value.strerror, refusal.value.filename) == (
        "umount2: No such file or directory",
        "/nonexistent/place",
    )


def test_the_trace_tells_what_was_asked_and_what_failed():
    told = fresh.run("""
        namespaces.unshare(Namespace.MOUNT)
        with trace.record() as seen:
            mounts.propagate("/", MountFlag.PRIVATE)
            try:
                mounts.mount("x", "/nonexistent", "tmpfs")
            except OSError:
                pass
        for operation in seen:
            print(operation.call, operation.said, operation.error, operation.chapter, sep="|")
    """)

    assert told.splitlines() == [
        "mount|none on / REC|PRIVATE||03",
        "mount|x on /nonexistent type tmpfs|mount: No such file or directory|03",
    ]


def test_a_tree_is_removed_however_deep_and_no_link_is_followed(tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    tree = tmp_path / "tree"
    told = fresh.run(
        """
        tree, kept = sys.argv[1:]
        os.mkdir(tree)
        os.symlink(kept, tree + "/link")
        os.mkfifo(tree + "/fifo")
        os.chdir(tree)
        for _ in range(1500):  # deeper than the descriptors that a process may have
            os.mkdir("d")
            os.chdir("d")
            open("f", "w").close()
        os.chdir("/")
        print(trees.remove(Path(tree)), trees.remove(Path(tree)))
        """,
        tree,
        kept,
    )

    assert told == "True False"
    assert not tree.exists()
    assert (kept / "file").exists()


def test_a_tree_with_a_mount_in_it_is_not_removed_through_it(tmp_path):
    told = fresh.run(
        """
        tree = sys.argv[1] + "/tree"
        namespaces.unshare(Namespace.MOUNT)
        mounts.propagate("/", MountFlag.PRIVATE)
        os.makedirs(tree + "/mounted")
        mounts.mount("kept", tree + "/mounted", "tmpfs")
        Path(tree, "mounted", "file").touch()
        try:
            trees.remove(Path(tree))
        except OSError as error:
            print(error.strerror, os.path.basename(error.filename), os.listdir(tree + "/mounted"))
        """,
        tmp_path,
    )

    assert told == "something is mounted here mounted ['file']"
