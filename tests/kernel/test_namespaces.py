import os
import subprocess

import fresh
import pytest

from labkit.kernel import mounts, namespaces
from labkit.kernel.namespaces import Namespace

pytestmark = pytest.mark.requires("root", "namespaces")

WAITING = """
import ctypes
kinds = Namespace(int(sys.argv[1]))
namespaces.unshare(kinds)
if kinds & (Namespace.PID | Namespace.TIME):
    pid, pidfd = process.clone()
    if pid:
        print(pid, flush=True)
        process.wait(pidfd)
        sys.exit()
else:
    print(os.getpid(), flush=True)
process.die_with_parent()
sys.stdin.read()
"""


@pytest.fixture
def inside(request):
    """A process in namespaces of its own of the kinds that the test names."""
    child = fresh.start(WAITING, int(request.param))
    pid = int(child.stdout.readline())
    yield pid
    child.communicate(timeout=10)  # closing its input ends it


@pytest.mark.parametrize("inside", list(Namespace), indirect=True, ids=lambda kind: kind.oci)
def test_a_new_namespace_of_a_kind_is_another_than_ours_and_all_others_are_the_same(inside, request):
    kind = request.node.callspec.params["inside"]
    ours, theirs = namespaces.identities("self"), namespaces.identities(inside)

    changed = {name for name in ours if ours[name] != theirs[name]}

    assert changed == {kind}


@pytest.mark.parametrize("inside", [Namespace.UTS | Namespace.NETWORK], indirect=True)
def test_lsns_sees_the_namespaces_that_we_see(inside):
    listed = subprocess.run(
        ["lsns", "--noheadings", "--output", "NS,TYPE", "--task", str(inside)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    by_type = dict(zip(listed[1::2], map(int, listed[::2]), strict=True))

    assert {kind.link: found for kind, found in namespaces.identities(inside).items()} == by_type


@pytest.mark.parametrize("inside", [Namespace.UTS | Namespace.IPC], indirect=True)
def test_a_child_enters_the_namespaces_of_another_process(inside):
    told = fresh.run(
        """
        pid = int(sys.argv[1])
        namespaces.enter(pid, Namespace.UTS | Namespace.IPC)
        socket.sethostname("entered")
        print(all(namespaces.identity("self", k) == namespaces.identity(pid, k) for k in Namespace))
        """,
        inside,
    )
    seen = subprocess.run(
        ["nsenter", "--target", str(inside), "--uts", "hostname"], capture_output=True, text=True, check=True
    )

    assert (told, seen.stdout.strip()) == ("True", "entered")


@pytest.mark.parametrize("inside", [Namespace.NETWORK], indirect=True)
def test_processes_are_grouped_by_the_namespace_they_share(inside):
    groups = namespaces.members(Namespace.NETWORK)

    assert groups[namespaces.identity(inside, Namespace.NETWORK)] == [inside]
    assert os.getpid() in groups[namespaces.identity("self", Namespace.NETWORK)]


def test_a_network_namespace_is_entered_by_its_path():
    name = "lktest-path"
    used_before = any(mount.mount_point == "/run/netns" for mount in mounts.mounts())
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        told = fresh.run(
            """
            namespaces.enter_path(sys.argv[1], Namespace.NETWORK)
            interfaces.bring_up("lo")
            print(os.stat("/proc/self/ns/net").st_ino == os.stat(sys.argv[1]).st_ino)
            """,
            f"/run/netns/{name}",
        )
        seen = subprocess.run(
            ["ip", "-n", name, "link", "show", "lo"], capture_output=True, text=True, check=True
        )
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
        if not used_before:
            mounts.unmount("/run/netns")  # ip(8) mounts it at its first use, and leaves it

    assert told == "True"
    assert "UP" in seen.stdout


def test_the_clocks_of_a_time_namespace_are_shifted_for_its_children():
    told = fresh.run("""
        namespaces.unshare(Namespace.TIME)
        namespaces.set_time_offsets(monotonic_seconds=86_400)
        before = time.monotonic()
        pid, pidfd = process.clone()
        if pid == 0:
            os._exit(1 if 86_300 < time.monotonic() - before < 86_500 else 2)
        print(process.wait(pidfd))
    """)

    assert told == "1"


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="uts"):
        Namespace.named("computer")
