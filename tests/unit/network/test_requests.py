import json
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import Conflict, Invalid, LabkitError
from labkit.network import requests
from labkit.network.firewall import Published
from labkit.network.requests import Message, Served
from labkit.network.upstreams import Upstream

FULL = Served(
    container_id="a" * 64,
    name="web",
    pid=7,
    start_ticks=8,
    names=False,
    servers=(Upstream(address="10.0.0.1", port=5353, inside=False),),
    ports=(Published(protocol="udp", host_port=53, container_port=5353, host_address="::1"),),
    addresses=("10.0.0.2", "fd00::2"),
    listens=(40000, 40001),
)


@pytest.mark.parametrize("wanted", [FULL, Served(container_id="x", name="x", pid=1, start_ticks=1)])
def test_a_request_arrives_as_it_was_sent(wanted):
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there:
        requests.send(here, Message.SERVE, wanted)
        kind, content = requests.receive(there)

    assert kind is Message.SERVE
    assert requests.parse(content) == wanted


def test_an_error_is_raised_on_the_other_side_as_the_same_kind():
    found = requests.as_error(json.loads(json.dumps(requests.refusal(Conflict("taken", hint="another")))))

    assert (type(found), str(found), found.hint) == (Conflict, "taken", "another")


def test_an_error_of_the_kernel_keeps_its_words_and_its_notes():
    failure = OSError(98, "Address already in use")
    failure.add_note("while binding")

    found = requests.as_error(requests.refusal(failure))

    assert type(found) is LabkitError
    assert str(found) == "[Errno 98] Address already in use; while binding"


def test_a_closed_socket_has_no_more_to_say():
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    here.close()
    with there:
        assert requests.receive(there) is None


def test_what_is_too_long_is_not_sent():
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, there, pytest.raises(Invalid, match="too long"):
        requests.send(here, Message.SERVE, "x" * requests.MOST_BYTES)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(Served.__slots__), JSON))
def test_any_json_is_a_request_or_invalid(change):
    content = json.loads(json.dumps(FULL, default=requests.dataclasses.asdict)) | change
    try:
        found = requests.parse(content)
    except Invalid:
        return
    assert requests.parse(json.loads(json.dumps(found, default=requests.dataclasses.asdict))) == found
