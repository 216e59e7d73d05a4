"""What -p takes, and what it refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from labkit.engine import ports
from labkit.errors import Invalid
from labkit.network.firewall import Published


def told(text: str) -> list[str]:
    return [str(one) for one in ports.parse([text])]


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("80", ["0.0.0.0:0->80/tcp"]),
        ("8080:80", ["0.0.0.0:8080->80/tcp"]),
        ("8080:80/UDP", ["0.0.0.0:8080->80/udp"]),
        ("127.0.0.1:8080:80", ["127.0.0.1:8080->80/tcp"]),
        ("127.0.0.1::80", ["127.0.0.1:0->80/tcp"]),
        ("0.0.0.0:8080:80", ["0.0.0.0:8080->80/tcp"]),
        ("[::1]:8080:80", ["[::1]:8080->80/tcp"]),
        ("[::]:8080:80", ["0.0.0.0:8080->80/tcp"]),
        ("8000-8002:80-82", [f"0.0.0.0:{8000 + n}->{80 + n}/tcp" for n in range(3)]),
        ("80-81", ["0.0.0.0:0->80/tcp", "0.0.0.0:0->81/tcp"]),
    ],
)
def test_a_port_is_read_as_docker_reads_it(text, meant):
    assert told(text) == meant


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no port"),
        ("x:80", "'x' is no port"),
        ("80:x", "'x' is no port"),
        ("0", "'0' is no port"),
        ("65536:80", "'65536' is no port"),
        ("90-80", "'90-80' is no port"),
        ("80:80/icmp", "invalid protocol icmp"),
        ("8000-8001:80-82", "same length"),
        ("elsewhere:80:80", "'elsewhere' is not an address"),
        ("1.2.3:80:80", "'1.2.3' is not an address"),
        ("1-65535", "at most 4096 ports"),
    ],
)
def test_a_port_that_makes_no_sense_is_named(text, said):
    with pytest.raises(Invalid, match=said):
        ports.parse([text])


@given(some.text(alphabet="0123456789-:./[]tcpu", max_size=24))
def test_whatever_is_written_is_read_or_refused(text):
    try:
        found = ports.parse([text])
    except Invalid:
        return
    assert all(0 <= one.host_port <= 65535 and 0 < one.container_port <= 65535 for one in found)


def test_a_port_leads_to_the_addresses_of_its_own_version():
    both = ["172.17.0.2", "fd00::2"]
    everywhere = Published(protocol="tcp", host_port=8080, container_port=80)
    assert everywhere.elements(both) == [
        "ports_4 tcp . 8080 : 172.17.0.2 . 80",
        "ports_6 tcp . 8080 : fd00::2 . 80",
    ]
    local = Published(protocol="udp", host_port=53, container_port=5353, host_address="127.0.0.1")
    assert local.elements(both) == ["ports_at_4 127.0.0.1 . udp . 53 : 172.17.0.2 . 5353"]


def test_a_free_port_is_one_that_can_be_bound():
    (chosen,) = ports.choose(ports.parse(["127.0.0.1::80"]))
    assert 1024 <= chosen.host_port <= 65535 and chosen.container_port == 80
