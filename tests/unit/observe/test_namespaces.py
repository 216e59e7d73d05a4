import os
from pathlib import Path

from labkit.observe import namespaces
from labkit.observe.namespaces import NamespaceRow


def test_this_process_has_a_row_with_the_inodes_that_proc_shows():
    (mine,) = namespaces.rows([os.getpid()])

    for kind, link in (("mount", "mnt"), ("network", "net"), ("uts", "uts"), ("time", "time")):
        assert str(Path(f"/proc/self/ns/{link}").readlink()) == f"{link}:[{mine.identities[kind]}]"


def test_a_child_shares_all_kinds_with_its_parent():
    members = namespaces.rows([os.getpid(), os.getppid()])

    for kind in members[0].identities:
        assert os.getpid() in namespaces.who_shares(os.getppid(), kind, members)


def test_each_namespace_comes_once_with_all_its_members(monkeypatch):
    monkeypatch.setattr(namespaces, "host", lambda: {"uts": 1, "network": 2})
    a = NamespaceRow(10, "a", "a", "root", 1, "/", False, {"uts": 11, "network": 2})
    b = NamespaceRow(20, "b", "b", "root", 1, "/", False, {"uts": 11, "network": 22})

    found = namespaces.shared([a, b])

    assert [(one.kind, one.identity, one.pids, one.is_host) for one in found] == [
        ("uts", 11, (10, 20), False),
        ("network", 2, (10,), True),
        ("network", 22, (20,), False),
    ]
