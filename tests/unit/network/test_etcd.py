"""The client of etcd against a server that answers as told, and against what is none."""

import base64
import contextlib
import http.client
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import Invalid, LabkitError
from labkit.network import etcd
from labkit.network.etcd import Compacted, Etcd, LeaseLost, Row, Unreachable, Watch


def packed(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@contextlib.contextmanager
def server(answer):
    """`answer(path, content)` gives a status and a body, or closes the connection with None."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, content))
            given = answer(self.path, content)
            if given is None:
                self.close_connection = True
                return
            status, body = given
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}", asked
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


@contextlib.contextmanager
def store(*endpoints, **options):
    with contextlib.closing(Etcd(endpoints, **options)) as made:
        yield made


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return f"http://127.0.0.1:{made.getsockname()[1]}"


def test_keys_are_read_with_the_revision_at_that_moment():
    row = {"key": packed("/labkit/a"), "value": packed("één"), "mod_revision": "7", "lease": "12"}
    with (
        server(lambda *_: (200, {"header": {"revision": "9"}, "kvs": [row]})) as (url, asked),
        store(url) as s,
    ):
        assert s.below("/labkit/") == ([Row("/labkit/a", "één", 7, 12)], 9)
        assert s.read("/labkit/a") == Row("/labkit/a", "één", 7, 12)

    assert asked == [
        ("/v3/kv/range", {"key": packed("/labkit/"), "range_end": packed("/labkit0")}),
        ("/v3/kv/range", {"key": packed("/labkit/a")}),
    ]


def test_a_transaction_says_whether_it_was_done_and_what_it_read():
    row = {"key": packed("a"), "value": packed("x"), "mod_revision": "3"}
    body = {"header": {"revision": "5"}, "responses": [{"response_range": {"kvs": [row]}}, {}]}
    with server(lambda *_: (200, body)) as (url, asked), store(url) as s:
        outcome = s.transact([etcd.absent("a")], [etcd.put("a", "y", 4)], [etcd.get("a"), etcd.get("b")])

    assert (outcome.succeeded, outcome.revision, outcome.rows) == (False, 5, (Row("a", "x", 3),))
    ((_, content),) = asked
    assert content["compare"] == [
        {"key": packed("a"), "target": "VERSION", "result": "EQUAL", "version": "0"}
    ]
    assert content["success"] == [{"request_put": {"key": packed("a"), "value": packed("y"), "lease": "4"}}]


def test_an_endpoint_that_does_not_answer_is_passed_over_and_all_are_named():
    with server(lambda *_: (200, {"header": {"revision": "1"}})) as (url, _), store(closed_port(), url) as s:
        assert s.below("/x") == ([], 1)
    with server(lambda *_: (503, {"error": "no leader"})) as (url, _):
        dead = closed_port()
        with store(dead, url) as s, pytest.raises(Unreachable) as refused:
            s.below("/x")
    assert f"{dead.removeprefix('http://')}: Connection refused" in str(refused.value)
    assert "no leader" in str(refused.value)


def test_one_that_is_silent_is_waited_for_so_long_and_no_longer():
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        with store(url, answer_seconds=0.1) as s, pytest.raises(Unreachable, match="no answer in time"):
            s.read("/x")


def test_a_connection_that_was_closed_meanwhile_is_opened_again():
    replies = iter([(200, {"header": {"revision": "1"}}), None, (200, {"header": {"revision": "2"}})])
    with server(lambda *_: next(replies)) as (url, asked), store(url) as s:
        assert [s.below("/x")[1], s.below("/x")[1]] == [1, 2]
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (404, {"error": "etcdserver: requested lease not found"}, LeaseLost, "lease not found"),
        (404, {"error": "Not Found"}, LabkitError, "no HTTP gateway at /v3"),
        (
            400,
            {"error": "etcdserver: key is not provided"},
            LabkitError,
            "etcd refuses: .*key is not provided",
        ),
        (200, b"<html>a web server</html>", Unreachable, "not etcd's JSON"),
        (200, b"[1]", Unreachable, "not etcd's JSON"),
    ],
)
def test_a_refusal_is_told_in_words(status, body, kind, said):
    with server(lambda *_: (status, body)) as (url, _), store(url) as s, pytest.raises(kind, match=said):
        s.transact([], [etcd.put("/x", "y", 99)])


def test_a_lease_that_has_run_out_is_lost_and_can_be_revoked():
    gone = {"error": "etcdserver: requested lease not found"}
    answers = {"/v3/lease/keepalive": (200, {"result": {"ID": "5"}}), "/v3/lease/revoke": (404, gone)}
    with server(lambda path, _: answers[path]) as (url, _), store(url) as s:
        with pytest.raises(LeaseLost, match="lease 5 has run out"):
            s.keep_alive(5)
        s.revoke(5)


def lines(*objects) -> bytes:
    return b"".join(json.dumps({"result": one}).encode() + b"\n" for one in objects)


def test_a_watch_tells_the_keys_of_each_change_until_the_connection_breaks():
    events = [{"kv": {"key": packed("/x/1")}}, {"type": "DELETE", "kv": {"key": packed("/x/2")}}]
    body = lines({"created": True}, {"events": events}, {"events": events[:1]})
    with server(lambda *_: (200, body)) as (url, asked):
        changes = Watch([url], "/x/", 7).changed()
        assert [next(changes), next(changes)] == [["/x/1", "/x/2"], ["/x/1"]]
        with pytest.raises(Unreachable, match="the connection broke"):
            next(changes)
    wanted = {"key": packed("/x/"), "range_end": packed("/x0"), "start_revision": "7"}
    assert asked == [("/v3/watch", {"create_request": wanted})]


def test_a_watch_that_asks_for_what_is_not_kept_any_more_says_so():
    body = lines({"canceled": True, "cancel_reason": "required revision has been compacted"})
    with server(lambda *_: (200, body)) as (url, _), pytest.raises(Compacted, match="has been compacted"):
        next(Watch([url], "/x/", 1).changed())


def test_a_watch_can_be_closed_before_and_after_it_has_begun():
    watch = Watch([closed_port()], "/x/", 1)
    watch.close()
    assert list(watch.changed()) == []


@pytest.mark.parametrize(
    "text",
    ["", "10.0.0.1:2379", "ftp://10.0.0.1", "http://", "http://x:99999", "http://x:0", "http://x/v3", "["],
)
def test_what_is_no_endpoint_is_refused_by_name(text):
    with pytest.raises(Invalid, match="invalid etcd endpoint"):
        etcd.parse_endpoint(text)


def test_without_an_endpoint_there_is_no_client():
    with pytest.raises(Invalid, match="etcd has no endpoint"):
        Etcd([])


NESTED = st.recursive(
    st.none() | st.text(max_size=8),
    lambda inner: st.dictionaries(st.sampled_from(["error", "result", "message", "kvs", "header"]), inner),
)


@given(st.integers(100, 599), st.binary(max_size=60) | NESTED.map(lambda found: json.dumps(found).encode()))
def test_whatever_comes_is_an_object_or_one_of_our_errors(status, data):
    with contextlib.suppress(LabkitError, http.client.HTTPException):
        assert isinstance(etcd._checked(status, data), dict)


@pytest.mark.parametrize("body", [{"kvs": 5}, {"kvs": [{}], "header": {"revision": "1"}}, {"header": []}])
def test_another_server_that_speaks_json_is_told_from_etcd(body):
    with server(lambda *_: (200, body)) as (url, _), store(url) as s:
        for ask in (lambda: s.below("/x"), lambda: s.grant(10)):
            with pytest.raises(LabkitError, match="what answers is not etcd"):
                ask()
