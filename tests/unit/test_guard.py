"""The suite's own machinery: needs, the ban on skips, and what is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import leftovers
import pytest

TESTS = Path(__file__).parents[1]


@pytest.fixture
def run_tests(tmp_path):
    """Run a test file with the suite's own conftest, in a folder of the name given."""

    def run(source: str, folder: str = "unit", **environment: str) -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = requires(*needs): needs\n")
        (tmp_path / "conftest.py").write_text((TESTS / "conftest.py").read_text())
        (tmp_path / folder / "test_it.py").write_text(source)
        kept = {
            name: value for name, value in os.environ.items() if name not in ("PEERS", "PYTEST_CURRENT_TEST")
        }
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", folder],
            cwd=tmp_path,
            env=kept | {"PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment,
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    return run


NEEDY = """
import pytest

@pytest.mark.requires("vm-kernel")
def test_needy():
    pass
"""


def test_a_test_whose_need_is_missing_is_skipped_with_the_reason(run_tests, tmp_path):
    said = run_tests(NEEDY, LABKIT_ROOT=str(tmp_path / "empty"))

    assert "1 skipped" in said
    assert f"no vm-kernel: no {tmp_path}/empty/cache/kernel/vmlinuz (scripts/fetch-kernel)" in said


def test_a_test_whose_need_is_there_runs(run_tests, tmp_path):
    kernel = tmp_path / "full/cache/kernel/vmlinuz"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("")

    assert "1 passed" in run_tests(NEEDY, LABKIT_ROOT=str(tmp_path / "full"))


def test_with_peers_a_missing_need_is_a_failure(run_tests, tmp_path):
    said = run_tests(NEEDY, LABKIT_ROOT=str(tmp_path / "empty"), PEERS="1")

    assert "1 error" in said and "skipped" not in said.splitlines()[-1]  # it failed before it began
    assert "with PEERS=1 nothing may be skipped: no vm-kernel" in said


def test_with_peers_a_skip_of_ones_own_is_a_failure_too(run_tests):
    said = run_tests("import pytest\ndef test_lazy():\n    pytest.skip('not today')\n", PEERS="1")

    assert "1 failed" in said


def test_with_peers_a_module_that_skips_itself_is_a_failure_too(run_tests):
    said = run_tests("import pytest\npytest.importorskip('no_such_module')\n", PEERS="1")

    assert "skipped" not in said.splitlines()[-1]
    assert "1 error" in said


def test_a_need_that_no_machine_can_have_is_an_error(run_tests):
    said = run_tests(NEEDY.replace("vm-kernel", "overlai"))

    assert "no feature is called 'overlai'" in said


PROCESS = """
import os, subprocess
def test_careless():
    subprocess.Popen(["sleep", "30"], start_new_session=True)
"""


@pytest.mark.filterwarnings("ignore")
def test_a_process_that_is_left_behind_is_named_in_a_test_of_the_kernel(run_tests):
    said = run_tests(PROCESS, folder="kernel")
    end_sleepers(said)

    assert "test_careless left behind:" in said
    assert "sleep (sleep 30)" in said


def test_a_unit_test_is_not_watched(run_tests):
    assert "left behind" not in run_tests("def test_quiet():\n    pass\n")


def end_sleepers(said: str) -> None:
    """End the very processes that the guard has named."""
    for line in said.splitlines():
        words = line.split()
        if words[:1] == ["processes:"] and "sleep" in words:
            os.kill(int(words[1]), 9)


@pytest.mark.requires("root")
def test_a_mount_a_link_and_a_directory_are_seen_in_namespaces_of_their_own():
    code = """
import subprocess, leftovers
before = leftovers.take()
subprocess.run("mount -t tmpfs none /mnt; ip link add left0 type bridge; nft add table inet left", shell=True)
print("\\n".join(leftovers.left_since(before, patience_seconds=0)))
"""
    command = ["unshare", "--mount", "--net", "sh", "-c", 'mount -t sysfs none /sys; exec "$@"', "sh"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "mounts: /mnt type tmpfs" in done.stdout
    assert "links: left0" in done.stdout
    assert "tables: table inet left" in done.stdout


def test_a_process_of_another_run_is_not_ours():
    mine = f"LABKIT_TEST_SESSION={os.getpid()}".encode()

    assert leftovers.is_ours(b"HOME=/root\0" + mine + b"\0", "0::/\n")
    assert not leftovers.is_ours(b"LABKIT_TEST_SESSION=1\0LABKIT_OWNER=x\0", "0::/labkit/web\n")


def test_a_process_in_a_control_group_of_this_run_is_ours():
    assert leftovers.is_ours(b"", f"4:memory:/{leftovers.HOME}/web\n")


def test_labkit_makes_its_groups_below_those_of_the_run():
    from labkit.kernel import cgroups

    assert cgroups.HOME == leftovers.HOME == os.environ["LABKIT_CGROUP"]


def test_a_child_that_was_forked_and_has_no_mark_is_seen():
    child = subprocess.Popen(["env", "-i", "sleep", "30"])
    try:
        assert child.pid in leftovers.descendants(os.getpid())
        assert any(line.startswith(f"{child.pid} ") for line in leftovers.processes())
    finally:
        child.kill()
        child.wait()
