"""starting: from a record to a request for the launcher, with everything it makes written down first.

Chapter 6. The bundle is a real one (config.md of runtime-spec 1.2), so runc and crun can run it.
"""

import dataclasses
import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from labkit import records
from labkit.engine import containers, storage
from labkit.engine.containers import Record
from labkit.engine.mount import Mount
from labkit.errors import Invalid, LabkitError
from labkit.images import base, store
from labkit.images.overlay import Overlay
from labkit.kernel import cgroups, trace, trees
from labkit.kernel.limits import Limits
from labkit.kernel.namespaces import Namespace
from labkit.ledger import Ledger
from labkit.paths import Paths
from labkit.runtime.request import Run
from labkit.runtime.spec import NAMESPACES, NO_LIMITS, Spec

OWNER_LABEL = "labkit.owner"
"""Says for whom a container was made, such as a chapter, so that a reset finds it."""


class Options(TypedDict, total=False):
    """What can be asked for, with the image's own values where nothing is."""

    limits: Limits
    env: Mapping[str, str]
    working_directory: str
    user: str  # name or uid, then :group or :gid, by the image's own files
    hostname: str
    read_only: bool
    mounts: Sequence[Mount | str]  # Mount.bind, Mount.volume, Mount.tmpfs, or texts of docker run --mount
    volumes: Sequence[str]  # as after docker run -v: "name:/inside", "/of/the/host:/inside:ro"
    tmpfs: Mapping[str, str]  # where, and options of tmpfs(5): {"/run": "size=16m"}
    volumes_from: Sequence[str]  # containers, "name" or "name:ro"


def new_record(
    paths: Paths,
    image_name: str,
    command: Sequence[str] | None,
    *,
    name: str = "",
    owner: str = "",
    limits: Limits = NO_LIMITS,
    env: Mapping[str, str] | None = None,
    working_directory: str = "",
    user: str | None = None,
    hostname: str = "",
    read_only: bool = False,
    mounts: Sequence[Mount | str] = (),
    volumes: Sequence[str] = (),
    tmpfs: Mapping[str, str] | None = None,
    volumes_from: Sequence[str] = (),
) -> Record:
    """A container as asked for; nothing is made, and what makes no sense is refused."""
    if isinstance(command, str):
        raise Invalid(f"the command is a list of words, not {command!r}", hint='["sh", "-c", …] for a shell')
    image = base.get(paths, image_name)
    container_id = containers.new_id()
    hostname = hostname or container_id[:12]
    variables = dict(line.split("=", 1) for line in image.env) | {"HOSTNAME": hostname} | dict(env or {})
    record = Record(
        id=container_id,
        name=name or container_id[:12],
        image=image.name,
        image_id=image.id,
        layers=image.layers,
        args=image.args(command),
        env=tuple(f"{key}={value}" for key, value in variables.items()),
        working_directory=working_directory or image.working_directory,
        user=image.user if user is None else user,
        hostname=hostname,
        read_only=read_only,
        limits=_with_swap_as_docker(limits),
        created_at=time.time(),
        labels={OWNER_LABEL: owner} if owner else {},
        mounts=storage.plan(paths, image, asked=mounts, texts=volumes, tmpfs=tmpfs, others=volumes_from),
    )
    spec_of(record)  # it checks the values
    return record


def _with_swap_as_docker(limits: Limits) -> Limits:
    """A memory limit alone allows as much swap again, as in docker-run(1), where there is any."""
    if limits.memory_bytes is None or limits.memory_swap_bytes is not None:
        return limits
    if len(Path("/proc/swaps").read_text().splitlines()) < 2 or not cgroups.can_limit_swap():
        return limits
    return dataclasses.replace(limits, memory_swap_bytes=2 * limits.memory_bytes)


def spec_of(record: Record) -> Spec:
    """What the runtime is told."""
    return Spec(
        args=record.args,
        env=record.env,
        working_directory=record.working_directory,
        user=record.user,
        hostname=record.hostname,
        read_only=record.read_only,
        mounts=storage.standard_and(record.mounts),
        namespaces=NAMESPACES & ~Namespace.NETWORK if record.network == "host" else NAMESPACES,
        cgroup=cgroup_of(record),
        limits=record.limits,
    )


def cgroup_of(record: Record) -> str:
    """The path of its group below the hierarchies' roots."""
    return f"{cgroups.HOME}/{record.id}"


def ledger_of(paths: Paths, record: Record) -> Ledger:
    """Where its kernel objects are written down."""
    return Ledger.of(paths, f"container-{record.id}")


def make_directories(place: Path) -> None:
    """A container's own directory with what an overlay writes to."""
    place.mkdir(mode=0o700)
    (place / "upper").mkdir(mode=0o755)  # it becomes the container's /
    (place / "work").mkdir(mode=0o700)


@contextmanager
def prepared(paths: Paths, record: Record, *, kept: bool) -> Iterator[int]:
    """Make the bundle and, for a container that is not kept, its directories. Yields the held ledger.

    A container that is not kept is over at the end of the block. The monitor of
    one that is kept holds the ledger too, until its end; what fails before there
    is a monitor is undone here.
    """
    ledger = ledger_of(paths, record)
    place, bundle = containers.directory(paths, record.id), containers.bundle(paths, record.id)
    held = ledger.hold()
    try:
        with no_space_is_named(paths.root):
            ledger.enter("cgroup", cgroup_of(record))
            if not kept:
                ledger.enter("tree", bundle)
                ledger.enter("tree", place)
                make_directories(place)
            bundle.mkdir(mode=0o700, exist_ok=kept)
            (bundle / "rootfs").mkdir(exist_ok=kept)
            records.save(bundle / "config.json", spec_of(record).oci(), durable=False)
        yield held
        if not kept:
            trees.remove(bundle)
            trees.remove(place)
            ledger.close()
    except BaseException:
        os.close(held)
        with ledger.abandoned() as ours:  # a monitor that holds it undoes it
            if ours:
                ledger.undo()
        raise
    os.close(held)


def request(paths: Paths, record: Record, *, attached: bool) -> Run:
    """What the launcher is asked. An attached container is removed at its end, a detached one is kept."""
    place, bundle = containers.directory(paths, record.id), containers.bundle(paths, record.id)
    overlay = Overlay(
        lower=tuple(store.layer_directory(paths, layer) for layer in dict.fromkeys(reversed(record.layers))),
        upper=place / "upper",
        work=place / "work",
        volatile=attached,
    )
    return Run(
        container_id=record.id,
        bundle=str(bundle),
        state_root=str(paths.root),
        state_run=str(paths.run),
        owner=ledger_of(paths, record).owner,
        cgroup=cgroup_of(record),
        limits=record.limits,
        mounts=(overlay.plan(bundle / "rootfs"),),
        attached=attached,
        log="" if attached else str(place / "log.json"),
        trace=trace.listening(),
    )


@contextmanager
def no_space_is_named(place: Path) -> Iterator[None]:
    """ENOSPC as an error that says where, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise LabkitError(
            f"no space left on the file system of {place}",
            hint="remove containers and images, or move LABKIT_ROOT",
        ) from error
