"""etcd: ask the store that several hosts share, over its HTTP gateway.

Chapter 13. etcd's API reference, v3: keys in order, each with the revision of
its last change; transactions that compare before they write; leases, with which
keys vanish unless somebody keeps them alive; and watches, which tell of changes.
It speaks JSON, with keys and values in base64 and 64-bit numbers as text.
"""

import base64
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from labkit.errors import Invalid, LabkitError
from labkit.kernel import trace

ANSWER_SECONDS = 3.0
MOST_BYTES = 64 << 20
PORT = 2379


class Unreachable(LabkitError):
    """No endpoint answers."""

    http_status = 503


class LeaseLost(LabkitError):
    """A lease has run out, and what hung on it is gone."""


class Compacted(LabkitError):
    """The history that a watch wanted to begin with is not kept any more."""


@dataclass(frozen=True, slots=True)
class Row:
    """A key with its value. A revision of 0 says that there is none."""

    key: str
    value: str
    mod_revision: int = 0
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a transaction: whether its comparisons held, and what it read then."""

    succeeded: bool
    revision: int
    rows: tuple[Row, ...]  # of all reads, in their order


class Etcd:
    """One connection at a time, to the first endpoint that answers; usable by one thread."""

    def __init__(self, endpoints: Sequence[str], *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._endpoints = [parse_endpoint(text) for text in endpoints]
        if not self._endpoints:
            raise Invalid("etcd has no endpoint", hint="http://10.0.0.1:2379")
        self._answer_seconds = answer_seconds
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """End the connection."""
        if self._connection:
            self._connection.close()
        self._connection = None

    # ------------------------------------------------------------ keys

    def read(self, key: str) -> Row | None:
        """One key as it is now, whichever member of etcd answers."""
        answer = self._ask("kv/range", {"key": _pack(key)})
        with _of_etcd():
            found = answer.get("kvs", ())
            return _row(found[0]) if found else None

    def below(self, prefix: str) -> tuple[list[Row], int]:
        """All keys with a beginning, and the store's revision at that moment."""
        answer = self._ask("kv/range", _interval(prefix))
        with _of_etcd():
            return [_row(found) for found in answer.get("kvs", ())], int(answer["header"]["revision"])

    def transact(
        self,
        compare: Sequence[dict[str, Any]],
        success: Sequence[dict[str, Any]],
        failure: Sequence[dict[str, Any]] = (),
    ) -> Outcome:
        """Do `success` if all comparisons hold, else `failure`: nobody sees a part of it, or comes between.

        An endpoint that dies while it answers is followed by another, so a
        transaction may have been done before it is tried again.
        """
        wanted = {"compare": list(compare), "success": list(success), "failure": list(failure)}
        answer = self._ask("kv/txn", wanted)
        with _of_etcd():
            rows = [
                _row(found)
                for part in answer.get("responses", ())
                for found in part.get("response_range", {}).get("kvs", ())
            ]
            return Outcome(bool(answer.get("succeeded")), int(answer["header"]["revision"]), tuple(rows))

    # ------------------------------------------------------------ leases

    def grant(self, seconds: int) -> int:
        """A new lease; what hangs on it goes when it has not been kept alive for so long."""
        answer = self._ask("lease/grant", {"TTL": str(seconds)})
        with _of_etcd():
            return int(answer["ID"])

    def keep_alive(self, lease: int) -> None:
        """Begin its time anew; LeaseLost where it has run out."""
        answer = self._ask("lease/keepalive", {"ID": str(lease)})
        with _of_etcd():
            left = int(answer.get("result", {}).get("TTL", 0))
        if left <= 0:
            raise LeaseLost(f"lease {lease:x} has run out")

    def revoke(self, lease: int) -> None:
        """End a lease and remove what hangs on it; happy to be called twice."""
        try:
            self._ask("lease/revoke", {"ID": str(lease)})
        except LeaseLost:
            return

    # ------------------------------------------------------------ one request

    def _ask(self, what: str, content: dict[str, Any]) -> dict[str, Any]:
        refusals: list[str] = []
        with trace.operation("etcd", what):
            for endpoint in [None, *self._endpoints]:  # None: the connection that is open
                if endpoint is None and self._connection is None:
                    continue
                try:
                    return self._ask_one(endpoint, what, content)
                except (OSError, http.client.HTTPException) as failure:
                    self.close()
                    if endpoint is not None:
                        refusals.append(f"{endpoint.netloc}: {_in_words(failure)}")
        raise Unreachable(
            f"etcd does not answer ({'; '.join(refusals)})",
            hint="is it running, and does a route lead there?",
        )

    def _ask_one(self, endpoint: Any, what: str, content: dict[str, Any]) -> dict[str, Any]:
        if endpoint is not None:
            self._connection = _connection(endpoint, self._answer_seconds)
        assert self._connection is not None
        self._connection.request("POST", f"/v3/{what}", json.dumps(content), _HEADERS)
        answer = self._connection.getresponse()
        data = answer.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise http.client.HTTPException(f"more than {MOST_BYTES} bytes")
        return _checked(answer.status, data)


_HEADERS = {"Content-Type": "application/json"}


def parse_endpoint(text: str) -> Any:
    """A URL such as http://10.0.0.1:2379; Invalid names the text."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.path.strip("/"):
        raise Invalid(f"invalid etcd endpoint {text!r}", hint=f"such as http://10.0.0.1:{PORT}")
    return parts


def _connection(endpoint: Any, seconds: float | None) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if endpoint.scheme == "https" else http.client.HTTPConnection
    return kind(endpoint.hostname, endpoint.port or PORT, timeout=seconds)


def _checked(status: int, data: bytes) -> dict[str, Any]:
    """The object of an answer; etcd's own refusals by what they say."""
    try:
        answer = json.loads(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise http.client.HTTPException(f"status {status}, and what comes is not etcd's JSON")
    failure = answer.get("error")
    if not failure and status == 200:
        return answer
    said = str(failure.get("message") if isinstance(failure, dict) else failure)
    if "lease not found" in said:
        raise LeaseLost(said)
    if status in (404, 405) or "Not Found" in said:
        raise LabkitError("etcd has no HTTP gateway at /v3", hint="it has since etcd 3.4")
    if status in (500, 503, 504):  # it has no leader now; another may
        raise http.client.HTTPException(said or f"status {status}")
    raise LabkitError(f"etcd refuses: {said or f'status {status}'}")


@contextlib.contextmanager
def _of_etcd() -> Iterator[None]:
    """What answers may be another server; then its objects lack what etcd's have."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as failure:
        raise LabkitError(
            "what answers is not etcd", hint="look at the endpoints: labkit host leave, and join again"
        ) from failure


def _in_words(failure: Exception) -> str:
    if isinstance(failure, TimeoutError):
        return "no answer in time"
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    return str(failure) or type(failure).__name__


# ------------------------------------------------------------------ watches


class Watch:
    """Hear of every change below a prefix from a revision on; another thread may close it."""

    def __init__(self, endpoints: Sequence[str], prefix: str, revision: int) -> None:
        self._request = {"create_request": _interval(prefix) | {"start_revision": str(revision)}}
        self._endpoints = [parse_endpoint(text) for text in endpoints]
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._closed = False

    def changed(self) -> Iterator[list[str]]:
        """The keys of each change. It ends when closed; Unreachable where the connection breaks."""
        refusals = []
        for endpoint in self._endpoints:
            try:
                answer = self._open(endpoint)
            except (OSError, http.client.HTTPException) as failure:
                refusals.append(f"{endpoint.netloc}: {_in_words(failure)}")
                continue
            yield from self._lines(answer)
            refusals = ["the connection broke"]
            break
        if not self._closed:
            raise Unreachable(f"a watch on etcd ended ({'; '.join(refusals)})")

    def close(self) -> None:
        """Wake who waits for a change."""
        with self._lock:
            self._closed = True
            if self._connection and self._connection.sock:
                with contextlib.suppress(OSError):  # it broke just now
                    self._connection.sock.shutdown(socket.SHUT_RDWR)

    def _open(self, endpoint: Any) -> http.client.HTTPResponse:
        connection = _connection(endpoint, ANSWER_SECONDS)
        connection.connect()
        for option, value in _KEEPALIVE:  # nothing may come for hours: the kernel asks whether they are there
            connection.sock.setsockopt(*option, value)
        with self._lock:
            if self._closed:
                connection.close()
                raise ConnectionAbortedError("closed")
            self._connection = connection
        connection.request("POST", "/v3/watch", json.dumps(self._request), _HEADERS)
        answer = connection.getresponse()
        connection.sock and connection.sock.settimeout(None)
        return answer

    def _lines(self, answer: http.client.HTTPResponse) -> Iterator[list[str]]:
        try:
            while line := answer.readline(MOST_BYTES):
                answered = _checked(answer.status, line)
                with _of_etcd():
                    found = answered.get("result", {})
                    keys = [_unpack(event["kv"]["key"]) for event in found.get("events", ())]
                if found.get("canceled"):
                    raise Compacted(
                        f"etcd ended a watch: {found.get('cancel_reason', 'it does not say why')}"
                    )
                if keys:
                    yield keys
        except (OSError, http.client.HTTPException):
            return
        finally:
            answer.close()
            with self._lock:
                if self._connection:
                    self._connection.close()
                self._connection = None


_KEEPALIVE = (
    ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), 1),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE), 3),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL), 2),
    ((socket.IPPROTO_TCP, socket.TCP_KEEPCNT), 3),
)


# ------------------------------------------------------------------ words of a transaction


def put(key: str, value: str, lease: int = 0) -> dict[str, Any]:
    """Write a key, that goes with a lease where one is given."""
    return {"request_put": {"key": _pack(key), "value": _pack(value), "lease": str(lease)}}


def get(key: str) -> dict[str, Any]:
    """Read a key."""
    return {"request_range": {"key": _pack(key)}}


def delete(key: str) -> dict[str, Any]:
    """Remove a key."""
    return {"request_delete_range": {"key": _pack(key)}}


def delete_below(prefix: str) -> dict[str, Any]:
    """Remove all keys with a beginning."""
    return {"request_delete_range": _interval(prefix)}


def absent(key: str) -> dict[str, Any]:
    """There is no such key."""
    return {"key": _pack(key), "target": "VERSION", "result": "EQUAL", "version": "0"}


def present(key: str) -> dict[str, Any]:
    """There is such a key."""
    return absent(key) | {"result": "GREATER"}


def unchanged(row: Row) -> dict[str, Any]:
    """A key is still what was read."""
    return {
        "key": _pack(row.key),
        "target": "MOD",
        "result": "EQUAL",
        "mod_revision": str(row.mod_revision),
    }


def none_below(prefix: str) -> dict[str, Any]:
    """There is no key with such a beginning."""
    return _interval(prefix) | {"target": "VERSION", "result": "EQUAL", "version": "0"}


def none_since(prefix: str, revision: int) -> dict[str, Any]:
    """No key with such a beginning has been written after a revision."""
    return _interval(prefix) | {"target": "MOD", "result": "LESS", "mod_revision": str(revision + 1)}


def _interval(prefix: str) -> dict[str, Any]:
    """From the prefix to the first key that does not begin with it."""
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
    return {"key": _pack(prefix), "range_end": _pack(end)}


def _pack(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _unpack(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")


def _row(found: dict[str, Any]) -> Row:
    return Row(
        key=_unpack(found["key"]),
        value=_unpack(found.get("value", "")),
        mod_revision=int(found["mod_revision"]),
        lease=int(found.get("lease", 0)),
    )
