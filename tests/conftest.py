"""What every test may ask for, and what the kernel's tests must leave as they found it.

`@pytest.mark.requires("root", "overlay")` states needs, in the names of `labkit
doctor`; what the machine lacks is skipped with the reason. With PEERS=1 nothing
may be skipped: what would be is a failure.
"""

import fcntl
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import leftovers
import pytest

from labkit.observe import machine
from labkit.paths import Paths

GUARDED = ("kernel", "system", "contract", "notebooks", "browser")
LOCK = Path(os.environ.get("LABKIT_TEST_LOCK", "/run/labkit-tests.lock"))
"""Two runs that see different mounts and links, each in namespaces of its own, may have different ones."""


def pytest_configure() -> None:
    """A machine at its first run builds hypothesis's tables while the clock of a property runs."""
    if importlib.util.find_spec("hypothesis"):  # a guest of tests/system has none
        from hypothesis import HealthCheck, settings

        settings.register_profile("labkit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
        settings.load_profile("labkit")


def pytest_unconfigure() -> None:
    leftovers.remove_home()


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        for need in marker.args:
            if not machine.has(need):
                pytest.skip(machine.why_not(need))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if os.environ.get("PEERS") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"with PEERS=1 nothing may be skipped: {call.excinfo and call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if os.environ.get("PEERS") == "1" and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"with PEERS=1 nothing may be skipped: {collector.nodeid}"
    return report


def is_guarded(node: pytest.Item | pytest.Collector) -> bool:
    """Whether a test or module is of those that make things in the kernel."""
    folders = node.path.relative_to(node.config.rootpath).parts
    return folders[folders[0] == "tests"] in GUARDED  # tests/kernel, and not tests/unit/kernel


@contextmanager
def nothing_left(node: pytest.Item | pytest.Collector) -> Iterator[None]:
    """Fail and name what is there afterwards and was not before."""
    # Chromium starts and ends helpers as it likes, for as long as the browser itself lives.
    but = ("processes",) if "browser" in node.path.parts else ()
    before = leftovers.take()
    yield
    if left := leftovers.left_since(before, but):
        pytest.fail(f"{node.name} left behind:\n  " + "\n  ".join(left), pytrace=False)


@contextmanager
def alone() -> Iterator[None]:
    """One such test at a time on this machine: two runs would find each other's mounts."""
    if os.geteuid() != 0:
        yield
        return
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module", autouse=True)
def nothing_left_by_the_module(request: pytest.FixtureRequest) -> Iterator[None]:
    if not is_guarded(request.node):
        yield
        return
    with nothing_left(request.node):
        yield


@pytest.fixture(autouse=True)
def nothing_left_by_the_test(request: pytest.FixtureRequest) -> Iterator[None]:
    if not is_guarded(request.node):
        yield
        return
    with alone(), nothing_left(request.node):
        yield


@pytest.fixture
def paths() -> Iterator[Paths]:
    """An engine's directories of its own, on a file system that overlay takes as its upper one."""
    base = Path(tempfile.mkdtemp(prefix="labkit-test-", dir=ground()))
    base.chmod(0o711)
    made = Paths(root=base / "root", run=base / "run")
    made.prepare()
    yield made
    shutil.rmtree(base)


def ground() -> Path:
    """Where layers can lie: not on an overlay, as a container's /tmp is one."""
    candidates = (Path(tempfile.gettempdir()), Path("/var/tmp"), Path("/dev/shm"))
    return next(place for place in candidates if file_system(place) != "overlay")


def file_system(place: Path) -> str:
    """The type of the file system that a path is on, by the longest mount point above it."""
    lines = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    above = [words for words in lines if place.resolve().is_relative_to(words[4])]
    words = max(above, key=lambda words: len(words[4]))
    return words[words.index("-") + 1]
