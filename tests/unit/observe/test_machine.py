"""What the machine offers, by looking and by trying."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.errors import Invalid
from labkit.kernel.cgroups import Hierarchy
from labkit.observe import machine, probes
from labkit.observe.machine import Status


@pytest.fixture(autouse=True)
def anew():
    machine.forget()
    yield
    machine.forget()


@pytest.fixture
def hierarchies(monkeypatch, tmp_path):
    """Pretend these cgroup file systems are mounted."""

    def mounted(*found: tuple[int, set[str]]) -> None:
        table = [Hierarchy(version, tmp_path, frozenset(names)) for version, names in found]
        monkeypatch.setattr(machine.cgroups, "hierarchies", lambda: table)

    return mounted


def test_a_name_that_is_no_feature_is_refused_with_those_there_are():
    with pytest.raises(Invalid) as refusal:
        machine.has("overlai")

    assert "overlay" in refusal.value.hint


def test_every_feature_says_what_its_lack_costs():
    assert [feature.name for feature in machine.FEATURES if not feature.cost] == []
    assert len(machine.BY_NAME) == len(machine.FEATURES)


def test_every_feature_that_is_tried_has_its_probe():
    tried = {feature.name for feature in machine.FEATURES if feature.look is machine._tried}

    assert tried == set(probes.PROBES)


def test_all_of_them_are_told_together():
    assert set(machine.capabilities()) == set(machine.BY_NAME)


def test_what_is_there_has_no_reason_to_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PEERS", "1")

    assert machine.has("peers")
    assert machine.why_not("peers") == ""


def test_what_is_missing_says_why_and_what_would_help(monkeypatch):
    monkeypatch.setattr(machine, "_which", lambda *_: None)

    assert machine.why_not("dockerd") == "no dockerd: not installed (apt-get install docker.io)"


def test_a_program_in_an_admin_directory_is_found_without_the_path(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    assert machine._which("nologin") == "/usr/sbin/nologin"


def test_a_feature_is_looked_at_once(monkeypatch):
    monkeypatch.setenv("PEERS", "1")
    assert machine.has("peers")
    monkeypatch.delenv("PEERS")

    assert machine.has("peers")
    machine.forget()
    assert not machine.has("peers")


def test_a_hybrid_machine_is_limited_and_has_the_controllers_of_version_one(hierarchies):
    hierarchies((1, {"memory"}), (1, {"blkio"}), (1, {"freezer"}), (2, {"hugetlb"}))

    assert machine.look("cgroups").status is Status.LIMITED
    assert machine.has("cgroup.memory") and machine.has("cgroup.io") and machine.has("cgroup.freezer")
    assert machine.has("cgroup2") and not machine.has("cgroup2.controllers")
    assert not machine.has("cgroup.pids")


def test_version_two_freezes_and_lists_devices_in_every_group(hierarchies):
    hierarchies((2, {"cpu", "memory", "pids", "io", "cpuset"}))

    assert machine.look("cgroups").value == "version 2"
    for name in ("memory", "cpu", "cpuacct", "pids", "io", "cpuset", "freezer", "devices"):
        assert machine.has(f"cgroup.{name}"), name
    assert machine.has("cgroup2.controllers")


def test_a_machine_without_cgroups_says_what_to_mount(hierarchies):
    hierarchies()

    assert "mount -t cgroup2" in machine.why_not("cgroups")
    assert not machine.has("cgroup2")


def test_an_old_kernel_is_missing(monkeypatch):
    monkeypatch.setattr(machine.platform, "release", lambda: "5.11.0-1-amd64")

    assert "5.12" in machine.why_not("kernel")


def test_a_kernel_is_compared_by_numbers(monkeypatch):
    monkeypatch.setattr(machine.platform, "release", lambda: "6.1-rc3")

    assert machine.has("kernel")


def test_a_user_is_told_to_use_sudo(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    assert "sudo" in machine.why_not("root")
    assert "sudo" in machine.why_not("overlay")


def test_a_root_without_the_rights_of_one_is_none(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(machine.kernel_capabilities, "of_process", lambda: {"CapEff": 0b1})

    assert "in name only" in machine.why_not("root")


def test_a_probe_says_what_it_was_refused_with():
    def refused() -> None:
        raise PermissionError(1, "unshare: Operation not permitted")

    assert probes.attempt(refused) == "unshare: Operation not permitted"
    assert probes.attempt(lambda: None) == ""


def test_a_probe_that_finds_no_program_names_it():
    def no_program() -> None:
        subprocess.run(["no-such-program"])

    assert probes.attempt(no_program) == "no-such-program is not there"


@pytest.mark.requires("root")
def test_probes_leave_this_process_where_it_was():
    before = {link: link.readlink() for link in Path("/proc/self/ns").iterdir()}

    machine.rows()

    assert {link: link.readlink() for link in Path("/proc/self/ns").iterdir()} == before


@pytest.mark.requires("root")
def test_unshare_of_the_shell_agrees_about_the_namespaces():
    flags = {
        "mount": "-m",
        "uts": "-u",
        "ipc": "-i",
        "network": "-n",
        "pid": "-pf",
        "user": "-U",
        "cgroup": "-C",
    }

    for kind, flag in flags.items():
        witness = subprocess.run(["unshare", flag, "true"], stderr=subprocess.DEVNULL).returncode == 0
        assert machine.has(f"namespace.{kind}") == witness, kind


def test_looking_needs_no_library_beyond_the_standard_ones():
    code = "import sys, labkit.observe.machine; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert {"pyroute2", "rich", "click"} & set(loaded.split()) == set()
