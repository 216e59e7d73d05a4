"""image: make the lab's own images, and list those that are there."""

from datetime import datetime

import click

from labkit.errors import Invalid, NotFound
from labkit.images import base, store
from labkit.images.store import Image
from labkit.paths import Paths


@click.group()
def image() -> None:
    """Make and list images."""


@image.command("list")
def list_images() -> None:
    """Show every image."""
    paths = Paths.from_environment()
    if not paths.images.is_dir():
        raise NotFound("no image is there yet", hint=f"labkit image make {base.BUSYBOX}")
    for found in store.all_images(paths):
        click.echo(_line(found))


@image.command()
@click.argument("name")
@click.option("--again", is_flag=True, help="Also where the image is there already.")
def make(name: str, again: bool) -> None:
    """Make one of the embedded images, such as lab/busybox."""
    paths = Paths.from_environment()
    plain = store.normal_name(name)
    if plain not in base.MAKERS:
        raise Invalid(f"{name} is not an image that labkit makes", hint=f"it makes {', '.join(base.MAKERS)}")
    paths.prepare()
    there = [] if again else [found for found in store.all_images(paths) if found.name == plain]
    click.echo(_line(there[0] if there else base.MAKERS[plain](paths)))


def _line(found: Image) -> str:
    made = datetime.fromtimestamp(found.created_at).strftime("%Y-%m-%d %H:%M")
    layers = "1 layer" if len(found.layers) == 1 else f"{len(found.layers)} layers"
    return f"{found.name:24} {found.size_bytes / (1 << 20):8.1f} MiB  {layers}  {made}"
