"""host: share networks with other hosts.

Chapter 13. What `docker swarm join` begins with, without a swarm: a store that
the hosts agree by, etcd, which one of them or another machine runs.
"""

import contextlib

import click

from labkit.cli import words
from labkit.engine.default import engine
from labkit.network import membership, peers, shared


@click.group()
def host() -> None:
    """Share networks with other hosts, and see which there are."""


@host.command()
@click.option(
    "--etcd", "endpoints", multiple=True, required=True, help="http://ADDRESS:2379; again for more."
)
@click.option("--address", required=True, help="Of this host: where the others send to.")
@click.option("--name", default="", help="How it is listed; the host's own name where nothing is said.")
def join(endpoints: tuple[str, ...], address: str, name: str) -> None:
    """Share networks with the hosts that use the same etcd."""
    made = peers.join(engine().paths, etcd=endpoints, address=address, name=name)
    click.echo(f"{made.name} is a member, as {made.address}")


@host.command()
def leave() -> None:
    """Share nothing any more."""
    peers.leave(engine().paths)


@host.command("ls")
def list_hosts() -> None:
    """List the members."""
    me = membership.require(engine().paths)
    peers.ensure(engine().paths)
    with contextlib.closing(shared.client(me)) as store:
        found = shared.hosts(store)
    rows = [
        (
            one["name"] + " *" * (one["id"] == me.id),
            one["address"],
            str(one["containers"]),
            words.ago(one["since"]),
        )
        for one in found
    ]
    words.lines(("NAME", "ADDRESS", "CONTAINERS", "SINCE"), rows)
