"""lab: start JupyterLab in the foreground, and print the one address to open."""

import os
import signal
import subprocess
import types

import click

from labkit.cli import jupyter, ports
from labkit.errors import Conflict, Invalid, NotFound, Unsupported
from labkit.paths import Paths

PORT = 8888


@click.command()
def lab() -> None:
    """Start JupyterLab and stay until Ctrl-C; LABKIT_PORT moves its port."""
    port = chosen_port(os.environ.get("LABKIT_PORT", ""))
    _must_be_root()
    paths = Paths.from_environment()
    if there := jupyter.running(paths):
        click.echo(f"The lab runs already:\n\n    {jupyter.url(paths, there)}\n")
        return
    if not ports.is_free(jupyter.ADDRESS, port):
        raise Conflict(
            f"port {port} is taken by {ports.owner(port)}", hint=f"LABKIT_PORT={port + 1} make lab"
        )
    _serve(paths, port)


@click.command()
def url() -> None:
    """Print the address of the lab that runs."""
    paths = Paths.from_environment()
    there = jupyter.running(paths)
    if there is None:
        raise NotFound("no lab is running", hint="make lab")
    click.echo(jupyter.url(paths, there))


def chosen_port(wanted: str) -> int:
    """The port that LABKIT_PORT asks for; Invalid where it is none."""
    if not wanted:
        return PORT
    if not wanted.isascii() or not wanted.isdigit() or not 0 < int(wanted) < 1 << 16:
        raise Invalid(f"LABKIT_PORT={wanted} is not a port", hint="a number from 1 to 65535")
    return int(wanted)


def _must_be_root() -> None:
    if os.geteuid() != 0:
        raise Unsupported(
            "only root can start the lab: its notebooks make namespaces and mounts", hint="make lab"
        )


def _serve(paths: Paths, port: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _as_interrupt)  # SIGINT too: a shell's background jobs ignore it
    click.echo("JupyterLab starts …")
    server, started = jupyter.start(paths, port)
    try:
        jupyter.wait_until_it_answers(paths, server, started)
        click.echo(f"The lab is open, Ctrl-C ends it:\n\n    {jupyter.url(paths, started)}\n")
        server.wait()
        click.echo(f"JupyterLab has ended; its log is {jupyter.log_file(paths)}")
    except KeyboardInterrupt:
        click.echo("\nThe lab is closed.")
    finally:
        _undisturbed(paths, server)


def _as_interrupt(_number: int, _frame: "types.FrameType | None") -> None:
    raise KeyboardInterrupt


def _undisturbed(paths: Paths, server: "subprocess.Popen[bytes]") -> None:
    """Stop the server even where Ctrl-C is pressed twice."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    jupyter.stop(paths, server)
