"""nft through its library: what is loaded is what the nft program lists, as a whole or not at all."""

import subprocess

import pytest

from labkit.kernel import interfaces, namespaces, nft
from labkit.kernel.namespaces import Namespace
from labkit.undo import UNDO, Entry

pytestmark = pytest.mark.requires("root", "nft")
TABLE = "lktestnft"


@pytest.fixture
def table():
    nft.run(f"table inet {TABLE} {{\n map ports {{ type inet_service : ipv4_addr; }}\n}}")
    yield TABLE
    if nft.has_table("inet", TABLE):
        nft.run(f"delete table inet {TABLE}")


def listing() -> str:
    return subprocess.run(["nft", "list", "table", "inet", TABLE], capture_output=True, text=True).stdout


def test_a_text_is_loaded_as_the_program_lists_it(table):
    nft.run(f"add element inet {table} ports {{ 80 : 10.0.0.1 }}")

    assert "elements = { 80 : 10.0.0.1 }" in listing()
    assert nft.has_table("inet", table) and not nft.has_table("ip", table)
    (found,) = [row["map"] for row in nft.listing(f"list map inet {table} ports") if "map" in row]
    assert found["elem"] == [[80, "10.0.0.1"]]


def test_one_line_that_is_wrong_takes_all_others_with_it(table):
    with pytest.raises(OSError, match="nft: "):
        nft.run(
            f"add element inet {table} ports {{ 80 : 10.0.0.1 }}\nadd element inet {table} nowhere {{ 1 }}"
        )

    assert "elements" not in listing()
    with pytest.raises(FileNotFoundError):
        nft.run("delete table inet lknotthere")
    with pytest.raises(OSError, match="syntax error"):
        nft.run("make me a rule")


def test_an_element_is_removed_only_with_the_value_that_was_ours(table):
    nft.run(f"add element inet {table} ports {{ 80 : 10.0.0.1 }}")
    remove = UNDO["element"]

    assert nft.find_element("inet", table, "ports", "80") == "80 : 10.0.0.1"
    assert nft.find_element("inet", table, "ports", "81") == ""
    assert remove(Entry("element", f"inet {table} ports 80 : 10.0.0.2")) is False
    assert "80 : 10.0.0.1" in listing()
    assert remove(Entry("element", f"inet {table} ports 80 : 10.0.0.1")) is True
    assert remove(Entry("element", f"inet {table} ports 80 : 10.0.0.1")) is False
    assert remove(Entry("element", "inet lknotthere ports 80 : 10.0.0.1")) is False


def test_a_thread_in_another_namespace_has_rules_of_its_own(table):
    subprocess.run(["ip", "netns", "add", "lktestnft"], check=True)
    try:
        with open("/run/netns/lktestnft") as there:
            here = namespaces.identity("thread-self", Namespace.NETWORK)
            assert namespaces.in_network(there.fileno(), lambda: nft.has_table("inet", table)) is False
            assert namespaces.identity("thread-self", Namespace.NETWORK) == here
            with pytest.raises(ZeroDivisionError):
                namespaces.in_network(there.fileno(), lambda: 1 // 0)
    finally:
        subprocess.run(["ip", "netns", "delete", "lktestnft"], check=True)


def test_an_interface_is_measured_and_removed_once():
    subprocess.run("ip link add lktest0 mtu 1234 type veth peer name lktest1".split(), check=True)

    assert interfaces.mtu("lktest0") == 1234
    assert interfaces.delete("lktest0") is True
    assert interfaces.delete("lktest0") is False
    assert subprocess.run("ip link show lktest1".split(), capture_output=True).returncode == 1
    with pytest.raises(OSError):
        interfaces.mtu("lktest0")
