import os
import socket

import pytest
from boxes import boxes

from labkit.kernel import namespaces
from labkit.kernel.namespaces import Namespace
from labkit.network.visits import Home

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def home():
    made = Home()
    yield made
    os.close(made._descriptor)


def test_what_is_opened_on_a_visit_stays_there_and_the_visitor_is_home_again(home):
    before = namespaces.identity("self", Namespace.NETWORK)
    with boxes(1) as (box,):
        pidfd = os.pidfd_open(box.pid)
        with home.visit(pidfd, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as there:
            there.bind(("127.0.0.11", 5300))
            assert "127.0.0.11:5300" in box.run("ss", "--udp", "--all", "--numeric")
        assert namespaces.identity("self", Namespace.NETWORK) == before
        os.close(pidfd)


def test_a_visit_that_fails_ends_at_home_too(home):
    before = namespaces.identity("self", Namespace.NETWORK)
    with boxes(1) as (box,):
        pidfd = os.pidfd_open(box.pid)
        with pytest.raises(ZeroDivisionError):
            home.visit(pidfd, lambda: 1 // 0)
    with pytest.raises(ProcessLookupError):
        home.visit(pidfd, lambda: 1)
    os.close(pidfd)
    assert namespaces.identity("self", Namespace.NETWORK) == before
