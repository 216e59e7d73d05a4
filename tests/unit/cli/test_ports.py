"""A port that is taken is told with its owner."""

import os
import socket

import pytest

from labkit.cli import ports


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_port_is_free_until_someone_listens(listener):
    port = listener.getsockname()[1]
    assert not ports.is_free("127.0.0.1", port)

    listener.close()

    assert ports.is_free("127.0.0.1", port)


def test_the_owner_of_a_port_is_named(listener):
    assert ports.owner(listener.getsockname()[1]).startswith(f"process {os.getpid()} (")


def test_an_owner_that_cannot_be_seen_is_said_to_be_so(monkeypatch):
    monkeypatch.setattr(ports, "_inodes", lambda _port: ["0"])

    assert ports.owner(1) == "a process that cannot be seen from here"
