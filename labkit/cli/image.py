"""image: make, list, look at, name, carry and remove images; export and commit containers.

Chapters 7 and 9. The verbs and options are those of docker-image(1) that the engine has.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import click

from labkit.cli.words import ago, lines, size
from labkit.engine import containers, images
from labkit.engine.default import engine
from labkit.errors import Invalid
from labkit.images import base, configs, store, usage
from labkit.images.manifests import Platform
from labkit.images.store import Image
from labkit.paths import Paths


@click.group()
def image() -> None:
    """Make, list, carry and remove images."""


def _paths() -> Paths:
    paths = Paths.from_environment()
    paths.prepare()
    return paths


@image.command("ls")
@click.option("-q", "--quiet", is_flag=True, help="Only the ids.")
@click.option("--no-trunc", is_flag=True, help="Ids in full.")
@click.option("--digests", is_flag=True, help="The manifests' digests too.")
@click.argument("repository", default="")
def list_images(quiet: bool, no_trunc: bool, digests: bool, repository: str) -> None:
    """Show every image, or those of one repository."""
    found = [one for one in store.all_images(_paths()) if not repository or _is_of(one, repository)]
    if quiet:
        for image_id in dict.fromkeys(one.id if no_trunc else one.short for one in found):
            click.echo(image_id)
        return
    head = ["REPOSITORY", "TAG", *(["DIGEST"] if digests else []), "IMAGE ID", "CREATED", "SIZE"]
    rows = []
    for one in found:
        repository_, _, tag = _in_two(one.name)
        row = [repository_, tag, *([one.manifest] if digests else [])]
        rows.append([*row, one.id if no_trunc else one.short, ago(one.created_at), size(one.size_bytes)])
    lines(head, rows)


image.add_command(list_images, "list")


def _in_two(name: str) -> tuple[str, str, str]:
    """Repository and tag, as docker image ls has them."""
    if not name:
        return "<none>", ":", "<none>"
    if "@" in name:
        return name.partition("@")[0], ":", "<none>"
    folder, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    return folder + slash + last, colon, tag or "latest"


def _is_of(found: Image, repository: str) -> bool:
    wanted = store.normal_name(repository)
    return wanted in (found.name, _in_two(found.name)[0])


@image.command()
@click.argument("name")
@click.option("--again", is_flag=True, help="Also where the image is there already.")
def make(name: str, again: bool) -> None:
    """Make one of the embedded images, such as lab/busybox."""
    paths = _paths()
    plain = store.normal_name(name)
    if plain not in base.MAKERS:
        raise Invalid(f"{name} is not an image that labkit makes", hint=f"it makes {', '.join(base.MAKERS)}")
    there = [] if again else [found for found in store.all_images(paths) if found.name == plain]
    made = there[0] if there else base.MAKERS[plain](paths)
    click.echo(f"{made.name}  {made.short}  {size(made.size_bytes)}")


@image.command()
@click.argument("names", nargs=-1, required=True)
def inspect(names: tuple[str, ...]) -> None:
    """Show all that is known of images, as JSON."""
    paths = _paths()
    tags = store.all_names(paths)
    found = [_inspected(paths, store.get(paths, name), tags) for name in names]
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))


def _inspected(paths: Paths, found: Image, tags: dict[str, list[str]]) -> dict[str, Any]:
    """In the words of docker image inspect."""
    config = store.config(paths, found)
    return {
        "Id": found.id,
        "RepoTags": [name for name in tags.get(found.id, ()) if "@" not in name],
        "RepoDigests": [name for name in tags.get(found.id, ()) if "@" in name],
        "Descriptor": {"digest": found.manifest},
        "Created": config.created,
        "Author": config.author,
        "Architecture": config.architecture,
        "Variant": config.variant,
        "Os": config.os,
        "Size": found.size_bytes,
        "Config": config.run.json(),
        "RootFS": {"Type": "layers", "Layers": list(config.diff_ids)},
        "Layers": [str(store.layer_directory(paths, layer)) for layer in found.layers],
    }


@image.command()
@click.option("--no-trunc", is_flag=True, help="Nothing cut off.")
@click.argument("name")
def history(no_trunc: bool, name: str) -> None:
    """Show how an image came to be, the newest step first."""
    paths = _paths()
    rows = []
    for step in usage.history(paths, store.get(paths, name)):
        image_id = step.image_id if no_trunc else step.image_id.partition(":")[2][:12]
        said = step.created_by if no_trunc or len(step.created_by) <= 60 else step.created_by[:59] + "…"
        rows.append(
            [image_id or "<missing>", ago(step.created_at), said, size(step.size_bytes), step.comment]
        )
    lines(["IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"], rows)


@image.command()
@click.argument("name")
@click.argument("new_name")
def tag(name: str, new_name: str) -> None:
    """Give an image one more name."""
    paths = _paths()
    store.tag(paths, base.get(paths, name), new_name)


@image.command()
@click.option("-f", "--force", is_flag=True, help="Also what a stopped container was made from.")
@click.argument("names", nargs=-1, required=True)
def rm(force: bool, names: tuple[str, ...]) -> None:
    """Take names away, and images with their last one."""
    for name in names:
        for line in images.remove(_paths(), name, force=force):
            click.echo(line)


image.add_command(rm, "untag")


@image.command()
@click.option("-a", "--all", "every", is_flag=True, help="All that no container was made from.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
def prune(every: bool, force: bool) -> None:
    """Remove images that have no name, and what was left half made."""
    what = "all images without a container" if every else "all images without a name"
    if not force:
        click.confirm(f"This removes {what}. Go on?", abort=True, err=True)
    done = images.prune(_paths(), every=every)
    for line in done.removed:
        click.echo(line)
    click.echo(f"Total reclaimed space: {size(done.freed_bytes)}")


@image.command()
@click.option("-v", "--verbose", is_flag=True, help="Image by image.")
def df(verbose: bool) -> None:
    """Show what images take on the disk, and what of it they share."""
    paths = _paths()
    rooms = usage.rooms(paths)
    in_use = [record.image_id for record in containers.all_records(paths)]
    if verbose:
        rows = [
            [
                ", ".join(room.names) or "<none>", room.image.short, size(room.size_bytes),
                size(room.shared_bytes), size(room.unique_bytes), str(in_use.count(room.image.id)),
            ]
            for room in rooms
        ]  # fmt: skip
        lines(["NAME", "IMAGE ID", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"], rows)
        return
    idle = sum(room.unique_bytes for room in rooms if room.image.id not in in_use)
    active = sum(room.image.id in in_use for room in rooms)
    layers, kept = usage.layers_bytes(paths), usage.blobs_bytes(paths)
    rows = [
        ["Images", str(len(rooms)), str(active), size(layers), size(idle)],
        ["Blobs", "", "", size(kept), ""],
    ]
    lines(["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"], rows)


# ------------------------------------------------------------------------- carrying


@contextmanager
def _output(file: Path | None, what: str) -> Iterator[BinaryIO]:
    """A file that is there when it is whole, or standard output."""
    if file is None or str(file) == "-":
        if sys.stdout.isatty():
            raise Invalid(f"cowardly refusing to write {what} to a terminal", hint="use -o or a pipe")
        yield sys.stdout.buffer
        return
    draft = file.with_name(f".{file.name}.draft")
    try:
        with draft.open("wb") as out:
            yield out
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


@image.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; standard output otherwise.")
@click.option("--directory", type=click.Path(path_type=Path), help="An OCI layout there instead.")
@click.option("--compress", type=click.Choice(["none", "gzip", "zstd"]), help="The layers; else as they are.")
@click.argument("names", nargs=-1, required=True)
def save(output: Path | None, directory: Path | None, compress: str | None, names: tuple[str, ...]) -> None:
    """Write images to an archive that docker load, skopeo and podman read."""
    from labkit.images import saving  # loads the compressors, which no other verb needs

    kind = "" if compress == "none" else compress
    if directory:
        saving.save_directory(_paths(), names, directory, compress=kind)
        return
    with _output(output, "an archive") as out:
        saving.save(_paths(), names, out.write, compress=kind)


@image.command()
@click.option(
    "-i", "--input", "source", type=click.Path(path_type=Path, exists=True), help="File or directory."
)
@click.option("--name", default="", help="For an image that comes without one.")
@click.option("--platform", default="", help="Which of an image for many platforms.")
@click.option("-q", "--quiet", is_flag=True, help="Only what was loaded.")
def load(source: Path | None, name: str, platform: str, quiet: bool) -> None:
    """Take in images from an archive: of docker save, or an OCI layout as tar or directory."""
    from labkit.images import archive

    wanted = Platform.parse(platform) if platform else None

    def report(line: str) -> None:
        if not quiet or line.startswith("Loaded"):
            click.echo(line)

    archive.load(_paths(), source or sys.stdin.buffer, name=name, platform=wanted, report=report)


@image.command("import")
@click.option("-c", "--change", "changes", multiple=True, help="A Dockerfile instruction; again for more.")
@click.option("-m", "--message", default="", help="What the history says.")
@click.option("--platform", default="", help="os/architecture of the image.")
@click.argument("source", metavar="FILE | -")
@click.argument("name", default="")
def import_(changes: tuple[str, ...], message: str, platform: str, source: str, name: str) -> None:
    """Make an image of the files in a tar."""
    from labkit.build.changes import apply
    from labkit.images import archive

    with sys.stdin.buffer if source == "-" else Path(source).open("rb", buffering=0) as file:
        made = archive.import_tar(
            _paths(), file, [name] if name else [], run=apply(configs.RunConfig(), changes),
            message=message or f"Imported from {source}", created_at=time.time(),
            platform=Platform.parse(platform) if platform else None,
        )  # fmt: skip
    click.echo(made.id)


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The file; standard output otherwise.")
@click.option("--compress", type=click.Choice(["none", "gzip", "zstd"]), default="none", help="The tar.")
@click.argument("container")
def export(output: Path | None, compress: str, container: str) -> None:
    """Write all files of a container as a tar."""
    from labkit.images.compression import Writer

    found = engine().get(container)
    with _output(output, "a tar") as out:
        writer = Writer(out.write, "" if compress == "none" else compress)
        images.export(engine().paths, found, writer.write)
        writer.close()


@click.command()
@click.option("-a", "--author", default="", help="Who made it.")
@click.option("-m", "--message", default="", help="What the history says.")
@click.option("-c", "--change", "changes", multiple=True, help="A Dockerfile instruction; again for more.")
@click.option("--pause/--no-pause", default=True, help="Whether the container stands still meanwhile.")
@click.argument("container")
@click.argument("name", default="")
def commit(
    author: str, message: str, changes: tuple[str, ...], pause: bool, container: str, name: str
) -> None:
    """Make an image of what a container has written."""
    from labkit.build.changes import apply

    paths, found = engine().paths, engine().get(container)
    config = store.config(paths, store.get(paths, found.record.image_id))
    run = apply(replace(images.run_config(config, found.record)), changes)
    made = images.commit(
        paths, found, [name] if name else [], author=author, message=message, run=run, pause=pause
    )
    click.echo(made.id)
