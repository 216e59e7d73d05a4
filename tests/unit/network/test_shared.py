"""What other hosts write into etcd is checked before it names a file or goes to the kernel."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import Conflict, LabkitError
from labkit.network import addresses, shared
from labkit.network.endpoints import Endpoint
from labkit.network.etcd import Row
from labkit.network.membership import Host
from labkit.network.networks import Network

ID, CONTAINER = "ab" * 32, "cd" * 32
ME = Host(id="0" * 16, name="me", address="10.0.0.1", etcd=("http://10.0.0.9:2379",))
NETWORK = Network(
    id=ID, name="blue", driver="overlay", subnets=(addresses.check("10.5.0.0/24"),),
    options={shared.VNI_OPTION: "4096"}, created_at=1.5,
)  # fmt: skip
ENDPOINT = Endpoint(
    network_id=ID, network_name="blue", container_id=CONTAINER, container_name="web", aliases=("www",),
    ipv4="10.5.0.2/24", gateway="10.5.0.1", mac="02:42:0a:05:00:02", host="10.0.0.2",
)  # fmt: skip


def record(**changes) -> Row:
    return Row(shared.RECORDS + ID, json.dumps(dataclasses.asdict(NETWORK) | changes))


def endpoint(key: str = f"{shared.NETWORKS}{ID}/endpoints/{CONTAINER}", **changes) -> Row:
    content = dataclasses.asdict(ENDPOINT) | changes
    return Row(key, json.dumps({"host": "1" * 16, "endpoint": content}))


def test_a_record_comes_back_as_it_was():
    assert shared.network_from(record()) == NETWORK
    assert shared.remote_endpoints([endpoint()], ME) == [ENDPOINT]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../../etc/passwd"}, {"id": "cd" * 32}, {"name": "a/b"}, {"name": 5}, {"driver": "bridge"},
        {"subnets": []}, {"subnets": [{"subnet": "x", "gateway": "", "ip_range": "", "auxiliary": {}}]},
        {"options": {}}, {"options": {shared.VNI_OPTION: "0"}}, {"options": {shared.VNI_OPTION: "x"}},
        {"options": {shared.VNI_OPTION: "16777216"}}, {"options": 5}, {"created_at": "now"}, {"more": 1},
        {"options": {shared.VNI_OPTION: "5", "com.docker.network.driver.mtu": "x"}},
    ],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(changes):
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError, LabkitError)):
        shared.network_from(record(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"container_id": "../x"}, {"network_id": "ef" * 32}, {"container_name": "a b"}, {"aliases": ["a/b"]},
        {"aliases": 5}, {"mac": "x"}, {"mac": "01:00:00:00:00:00"}, {"host": "nowhere"}, {"host": "::1"},
        {"ipv4": "x"}, {"ipv4": "fd00::1/64"}, {"ipv6": "10.5.0.2/24"}, {"gateway": "x"}, {"internal": "no"},
        {"more": 1},
    ],
)  # fmt: skip
def test_an_endpoint_that_is_none_is_left_out_and_hides_no_other(changes):
    assert shared.remote_endpoints([endpoint(**changes), endpoint()], ME) == [ENDPOINT]


def test_addresses_are_those_that_others_have_and_nothing_else():
    prefix, other = f"{shared.NETWORKS}{ID}/leases/", json.dumps({"host": "1" * 16, "container": CONTAINER})
    rows = [
        Row(f"{prefix}10.5.0.2", other),
        Row(f"{prefix}10.5.0.3", json.dumps({"host": ME.id, "container": CONTAINER})),
        Row(f"{prefix}nonsense", "5"),
        Row(f"{prefix}fd00::2", "[]"),
    ]
    assert shared.addresses_elsewhere(rows, ME, ID) == {"10.5.0.2", "fd00::2"}


def test_a_hosts_own_containers_are_not_remote():
    own = Row(endpoint().key, json.dumps({"host": ME.id, "endpoint": dataclasses.asdict(ENDPOINT)}))
    assert shared.remote_endpoints([own], ME) == []


KEYS = ["host", "endpoint", "aliases", "container_id", "ipv4", "subnets", "id", "options"]
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
)


@given(st.text(max_size=30), NESTED)
def test_nothing_that_stands_in_etcd_stops_a_host(tail, content):
    rows = [Row(f"{shared.NETWORKS}{ID}/endpoints/{tail}", json.dumps(content)), Row("/labkit/x", tail)]
    assert shared.remote_endpoints(rows, ME) == []
    assert shared.addresses_elsewhere(rows, ME, ID) == set()
    with pytest.raises(shared.BAD_RECORD):
        shared.network_from(Row(shared.RECORDS + tail, json.dumps(content)))


def test_a_number_is_the_lowest_that_is_free_or_the_one_that_is_wanted():
    assert shared.choose_vni([]) == 4096
    assert shared.choose_vni([4096, 4097, 4099]) == 4098
    assert shared.choose_vni([4096], 77) == 77
    with pytest.raises(Conflict, match="VXLAN 77 is the number of another network"):
        shared.choose_vni([77], 77)
    with pytest.raises(Conflict, match="no VXLAN is free from 4096 to 4098"):
        shared.choose_vni([4096, 4097, 4098], last=4098)
