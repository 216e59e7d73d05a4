"""upstreams: which servers are asked for the names that are not ours, and from where.

Chapter 12. resolv.conf(5), docker-run(1) --dns. As Docker does: up to three
servers, each asked from the container's own network, so that what a network
cannot reach stays out of reach.
"""

from collections.abc import Sequence
from dataclasses import dataclass

OUR_ADDRESS = "127.0.0.11"
"""Where containers ask, as in Docker; the loopback of each is its own."""

MOST_SERVERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A server to ask."""

    address: str
    port: int = 53
    inside: bool = True  # asked from the container's network namespace; otherwise from the host's


def upstreams(
    host: Sequence[str], chosen: Sequence[str] = (), *, internal: bool = False
) -> tuple[Upstream, ...]:
    """The servers of a container: those chosen for it with --dns, or else the host's.

    A server on the host's loopback is asked from the host; a container that is
    on internal networks alone must not get out that way.
    """
    found = [Upstream(address=address) for address in chosen]
    if not chosen:
        for address in host:
            on_loopback = address == "::1" or address.startswith("127.")
            if not (on_loopback and internal):
                found.append(Upstream(address=address, inside=not on_loopback))
    return tuple(one for one in found if one.address != OUR_ADDRESS)[:MOST_SERVERS]
