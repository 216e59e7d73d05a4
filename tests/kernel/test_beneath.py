import os

import pytest

from labkit.kernel import beneath
from labkit.kernel.beneath import Resolve


@pytest.fixture
def top(tmp_path):
    (tmp_path / "top/inside").mkdir(parents=True)
    (tmp_path / "top/inside/file").write_text("inside")
    (tmp_path / "file").write_text("outside")
    (tmp_path / "top/up").symlink_to("../file")
    (tmp_path / "top/absolute").symlink_to("/inside/file")
    (tmp_path / "top/magic").symlink_to("/proc/self/root")
    descriptor = os.open(tmp_path / "top", os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def content(top: int, path: bytes, resolve: Resolve) -> str:
    with open(beneath.open_below(top, path, os.O_RDONLY, resolve)) as file:
        return file.read()


def test_with_the_directory_as_root_no_path_leads_out(top):
    assert content(top, b"/inside/file", Resolve.IN_ROOT) == "inside"
    assert content(top, b"../../inside/file", Resolve.IN_ROOT) == "inside"
    assert content(top, b"absolute", Resolve.IN_ROOT) == "inside"
    with pytest.raises(FileNotFoundError) as refusal:
        content(top, b"up", Resolve.IN_ROOT)  # ../file of the root is the root's own
    assert refusal.value.filename == "up"


def test_beneath_and_without_links_are_refused_by_the_kernel(top):
    for path in (b"up", b"/inside/file", b"../file"):
        with pytest.raises(OSError, match="Invalid cross-device link"):
            content(top, path, Resolve.BENEATH)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        content(top, b"absolute", Resolve.IN_ROOT | Resolve.NO_SYMLINKS)


def test_the_directory_itself_is_the_empty_path_and_descriptors_are_not_inherited(top):
    found = beneath.open_below(top, b"", os.O_RDONLY | os.O_DIRECTORY, Resolve.BENEATH)
    try:
        assert os.path.samestat(os.fstat(found), os.fstat(top))
        assert not os.get_inheritable(found)
    finally:
        os.close(found)
