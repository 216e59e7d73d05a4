"""observe.namespaces and observe.processes against real namespaces; lsns(8) is the second witness."""

import subprocess

import pytest

from labkit.observe import namespaces, processes

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def stranger():
    """A process in fresh uts and pid namespaces."""
    starter = subprocess.Popen(
        ["unshare", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", "echo $$; exec sleep 60"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert starter.stdout is not None
    assert starter.stdout.readline() == "1\n"
    with open(f"/proc/{starter.pid}/task/{starter.pid}/children") as children:
        yield int(children.read().split()[0])
    starter.kill()
    starter.wait()
    starter.stdout.close()


def test_a_process_in_fresh_namespaces_shares_only_the_others_with_the_host(stranger):
    (row,) = namespaces.rows([stranger])
    host = namespaces.host()

    own = {kind for kind, number in row.identities.items() if number != host[kind]}

    assert own == {"uts", "pid"}
    assert row.ns_pid == 1


def test_lsns_lists_the_same_process_in_the_same_namespace(stranger):
    (row,) = namespaces.rows([stranger])
    said = subprocess.run(
        ["lsns", "--noheadings", "--output", "NS", "--type", "pid", "--task", str(stranger)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert [int(number) for number in said.stdout.split()] == [row.identities["pid"]]


def test_the_pid_is_told_as_each_namespace_counts_it(stranger):
    row = processes.row(stranger)

    assert row is not None
    assert row.ns_pids == (stranger, 1)
