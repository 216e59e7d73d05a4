import ctypes
import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from labkit.kernel.within import open_within

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def root(tmp_path):
    """A root with links of every kind, beside something that nobody inside may reach."""
    (tmp_path / "secret").write_text("outside")
    place = tmp_path / "root"
    for name in ("run", "var", "srv/data", "proc/sys"):
        (place / name).mkdir(parents=True)
    for name, goal in {
        "var/run": "/run", "up": "../../..", "host": "/etc", "loop": "loop", "ping": "pong", "pong": "ping",
        "gone": "/not/yet", "srv/back": "data", "fd": "/proc/self/root", "odd": "srv/../srv/./data//",
    }.items():  # fmt: skip
        (place / name).symlink_to(goal)
    (place / "file").write_text("x")
    return place


def where(root, path, **options):
    descriptor, inside = open_within(root, path, **options)
    try:
        assert os.path.samestat(os.fstat(descriptor), os.stat(f"{root}{inside}", follow_symlinks=False))
    finally:
        os.close(descriptor)
    return inside


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/", "/"),
        ("/var/run", "/run"),
        ("srv/back", "/srv/data"),
        ("/odd", "/srv/data"),
        ("/up/srv", "/srv"),
        ("/../../srv/../file", "/file"),
    ],
)
def test_links_and_steps_up_end_inside(root, path, inside):
    assert where(root, path) == inside


@pytest.mark.parametrize("path", ["/host/passwd", "/up/secret", "/fd/etc", "/missing", "/gone"])
def test_what_is_not_inside_is_not_there_and_is_named(root, path):
    with pytest.raises(FileNotFoundError) as failure:
        open_within(root, path)

    assert failure.value.filename == path


@pytest.mark.parametrize("path", ["/loop", "/ping/x"])
def test_links_that_go_round_are_refused(root, path):
    with pytest.raises(OSError, match="Too many levels"):
        open_within(root, path, make="directory")


def test_a_file_on_the_way_is_no_directory(root):
    with pytest.raises(NotADirectoryError):
        open_within(root, "/file/x", make="directory")


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/a/b/c", "/a/b/c"),
        ("/gone/x", "/not/yet/x"),
        ("/host/app", "/etc/app"),
        ("/var/run/app", "/run/app"),
    ],
)
def test_what_is_missing_is_made_inside_also_behind_a_link_that_leads_to_nothing(root, path, inside):
    assert where(root, path, make="directory") == inside
    assert (root / inside.lstrip("/")).is_dir()
    assert (root / inside.lstrip("/")).stat().st_mode & 0o777 == 0o755


def test_a_missing_file_is_made_with_its_directories(root):
    assert where(root, "/srv/new/hosts", make="file") == "/srv/new/hosts"
    assert (root / "srv/new/hosts").read_bytes() == b""


@pytest.mark.parametrize("path", ["/proc", "/proc/sys", "/srv/../proc/new"])
def test_nobody_gets_into_a_closed_directory(root, path):
    with pytest.raises(PermissionError):
        open_within(root, path, make="directory", closed=("/proc",))

    assert not (root / "proc/new").exists()


def test_no_descriptor_is_left_open(root):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("/var/run", "/up/srv", "/loop", "/missing", "/file/x"):
        with suppress(OSError):
            os.close(open_within(root, path)[0])

    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_somebody_who_swaps_a_directory_for_a_link_meanwhile_gains_nothing(root):
    """The race that runc lost once: another container that shares the volume renames things in it."""
    (root / "vol/inner").mkdir(parents=True)
    (root / "vol/link").symlink_to("../../../../../../../../..")
    renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    names = [os.fsencode(root / "vol" / name) for name in ("inner", "link")]
    done = threading.Event()

    def swap() -> None:
        while not done.is_set():
            assert renameat2(-100, names[0], -100, names[1], 2) == 0  # RENAME_EXCHANGE

    attacker = threading.Thread(target=swap)
    attacker.start()
    places = set()
    try:
        for _ in range(800):
            descriptor, _inside = open_within(root, "/vol/inner/etc", make="directory")
            places.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
            os.close(descriptor)
    finally:
        done.set()
        attacker.join()

    assert places <= {f"{root}/{name}" for name in ("etc", "vol/inner/etc", "vol/link/etc")}
    assert len(places) > 1, "the attacker never came in between"
