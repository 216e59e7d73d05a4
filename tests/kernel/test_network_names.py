"""Names asked for inside, of a service outside: the answers, and those of servers that are asked in turn."""

import itertools
import socket
import time

import pytest
from boxes import Box, Upstream, boxes, cable, join
from dnslib import EDNS0, QTYPE, RCODE, RR, TXT, A, DNSRecord

from labkit.network import client, upstreams
from labkit.network.requests import Served

pytestmark = pytest.mark.requires("root")

WEB, DB = "a" * 64, "b" * 64
OURS = ("127.0.0.11", 53)


@pytest.fixture
def host(paths):
    """A box for the service; it ends with the test."""
    with boxes(1) as (box,):
        yield box
        client.stop(paths)


@pytest.fixture
def web():
    with boxes(1) as (box,):
        yield box


def serve(paths, host: Box, box: Box, container_id=WEB, name="web", **more) -> Served:
    wanted = Served(container_id=container_id, name=name, pid=box.pid, start_ticks=box.start_ticks, **more)
    return host.call(lambda: client.serve(paths, wanted))


def ask(box, name, kind="A", *, edns=None, tcp=False) -> DNSRecord:
    query = DNSRecord.question(name, kind)
    if edns:
        query.add_ar(EDNS0(udp_len=edns))
    if tcp:
        with box.socket(socket.SOCK_STREAM) as peer:
            peer.connect(OURS)
            return talk(peer, query)
    with box.socket() as peer:
        peer.connect(OURS)
        peer.send(query.pack())
        found = DNSRecord.parse(peer.recv(65535))
    assert found.header.id == query.header.id
    return found


def talk(peer, query):
    packet = query.pack()
    peer.sendall(len(packet).to_bytes(2) + packet)
    length = int.from_bytes(peer.recv(2, socket.MSG_WAITALL))
    found = DNSRecord.parse(peer.recv(length, socket.MSG_WAITALL))
    assert found.header.id == query.header.id
    return found


def told(found):
    assert RCODE[found.header.rcode] == "NOERROR"
    return [str(record.rdata) for record in found.rr]


# ------------------------------------------------------------------ names of ours


def test_a_container_asks_at_port_53_and_hears_of_its_neighbours(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24", "fd00::2/64")
    join(paths, "blue", DB, "db", "10.5.0.3/24", aliases=("sql",))
    serve(paths, host, web)

    assert told(ask(web, "db")) == ["10.5.0.3"]
    assert told(ask(web, "SQL.blue")) == ["10.5.0.3"]
    assert told(ask(web, "web", "AAAA")) == ["fd00::2"]
    assert told(ask(web, "db", "AAAA")) == []
    assert told(ask(web, "3.0.5.10.in-addr.arpa", "PTR")) == ["db.blue."]


def test_busybox_and_the_c_library_hear_the_same(paths, host, web, tmp_path):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    join(paths, "blue", DB, "db", "10.5.0.3/24")
    serve(paths, host, web)
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 127.0.0.11\noptions ndots:0\n")

    assert "10.5.0.3" in web.run("busybox", "nslookup", "db", "127.0.0.11")
    assert "name = db.blue" in web.run("busybox", "nslookup", "10.5.0.3", "127.0.0.11")
    script = f"mount --bind {file} /etc/resolv.conf && getent -s dns ahosts db"
    assert "10.5.0.3" in web.run("unshare", "--mount", "sh", "-c", script)


def test_several_questions_go_over_one_connection(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    join(paths, "blue", DB, "db", "10.5.0.3/24")
    serve(paths, host, web)

    with web.socket(socket.SOCK_STREAM) as peer:
        peer.connect(OURS)
        answers = [told(talk(peer, DNSRecord.question(name))) for name in ("db", "web", "db")]
    assert answers == [["10.5.0.3"], ["10.5.0.2"], ["10.5.0.3"]]


def test_a_connection_that_sends_rubbish_is_closed_and_the_next_one_heard(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    serve(paths, host, web)

    for rubbish in (b"\0\0", b"\0\5hello", b"\xff\xff" + b"\x80" * 65535):
        with web.socket(socket.SOCK_STREAM) as peer:
            peer.connect(OURS)
            peer.sendall(rubbish)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65535):
                pass
    assert told(ask(web, "web", tcp=True)) == ["10.5.0.2"]


def test_too_many_connections_wait_for_nobody(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    serve(paths, host, web)

    idle = [web.socket(socket.SOCK_STREAM) for _ in range(80)]
    for one in idle:
        one.connect(OURS)
    assert told(ask(web, "web")) == ["10.5.0.2"]
    for one in idle:
        one.close()
    until(lambda: told(ask(web, "web", tcp=True)) == ["10.5.0.2"])


def until(check):
    """Holds soon: a connection that was closed must first be seen to be."""
    deadline = time.monotonic() + 10
    while True:
        try:
            if check():
                return
        except (OSError, ValueError):
            assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_change_is_heard_of_by_the_very_next_question(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    serve(paths, host, web)

    for number in range(3, 103):
        join(paths, "blue", DB, "db", f"10.5.0.{number}/24")
        assert told(ask(web, "db")) == [f"10.5.0.{number}"]


def test_a_container_hears_of_a_network_that_it_joins_later(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    serve(paths, host, web)
    assert RCODE[ask(web, "cache").header.rcode] == "SERVFAIL", (
        "nobody knows it, and nobody else can be asked"
    )

    join(paths, "green", DB, "cache", "10.6.0.3/24")
    join(paths, "green", WEB, "web", "10.6.0.2/24")

    assert told(ask(web, "cache")) == ["10.6.0.3"]


def test_those_who_share_an_alias_take_turns(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    for number in (3, 4, 5):
        join(paths, "blue", str(number) * 64, f"db{number}", f"10.5.0.{number}/24", aliases=("db",))
    serve(paths, host, web)

    first = [told(ask(web, "db"))[0] for _ in range(6)]
    assert sorted(first[:3]) == ["10.5.0.3", "10.5.0.4", "10.5.0.5"]
    assert first[:3] == first[3:]


def test_a_container_may_have_a_name_server_of_its_own(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    serve(paths, host, web)

    with Upstream(web, "0.0.0.0", 53, lambda query, _: [answer(query, "192.0.2.53")]):
        with web.socket() as peer:
            peer.connect(("127.0.0.1", 53))
            peer.send(DNSRecord.question("web").pack())
            assert told(DNSRecord.parse(peer.recv(512))) == ["192.0.2.53"]
        assert told(ask(web, "web")) == ["10.5.0.2"]


def test_two_containers_have_two_books(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    join(paths, "green", DB, "db", "10.6.0.2/24")
    with boxes(1) as (db,):
        serve(paths, host, web)
        serve(paths, host, db, DB, "db")

        assert told(ask(web, "web")) == ["10.5.0.2"]
        assert told(ask(db, "db")) == ["10.6.0.2"]
        assert RCODE[ask(web, "db").header.rcode] == "SERVFAIL"


# ------------------------------------------------------------------ servers of others


def answer(query, address="192.0.2.1"):
    reply = query.reply(aa=0)
    reply.add_answer(RR(query.q.qname, QTYPE.A, ttl=30, rdata=A(address)))
    return reply.pack()


def fail(query, rcode):
    reply = query.reply(aa=0)
    reply.header.rcode = rcode
    return reply.pack()


def at(port, *, inside=True):
    return upstreams.Upstream(address="127.0.0.1", port=port, inside=inside)


@pytest.mark.parametrize("inside", [True, False])
def test_a_server_is_asked_from_the_container_or_from_the_host(paths, host, web, inside):
    with Upstream(web if inside else host, "127.0.0.1", 5301, lambda query, _: [answer(query)]) as server:
        serve(paths, host, web, servers=(at(5301, inside=inside),))

        assert told(ask(web, "example.com")) == ["192.0.2.1"]
        assert [str(query.q.qname) for query, _ in server.asked] == ["example.com."]


def test_one_name_without_a_dot_is_asked_of_others_too(paths, host, web):
    with Upstream(web, "127.0.0.1", 5301, lambda query, _: [answer(query)]):
        serve(paths, host, web, servers=(at(5301),))

        assert told(ask(web, "printer")) == ["192.0.2.1"]


def test_a_name_without_a_dot_stays_here_where_the_container_chose_ndots(paths, host, web):
    with Upstream(web, "127.0.0.1", 5301, lambda query, _: [answer(query)]) as server:
        serve(paths, host, web, servers=(at(5301),), ndots=True)

        for tcp in (False, True):
            assert told(ask(web, "printer", tcp=tcp)) == []
        assert server.asked == []
        assert told(ask(web, "printer.example.com")) == ["192.0.2.1"]


def test_what_the_asker_says_by_edns_arrives(paths, host, web):
    with Upstream(web, "127.0.0.1", 5301, lambda query, _: [answer(query)]) as server:
        serve(paths, host, web, servers=(at(5301),))
        ask(web, "example.com", edns=1400)

        ((query, _),) = server.asked
        assert [record.edns_len for record in query.ar] == [1400]


def test_a_name_that_is_nowhere_is_denied_by_who_knows(paths, host, web):
    with Upstream(web, "127.0.0.1", 5301, lambda query, _: [fail(query, RCODE.NXDOMAIN)]) as first:
        serve(paths, host, web, servers=(at(5301), at(5302)))

        assert RCODE[ask(web, "example.com").header.rcode] == "NXDOMAIN"
        assert len(first.asked) == 1


def test_one_that_is_not_there_and_two_that_refuse_are_passed_over(paths, host, web):
    with (
        Upstream(web, "127.0.0.1", 5302, lambda query, _: [fail(query, RCODE.REFUSED)]),
        Upstream(web, "127.0.0.1", 5303, lambda query, _: [answer(query)]),
    ):
        serve(paths, host, web, servers=(at(5301), at(5302), at(5303)))
        began = time.monotonic()

        assert told(ask(web, "example.com")) == ["192.0.2.1"]
        assert time.monotonic() - began < 3, "nobody waited for a server that had refused"


def test_one_that_is_silent_is_followed_by_the_next(paths, host, web):
    with (
        Upstream(web, "127.0.0.1", 5301, lambda query, _: []) as silent,
        Upstream(web, "127.0.0.1", 5302, lambda query, _: [answer(query)]),
    ):
        serve(paths, host, web, servers=(at(5301), at(5302)))
        join(paths, "blue", WEB, "web", "10.5.0.2/24")
        with web.socket() as peer:
            peer.connect(OURS)
            peer.send(DNSRecord.question("example.com").pack())
            assert told(ask(web, "web")) == ["10.5.0.2"], "others need not wait"
            assert told(DNSRecord.parse(peer.recv(512))) == ["192.0.2.1"]
        assert len(silent.asked) == 1


def test_where_no_server_answers_the_container_hears_so(paths, host, web):
    serve(paths, host, web, servers=(at(5301), at(5302)))

    for tcp in (False, True):
        assert RCODE[ask(web, "example.com", tcp=tcp).header.rcode] == "SERVFAIL"


def forged(query, change):
    forgery = DNSRecord.parse(answer(query, "203.0.113.66"))
    change(forgery)
    return forgery.pack()


def another_number(forgery):
    forgery.header.id ^= 1


def another_question(forgery):
    forgery.questions = DNSRecord.question("evil.com").questions


def another_kind(forgery):
    forgery.questions = DNSRecord.question(str(forgery.q.qname), "AAAA").questions


def no_answer(forgery):
    forgery.header.qr = 0


FORGERIES = (another_number, another_question, another_kind, no_answer)


def test_answers_to_what_was_not_asked_are_not_let_in(paths, host, web):
    def react(query, _):
        wrong = [forged(query, change) for change in FORGERIES]
        return [*wrong, b"", b"\0" * 12, answer(query)[:14], answer(query)]

    with Upstream(web, "127.0.0.1", 5301, react):
        serve(paths, host, web, servers=(at(5301),))

        assert told(ask(web, "Example.com")) == ["192.0.2.1"]


def test_a_flood_of_wrong_answers_gives_the_server_up(paths, host, web):
    flood = lambda query, _: [forged(query, another_number)] * 100  # noqa: E731
    with (
        Upstream(web, "127.0.0.1", 5301, flood),
        Upstream(web, "127.0.0.1", 5302, lambda query, _: [answer(query)]),
    ):
        serve(paths, host, web, servers=(at(5301), at(5302)))
        began = time.monotonic()

        assert told(ask(web, "example.com")) == ["192.0.2.1"]
        assert time.monotonic() - began < 3


def long_or_cut(query, over_tcp):
    reply = query.reply(aa=0)
    if over_tcp:
        for number in range(30):
            reply.add_answer(RR(query.q.qname, QTYPE.TXT, ttl=30, rdata=TXT(f"{number:0200}")))
    else:
        reply.header.tc = 1
    return [reply.pack()]


def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp(paths, host, web):
    with Upstream(web, "127.0.0.1", 5301, long_or_cut) as server:
        serve(paths, host, web, servers=(at(5301),))

        short = ask(web, "example.com", "TXT")
        assert (short.header.tc, short.rr) == (1, [])
        assert len(told(ask(web, "example.com", "TXT", tcp=True))) == 30
        assert [over_tcp for _, over_tcp in server.asked] == [False, False, True]


def test_more_questions_than_are_allowed_at_once_are_refused_and_later_ones_are_not(paths, host, web):
    silent = True
    with Upstream(web, "127.0.0.1", 5301, lambda query, _: [] if silent else [answer(query)]):
        serve(paths, host, web, servers=(at(5301),))
        with web.socket() as peer:
            peer.connect(OURS)
            for number in range(300):
                peer.send(DNSRecord.question(f"n{number}.example.com").pack())
                if number % 50 == 0:
                    time.sleep(0.1)  # a socket's buffer holds fewer than 300
            rcodes = [RCODE[DNSRecord.parse(peer.recv(512)).header.rcode] for _ in range(300)]
        assert (rcodes.count("REFUSED"), rcodes.count("SERVFAIL")) == (300 - 256, 256)
        silent = False
        assert told(ask(web, "example.com")) == ["192.0.2.1"]


def test_servers_can_be_changed_while_the_container_runs(paths, host, web):
    with (
        Upstream(web, "127.0.0.1", 5301, lambda query, _: [answer(query, "192.0.2.1")]),
        Upstream(web, "127.0.0.1", 5302, lambda query, _: [answer(query, "192.0.2.2")]),
    ):
        ports = []
        for server in (5301, 5302):
            ports.append(serve(paths, host, web, servers=(at(server),)).listens)
            assert told(ask(web, "example.com")) == [f"192.0.2.{server - 5300}"]
        assert ports[0] == ports[1]


def test_a_server_on_another_machine_is_reached_by_the_containers_own_cable(paths, host, web):
    with boxes(1) as (far,):
        cable(web, "10.7.0.2/24", far, "10.7.0.1/24")
        with Upstream(far, "10.7.0.1", 53, lambda query, _: [answer(query)]) as server:
            serve(paths, host, web, servers=upstreams.upstreams(["10.7.0.1"]))

            assert told(ask(web, "example.com")) == ["192.0.2.1"]
            assert len(server.asked) == 1


def test_a_flood_of_any_bytes_is_survived(paths, host, web):
    join(paths, "blue", WEB, "web", "10.5.0.2/24")
    serve(paths, host, web)
    packets = itertools.cycle([b"", b"\0", b"\xff" * 600, DNSRecord.question("web").pack()[:-1], bytes(9000)])

    with web.socket() as peer:
        peer.connect(OURS)
        for packet, _ in zip(packets, range(5000), strict=False):
            peer.send(packet)
    until(lambda: told(ask(web, "web")) == ["10.5.0.2"])
