"""names: what a container hears when it asks for a name, in DNS packets.

Chapter 12. RFC 1035, RFC 6891 (EDNS). The names of a container are its own, its
aliases and its short id, on the networks that the asker is on too, each also as
`name.network`. Nothing here waits or opens a socket: packet in, packet out.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from dnslib import (
    AAAA,
    EDNS0,
    PTR,
    QTYPE,
    RR,
    A,
    DNSBuffer,
    DNSError,
    DNSHeader,
    DNSLabel,
    DNSRecord,
)  # fmt: skip

from labkit.network.endpoints import Endpoint

TTL_SECONDS = 600  # as Docker has it
MOST_QUERY_BYTES = 4096  # a question has 255 bytes of name and a few options
PLAIN_UDP_BYTES, OUR_UDP_BYTES = 512, 1232  # RFC 1035; what crosses any link in one piece
MOST_TCP_BYTES = 65535

SILENCE = b""
"""The answer to what is no question: an answer to it could begin an endless exchange."""

_HEADER_BYTES = 12


class Rcode(IntEnum):
    """How an answer begins. BADVERS needs the longer field that EDNS brings."""

    NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)
    BADVERS = 16


@dataclass(frozen=True, slots=True)
class Book:
    """What one container may look up: addresses by name in lower case, names by address in reverse."""

    addresses: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)
    pointers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, networks: Iterable[Sequence[Endpoint]]) -> "Book":
        """From the endpoints of each network that the asker is on, the most important network first.

        A name that two networks have is the first network's. `a.b` is the
        container of that name first, and only then container a on network b.
        """
        plain: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        full: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        pointers: dict[str, str] = {}
        for endpoints in networks:
            named = [one for one in endpoints if one.has_names]
            for name, holders in _by_name(named).items():
                found = (_bare(one.ipv4 for one in holders), _bare(one.ipv6 for one in holders))
                plain.setdefault(name, found)
                full.setdefault(f"{name}.{holders[0].network_name.lower()}", found)
            for one in named:
                name = f"{one.container_name}.{one.network_name}"
                for address in _bare((one.ipv4, one.ipv6)) if _can_be_told(name) else ():
                    pointers.setdefault(ipaddress.ip_address(address).reverse_pointer, name)
        return cls(full | plain, pointers)


def _by_name(endpoints: Iterable[Endpoint]) -> dict[str, list[Endpoint]]:
    """Several containers may share an alias; one may have its own name as an alias too."""
    holders: dict[str, list[Endpoint]] = {}
    for one in endpoints:
        for name in {one.container_name, one.container_id[:12], *one.aliases}:
            holders.setdefault(name.lower(), []).append(one)
    return holders


def _can_be_told(name: str) -> bool:
    """Not every name of a container fits into DNS: `a..b` has an empty label, RFC 1035."""
    return len(name) <= 253 and all(0 < len(label) < 64 for label in name.split("."))


def _bare(addresses: Iterable[str]) -> tuple[str, ...]:
    """Without prefixes, and without those that are not there."""
    return tuple(address.partition("/")[0] for address in addresses if address)


@dataclass(frozen=True, slots=True)
class Answer:
    """A packet without the asker's id, its records apart, so that they can take turns."""

    head: bytes
    records: tuple[bytes, ...] = ()
    tail: bytes = b""
    room: int = 1  # how many of the records there is room for

    def packet(self, query: bytes, turn: int = 0) -> bytes:
        """For this query; each turn begins with another record."""
        first = turn % len(self.records) if self.records else 0
        chosen = (self.records[first:] + self.records[:first])[: self.room]
        return b"".join((query[:2], self.head, *chosen, self.tail))


def answer(query: bytes, book: Book, *, tcp: bool = False) -> bytes | None:
    """The answer to one query, SILENCE where none is due, None where others must be asked."""
    found = prepare(query, book, tcp=tcp)
    return found.packet(query) if isinstance(found, Answer) else found


def prepare(query: bytes, book: Book, *, tcp: bool = False) -> Answer | bytes | None:
    """As `answer`, with a local answer's records still apart. Never raises, whatever the query."""
    asked = _parse(query)
    if not isinstance(asked, DNSRecord):
        return asked
    question = asked.q
    if asked.ar and asked.ar[0].edns_ver != 0:
        return _build(asked, rcode=Rcode.BADVERS)
    if question.qclass != 1 or question.qtype in (QTYPE.AXFR, QTYPE.IXFR):
        return _build(asked, rcode=Rcode.REFUSED)
    name = b".".join(question.qname.label).decode().lower()
    if any(b"." in label for label in question.qname.label):
        return None  # it only looks like a name of ours
    if question.qtype == QTYPE.PTR and name in book.pointers:
        return _build(asked, [PTR(DNSLabel(book.pointers[name].encode()))], tcp=tcp)
    if name not in book.addresses:
        return None
    # Of other types there is none. Those who know nothing of the name would deny it as a whole.
    ipv4, ipv6 = book.addresses[name]
    records: list[A | AAAA] = []
    if question.qtype in (QTYPE.A, QTYPE.ANY):
        records += [A(address) for address in ipv4]
    if question.qtype in (QTYPE.AAAA, QTYPE.ANY):
        records += [AAAA(address) for address in ipv6]
    return _build(asked, records, tcp=tcp)


def failure(query: bytes, rcode: Rcode = Rcode.SERVFAIL) -> bytes:
    """An answer that says no more than why there is none, to a query that `answer` gave None for."""
    asked = _parse(query)
    return asked if isinstance(asked, bytes) else _build(asked, rcode=rcode).packet(query)


def is_bare(query: bytes) -> bool:
    """Whether it asks for the address of a name without a dot."""
    end = question_end(query)
    kind = int.from_bytes(query[end - 4 : end - 2])
    return end > 0 and kind in (QTYPE.A, QTYPE.AAAA) and end == _HEADER_BYTES + 1 + query[_HEADER_BYTES] + 5


def question_end(packet: bytes) -> int:
    """Where the only question of a packet ends; 0 where it is not well formed.

    The first name of a packet has nothing before it that it could point to.
    """
    place = _HEADER_BYTES
    while place < len(packet) and (length := packet[place]):
        if length > 63:
            return 0
        place += 1 + length
    end = place + 5  # the root's empty label, type, class
    return end if end <= len(packet) and place - _HEADER_BYTES <= 254 else 0


def _parse(query: bytes) -> DNSRecord | bytes:
    """The query, or what to answer instead."""
    if len(query) < _HEADER_BYTES or query[2] & 0x80:
        return SILENCE
    if query[2] & 0x78:  # another opcode than QUERY
        return _without_question(query, Rcode.NOTIMP)
    questions, answers, authorities, additional = (int.from_bytes(query[i : i + 2]) for i in (4, 6, 8, 10))
    end = question_end(query)
    # What may follow is one OPT record, of the empty name. So no name points anywhere, and none in circles.
    plain = (questions, answers, authorities) == (1, 0, 0) and additional <= 1 and end
    if not plain or len(query) > MOST_QUERY_BYTES or (additional and query[end : end + 3] != b"\0\0\x29"):
        return _without_question(query, Rcode.FORMERR)
    try:
        return DNSRecord.parse(query)
    except DNSError:
        return _without_question(query, Rcode.FORMERR)


def _without_question(query: bytes, rcode: Rcode) -> bytes:
    flags = 0x8080 | (query[2] & 0x79) << 8 | rcode  # an answer; opcode and recursion desired as they came
    return query[:2] + flags.to_bytes(2) + bytes(8)


def _build(
    asked: DNSRecord, records: Sequence[A | AAAA | PTR] = (), *, rcode: int = Rcode.NOERROR, tcp: bool = False
) -> Answer:
    question = asked.q
    buffer = DNSBuffer()
    DNSHeader().pack(buffer)
    question.pack(buffer)  # in the asker's spelling; each record points to this name
    ends = [len(buffer)]
    for record in records:
        RR(question.qname, getattr(QTYPE, type(record).__name__), 1, TTL_SECONDS, record).pack(buffer)
        ends.append(len(buffer))
    packed = tuple(bytes(buffer.data[start:end]) for start, end in pairwise(ends))
    tail = _edns(rcode >> 4) if asked.ar else b""
    left = _most_bytes(asked, tcp=tcp) - ends[0] - len(tail)
    room = min(len(packed), left // max(map(len, packed))) if packed else 0
    header = DNSHeader(qr=1, ra=1, rd=asked.header.rd, cd=asked.header.cd, rcode=rcode & 15)
    header.tc = int(room < len(packed))
    header.q, header.a, header.ar = 1, room, len(asked.ar)
    start = DNSBuffer()
    header.pack(start)
    return Answer(bytes(start.data[2:] + buffer.data[_HEADER_BYTES : ends[0]]), packed, tail, room)


def _most_bytes(asked: DNSRecord, *, tcp: bool) -> int:
    """How long an answer may be: by EDNS, the asker says what it takes."""
    if tcp:
        return MOST_TCP_BYTES
    return min(max(asked.ar[0].rclass, PLAIN_UDP_BYTES), OUR_UDP_BYTES) if asked.ar else PLAIN_UDP_BYTES


def _edns(extended_rcode: int) -> bytes:
    buffer = DNSBuffer()
    EDNS0(DNSLabel(()), udp_len=OUR_UDP_BYTES, ext_rcode=extended_rcode).pack(buffer)
    return bytes(buffer.data)
