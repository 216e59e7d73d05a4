"""Subnets and addresses: what is chosen, what is refused, and in which words."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as some

from labkit.errors import Conflict, Invalid, LabkitError
from labkit.network import addresses
from labkit.network.addresses import Subnet


def test_the_first_pool_that_clashes_with_nothing_is_chosen():
    assert addresses.free_subnet([]).subnet == "172.17.0.0/16"
    taken = [ip_network("172.16.0.0/14"), ip_network("172.20.9.0/24"), ip_network("0.0.0.0/0")]
    assert addresses.free_subnet(taken).subnet == "172.21.0.0/16"


def test_after_the_last_pool_there_is_a_clear_error():
    with pytest.raises(LabkitError, match="all predefined address pools have been fully subnetted"):
        addresses.free_subnet([ip_network("172.16.0.0/12"), ip_network("192.168.0.0/16")])


@pytest.mark.parametrize(
    ("subnet", "more", "said"),
    [
        ("10.5.0.1/16", {}, "it should be 10.5.0.0/16"),
        ("10.5.0.0/33", {}, "invalid subnet 10.5.0.0/33"),
        ("tomorrow", {}, "invalid subnet tomorrow"),
        ("10.5.0.0/31", {}, "no room"),
        ("10.5.0.0/16", {"gateway": "10.6.0.1"}, "no matching subnet for gateway 10.6.0.1"),
        ("10.5.0.0/16", {"gateway": "x"}, "invalid IP address: 'x'"),
        ("10.5.0.0/16", {"ip_range": "10.6.0.0/24"}, "no matching subnet for range 10.6.0.0/24"),
        ("10.5.0.0/16", {"ip_range": "fd00::/64"}, "no matching subnet for range"),
        ("10.5.0.0/16", {"auxiliary": {"router": "10.6.0.9"}}, "no matching subnet for router 10.6.0.9"),
    ],
)
def test_a_subnet_that_makes_no_sense_is_refused(subnet, more, said):
    with pytest.raises(Invalid, match=said):
        addresses.check(subnet, **more)


def test_an_overlap_names_the_other():
    taken = {ip_network("10.5.8.0/24"): "network blue"}
    with pytest.raises(Conflict, match=r"Pool 10.5.0.0/16 overlaps .*10.5.8.0/24 of network blue"):
        addresses.check_free(ip_network("10.5.0.0/16"), taken)
    addresses.check_free(ip_network("10.6.0.0/16"), taken)


def test_the_lowest_free_address_is_given_and_nobody_elses():
    subnet = addresses.check("10.5.0.0/29", auxiliary={"router": "10.5.0.3"})
    assert subnet.gateway == "10.5.0.1"
    given: list[str] = []
    for _ in range(4):
        given.append(addresses.choose(subnet, given))
    assert given == ["10.5.0.2", "10.5.0.4", "10.5.0.5", "10.5.0.6"]
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        addresses.choose(subnet, given)
    assert addresses.choose(subnet, given[:1] + given[2:]) == "10.5.0.4"


def test_a_range_limits_what_is_given_unasked_but_not_what_is_asked_for():
    subnet = addresses.check("10.5.0.0/16", ip_range="10.5.9.0/30")
    assert subnet.gateway == "10.5.9.0"
    taken = [addresses.choose(subnet, [])]
    assert taken == ["10.5.9.1"]
    assert addresses.choose(subnet, taken, "10.5.200.1") == "10.5.200.1"
    with pytest.raises(Conflict, match="no available"):
        addresses.choose(subnet, ["10.5.9.1", "10.5.9.2", "10.5.9.3"])


@pytest.mark.parametrize("wanted", ["10.5.0.0", "10.5.0.1", "10.5.255.255", "10.5.0.7"])
def test_an_address_that_is_taken_is_refused(wanted):
    with pytest.raises(Conflict, match=f"Address already in use: {wanted}"):
        addresses.choose(addresses.check("10.5.0.0/16"), ["10.5.0.7"], wanted)


def test_an_address_of_elsewhere_is_refused():
    with pytest.raises(Invalid, match="does not belong to any of this network's subnets"):
        addresses.choose(addresses.check("10.5.0.0/16"), [], "10.6.0.1")


@given(some.integers(8, 29), some.sets(some.integers(1, 500), max_size=60))
def test_whatever_is_taken_the_choice_is_free_and_inside(length, offsets):
    net = ip_network((int(ip_address("10.0.0.0")), length))
    subnet = addresses.check(str(net))
    taken = {str(net.network_address + offset) for offset in offsets if offset < net.num_addresses - 1}
    room = net.num_addresses - 2 - len(taken | {subnet.gateway})
    try:
        chosen = addresses.choose(subnet, taken)
    except Conflict:
        assert room == 0
        return
    assert ip_address(chosen) in net
    assert chosen not in {*taken, subnet.gateway, str(net.network_address), str(net.broadcast_address)}


def test_a_fresh_subnet_of_ipv6_is_local_and_never_the_same():
    first, second = addresses.fresh_ipv6_subnet(), addresses.fresh_ipv6_subnet()
    assert first != second
    assert first.net.prefixlen == 64 and first.net.subnet_of(ip_network("fd00::/8"))
    assert addresses.choose(first, []) == str(first.net.network_address + 2)


def test_a_hardware_address_follows_from_the_address():
    assert addresses.mac_of("172.17.0.2") == "02:42:ac:11:00:02"
    assert addresses.check_mac("02:42:AC:11:00:FF") == "02:42:ac:11:00:ff"
    for text in ("01:42:ac:11:00:02", "02:42:ac:11:00", "x", "", "02:42:ac:11:00:002", "0242ac110002"):
        with pytest.raises(Invalid, match="hardware address"):
            addresses.check_mac(text)


def test_a_subnet_survives_a_record():
    subnet = Subnet(subnet="10.5.0.0/16", gateway="10.5.0.1", auxiliary={"a": "10.5.0.9"})
    assert addresses.rows(
        [{"subnet": "10.5.0.0/16", "gateway": "10.5.0.1", "auxiliary": {"a": "10.5.0.9"}}]
    ) == (subnet,)


def test_the_next_address_follows_the_last_and_begins_again_at_the_end():
    small = addresses.check("10.5.0.0/29")

    assert addresses.choose(small, [], after="10.5.0.3") == "10.5.0.4"
    assert addresses.choose(small, ["10.5.0.4"], after="10.5.0.3") == "10.5.0.5"
    assert addresses.choose(small, [], after="10.5.0.6") == "10.5.0.2"
    assert addresses.choose(small, ["10.5.0.2", "10.5.0.5", "10.5.0.6"], after="10.5.0.4") == "10.5.0.3"
    assert addresses.choose(small, [], after="10.9.0.1") == "10.5.0.2"
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        addresses.choose(small, [f"10.5.0.{number}" for number in range(2, 7)], after="10.5.0.4")
