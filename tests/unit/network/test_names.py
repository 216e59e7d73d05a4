"""What the name server answers; other packets are made and read with dnslib, not with its code."""

import random
import struct

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSHeader, DNSQuestion, DNSRecord, EDNSOption
from hypothesis import example, given
from hypothesis import strategies as st

from labkit.network import names
from labkit.network.endpoints import Endpoint
from labkit.network.names import SILENCE, Book


def endpoint(name, ipv4="", ipv6="", *, network="blue", aliases=(), has_names=True):
    return Endpoint(
        network_id=network * 8,
        network_name=network,
        container_id=f"{name:0<64}",
        container_name=name,
        aliases=aliases,
        ipv4=ipv4,
        ipv6=ipv6,
        has_names=has_names,
    )


BLUE = [
    endpoint("web", "172.30.0.2/16", "fd00::2/64", aliases=("www", "all")),
    endpoint("db", "172.30.0.3/16", aliases=("all", "DataBase")),
    endpoint("api.v2", "172.30.0.4/16", aliases=("all", "api.v2")),
]
GREEN = [
    endpoint("db", "10.9.0.3/24", network="green"),
    endpoint("cache", "10.9.0.4/24", network="green"),
]
BOOK = Book.of([BLUE, GREEN])


def ask(name, kind="A", book=BOOK, *, tcp=False, edns=None):
    query = DNSRecord.question(name, kind)
    if edns is not None:
        query.add_ar(EDNS0(udp_len=edns))
    packet = names.answer(query.pack(), book, tcp=tcp)
    if packet is None:
        return None
    found = DNSRecord.parse(packet)
    assert found.header.id == query.header.id
    assert (found.header.qr, found.header.ra, found.header.rd, found.header.aa) == (1, 1, 1, 0)
    return found


def told(found):
    """The addresses or names of an answer that went well."""
    assert RCODE[found.header.rcode] == "NOERROR"
    return [str(record.rdata) for record in found.rr]


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web", "A", ["172.30.0.2"]),
        ("web", "AAAA", ["fd00::2"]),
        ("WWW", "A", ["172.30.0.2"]),
        ("database", "A", ["172.30.0.3"]),
        ("web000000000", "A", ["172.30.0.2"]),
        ("web.blue", "A", ["172.30.0.2"]),
        ("www.Blue", "A", ["172.30.0.2"]),
        ("db.green", "A", ["10.9.0.3"]),
        ("db", "A", ["172.30.0.3"]),
        ("cache", "A", ["10.9.0.4"]),
        ("api.v2", "A", ["172.30.0.4"]),
        ("api.v2.blue", "A", ["172.30.0.4"]),
        ("2.0.30.172.in-addr.arpa", "PTR", ["web.blue."]),
        ("3.0.9.10.in-addr.arpa", "PTR", ["db.green."]),
        (f"2.{'0.' * 27}0.0.d.f.ip6.arpa", "PTR", ["web.blue."]),
    ],
)
def test_a_name_of_the_askers_networks_is_answered(name, kind, expected):
    found = ask(name, kind)

    assert told(found) == expected
    assert [record.ttl for record in found.rr] == [600]
    assert str(found.rr[0].rname) == str(found.q.qname), "the asker's spelling comes back"


@pytest.mark.parametrize("kind", ["AAAA", "MX", "TXT", "SRV", "HTTPS", "PTR"])
def test_a_name_without_such_a_record_has_no_answers_and_nobody_else_is_asked(kind):
    assert told(ask("db", kind)) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("example.com", "A"),
        ("nobody", "A"),
        ("web.green", "A"),
        ("cache.blue", "A"),
        ("web.blue.blue", "A"),
        ("8.8.8.8.in-addr.arpa", "PTR"),
        ("30.172.in-addr.arpa", "PTR"),
        (".", "NS"),
    ],
)
def test_what_is_not_in_the_book_is_for_others(name, kind):
    assert ask(name, kind) is None


def test_a_network_without_names_is_in_no_book():
    book = Book.of([[endpoint("web", "172.17.0.2/16", network="bridge", has_names=False)]])

    assert ask("web", book=book) is None
    assert ask("2.0.17.172.in-addr.arpa", "PTR", book=book) is None


def test_an_asker_on_no_network_has_an_empty_book():
    assert ask("web", book=Book.of([])) is None


def test_a_label_with_a_dot_inside_is_not_two_labels():
    query = bytearray(DNSRecord.question("web-blue").pack())
    query[query.index(b"-")] = ord(".")

    assert names.answer(bytes(query), BOOK) is None


def test_containers_that_share_an_alias_take_turns():
    prepared = names.prepare(DNSRecord.question("all").pack(), BOOK)
    query = b"\x12\x34"

    rounds = [told(DNSRecord.parse(prepared.packet(query, turn))) for turn in range(4)]

    assert sorted(rounds[0]) == ["172.30.0.2", "172.30.0.3", "172.30.0.4"]
    assert [one[0] for one in rounds[:3]] == rounds[0]
    assert rounds[3] == rounds[0]
    assert [sorted(one) for one in rounds] == [sorted(rounds[0])] * 4


def test_all_addresses_are_told_to_who_asks_for_any():
    assert told(ask("web", "ANY")) == ["172.30.0.2", "fd00::2"]


CROWD = Book.of(
    [[endpoint(f"c{n}", f"10.1.{n // 250}.{n % 250 + 1}/16", aliases=("crowd",)) for n in range(300)]]
)


@pytest.mark.parametrize(
    ("edns", "tcp", "most_bytes"),
    [(None, False, 512), (100, False, 512), (1000, False, 1000), (65000, False, 1232)],
)
def test_an_answer_that_is_too_long_for_udp_says_so(edns, tcp, most_bytes):
    found = ask("crowd", book=CROWD, edns=edns, tcp=tcp)

    assert found.header.tc == 1
    assert most_bytes - 32 < len(found.pack()) <= most_bytes
    assert len(set(told(found))) == found.header.a


def test_over_tcp_the_whole_answer_fits():
    found = ask("crowd", book=CROWD, tcp=True)

    assert found.header.tc == 0
    assert len(set(told(found))) == 300


def test_who_speaks_edns_is_answered_in_edns():
    found = ask("web", edns=4096)

    assert [(record.rtype, record.edns_len) for record in found.ar] == [(QTYPE.OPT, 1232)]
    assert ask("web").ar == []


def test_a_version_of_edns_that_we_do_not_speak_is_refused_by_its_number():
    query = DNSRecord.question("web")
    query.add_ar(EDNS0(version=1, udp_len=1232))

    found = DNSRecord.parse(names.answer(query.pack(), BOOK))

    assert found.ar[0].edns_rcode << 4 | found.header.rcode == 16


def changed(packet, place, value):
    return packet[:place] + value + packet[place + len(value) :]


PLAIN = DNSRecord.question("web").pack()


@pytest.mark.parametrize(
    ("packet", "rcode"),
    [
        pytest.param(changed(PLAIN, 2, b"\x28"), "NOTIMP", id="an update"),
        pytest.param(changed(PLAIN, 2, b"\x09"), "NOTIMP", id="an inverse query"),
        pytest.param(changed(PLAIN, 4, b"\0\0"), "FORMERR", id="no question"),
        pytest.param(changed(PLAIN, 4, b"\0\2"), "FORMERR", id="two questions announced"),
        pytest.param(changed(PLAIN, 6, b"\0\1"), "FORMERR", id="an answer announced"),
        pytest.param(changed(PLAIN, 8, b"\0\1"), "FORMERR", id="an authority announced"),
        pytest.param(changed(PLAIN, 10, b"\0\1"), "FORMERR", id="an option announced"),
        pytest.param(changed(PLAIN, 10, b"\xff\xff"), "FORMERR", id="many options announced"),
        pytest.param(PLAIN[:-1], "FORMERR", id="cut in the question"),
        pytest.param(PLAIN[:12], "FORMERR", id="cut after the header"),
        pytest.param(changed(PLAIN, 12, b"\xc0\x0c"), "FORMERR", id="a name that points to itself"),
        pytest.param(changed(PLAIN, 12, b"\x40"), "FORMERR", id="a label of a kind that never came"),
        pytest.param(changed(PLAIN, 12, b"\x3f"), "FORMERR", id="a label beyond the end"),
        pytest.param(changed(PLAIN, 13, b"\xff"), "FORMERR", id="a label that is no UTF-8"),
        pytest.param(PLAIN[:12] + b"\x3f" + b"a" * 63 + PLAIN[12:], "NXDOMAIN", id="a long label is fine"),
        pytest.param(PLAIN[:12] + (b"\x3f" + b"a" * 63) * 4 + PLAIN[12:], "FORMERR", id="a name too long"),
        pytest.param(PLAIN + bytes(4096), "FORMERR", id="too long for a question"),
        pytest.param(changed(PLAIN, len(PLAIN) - 1, b"\3"), "REFUSED", id="of another class"),
        pytest.param(changed(PLAIN, len(PLAIN) - 3, b"\xfc"), "REFUSED", id="a whole zone"),
    ],
)
def test_a_packet_that_is_no_plain_question_hears_why(packet, rcode):
    packet = names.answer(packet, BOOK)

    if rcode == "NXDOMAIN":  # which is for others to say
        assert packet is None
    else:
        found = DNSRecord.parse(packet)
        assert (RCODE[found.header.rcode], found.header.qr, found.rr) == (rcode, 1, [])
        assert found.header.id == DNSRecord.parse(PLAIN).header.id


@pytest.mark.parametrize("packet", [b"", b"\0" * 11, changed(PLAIN, 2, b"\x81"), changed(PLAIN, 2, b"\xff")])
def test_what_is_no_query_hears_nothing(packet):
    assert names.answer(packet, BOOK) == SILENCE


def test_a_failure_repeats_the_question_so_that_the_asker_takes_it_for_an_answer():
    query = DNSRecord.question("Example.com", "AAAA")
    query.add_ar(EDNS0(udp_len=1232))

    found = DNSRecord.parse(names.failure(query.pack()))

    assert RCODE[found.header.rcode] == "SERVFAIL"
    assert (found.header.id, found.q) == (query.header.id, query.q)
    assert len(found.ar) == 1


def test_the_end_of_the_question_is_found_whatever_follows():
    query = DNSRecord.question("a.long.name.example.com")
    plain = query.pack()
    query.add_ar(EDNS0(udp_len=512, opts=[EDNSOption(10, b"12345678")]))

    assert names.question_end(query.pack()) == len(plain)
    assert names.question_end(plain[:-1]) == 0


@pytest.mark.parametrize(
    ("name", "kind", "bare"),
    [
        ("web", "A", True),
        ("web", "AAAA", True),
        ("web", "MX", False),
        ("web.de", "A", False),
        (".", "A", False),
    ],
)
def test_a_bare_name_has_no_dot(name, kind, bare):
    assert names.is_bare(DNSRecord.question(name, kind).pack()) is bare


def check_any(packet, book):
    """Whatever the packet: an answer, silence or None, and never an error."""
    for tcp in (False, True):
        found = names.answer(packet, book, tcp=tcp)
        if found:
            parsed = DNSRecord.parse(found)
            assert found[:2] == packet[:2]
            assert parsed.header.qr == 1
            assert len(found) <= (65535 if tcp else 1232)
        if found is None:
            names.is_bare(packet)
            assert DNSRecord.parse(names.failure(packet)).header.rcode == RCODE.SERVFAIL


@given(st.binary(max_size=600))
@example(struct.pack("!HHHHHH", 1, 0x100, 1, 0, 0, 1) + b"\0\0\1\0\1\0\0\x29\x10\0\0\0\0\0\0\4\0\x0a\0\x08")
def test_random_bytes_never_raise(packet):
    check_any(packet, BOOK)


@given(st.binary(max_size=80), st.integers(0, 2**16 - 1))
def test_random_questions_after_a_good_header_never_raise(body, kind):
    head = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, kind & 1)
    check_any(head + body, BOOK)
    check_any(head + b"\3web\0" + struct.pack("!HH", kind, 1) + b"\0\0\x29" + body, BOOK)


QUERIES = st.builds(
    lambda name, kind, size: _query(name, kind, size),
    st.sampled_from(["web", "all", "crowd", "web.blue", "example.com", "2.0.30.172.in-addr.arpa"]),
    st.sampled_from(["A", "AAAA", "PTR", "ANY", "MX", "TXT"]),
    st.none() | st.integers(0, 65535),
)


def _query(name, kind, size):
    query = DNSRecord(DNSHeader(id=4711), q=DNSQuestion(name, getattr(QTYPE, kind)))
    if size is not None:
        query.add_ar(EDNS0(udp_len=size, opts=[EDNSOption(10, b"12345678")]))
    return query.pack()


@given(QUERIES, st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), max_size=4), st.integers(0, 90))
def test_mutated_questions_never_raise(packet, changes, cut):
    mutated = bytearray(packet)
    for place, value in changes:
        if place < len(mutated):
            mutated[place] = value
    check_any(bytes(mutated), BOOK)
    check_any(bytes(mutated[:cut]), CROWD)


NAMES = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,20}", fullmatch=True)


@given(st.lists(NAMES, min_size=1, max_size=8, unique_by=str.lower), NAMES, st.integers())
def test_every_name_in_a_book_is_found_in_any_spelling(containers, network, seed):
    members = [endpoint(name, f"10.0.0.{n + 1}/24", network=network) for n, name in enumerate(containers)]
    book = Book.of([members])
    spelling = random.Random(seed)
    for one in members:
        name = "".join(spelling.choice((letter.lower(), letter.upper())) for letter in one.container_name)
        if any(not 0 < len(label) < 64 for label in name.split(".")):
            continue  # no question can name it, and Docker gives such a container its name all the same
        assert one.ipv4.removesuffix("/24") in told(ask(name, book=book))


@given(NAMES, NAMES)
@example("a..b", "net")
@example("a" * 64, "net")
@example(".".join(["a" * 60] * 4), "a-net-of-length")
def test_an_address_leads_back_to_its_name(name, network):
    book = Book.of([[endpoint(name, "10.0.0.1/24", network=network)]])
    full = f"{name}.{network}"

    found = ask("1.0.0.10.in-addr.arpa", "PTR", book)

    if len(full) > 253 or any(not 0 < len(label) < 64 for label in full.split(".")):
        assert found is None, "DNS has no way to say it"
    else:
        assert told(found) == [f"{full}."]
