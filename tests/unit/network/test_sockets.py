import os
import socket

import pytest

from labkit.network import sockets


@pytest.mark.parametrize(
    ("family", "protocol", "at", "asked"),
    [
        (socket.AF_INET, "tcp", "127.0.0.1", "0.0.0.0"),
        (socket.AF_INET, "udp", "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET, "tcp", "0.0.0.0", "127.0.0.1"),
        (socket.AF_INET6, "tcp", "::1", "::"),
        (socket.AF_INET6, "udp", "::", "127.0.0.1"),
        (socket.AF_INET6, "tcp", "::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_process_that_has_a_port_is_found(family, protocol, at, asked):
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family, kind) as mine:
        mine.bind((at, 0))
        if protocol == "tcp":
            mine.listen()
        port = mine.getsockname()[1]

        found = sockets.owner_of(protocol, asked, port)

        assert found is not None
        assert found.pid == os.getpid()
        assert str(found).startswith(f"process {os.getpid()} (")
        assert sockets.owner_of(protocol, "127.0.0.9", port) is None or at in ("0.0.0.0", "::")
    assert sockets.owner_of(protocol, asked, port) is None
