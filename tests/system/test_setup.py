"""Set-up looks first, can be killed at any point, and does nothing twice."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
TAKEN = ("labkit", "scripts", "pyproject.toml", "README.md", "Makefile", "LICENSE")

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of the project without an environment, with an engine's directories beside it."""
    base = Path(tempfile.mkdtemp(prefix="labkit-setup-test-"))
    base.chmod(0o755)
    copy = base / "project"
    copy.mkdir()
    for name in TAKEN:
        if (PROJECT / name).is_dir():
            shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(PROJECT / name, copy / name)
    yield copy
    shutil.rmtree(base)


def variables(checkout: Path) -> dict[str, str]:
    base = checkout.parent
    return os.environ | {"LABKIT_ROOT": f"{base}/root", "LABKIT_RUN": f"{base}/run"}


def setup(checkout: Path, *before: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*before, checkout / "scripts/setup"], env=variables(checkout), capture_output=True, text=True
    )


def setup_with(checkout: Path, preparation: str) -> "subprocess.CompletedProcess[str]":
    """Run it where some of the machine looks different, in a mount namespace of its own."""
    return setup(checkout, "unshare", "--mount", "sh", "-c", f'{preparation}\nexec "$@"', "sh")


def everything_in(checkout: Path) -> set[tuple[str, float]]:
    return {(str(file), file.lstat().st_mtime) for file in checkout.parent.rglob("*")}


def hidden(program: str) -> str:
    """Shell words that hide a program, wherever it is."""
    return f'while p=$(command -v {program}); do mount --bind /dev/null "$(readlink -f "$p")"; done'


LACKS = {
    "an old kernel": (("setarch", "--uname-2.6"), "", "and the lab needs 5.12"),
    "no overlay": (
        (),
        "grep -v overlay /proc/filesystems >/dev/shm/labkit-filesystems\n"
        "mount --bind /dev/shm/labkit-filesystems /proc/filesystems; rm /dev/shm/labkit-filesystems\n"
        "if [ -d /lib/modules ]; then mount -t tmpfs none /lib/modules; fi",
        "no overlay file system",
    ),
    "no apt-get": ((), hidden("apt-get"), "there is no apt-get"),
    "a full disk": (
        (),
        'mkdir -p "$LABKIT_ROOT"; mount -t tmpfs -o size=10m none "$LABKIT_ROOT"',
        "10 MB of disk are free for images",
    ),
    "an ordinary user without sudo": (
        (),
        f'{hidden("sudo")}\nset -- setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"',
        "you are not root, and there is no sudo",
    ),
}


@pytest.mark.parametrize("lack", LACKS)
def test_what_the_machine_lacks_is_named_before_anything_is_changed(checkout, lack):
    before, preparation, problem = LACKS[lack]
    (checkout.parent / "root").mkdir()
    there = everything_in(checkout)

    done = setup(checkout, *before) if before else setup_with(checkout, preparation)

    assert done.returncode == 2, done.stdout + done.stderr
    assert problem in done.stderr
    assert "→" in done.stderr
    assert "Nothing was changed." in done.stderr
    assert everything_in(checkout) == there


def test_a_python_that_is_not_there_is_named(checkout):
    there = everything_in(checkout)

    done = setup(checkout, "env", "LABKIT_PYTHON=/nonexistent/python3")

    assert done.returncode == 2
    assert "there is no /nonexistent/python3" in done.stderr
    assert everything_in(checkout) == there


def test_an_option_that_does_not_exist_is_refused(checkout):
    done = subprocess.run([checkout / "scripts/setup", "--exta"], capture_output=True, text=True)

    assert done.returncode == 2
    assert "no such option: --exta" in done.stderr


def test_a_set_up_that_was_killed_is_completed_by_the_next_which_leaves_nothing_to_do(checkout):
    spare_the_download(checkout)
    environment = checkout / ".venv"
    victim = subprocess.Popen(
        [checkout / "scripts/setup"],
        env=variables(checkout) | {"TMPDIR": str(checkout.parent)},  # its log stays behind
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(environment / "bin/python", victim)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    (environment / "half-done").touch()
    assert not (environment / "labkit-stamp").exists()

    done = setup(checkout)

    assert done.returncode == 0, done.stdout + done.stderr
    assert not (environment / "half-done").exists()  # it began anew
    version = subprocess.run([environment / "bin/labkit", "--version"], capture_output=True, text=True)
    assert version.stdout.startswith("labkit ")
    assert (environment / "share/jupyter/lab/settings/overrides.json").is_file()
    listed = subprocess.run(
        [environment / "bin/labkit", "image", "list"], env=variables(checkout), capture_output=True, text=True
    )
    assert "\nlab/busybox " in listed.stdout

    there = everything_in(checkout)
    began = time.perf_counter()
    again = setup(checkout)
    took = time.perf_counter() - began

    assert again.returncode == 0
    assert "all there" in again.stdout and "up to date" in again.stdout
    assert everything_in(checkout) == there
    assert took < 5.0  # what is promised of a second `make lab`


def spare_the_download(checkout: Path) -> None:
    """Give the copy this machine's kernel for chapter 01 and compiler for chapter 09, where it has them."""
    here = Path(os.environ.get("LABKIT_ROOT", "/var/lib/labkit")) / "cache"
    for name, file in (("kernel", "vmlinuz"), ("images", "lab-gcc.tar")):
        if (here / name / file).is_file():
            shutil.copytree(here / name, checkout.parent / "root/cache" / name)


def wait_for(file: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while not file.exists():
        assert process.poll() is None, "it ended before it made the environment"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_no_service_can_be_started_while_packages_are_installed():
    policy = Path("/usr/sbin/policy-rc.d")
    before = policy.read_bytes() if policy.exists() else None

    inside = subprocess.run([PROJECT / "scripts/without-services", policy, "ssh", "start"])

    assert inside.returncode == 101  # invoke-rc.d(8): forbidden by policy
    assert (policy.read_bytes() if policy.exists() else None) == before


def test_the_ban_on_services_ends_with_the_command_that_is_killed():
    policy = Path("/usr/sbin/policy-rc.d")
    before = policy.read_bytes() if policy.exists() else None

    subprocess.run([PROJECT / "scripts/without-services", "sh", "-c", "kill -9 $$"])

    assert (policy.read_bytes() if policy.exists() else None) == before


def test_a_list_of_packages_is_read_with_its_conditions(tmp_path):
    listed = tmp_path / "packages.txt"
    listed.write_text(
        "# a comment\nplain   # why\nelsewhere [sparc] # why\nhere [amd64] # why\nhere-too [arm64] # why\n"
        "replaced [or:sh] # why\nwanted [or:no-such-program] # why\n"
    )
    words = subprocess.run(
        ["bash", "-c", f". scripts/lib.sh; rm $log; wanted_packages {listed}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    here = {"x86_64": "here", "aarch64": "here-too"}[os.uname().machine]
    assert words == ["plain", here, "wanted"]


def test_make_alone_lists_the_commands():
    listed = subprocess.run(["make", "-C", PROJECT], capture_output=True, text=True, check=True).stdout

    for target in ("lab", "setup", "test", "check", "bench", "clean", "reset"):
        assert f"make {target} " in listed
