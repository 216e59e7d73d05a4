"""The network service: ports that are held, its life, and what it survives."""

import contextlib
import json
import os
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
from boxes import boxes, cable, join
from dnslib import DNSRecord

from labkit.errors import Conflict, Invalid, NotFound
from labkit.kernel import process
from labkit.network import client, requests, service
from labkit.network.firewall import Published
from labkit.network.requests import Message, Served

pytestmark = pytest.mark.requires("root")

WEB, DB = "a" * 64, "b" * 64
INSIDE = "10.8.0.2"


@pytest.fixture
def host(paths):
    with boxes(1) as (box,):
        yield box
        client.stop(paths)


@pytest.fixture
def web(host):
    """A container that the host reaches at INSIDE."""
    with boxes(1) as (box,):
        cable(host, "10.8.0.1/24", box, f"{INSIDE}/24")
        yield box


def request(box, container_id=WEB, name="web", **more) -> Served:
    return Served(container_id=container_id, name=name, pid=box.pid, start_ticks=box.start_ticks, **more)


def serve(paths, host, box, *args, **more):
    return host.call(lambda: client.serve(paths, request(box, *args, **more)))


def port(host_port, container_port, protocol="tcp", address=""):
    return Published(
        protocol=protocol, host_port=host_port, container_port=container_port, host_address=address
    )


def publish(paths, host, box, *ports, **more):
    return serve(paths, host, box, ports=ports, addresses=(INSIDE,), names=False, **more)


def gone(check, what):
    deadline = time.monotonic() + 15
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def open_files(pid):
    """How many, once nothing comes or goes: a client that has left must first be seen to have."""
    counts = [0, 1]
    while len(set(counts[-6:])) > 1:
        counts.append(len(list(Path(f"/proc/{pid}/fd").iterdir())))
        time.sleep(0.02)
    return counts[-1]


def lookup(box, name):
    with box.socket() as peer:
        peer.connect(("127.0.0.11", 53))
        return lookup_by(peer, name)


def lookup_by(peer, name):
    peer.send(DNSRecord.question(name).pack())
    return [str(record.rdata) for record in DNSRecord.parse(peer.recv(512)).rr]


@contextlib.contextmanager
def listening(box, number, handle, kind=socket.SOCK_STREAM):
    """A server inside for one connection, or for packets."""
    with box.socket(kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", number))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        thread = threading.Thread(target=handle, args=(listener,))
        thread.start()
        yield
        thread.join()


# ------------------------------------------------------------------ ports


def shout_back(listener):
    with listener.accept()[0] as peer:
        heard = b""
        while more := peer.recv(65536):
            heard += more
        peer.sendall(heard.upper())


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "10.8.0.1"), (socket.AF_INET6, "::1")],
)
def test_a_caller_that_no_rule_sees_is_carried_inside_and_may_stop_talking_first(
    paths, host, web, family, address
):
    publish(paths, host, web, port(8080, 80))

    with listening(web, 80, shout_back), host.socket(socket.SOCK_STREAM, family) as caller:
        caller.connect((address, 8080))
        said = b"hello " * 200_000
        caller.sendall(said)
        caller.shutdown(socket.SHUT_WR)
        heard = b""
        while more := caller.recv(65536):
            heard += more
        assert heard == said.upper()


def hang_up(listener):
    with listener.accept()[0] as peer:
        peer.sendall(b"bye")


def test_a_callee_may_close_first(paths, host, web):
    publish(paths, host, web, port(8080, 80))

    with listening(web, 80, hang_up), host.socket(socket.SOCK_STREAM) as caller:
        caller.connect(("127.0.0.1", 8080))
        assert caller.recv(100, socket.MSG_WAITALL) == b"bye"


def test_a_caller_is_turned_away_where_nobody_listens_inside(paths, host, web):
    publish(paths, host, web, port(8080, 80))

    with host.socket(socket.SOCK_STREAM) as caller:
        caller.connect(("127.0.0.1", 8080))
        assert caller.recv(1) == b""


def echo(listener):
    while (packet := listener.recvfrom(65535))[0] != b"end":
        listener.sendto(packet[0].upper(), packet[1])


@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "10.8.0.1"), (socket.AF_INET6, "::1")],
)
def test_packets_are_carried_both_ways_and_each_caller_hears_its_own(paths, host, web, family, address):
    publish(paths, host, web, port(5353, 53, "udp"))

    with listening(web, 53, echo, socket.SOCK_DGRAM):
        callers = [host.socket(family=family) for _ in range(5)]
        for caller in callers:
            caller.connect((address, 5353))  # so only an answer from the address that was called is heard
        for round_ in range(3):
            for number, caller in enumerate(callers):
                caller.send(f"caller {number}, {round_}".encode())
            for number, caller in enumerate(callers):
                assert caller.recv(100) == f"CALLER {number}, {round_}".encode()
        callers[0].send(b"end")
        for caller in callers:
            caller.close()


def test_a_port_at_one_address_leaves_the_others_free(paths, host, web):
    publish(paths, host, web, port(8080, 80, address="127.0.0.1"))

    with host.socket(socket.SOCK_STREAM) as other:
        other.bind(("10.8.0.1", 8080))
    with host.socket(socket.SOCK_STREAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", 8080))


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_a_port_that_is_taken_names_the_process_that_has_it(paths, host, web, protocol, address):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with host.socket(kind, family) as mine:
        mine.bind((address, 8080))
        if protocol == "tcp":
            mine.listen()
        me = Path("/proc/self/comm").read_text().strip()

        with pytest.raises(
            Conflict, match=rf"port 8080/{protocol} is taken by process {os.getpid()} \({me}\)"
        ):
            publish(paths, host, web, port(9090, 90), port(8080, 80, protocol))

    assert client.served(paths)[1] == [], "and nothing was kept"
    publish(paths, host, web, port(9090, 90), port(8080, 80, protocol))


def test_a_port_that_is_taken_names_the_container_that_has_it(paths, host, web):
    publish(paths, host, web, port(8080, 80))

    with boxes(1) as (other,), pytest.raises(Conflict, match=r"port 8080/tcp is taken by container web$"):
        host.call(
            lambda: client.serve(
                paths, request(other, DB, "db", ports=(port(8080, 80),), addresses=("10.8.0.3",))
            )
        )


def test_an_address_that_is_not_the_hosts_is_refused(paths, host, web):
    with pytest.raises(Invalid, match=r"192\.0\.2\.7 is no address of this machine"):
        publish(paths, host, web, port(8080, 80, address="192.0.2.7"))


def test_ports_change_while_the_container_runs(paths, host, web):
    publish(paths, host, web, port(8080, 80), port(8081, 81))
    publish(paths, host, web, port(8080, 90), port(8082, 82))

    with listening(web, 90, hang_up), host.socket(socket.SOCK_STREAM) as caller:
        caller.connect(("127.0.0.1", 8080))
        assert caller.recv(3) == b"bye"
    with host.socket(socket.SOCK_STREAM) as other:
        other.bind(("0.0.0.0", 8081))
    with host.socket(socket.SOCK_STREAM) as other, pytest.raises(OSError, match="in use"):
        other.bind(("0.0.0.0", 8082))


def test_a_change_that_fails_leaves_what_was_there(paths, host, web):
    publish(paths, host, web, port(8080, 80))
    with host.socket(socket.SOCK_STREAM) as mine:
        mine.bind(("0.0.0.0", 8082))
        mine.listen()
        with pytest.raises(Conflict):
            publish(paths, host, web, port(8081, 81), port(8082, 82))

    (one,) = client.served(paths)[1]
    assert one.ports == (port(8080, 80),)
    with listening(web, 80, hang_up), host.socket(socket.SOCK_STREAM) as caller:
        caller.connect(("127.0.0.1", 8080))
        assert caller.recv(3) == b"bye"
    with host.socket(socket.SOCK_STREAM) as other:
        other.bind(("0.0.0.0", 8081))


# ------------------------------------------------------------------ its life


def test_all_of_a_container_is_let_go_when_it_ends_and_later_the_service_ends(paths, host, web):
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    serve(paths, host, web, ports=(port(8080, 80),), addresses=(INSIDE,))
    pid, _ = client.served(paths)
    began = process.started_at(pid)
    before = open_files(pid)
    assert Path(f"/proc/{pid}/comm").read_text() == "labkit:net\n"

    web.end()

    gone(lambda: not client.served(paths)[1], "the service still serves a container that has ended")
    assert open_files(pid) == before - 5, "a pidfd, two sockets inside, two on the host"
    assert list((paths.run / "network/served").iterdir()) == []
    with host.socket(socket.SOCK_STREAM) as other:
        other.bind(("0.0.0.0", 8080))
    assert process.is_alive(pid, began), "another container may come soon"
    gone(lambda: not process.is_alive(pid, began), "the service does not end")
    assert not (paths.run / "network.sock").exists()
    assert client.served(paths) == (0, [])


def test_one_that_comes_before_the_end_is_served_by_the_same(paths, host, web):
    serve(paths, host, web)
    pid, _ = client.served(paths)
    client.release(paths, WEB)
    time.sleep(service.LINGER_SECONDS * 0.6)
    serve(paths, host, web)
    time.sleep(service.LINGER_SECONDS * 0.6)

    assert client.served(paths)[0] == pid


def test_one_that_comes_at_the_very_end_is_served_too(paths, host, web):
    """By this service or the next: whatever moment of its end a request falls into."""
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    for moment in (-0.01, 0.0, 0.01):
        serve(paths, host, web)
        client.release(paths, WEB)
        time.sleep(service.LINGER_SECONDS + moment)
        serve(paths, host, web)
        assert lookup(web, "web") == [INSIDE]


def test_after_a_kill_the_next_one_serves_the_same_at_the_same_ports(paths, host, web):
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    serve(paths, host, web, ports=(port(8080, 80),), addresses=(INSIDE,))
    with boxes(1) as (ended,), web.socket() as peer:
        join(paths, "blue", DB, "db", "10.8.0.3/24")
        serve(paths, host, ended, DB, "db")
        peer.connect(("127.0.0.11", 53))
        assert lookup_by(peer, "web") == [INSIDE]
        pid, served = client.served(paths)
        os.kill(pid, signal.SIGKILL)
        ended.end()

        host.call(lambda: client.ensure(paths))

        another, again = client.served(paths)
        assert another not in (0, pid)
        assert again == [one for one in served if one.container_id == WEB]
        assert lookup_by(peer, "web") == [INSIDE], "a socket that was open goes on"
        with listening(web, 80, hang_up), host.socket(socket.SOCK_STREAM) as caller:
            caller.connect(("127.0.0.1", 8080))
            assert caller.recv(3) == b"bye"


def test_killed_at_any_moment_it_is_followed_by_one_that_serves_all(paths, host, web):
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    serve(paths, host, web)
    killer_may_go, done = threading.Event(), threading.Event()

    def kill_again_and_again():
        killer_may_go.wait()
        for _ in range(6):
            time.sleep(0.15)
            with contextlib.suppress(Exception):
                os.kill(client.served(paths)[0] or 2**30, signal.SIGKILL)
        done.set()

    killer = threading.Thread(target=kill_again_and_again)
    killer.start()
    killer_may_go.set()
    failures = 0
    while not done.is_set():
        try:
            serve(paths, host, web, ports=(port(8080, 80),), addresses=(INSIDE,))
        except Exception:
            failures += 1  # three were killed in a row
    killer.join()

    host.call(lambda: client.ensure(paths))
    assert lookup(web, "web") == [INSIDE]
    assert [one.container_id for one in client.served(paths)[1]] == [WEB]


def test_a_port_that_was_lost_with_a_killed_service_does_not_keep_the_names_from_coming_back(
    paths, host, web
):
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    serve(paths, host, web, ports=(port(8080, 80),), addresses=(INSIDE,))
    os.kill(client.served(paths)[0], signal.SIGKILL)
    with host.socket(socket.SOCK_STREAM) as thief:
        gone(lambda: _can_bind(thief, 8080), "the port of a killed service")
        thief.listen()

        host.call(lambda: client.ensure(paths))

        assert lookup(web, "web") == [INSIDE]
    assert "port 8080/tcp is taken by process" in (paths.run / "network/log").read_text()


def _can_bind(one, number):
    with contextlib.suppress(OSError):
        one.bind(("0.0.0.0", number))
        return True


def test_many_who_need_it_at_once_start_one(paths, host, web):
    outcomes = []

    def one(number):
        served = serve(paths, host, web, f"{number:064}", f"c{number}", names=False)
        outcomes.append(served.container_id)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(outcomes) == 20
    assert len(client.served(paths)[1]) == 20
    ours = str(paths.run).encode()
    services = [
        comm.parent.name
        for comm in Path("/proc").glob("[0-9]*/comm")
        if comm.read_text() == "labkit:net\n" and ours in (comm.parent / "cmdline").read_bytes()
    ]
    assert services == [str(client.served(paths)[0])]


def test_a_container_that_has_ended_is_not_served(paths, host, web):
    wanted = request(web)
    for changed in ({"start_ticks": web.start_ticks + 1}, {"pid": 2**22 + 1}):
        other = Served(**({name: getattr(wanted, name) for name in Served.__slots__} | changed))
        with pytest.raises(NotFound, match="container web has ended"):
            host.call(lambda one=other: client.serve(paths, one))
    assert client.served(paths)[1] == []


def test_a_container_that_is_released_keeps_no_rule_and_release_is_done_twice(paths, host, web):
    serve(paths, host, web)
    assert "labkit_dns" in web.run("nft", "list", "tables")

    client.release(paths, WEB)
    client.release(paths, WEB)

    assert web.run("nft", "list", "tables") == ""


def test_a_loopback_that_comes_up_later_is_soon_enough(paths, host, web):
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    web.run("ip", "link", "set", "lo", "down")

    serve(paths, host, web)

    web.run("ip", "link", "set", "lo", "up")
    assert lookup(web, "web") == [INSIDE]


def test_rules_of_ours_that_are_out_of_date_are_replaced(paths, host, web):
    """A service was killed and its record is lost."""
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    serve(paths, host, web)
    os.kill(client.served(paths)[0], signal.SIGKILL)
    (paths.run / "network/served" / f"{WEB}.json").unlink()

    serve(paths, host, web)

    assert lookup(web, "web") == [INSIDE]
    assert web.run("nft", "list", "ruleset").count("dnat") == 2


def test_a_port_inside_that_is_taken_meanwhile_is_another_one_after_a_kill(paths, host, web):
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    before = serve(paths, host, web).listens
    os.kill(client.served(paths)[0], signal.SIGKILL)
    with web.socket() as thief:
        gone(lambda: _can_bind(thief, before[0]), "the port of a killed service")

        host.call(lambda: client.ensure(paths))

        assert lookup(web, "web") == [INSIDE]
        assert client.served(paths)[1][0].listens[0] != before[0]


def test_a_container_that_starts_anew_under_its_id_is_another_process(paths, host, web):
    join(paths, "blue", WEB, "web", f"{INSIDE}/24")
    serve(paths, host, web, ports=(port(8080, 80),), addresses=(INSIDE,))
    with boxes(1) as (again,):
        serve(paths, host, again, ports=(port(8080, 80),), addresses=(INSIDE,))
        assert lookup(again, "web") == [INSIDE]
        (one,) = client.served(paths)[1]
        assert one.pid == again.pid


def test_nothing_piles_up(paths, host, web):
    serve(paths, host, web)
    pid, _ = client.served(paths)
    before = open_files(pid)
    for number in range(20):
        with boxes(1) as (other,):
            serve(paths, host, other, DB, "db", ports=(port(9000 + number, 80),), addresses=(INSIDE,))
    gone(lambda: open_files(pid) == before, "descriptors of containers that have ended")


# ------------------------------------------------------------------ what it is told


def test_only_root_can_talk_to_it(paths, host, web):
    serve(paths, host, web)
    mode = (paths.run / "network.sock").stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE((paths.run / "network").stat().st_mode) == 0o700


GOOD = {"container_id": WEB, "name": "web", "pid": 1, "start_ticks": 1}
BAD = (
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    b'{"message": "dance", "content": null}',
    b'{"message": "serve", "content": null}',
    b'{"message": "done", "content": null}',
    b'{"message": "release", "content": {}}',
    *(
        json.dumps({"message": "serve", "content": GOOD | change}).encode()
        for change in (
            {"container_id": "../../etc/passwd"},
            {"container_id": 7},
            {"pid": "1"},
            {"pid": -1},
            {"pid": True},
            {"servers": [{"address": "nowhere"}]},
            {"servers": [{"address": "::1", "port": 70000}]},
            {"servers": "10.0.0.1"},
            {"ports": [{"protocol": "tcp", "host_port": 80, "container_port": 80}]},
            {"ports": [{"protocol": "ip", "host_port": 80, "container_port": 80}], "addresses": ["10.0.0.1"]},
            {"ports": [{"protocol": "tcp", "host_port": 0, "container_port": 80}], "addresses": ["10.0.0.1"]},
            {"addresses": [3]},
            {"listens": [1]},
            {"colour": "blue"},
            {"names": 1},
        )
    ),
)


def test_a_malformed_request_is_refused_and_the_next_one_is_heard(paths, host, web):
    serve(paths, host, web)
    pid, _ = client.served(paths)
    with client._connect(paths) as peer:
        for packet in BAD:
            peer.sendall(packet)
            kind, found = requests.receive(peer)
            assert kind is Message.REFUSED, packet
            assert found["kind"] == "Invalid", (packet, found)
        requests.send(peer, Message.LIST)
        assert requests.receive(peer)[1]["pid"] == pid
    for _ in range(50):  # some do not wait for the answer
        with client._connect(paths) as peer:
            peer.sendall(BAD[0])
    assert client.served(paths)[0] == pid


def test_as_many_ports_as_a_container_may_have_fit_into_one_request(paths, host, web):
    ports = tuple(port(20000 + number, 80) for number in range(4096))

    publish(paths, host, web, *ports)

    (one,) = client.served(paths)[1]
    assert one.ports == ports


def test_a_service_that_cannot_begin_says_where_to_look(paths, host, web):
    paths.run.mkdir(parents=True, exist_ok=True)
    (paths.run / "network").mkdir()
    (paths.run / "network/served").write_text("no directory")

    with pytest.raises(Exception, match="ended 3 times before it answered") as refusal:
        serve(paths, host, web)

    assert str(paths.run / "network/log") in refusal.value.hint
    assert "FileExistsError" in (paths.run / "network/log").read_text()


def test_two_hundred_containers_have_one_service(paths, host, capsys):
    with boxes(200) as many:
        for number in range(200):
            join(paths, "blue", f"{number:064}", f"c{number}", f"10.9.0.{number + 1}/16", aliases=("all",))
        began = time.monotonic()
        for number, box in enumerate(many):
            serve(paths, host, box, f"{number:064}", f"c{number}")
        took = time.monotonic() - began
        for number in (0, 77, 199):
            assert lookup(many[number], f"c{number}") == [f"10.9.0.{number + 1}"]
        pid, served = client.served(paths)
        assert len(served) == 200
        status = Path(f"/proc/{pid}/status").read_text()
        resident = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
        rates = {name: rate(many[0], name) for name in ("c7", "all")}
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        host.call(lambda: client.ensure(paths))
        again = time.monotonic() - began
        assert len(client.served(paths)[1]) == 200
        assert lookup(many[199], "c0") == ["10.9.0.1"]
    with capsys.disabled():
        print(
            f"\n200 containers: {took:.2f} s to serve, {int(resident) / 1024:.0f} MiB, back in {again:.2f} s"
        )
        for name, (one, p99, flood) in rates.items():
            print(f"  {name}: {one:.0f}/s one by one, p99 {p99 * 1e6:.0f} µs, {flood:.0f}/s 32 at a time")


def rate(box, name, count=4000):
    """Answers per second one by one, their 99th percentile, and with 32 on the way."""
    query = DNSRecord.question(name).pack()
    with box.socket() as peer:
        peer.connect(("127.0.0.11", 53))
        times = []
        for _ in range(count):
            began = time.perf_counter()
            peer.send(query)
            peer.recv(512)
            times.append(time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(32):
            peer.send(query)
        for _ in range(count):
            peer.recv(512)
            peer.send(query)
        flood = count / (time.perf_counter() - began)
        for _ in range(32):
            peer.recv(512)
    return count / sum(times), sorted(times)[int(count * 0.99)], flood
