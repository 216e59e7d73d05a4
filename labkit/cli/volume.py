"""volume: make, list, look at and remove the directories that outlive containers.

Chapter 10. The verbs and options are those of docker-volume(1) that the engine has.
"""

import json
from datetime import datetime

import click

from labkit.cli import words
from labkit.engine import volumes
from labkit.engine.default import engine
from labkit.engine.volumes import Volume
from labkit.errors import LabkitError
from labkit.paths import Paths


@click.group()
def volume() -> None:
    """Make, list and remove volumes."""


def _paths() -> Paths:
    return engine().paths


@volume.command()
@click.option("--label", "labels", multiple=True, help="NAME=value; again for more.")
@click.argument("name", default="")
def create(name: str, labels: tuple[str, ...]) -> None:
    """Make a volume and print its name; one that is there is left as it is."""
    click.echo(volumes.create(_paths(), name, labels=dict(words.pair(text) for text in labels)).name)


@volume.command("ls")
@click.option("-q", "--quiet", is_flag=True, help="Only the names.")
@click.option(
    "-f", "--filter", "filters", multiple=True, help="label=NAME[=value], dangling=true or name=part."
)
def list_volumes(quiet: bool, filters: tuple[str, ...]) -> None:
    """List volumes."""
    labels, dangling, part = _filters(filters)
    found = volumes.all_volumes(_paths(), labels=labels, dangling=dangling)
    rows = [one for one in found if part in one.name]
    if quiet:
        for one in rows:
            click.echo(one.name)
        return
    used = volumes.users(_paths())
    width = max([len(one.name) for one in rows] + [4])  # a name is of no use with its end cut off
    click.echo(f"{'NAME':{width}}  SINCE             USED BY")
    for one in rows:
        ids = [container_id[:12] for container_id in used.get(one.name, ())]
        told = ", ".join(ids) or "nobody"
        click.echo(f"{one.name:{width}}  {_day(one.created_at)}  {told}{_labels(one)}")


def _labels(one: Volume) -> str:
    return "".join(f"  {key}={value}" if value else f"  {key}" for key, value in one.labels.items())


def _filters(texts: tuple[str, ...]) -> tuple[dict[str, str | None], bool | None, str]:
    labels: dict[str, str | None] = {}
    dangling, part = None, ""
    for text in texts:
        key, _, value = text.partition("=")
        if key == "label":
            name, equals, wanted = value.partition("=")
            labels[name] = wanted if equals else None
        elif key == "dangling" and value in ("true", "1", "false", "0"):
            dangling = value in ("true", "1")
        elif key == "name":
            part = value
        else:
            raise click.BadParameter(
                f"{text!r} is none of label=…, dangling=… and name=…", param_hint="--filter"
            )
    return labels, dangling, part


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


@volume.command()
@click.argument("names", nargs=-1, required=True)
def inspect(names: tuple[str, ...]) -> None:
    """Print all that is known of volumes, as JSON in docker's words."""
    click.echo(json.dumps([_described(volumes.get(_paths(), name)) for name in names], indent=4))


def _described(one: Volume) -> dict[str, object]:
    return {
        "CreatedAt": words.moment(one.created_at),
        "Driver": "local",
        "Labels": one.labels,
        "Mountpoint": str(volumes.directory(_paths(), one.name)),
        "Name": one.name,
        "Options": None,
        "Scope": "local",
    }


@volume.command()
@click.option("-f", "--force", is_flag=True, help="One that is not there is no failure.")
@click.argument("names", nargs=-1, required=True)
def rm(names: tuple[str, ...], force: bool) -> int:
    """Remove volumes with all that is in them."""
    failures: list[LabkitError] = []
    for name in names:  # one that cannot go keeps no other
        try:
            volumes.remove(_paths(), name, force=force)
            click.echo(name)
        except LabkitError as failure:
            failures.append(failure)
            click.echo(f"labkit: {failure}", err=True)
    return failures[0].exit_code if failures else 0


@volume.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Also those that somebody gave a name.")
@click.option("-f", "--force", is_flag=True, help="Do not ask first.")
@click.option("--filter", "filters", multiple=True, help="label=NAME[=value]: only such.")
def prune(everything: bool, force: bool, filters: tuple[str, ...]) -> None:
    """Remove the volumes that no container has."""
    what = "all volumes" if everything else "the anonymous volumes"
    if not force:
        click.confirm(f"This removes {what} that no container has. Go on?", abort=True)
    removed, freed = volumes.prune(_paths(), everything=everything, labels=_filters(filters)[0])
    for name in removed:
        click.echo(name)
    click.echo(f"{len(removed)} removed, {freed / (1 << 20):.1f} MiB freed")
