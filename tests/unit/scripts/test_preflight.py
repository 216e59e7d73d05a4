"""What keeps the lab from being set up is named with its remedy."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts/preflight.py"
GOOD = {
    "system": "Linux", "release": "6.1.0-37-amd64", "root": True, "sudo": False, "apt": True, "overlay": True,
    "python": (3, 11), "checkout_free": 1 << 34, "root_free": 1 << 34,
}  # fmt: skip


@pytest.fixture(scope="module")
def preflight() -> ModuleType:
    found = importlib.util.spec_from_file_location("preflight", SCRIPT)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_a_fit_machine_has_no_problem(preflight):
    assert preflight.problems(preflight.Machine(**GOOD)) == []


@pytest.mark.parametrize(
    "facts, problem, remedy",
    [
        ({"system": "Darwin"}, "this is Darwin", "virtual machine"),
        ({"root": False}, "not root, and there is no sudo", "su -"),
        ({"release": "5.11.22-generic"}, "5.11.22-generic, and the lab needs 5.12", "Debian 12"),
        ({"overlay": False}, "no overlay file system", "CONFIG_OVERLAY_FS"),
        ({"python": (3, 10)}, "Python 3.10, and the lab needs 3.11", "LABKIT_PYTHON"),
        ({"apt": False}, "no apt-get", "Debian 12 or Ubuntu 24.04"),
        ({"checkout_free": 1 << 20}, "1 MB of disk are free for the Python packages", "make room"),
        ({"root_free": 1 << 20}, "1 MB of disk are free for images", "make room"),
    ],
)
def test_each_lack_is_named_with_its_remedy(preflight, facts, problem, remedy):
    (found,) = preflight.problems(preflight.Machine(**GOOD | facts))

    assert problem in found[0]
    assert remedy in found[1]


def test_sudo_does_for_a_user(preflight):
    assert preflight.problems(preflight.Machine(**GOOD | {"root": False, "sudo": True})) == []


def test_kernels_are_compared_by_numbers(preflight):
    for release in ("5.12.0", "5.100-rc1", "10.0"):
        assert preflight.problems(preflight.Machine(**GOOD | {"release": release})) == []


def test_all_lacks_are_told_at_once(preflight):
    found = preflight.problems(preflight.Machine(**GOOD | {"overlay": False, "apt": False, "python": (3, 9)}))

    assert len(found) == 3


def test_elsewhere_than_on_linux_nothing_else_matters(preflight):
    assert len(preflight.problems(preflight.Machine(**GOOD | {"system": "Darwin", "apt": False}))) == 1


def test_overlay_is_read_from_the_kernels_own_list(preflight, tmp_path):
    table = tmp_path / "filesystems"
    table.write_text("nodev\ttmpfs\nnodev\toverlay\n\text4\n")
    assert preflight.has_overlay(table)

    assert not preflight.has_overlay(tmp_path / "absent")


def test_room_is_looked_for_where_a_folder_will_be(preflight, tmp_path):
    assert preflight.free_bytes(str(tmp_path / "a/b/c")) == preflight.free_bytes(str(tmp_path))
