"""running: carry out a RUN: a container over the layers so far, whose upper directory becomes a layer.

Chapter 8. docs.kernel.org/filesystems/overlayfs.html. What was made only to
mount something on it is taken away again before.
"""

import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from labkit.build import inside
from labkit.engine import attached, containers, starting
from labkit.engine.attached import Hearer
from labkit.engine.containers import Record
from labkit.engine.engine import Engine
from labkit.engine.mount import Mount
from labkit.engine.networking import Networking
from labkit.errors import StartFailed
from labkit.runtime.spec import MOUNTS, NO_LIMITS

_HOST_FILES = ("/etc/resolv.conf", "/etc/hosts")


@dataclass(frozen=True, slots=True)
class File:
    """A file that is there for the time of a run."""

    content: bytes
    mode: int
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and in what."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    working_directory: str
    user: str
    layers: tuple[str, ...]
    network: str  # host or none
    mounts: Sequence[Mount] = ()
    files: Mapping[str, File] = field(default_factory=dict)  # by their paths inside


def run(
    engine: Engine,
    command: Command,
    upper: Path,
    *,
    view: int,
    hearer: Hearer,
    stop: int,
) -> int:
    """Its exit code; what it changed is then in `upper`, which must not be there before.

    `view` is a descriptor of the layers as they were before.
    """
    if not command.layers:
        raise StartFailed(f'exec: "{command.args[0]}": no such file or directory', exit_code=127)
    container_id = containers.new_id()
    bundle = containers.bundle(engine.paths, container_id)
    record = Record(
        id=container_id,
        name=container_id[:12],
        image="",
        layers=command.layers,
        args=command.args,
        env=tuple(f"{name}={value}" for name, value in command.env.items()),
        working_directory=command.working_directory or "/",
        user=command.user,
        hostname="build",
        read_only=False,
        limits=NO_LIMITS,
        created_at=time.time(),
        mounts=(*_own_files(bundle, command), *command.mounts),
        networking=Networking(mode=command.network, has_files=False),  # it brings its own
    )
    with starting.prepared(engine.paths, record, kept=False) as ready:
        _write_files(bundle, command)
        result = attached.run(
            engine.launcher,
            starting.request(engine.paths, record, attached=True),
            first_files=[ready.held],
            hearer=hearer,
            stop=stop,
        )
        changed = containers.directory(engine.paths, record.id) / "upper"
        targets = [mount.destination for mount in MOUNTS] + [mount.target for mount in record.mounts]
        _remove_mount_points(changed, view, targets)
        changed.rename(upper)
    return result.exit_code


def _own_files(bundle: Path, command: Command) -> list[Mount]:
    """Files that a container sees and no layer keeps: the resolver's, secrets, scripts."""
    plain = _HOST_FILES if command.network == "host" else _HOST_FILES[1:]
    found = [Mount.bind(bundle / name.replace("/", "_"), name) for name in plain]
    for number, target in enumerate(command.files):
        found.append(Mount.bind(bundle / f"file-{number}", target, read_only=True))
    return found


def _write_files(bundle: Path, command: Command) -> None:
    for name in _HOST_FILES:
        try:
            content = Path(name).read_bytes()
        except OSError:
            content = b""
        if command.network != "host":
            content = b"127.0.0.1\tlocalhost\n::1\tlocalhost\n"
        _write(bundle / name.replace("/", "_"), File(content, 0o644))
    for number, file in enumerate(command.files.values()):
        _write(bundle / f"file-{number}", file)


def _write(place: Path, file: File) -> None:
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as writer:
        os.fchown(descriptor, file.uid, file.gid)
        os.fchmod(descriptor, file.mode)
        writer.write(file.content)


def _remove_mount_points(upper: Path, view: int, targets: Sequence[str]) -> None:
    """What the image did not have and the run could not fill, because something lay on it."""
    top = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for target in sorted(targets, key=len, reverse=True):
            path = inside.real_path(view, target)
            while path and not _is_there(view, path) and _is_empty(top, path):
                _remove(top, path)
                path = os.path.dirname(path)  # noqa: PTH120 (a path of the image)
    finally:
        os.close(top)


def _is_there(root: int, path: str) -> bool:
    return _ask(root, path, lambda parent, name: bool(os.lstat(name, dir_fd=parent)))


def _is_empty(root: int, path: str) -> bool:
    """Whether there is an empty file or directory."""

    def ask(parent: int, name: str) -> bool:
        status = os.lstat(name, dir_fd=parent)
        if stat.S_ISDIR(status.st_mode):
            descriptor = inside.open_at(parent, name, os.O_RDONLY | os.O_DIRECTORY)
            try:
                return not os.listdir(descriptor)  # noqa: PTH208
            finally:
                os.close(descriptor)
        return stat.S_ISREG(status.st_mode) and status.st_size == 0

    return _ask(root, path, ask)


def _ask(root: int, path: str, ask: Callable[[int, str], bool]) -> bool:
    parent, name = os.path.split(path)
    try:
        descriptor = inside.open_at(root, parent, os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return ask(descriptor, name)
    except FileNotFoundError:
        return False
    finally:
        os.close(descriptor)


def _remove(root: int, path: str) -> None:
    parent, name = os.path.split(path)
    descriptor = inside.open_at(root, parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if stat.S_ISDIR(os.lstat(name, dir_fd=descriptor).st_mode):
            os.rmdir(name, dir_fd=descriptor)
        else:
            os.unlink(name, dir_fd=descriptor)
    finally:
        os.close(descriptor)
