"""storage: which mounts a container has, and all that must be there before they can be made.

Chapter 10. The rules are those of docker-run(1): what is asked for twice is refused, an explicit
mount hides one from another container, and both hide a volume that the image declares.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from labkit.engine import containers, mount_syntax, volumes
from labkit.engine.containers import Record
from labkit.engine.mount import Mount, tmpfs_options
from labkit.errors import Conflict, Invalid, NotFound, StartFailed
from labkit.images import store, view
from labkit.images.store import Image
from labkit.kernel import mounts, within
from labkit.ledger import Ledger
from labkit.paths import Paths
from labkit.runtime import spec

MOST_MOUNTS = 240
"""Their sources travel as descriptors in one message, which holds 253, unix(7)."""


def plan(
    paths: Paths,
    image: Image,
    *,
    asked: Sequence[Mount | str] = (),
    texts: Sequence[str] = (),
    tmpfs: Mapping[str, str] | None = None,
    others: Sequence[str] = (),
) -> tuple[Mount, ...]:
    """Every mount of a container, by what is asked for; nothing is made.

    `asked` are mounts or texts of --mount, `texts` those of -v, `others` those of --volumes-from.
    """
    if not (asked or texts or tmpfs or others or image.volumes):
        return ()
    explicit = [mount_syntax.volume(text) for text in texts]
    explicit += [mount_syntax.mount(one) if isinstance(one, str) else one for one in asked]
    explicit += [
        Mount(kind="tmpfs", target=target, options=tmpfs_options(options.split(",") if options else ()))
        for target, options in (tmpfs or {}).items()
    ]
    found: dict[str, Mount] = {}
    for one in explicit:
        if one.target in found:
            raise Invalid(f"Duplicate mount point: {one.target}")
        found[one.target] = one
    for text in others:
        container, read_only = mount_syntax.volumes_from(text)
        for one in containers.find(paths, container).mounts:
            if one.kind != "tmpfs":
                shown = dataclasses.replace(one, read_only=one.read_only or read_only, copy=False)
                found.setdefault(one.target, dataclasses.replace(shown, anonymous=False))
    for target in image.volumes:
        one = Mount(kind="volume", target=target)
        found.setdefault(one.target, one)
    if len(found) > MOST_MOUNTS:
        raise Invalid(f"a container takes at most {MOST_MOUNTS} mounts, not {len(found)}")
    known = [_named(paths, one) for one in found.values()]
    return tuple(sorted(known, key=lambda one: one.target.count("/")))  # what lies in another one comes later


def _named(paths: Paths, mount: Mount) -> Mount:
    """A volume with its name and its directory; what a bind mount cannot be made of is refused here."""
    if mount.kind == "bind":
        _check_source(mount)
    if mount.kind != "volume" or mount.directory:
        return mount
    name = volumes.check_name(mount.source) if mount.source else volumes.new_name()
    place = str(volumes.directory(paths, name))
    return dataclasses.replace(mount, source=name, directory=place, anonymous=not mount.source)


def _check_source(mount: Mount) -> None:
    if not Path(mount.source).exists():
        if not mount.make_source:
            raise Invalid(
                f'invalid mount config for type "bind": bind source path does not exist: {mount.source}',
                hint="make it first; -v would make a directory",
            )
        return
    if "shared" in mount.propagation or "slave" in mount.propagation:
        _check_propagation(mount)


def _check_propagation(mount: Mount) -> None:
    """What is mounted below the source travels only if the file system that it is on lets it."""
    source = Path(mount.source).resolve()
    above = [row for row in mounts.mounts() if source.is_relative_to(row.mount_point)]
    found = max(above, key=lambda row: (len(row.mount_point), row.mount_id))
    needed = ("shared",) if "shared" in mount.propagation else ("shared", "slave")
    if not any(word in found.propagation for word in needed):
        raise Invalid(
            f"path {mount.source} is mounted on {found.mount_point} but it is not a "
            f"{' or '.join(needed)} mount",
            hint=f"mount --make-shared {found.mount_point}",
        )


def standard_and(mounts_of_its_own: Sequence[Mount]) -> tuple[spec.Mount, ...]:
    """All mounts of a config.json: what every container has, but where it asked for something else."""
    if not mounts_of_its_own:
        return spec.MOUNTS
    taken = {one.target for one in mounts_of_its_own}
    standard = (
        one
        for one in spec.MOUNTS
        if one.destination not in taken and not ("/dev" in taken and one.destination.startswith("/dev/"))
    )
    return (*standard, *(one.oci() for one in mounts_of_its_own))


@contextlib.contextmanager
def ready(paths: Paths, record: Record, ledger: Ledger | None, *, kept: bool) -> Iterator[None]:
    """Everything that is mounted is there, and no volume of it can be removed within the block.

    Of a new container, an anonymous volume is written down before it is made.
    It goes with a container that is not kept, at the end of the block.
    """
    if not record.mounts:
        yield
        return
    mine = [one for one in record.mounts if one.kind == "volume"]
    with contextlib.ExitStack() as held:
        for one in record.mounts:
            if one.kind == "bind":
                _make_source(one)
        for one in mine:
            _make_volume(paths, one, ledger)
            held.enter_context(volumes.in_use(paths, one.source))
            _fill(paths, record, one)
        yield
    if not kept:
        remove_anonymous(paths, record)


def _make_source(mount: Mount) -> None:
    if mount.make_source:
        try:
            Path(mount.source).mkdir(mode=0o755, parents=True, exist_ok=True)
        except FileExistsError:
            pass  # a file, which can be shown too
        except OSError as failure:
            raise StartFailed(
                f"error while creating mount source path '{mount.source}': {failure.strerror}"
            ) from failure
    else:
        _check_source(mount)


def _make_volume(paths: Paths, mount: Mount, ledger: Ledger | None) -> None:
    try:
        volumes.get(paths, mount.source)
        return
    except NotFound:
        pass
    if mount.anonymous:
        if ledger is not None:
            ledger.enter("tree", Path(mount.directory).parent)
        volumes.create_anonymous(paths, mount.source)
    else:
        volumes.create(paths, mount.source, labels=mount.labels)


def _fill(paths: Paths, record: Record, mount: Mount) -> None:
    """An empty volume gets what the image has at its place."""
    volumes.settle(paths, mount.source)
    if not mount.copy or not volumes.is_empty(paths, mount.source):
        return

    def copy_from(root: Path) -> None:
        try:
            descriptor, inside = within.open_within(root, mount.target)
        except (FileNotFoundError, NotADirectoryError):
            return  # the image has nothing there
        os.close(descriptor)
        found = Path(f"{root}{inside}")
        if not found.is_dir():
            raise Invalid(f"cannot mount volume over existing file, file exists {mount.target}")
        volumes.fill(paths, mount.source, found)

    view.look([store.layer_directory(paths, layer) for layer in record.layers], copy_from)


def remove_anonymous(paths: Paths, record: Record) -> None:
    """The volumes that were made for one container alone, where no other has taken them over."""
    for one in record.mounts:
        if one.anonymous:
            with contextlib.suppress(Conflict):
                volumes.remove(paths, one.source, force=True, leaving=record.id)
