"""The engine on a machine whose control groups are all of version 2, as Debian 12 and Ubuntu 24.04 have them.

The distribution's own kernel, in a virtual machine: there the tests of the
control groups and of whole containers run once more, and each is looked at here.
"""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

import guest
import pytest

from labkit.observe import machine

pytestmark = [pytest.mark.requires("root", "qemu", "vm-kernel", "busybox"), pytest.mark.timeout(600)]

MODULES = (
    "tests/kernel/test_cgroups.py",
    "tests/kernel/test_cgroups_version_2.py",
    "tests/system/test_run.py",
    "tests/system/test_life.py",
)
LEFT_OUT = "tests/system/test_run.py::test_two_hundred_starts_leave_no_growth"
"""Half a minute in an emulated machine; that no group is left, every other test sees for itself."""
SCRIPT = f"""
python3 -c 'from labkit.kernel import cgroups; print(cgroups.layout(), cgroups.hierarchies())'
python3 -m pytest -p no:cacheprovider --color=no --tb=short --junitxml=/tmp/report \\
  --deselect {LEFT_OUT} {" ".join(MODULES)} >&2
cat /tmp/report
"""
ASKS_STRACE = "tests/system/test_run.py::test_strace_sees_the_calls_that_the_trace_tells"


@dataclass(frozen=True, slots=True)
class Told:
    """What came back from in there."""

    layout: str
    ran: frozenset[str]
    failures: dict[str, str]
    skipped: dict[str, str]


@pytest.fixture(scope="module")
def told() -> Told:
    answer, console = guest.run(SCRIPT, timeout_seconds=500)
    layout, _, report = answer.partition("\n")
    assert report.startswith("<?xml"), console
    ran, failures, skipped = set(), {}, {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name']}"
        ran.add(name)
        for found in case:
            if found.tag in ("failure", "error"):
                failures[name] = failures.get(name, "") + (found.text or found.attrib["message"])
            elif found.tag == "skipped":
                skipped[name] = found.attrib["message"]
    return Told(layout, frozenset(ran), failures, skipped)


def test_the_machine_has_version_2_alone_with_every_controller(told):
    layout, _, found = told.layout.partition(" ")

    assert layout == "2"
    for controller in ("cpuset", "cpu", "io", "memory", "pids"):
        assert f"'{controller}'" in found


@pytest.mark.parametrize("module", MODULES)
def test_what_holds_on_this_machine_holds_there(told, module):
    failures = {name: text for name, text in told.failures.items() if name.startswith(module)}

    assert not failures, "".join(f"\n\n{name}\n{text}" for name, text in failures.items())


def test_every_test_that_is_here_ran_there_and_none_was_skipped(told):
    collected = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *MODULES],
        capture_output=True, text=True, check=True, cwd=guest.PROJECT,
    ).stdout  # fmt: skip

    assert told.ran == {line for line in collected.splitlines() if "::" in line} - {LEFT_OUT}
    assert set(told.skipped) == (set() if machine.has("strace") else {ASKS_STRACE}), told.skipped
