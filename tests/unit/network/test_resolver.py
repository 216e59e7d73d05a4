import asyncio
import time

import pytest
from dnslib import DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from labkit.network import resolver
from labkit.network.resolver import Resolver
from labkit.network.upstreams import Upstream, upstreams


def inside(*addresses):
    return tuple(Upstream(address=address) for address in addresses)


@pytest.mark.parametrize(
    ("host", "chosen", "internal", "expected"),
    [
        (["10.0.0.2"], (), False, inside("10.0.0.2")),
        (["127.0.0.53"], (), False, (Upstream(address="127.0.0.53", inside=False),)),
        (["::1", "fd00::1"], (), False, (Upstream(address="::1", inside=False), *inside("fd00::1"))),
        (["127.0.0.53"], (), True, ()),
        (["127.0.0.53", "10.0.0.2"], (), True, inside("10.0.0.2")),
        (["10.0.0.2"], ("127.0.0.1",), True, inside("127.0.0.1")),
        (["10.0.0.2"], ("9.9.9.9", "8.8.8.8"), False, inside("9.9.9.9", "8.8.8.8")),
        (["127.0.0.11"], (), False, ()),
        ([], ("127.0.0.11", "9.9.9.9"), False, inside("9.9.9.9")),
        (
            ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"],
            (),
            False,
            inside("10.0.0.1", "10.0.0.2", "10.0.0.3"),
        ),
        ([], (), False, ()),
    ],
)
def test_servers_are_the_chosen_ones_or_the_hosts_and_the_loopback_is_the_hosts(
    host, chosen, internal, expected
):
    assert upstreams(host, chosen, internal=internal) == expected


SENT = DNSRecord.question("Example.com").pack()
ANSWER = DNSRecord.parse(SENT).reply().pack()


@pytest.mark.parametrize(
    ("found", "is_one"),
    [
        (ANSWER, True),
        (ANSWER.replace(b"Example", b"eXAMPLE"), True),
        (ANSWER + b"more", True),
        (SENT, False),
        (b"", False),
        (ANSWER[:12], False),
        (ANSWER[:-1], False),
        (bytes((ANSWER[0] ^ 1,)) + ANSWER[1:], False),
        (ANSWER.replace(b"Example", b"Examplf"), False),
        (ANSWER[:-1] + b"\2", False),
        (ANSWER[:-3] + b"\x21\0\1", False),
        (ANSWER[:4] + b"\0\2" + ANSWER[6:], False),
        (ANSWER[:2] + bytes((ANSWER[2] | 0x28,)) + ANSWER[3:], False),
    ],
)
def test_an_answer_has_the_number_and_the_question(found, is_one):
    assert resolver.is_answer(found, SENT) is is_one


@given(st.binary(max_size=100))
def test_any_bytes_are_told_from_an_answer(found):
    assert resolver.is_answer(found, SENT) is False or found[:2] == SENT[:2]


def test_without_a_server_the_answer_is_a_failure_at_once():
    began = time.monotonic()

    found = asyncio.run(Resolver((), lambda make: make()).ask(SENT, tcp=False))

    assert DNSRecord.parse(found).header.rcode == 2
    assert time.monotonic() - began < 1
