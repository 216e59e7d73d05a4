"""build: make an image from a Dockerfile, with the options of docker build."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from labkit.build import builder, context, dockerfile, progress
from labkit.build.context import Context
from labkit.build.work import Options
from labkit.engine.default import engine
from labkit.errors import Invalid, NotFound, Unsupported


@click.command()
@click.option("-t", "--tag", "tags", multiple=True, help="Name and tag of the image; again for more.")
@click.option("-f", "--file", default="", help="The Dockerfile; `-` reads it from standard input.")
@click.option("--build-arg", "build_args", multiple=True, help="NAME=value for an ARG; NAME: as here.")
@click.option("--target", default="", help="The stage to build.")
@click.option("--no-cache", is_flag=True, help="Do every step again.")
@click.option("--cache-from", multiple=True, help="An image whose steps may be used.")
@click.option("--platform", default="", help="os/architecture of the image.")
@click.option(
    "--progress",
    "form",
    type=click.Choice(["auto", "plain", "tty", "quiet"]),
    default="auto",
    help="How to show it.",
)
@click.option("--secret", "secrets", multiple=True, help="id=NAME,src=FILE or id=NAME,env=VARIABLE.")
@click.option("--network", type=click.Choice(["default", "host", "none"]), default="default", help="Of RUN.")
@click.option("--label", "labels", multiple=True, help="NAME=value of the image; again for more.")
@click.option("--iidfile", type=click.Path(path_type=Path), help="Write the image's id to this file.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but the image's id.")
@click.argument("source", metavar="PATH | -")
def build(
    tags: tuple[str, ...],
    file: str,
    build_args: tuple[str, ...],
    target: str,
    no_cache: bool,
    cache_from: tuple[str, ...],
    platform: str,
    form: str,
    secrets: tuple[str, ...],
    network: str,
    labels: tuple[str, ...],
    iidfile: Path | None,
    quiet: bool,
    source: str,
) -> None:
    """Build an image from the directory PATH, or from a tar or a Dockerfile on standard input."""
    with _secrets(secrets) as files:
        options = Options(
            tags=tags,
            build_args=_build_args(build_args),
            target=target,
            no_cache=no_cache,
            cache_from=cache_from,
            platform=platform,
            secrets=files,
            network=network,
            labels=dict(_pair(text, "--label") for text in labels),
        )
        with _context(source, file) as found, _shown("quiet" if quiet else form) as listener:
            built = builder.build(engine(), found, options, listener)
    if iidfile:
        iidfile.write_text(built.image_id)
    click.echo(built.image_id)


def _shown(form: str) -> progress.Progress:
    if form == "quiet":
        return progress.Quiet()
    if form == "tty" or (form == "auto" and sys.stderr.isatty()):
        from labkit.build import terminal  # rich is loaded where it is shown

        return terminal.Tty()
    return progress.Plain(lambda text: click.echo(text, nl=False, err=True))


@contextmanager
def _context(source: str, file: str) -> Iterator[Context]:
    """The context that PATH and -f name."""
    if source.startswith(("http://", "https://", "git://", "git@")):
        raise Unsupported(f"a context from the network is not supported: {source}", hint="clone it first")
    if source == "-":
        if file == "-":
            raise Invalid("invalid argument: can't use stdin for both build context and dockerfile")
        with context.of_stream(sys.stdin.buffer, engine().paths.layers, file=file) as found:
            yield found
        return
    text = None
    if file == "-":
        text = dockerfile.decode(sys.stdin.buffer.read(dockerfile.MOST_BYTES + 1), "-")
    with context.of_directory(Path(source), file="" if file == "-" else file, text=text) as found:
        yield found


def _build_args(given: tuple[str, ...]) -> dict[str, str]:
    """NAME=value, or NAME with the value that it has here."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name:
            raise click.BadParameter(f"{text!r} is not NAME=value", param_hint="--build-arg")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found


def _pair(text: str, option: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    if not name:
        raise click.BadParameter(f"{text!r} is not NAME=value", param_hint=option)
    return name, value


@contextmanager
def _secrets(given: tuple[str, ...]) -> Iterator[dict[str, Path]]:
    """The file of each secret; one from a variable gets a file in memory for the time of the build."""
    found: dict[str, Path] = {}
    held: list[int] = []
    try:
        for text in given:
            fields = dict(part.partition("=")[::2] for part in text.split(","))
            name = fields.get("id", "")
            if not name or fields.keys() - {"id", "src", "source", "env", "type"}:
                raise click.BadParameter(f"{text!r} is not id=NAME,src=FILE", param_hint="--secret")
            if "env" in fields or ("src" not in fields and "source" not in fields and name in os.environ):
                variable = fields.get("env", name)
                if variable not in os.environ:
                    raise NotFound(f"secret {name}: the variable {variable} is not set")
                memory = os.memfd_create("secret", os.MFD_CLOEXEC)
                held.append(memory)
                os.write(memory, os.environb[variable.encode()])
                found[name] = Path(f"/proc/self/fd/{memory}")
            else:
                found[name] = Path(fields.get("src") or fields.get("source") or name)
                if not found[name].is_file():
                    raise NotFound(f"secret {name}: {found[name]} is not a file")
        yield found
    finally:
        for memory in held:
            os.close(memory)
