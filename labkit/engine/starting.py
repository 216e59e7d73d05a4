"""starting: from a record to a request for the launcher, with everything it makes written down first.

Chapter 6. The bundle is a real one (config.md of runtime-spec 1.2), so runc and crun can run it.
"""

import dataclasses
import errno
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from labkit import records
from labkit.engine import containers, networking, storage
from labkit.engine.containers import Record
from labkit.engine.mount import Mount
from labkit.engine.networking import Plugs
from labkit.errors import Conflict, Invalid, LabkitError
from labkit.images import base, store
from labkit.images.overlay import Overlay
from labkit.kernel import cgroups, trace, trees
from labkit.kernel.limits import Limits
from labkit.kernel.namespaces import Namespace
from labkit.ledger import Ledger
from labkit.paths import Paths
from labkit.runtime import status
from labkit.runtime.request import Run
from labkit.runtime.spec import NAMESPACES, NO_LIMITS, Spec

OWNER_LABEL = "labkit.owner"
"""Says for whom a container was made, such as a chapter, so that a reset finds it."""


class Options(networking.Options, total=False):
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
    network: str  # bridge, a network's name, host, none (where nothing is said), container:NAME


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
    network: str = "none",
    **of_networks: Unpack[networking.Options],
) -> Record:
    """A container as asked for; nothing is made, and what makes no sense is refused."""
    if isinstance(command, str):
        raise Invalid(f"the command is a list of words, not {command!r}", hint='["sh", "-c", …] for a shell')
    image = base.get(paths, image_name)
    container_id = containers.new_id()
    hostname = hostname or (socket.gethostname() if network == "host" else container_id[:12])
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
        networking=networking.plan(paths, _mode(paths, network), **of_networks),
    )
    spec_of(record)  # it checks the values
    return record


def _mode(paths: Paths, network: str) -> str:
    """The mode; another container by its id, whatever it will be called."""
    if not network.startswith(networking.OTHERS):
        return network
    return networking.OTHERS + containers.find(paths, network.removeprefix(networking.OTHERS)).id


def _with_swap_as_docker(limits: Limits) -> Limits:
    """A memory limit alone allows as much swap again, as in docker-run(1), where there is any."""
    if limits.memory_bytes is None or limits.memory_swap_bytes is not None:
        return limits
    if len(Path("/proc/swaps").read_text().splitlines()) < 2 or not cgroups.can_limit_swap():
        return limits
    return dataclasses.replace(limits, memory_swap_bytes=2 * limits.memory_bytes)


def spec_of(record: Record, *, files: Sequence[Mount] = (), network_path: str = "") -> Spec:
    """What the runtime is told; `files` are mounted where the container did not ask for something else."""
    taken = {one.target for one in record.mounts}
    return Spec(
        args=record.args,
        env=record.env,
        working_directory=record.working_directory,
        user=record.user,
        hostname=record.hostname,
        read_only=record.read_only,
        mounts=storage.standard_and((*record.mounts, *(one for one in files if one.target not in taken))),
        namespaces=NAMESPACES & ~Namespace.NETWORK if record.networking.mode == "host" else NAMESPACES,
        network_path=network_path,
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


@dataclass(frozen=True, slots=True)
class Prepared:
    """A bundle that is ready to be started."""

    held: int  # a descriptor of its ledger, that keeps it from being undone
    plugs: Plugs  # its addresses are reserved, its cables not there yet

    def on_born(self, pid: int) -> None:
        """To be called with the process that waits for its network."""
        self.plugs.connect(pid)


@contextmanager
def prepared(paths: Paths, record: Record, *, kept: bool) -> Iterator[Prepared]:
    """Make the bundle and, for a container that is not kept, its directories.

    A container that is not kept is over at the end of the block. The monitor of
    one that is kept holds the ledger too, until its end; what fails before there
    is a monitor is undone here.
    """
    ledger = ledger_of(paths, record)
    plugs = Plugs(paths, record.networking, ledger, record.id, record.name)
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
            plugs.reserve()
            records.save(bundle / "config.json", _spec_at_start(paths, record, plugs).oci(), durable=False)
        yield Prepared(held, plugs)
        if not kept:
            trees.remove(bundle)
            trees.remove(place)
            if plugs.endpoints:
                ledger.undo()
            else:
                ledger.close()
    except BaseException:
        os.close(held)
        with ledger.abandoned() as ours:  # a monitor that holds it undoes it
            if ours:
                ledger.undo()
        raise
    os.close(held)


def _spec_at_start(paths: Paths, record: Record, plugs: Plugs) -> Spec:
    """With the files that speak of networks, as they are at this start."""
    mode = record.networking.mode
    if mode == "none" or not record.networking.has_files:
        return spec_of(record)
    if mode.startswith(networking.OTHERS):
        other = mode.removeprefix(networking.OTHERS)
        state = status.load(containers.bundle(paths, other))
        if state.status not in (status.Status.RUNNING, status.Status.PAUSED):
            raise Conflict(f"cannot join network of a non running container: {other}")
        place = containers.directory(paths, other)
        path = f"/proc/{state.pid}/ns/net"
    else:
        place, path = containers.directory(paths, record.id), ""
        networking.write_files(place, record.networking, record.hostname, plugs.endpoints)
    files = [
        Mount.bind(source, target) for source, target in networking.files(place) if Path(source).exists()
    ]
    return spec_of(record, files=files, network_path=path)


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
        waits=record.networking.has_cables,
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
