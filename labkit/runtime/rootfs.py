"""rootfs: build the tree that a container sees, and make it the only one.

Chapter 3. mount(2), pivot_root(2), mount_namespaces(7), config-linux.md
"Default Filesystems". Runs inside, between clone3 and exec.
"""

import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.kernel import cgroups, devices, mounts, trace
from labkit.kernel.cgroups import Hierarchy
from labkit.kernel.mounts import MountFlag
from labkit.runtime import outside

_FLAGS = {
    "ro": MountFlag.RDONLY,
    "nosuid": MountFlag.NOSUID,
    "nodev": MountFlag.NODEV,
    "noexec": MountFlag.NOEXEC,
    "noatime": MountFlag.NOATIME,
    "nodiratime": MountFlag.NODIRATIME,
    "relatime": MountFlag.RELATIME,
    "strictatime": MountFlag.STRICTATIME,
}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}


def split_options(options: Iterable[str]) -> tuple[MountFlag, str]:
    """OCI mount options as the flags of mount(2) and the text for the file system."""
    flags, rest = MountFlag(0), []
    for option in options:
        if option in _FLAGS:
            flags |= _FLAGS[option]
        elif option != "rw":
            rest.append(option)
    return flags, ",".join(rest)


def inside(root: Path, destination: str) -> Path:
    """Where a path of the image lies; OSError where a link of the image leads elsewhere.

    Every part that is there is looked at: an image must not steer a mount of
    ours through a symbolic link out of its root.
    """
    place = root
    for part in Path(destination).parts[1:]:
        if part == "..":
            raise OSError(40, "a mount's destination must not go up", destination)
        place = place / part
        if place.is_symlink():
            raise OSError(40, "the image has a symbolic link where something is to be mounted", destination)
    return place


def build(
    root: Path,
    entries: Sequence[Mapping[str, Any]],
    hierarchies: Sequence[Hierarchy],
    taken: Mapping[int, int],
) -> None:
    """Mount everything the container has, below `root`, in the order given.

    `taken` has the sources of the bind mounts, as `outside.take` took them.
    """
    for number, entry in enumerate(entries):
        if number in taken:
            outside.put_bind(root, entry, taken[number])
            continue
        flags, options = split_options(entry.get("options", ()))
        if outside.is_asked_for(entry):
            outside.put_tmpfs(root, entry["destination"], flags, options)
            continue
        target = inside(root, entry["destination"])
        kind, source = entry.get("type", ""), entry.get("source", "")
        if kind == "cgroup":
            _mount_cgroups(target, flags, hierarchies)
            continue
        target.mkdir(parents=True, exist_ok=True)
        mounts.mount(source, target, kind, flags, options)
        if entry["destination"] == "/dev":
            _fill_dev(target)


def _fill_dev(dev: Path) -> None:
    for device in devices.DEFAULT:
        devices.make(device, dev)
    for name, goal in _LINKS.items():
        with trace.operation("symlink", f"{dev / name} → {goal}"):
            (dev / name).symlink_to(goal)
    (dev / "ptmx").symlink_to("pts/ptmx")
    for name in ("pts", "shm", "mqueue"):
        (dev / name).mkdir()


def _mount_cgroups(target: Path, flags: MountFlag, hierarchies: Sequence[Hierarchy]) -> None:
    """The container's own groups; with a cgroup namespace of its own, they look like the root."""
    if cgroups.version_in_use(hierarchies) != 1:
        mounts.mount("cgroup", target, "cgroup2", flags)
        return
    mounts.mount("tmpfs", target, "tmpfs", flags & ~MountFlag.RDONLY, "mode=755,size=64k")
    for hierarchy in (h for h in hierarchies if h.version == 1 and h.controllers):
        place = target / hierarchy.mount_point.name
        place.mkdir()
        mounts.mount("cgroup", place, "cgroup", flags, ",".join(sorted(hierarchy.controllers)))
    mounts.remount(target, flags)


def enter(root: Path) -> None:
    """Make `root` this namespace's `/`."""
    mounts.enter_root(root)


def make_read_only() -> None:
    """Let nobody write to `/`; what is mounted below it stays as it is."""
    mounts.remount("/", MountFlag.RDONLY | MountFlag.NODEV)  # a flag that is not said again is lost


def mask(paths: Iterable[str]) -> None:
    """Hide files behind /dev/null, directories behind an empty read-only tmpfs; what is not there is fine."""
    for path in paths:
        try:
            kind = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(kind):
            mounts.mount("tmpfs", path, "tmpfs", MountFlag.RDONLY, "size=0k")
        else:
            mounts.bind("/dev/null", path)


def protect(paths: Iterable[str]) -> None:
    """Make parts of /proc read-only: a bind mount onto itself, then a remount."""
    for path in paths:
        try:
            mounts.bind(path, path, recursive=True)
        except FileNotFoundError:
            continue
        mounts.remount(path, MountFlag.RDONLY | MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
