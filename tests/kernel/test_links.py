import asyncio
import os
import socket

import pytest
from boxes import boxes

from labkit.network import links

pytestmark = pytest.mark.requires("root")


def test_links_can_be_asked_about_from_within_an_event_loop_as_in_a_notebook():
    async def a_cell(namespace):
        with links.host() as rtnetlink:
            ours = [link.get_attr("IFLA_IFNAME") for link in rtnetlink.get_links()]
        with links.inside(namespace) as rtnetlink:
            theirs = [link.get_attr("IFLA_IFNAME") for link in rtnetlink.get_links()]
        await asyncio.sleep(0)  # the loop goes on
        return ours, theirs

    with boxes(1) as (box,):
        namespace = os.open(f"/proc/{box.pid}/ns/net", os.O_RDONLY)
        ours, theirs = asyncio.run(a_cell(namespace))
        os.close(namespace)

    assert "lo" in ours and "lo" in theirs
    assert set(ours) == {name for _, name in socket.if_nameindex()}
