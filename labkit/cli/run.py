"""run: containers from the command line: run, ps, exec, logs, stop, rm.

Chapter 6. The options are those of docker-run(1) that the engine has.
"""

import re
import sys
import time
from typing import Any

import click

from labkit.engine import mount_syntax
from labkit.engine.default import engine
from labkit.engine.starting import Options
from labkit.kernel.limits import Limits
from labkit.runtime.status import Status


class Bytes(click.ParamType[int]):
    """A number of bytes as docker-run(1) writes it: 64m, 1.5g, 4096."""

    name = "bytes"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number; a usage error where it is none."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmg]?)b?", str(value).lower())
        if found is None:
            self.fail(f"{value!r} is not a size such as 64m", param, ctx)
        return int(float(found[1]) * 1024 ** "bkmg".index(found[2] or "b"))


@click.command(context_settings={"ignore_unknown_options": False, "allow_interspersed_args": False})
@click.option("-d", "--detach", is_flag=True, help="Leave it in the background and print its id.")
@click.option("-i", "--interactive", is_flag=True, help="Give it what stands on standard input, to its end.")
@click.option("--name", default="", help="What it is called; two words where nothing is given.")
@click.option("-m", "--memory", type=Bytes(), help="Limit of memory, such as 64m.")
@click.option("--cpus", type=float, help="Limit of CPU time, such as 0.5 of one CPU.")
@click.option("--pids-limit", type=int, help="Limit of processes.")
@click.option("-e", "--env", multiple=True, help="NAME=value; again for more.")
@click.option("-w", "--workdir", default="", help="Working directory inside.")
@click.option("-u", "--user", help="Name or uid, then :group or :gid.")
@click.option("-h", "--hostname", default="", help="Its hostname.")
@click.option("--read-only", is_flag=True, help="Let nobody write to its root.")
@click.option("-v", "--volume", "volumes", multiple=True, help="[source:]target[:ro,…]; again for more.")
@click.option("--mount", "mounts", multiple=True, help="type=bind|volume|tmpfs,source=…,target=…,readonly")
@click.option("--tmpfs", multiple=True, help="target[:size=64m,mode=700,…]: a file system in memory.")
@click.option("--volumes-from", multiple=True, help="A container whose mounts it gets too, or container:ro.")
@click.option("--network", default="bridge", show_default=True, help="A network, host, none, container:NAME.")
@click.option(
    "-p", "--publish", multiple=True, help="[[address:]host port:]container port[/udp]; again for more."
)
@click.option("--network-alias", "network_aliases", multiple=True, help="A further name on its network.")
@click.option("--ip", default="", help="Its address on its network.")
@click.option("--ip6", default="", help="Its address of IPv6.")
@click.option("--mac-address", default="", help="Its hardware address, such as 02:42:ac:11:00:02.")
@click.option("--dns", multiple=True, help="A name server to ask instead of the host's.")
@click.option("--dns-search", multiple=True, help="A domain in which short names are looked for.")
@click.option("--dns-option", "dns_options", multiple=True, help="An option of resolv.conf(5).")
@click.option("--add-host", "extra_hosts", multiple=True, help="name:address for its /etc/hosts.")
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def run(
    detach: bool,
    interactive: bool,
    name: str,
    memory: int | None,
    cpus: float | None,
    pids_limit: int | None,
    env: tuple[str, ...],
    workdir: str,
    user: str | None,
    hostname: str,
    read_only: bool,
    volumes: tuple[str, ...],
    mounts: tuple[str, ...],
    tmpfs: tuple[str, ...],
    volumes_from: tuple[str, ...],
    image: str,
    command: tuple[str, ...],
    **of_networks: Any,  # as networking.Options has them
) -> None:
    """Run a command in a new container."""
    options: Options = {
        **of_networks,  # type: ignore[typeddict-item]  # click gives what was declared above
        "limits": Limits(memory_bytes=memory, cpus=cpus, processes=pids_limit),
        "env": dict(_pair(line) for line in env),
        "working_directory": workdir,
        "hostname": hostname,
        "read_only": read_only,
        "volumes": volumes,
        "mounts": [*mounts, *(mount_syntax.tmpfs(text) for text in tmpfs)],
        "volumes_from": volumes_from,
    }
    if user is not None:
        options["user"] = user
    if detach or name:
        container = engine().create(image, list(command) or None, name=name, **options)
        container.start()
        if detach:
            click.echo(container.id)
            return
        code = container.wait()
        click.echo(container.logs(), nl=False)
        sys.exit(code)
    stdin = sys.stdin.buffer.read() if interactive else None
    result = engine().run(image, list(command) or None, stdin=stdin, **options)
    click.echo(result.stdout, nl=False)
    click.echo(result.stderr, nl=False, err=True)
    sys.exit(result.exit_code)


def _pair(line: str) -> tuple[str, str]:
    key, equals, value = line.partition("=")
    if not equals:
        raise click.BadParameter(f"{line!r} is not NAME=value", param_hint="--env")
    return key, value


@click.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that do not run.")
def ps(everything: bool) -> None:
    """List containers."""
    from rich.console import Console
    from rich.table import Table

    table = Table("id", "name", "image", "command", "status", "ports", box=None, header_style="bold")
    for container in engine().containers():
        state = container.state
        if everything or state.status in (Status.RUNNING, Status.PAUSED):
            since = time.time() - (state.finished_at or state.started_at or container.record.created_at)
            told = (
                f"{state.status} ({state.exit_code})" if state.status is Status.EXITED else str(state.status)
            )
            command = " ".join(container.record.args)[:30]
            record = container.record
            ports = ", ".join(map(str, container.ports))
            table.add_row(record.short, record.name, record.image, command, f"{told} {_ago(since)}", ports)
    Console().print(table)


def _ago(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"for {seconds / size:.0f} {unit}"
    return f"for {seconds:.0f} seconds"


@click.command(name="exec", context_settings={"allow_interspersed_args": False})
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(name: str, command: tuple[str, ...]) -> None:
    """Run one more command in a running container."""
    result = engine().get(name).exec(list(command))
    click.echo(result.stdout, nl=False)
    click.echo(result.stderr, nl=False, err=True)
    sys.exit(result.exit_code)


exec = exec_  # noqa: A001 (the verb's name, by which the table finds it)


@click.command()
@click.argument("name")
def logs(name: str) -> None:
    """Show what a container has said."""
    click.echo(engine().get(name).logs(), nl=False)


@click.command()
@click.option(
    "-t", "--time", "seconds", type=float, default=10.0, show_default=True, help="Grace before SIGKILL."
)
@click.argument("names", nargs=-1, required=True)
def stop(names: tuple[str, ...], seconds: float) -> None:
    """Stop containers: SIGTERM, then SIGKILL."""
    for name in names:
        engine().get(name).stop(seconds)
        click.echo(name)


@click.command()
@click.option("-f", "--force", is_flag=True, help="Also one that runs: it is killed.")
@click.option("-v", "--volumes", is_flag=True, help="With the volumes that were made for it alone.")
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...], force: bool, volumes: bool) -> None:
    """Remove containers with all they wrote to their own layers."""
    for name in names:
        engine().get(name).remove(force=force, volumes=volumes)
        click.echo(name)
