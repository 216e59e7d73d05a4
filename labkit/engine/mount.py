"""mount: what a container gets from outside its image: a directory of the host, a volume, a tmpfs.

Chapter 10. mount(2), mount_namespaces(7), tmpfs(5), docker-run(1) --mount.
"""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from labkit.errors import Invalid
from labkit.kernel import devices
from labkit.runtime import spec

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")

_OPPOSITES = (
    ("ro", "rw"), ("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev"), ("noatime", "atime"),
    ("nodiratime", "diratime"), ("relatime", "norelatime"), ("strictatime", "nostrictatime"),
)  # fmt: skip
_OPPOSITE = dict(_OPPOSITES) | {b: a for a, b in _OPPOSITES}
_VALUES = {
    "size": r"\d+[kmgKMG%]?",
    "mode": r"[0-7]{1,4}",
    "uid": r"\d+",
    "gid": r"\d+",
    "nr_inodes": r"\d+[kmgKMG]?",
    "nr_blocks": r"\d+[kmgKMG]?",
    "mpol": r"[a-z]+(=[a-z]+)?(:[\d-]+)?",
}
_TMPFS_DEFAULTS = ("noexec", "nosuid", "nodev")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount as it was asked for. `bind`, `volume` and `tmpfs` make one in Python."""

    kind: Literal["bind", "volume", "tmpfs"]
    target: str  # where it is seen inside
    source: str = ""  # a path of the host, or a volume's name; no name asks for an anonymous volume
    read_only: bool = False
    recursive: bool = True  # of a bind mount: with what is mounted below its source
    read_only_below: bool = True  # read-only also for what is mounted below
    propagation: str = "rprivate"
    copy: bool = True  # of a volume: an empty one gets what the image has there
    make_source: bool = False  # of a bind mount: a missing directory is made, as `-v` does
    options: tuple[str, ...] = ()  # of a tmpfs
    labels: dict[str, str] = field(default_factory=dict)  # of a volume, if it is new
    directory: str = ""  # of a volume: where its files are, once that is known
    anonymous: bool = False  # of a volume: made for this container alone

    @classmethod
    def bind(
        cls,
        source: "str | os.PathLike[str]",
        target: str,
        *,
        read_only: bool = False,
        propagation: str = "rprivate",
        recursive: bool = True,
    ) -> "Mount":
        """A file or directory of the host, which must be there."""
        return cls(
            kind="bind", source=os.fspath(source), target=target, read_only=read_only,
            propagation=propagation, recursive=recursive,
        )  # fmt: skip

    @classmethod
    def volume(
        cls,
        name: str,
        target: str,
        *,
        read_only: bool = False,
        copy: bool = True,
        labels: Mapping[str, str] | None = None,
    ) -> "Mount":
        """A volume by its name, made where there is none yet; without a name one for this container alone."""
        return cls(
            kind="volume", source=name, target=target, read_only=read_only, copy=copy,
            labels=dict(labels or {}),
        )  # fmt: skip

    @classmethod
    def tmpfs(
        cls,
        target: str,
        *,
        size_bytes: int | None = None,
        mode: int | None = None,
        read_only: bool = False,
        options: Iterable[str] = (),
    ) -> "Mount":
        """An empty file system in memory, gone with the container. `options` as in tmpfs(5)."""
        asked = list(options)
        if size_bytes is not None:
            asked.append(f"size={size_bytes}")
        if mode is not None:
            asked.append(f"mode={mode:o}")
        return cls(kind="tmpfs", target=target, read_only=read_only, options=tmpfs_options(asked))

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", _plain(self.target))
        if self.kind not in ("bind", "volume", "tmpfs"):
            raise Invalid(f'invalid mount config for type "{self.kind}": mount type unknown')
        if wrong := _what_is_wrong(self):
            raise Invalid(f'invalid mount config for type "{self.kind}": {wrong}')

    @property
    def host_path(self) -> str:
        """What of the host is shown inside; nothing for a tmpfs."""
        return self.directory or self.source

    def oci(self) -> spec.Mount:
        """In the words of config.md "Mounts"."""
        if self.kind == "tmpfs":
            closed = ("ro",) if self.read_only else ()
            return spec.Mount(self.target, "tmpfs", "tmpfs", (*self.options, *closed))
        words = ["rbind" if self.recursive else "bind"]
        if self.read_only:
            words.append("rro" if self.read_only_below and self.recursive else "ro")
        if not _is_harmless_device(self.host_path):
            words.append("rnodev" if self.recursive else "nodev")
        return spec.Mount(self.target, "bind", self.host_path, (*words, self.propagation))


def _is_harmless_device(path: str) -> bool:
    """One that every container has, such as /dev/null, which people bind over a file to hide it.

    Other devices do not open through a mount: no controller says yet which of them a container may use.
    """
    try:
        found = os.stat(path)
    except OSError:
        return False
    known = {os.makedev(device.major, device.minor) for device in devices.DEFAULT}
    return stat.S_ISCHR(found.st_mode) and found.st_rdev in known


def _plain(target: str) -> str:
    """The path without `//`, `.` and `..`."""
    return "/" + os.path.normpath(target).lstrip("/") if target.startswith("/") else target


def _what_is_wrong(mount: Mount) -> str:
    """In Docker's words; empty where all is well."""
    for path in (mount.target, *((mount.source,) if mount.kind == "bind" else ())):
        if "\0" in path:
            return f"invalid mount path: {path!r} holds a zero byte"
    if not mount.target:
        return "field Target must not be empty"
    if mount.target == "/":
        return "invalid specification: destination can't be '/'"
    if not mount.target.startswith("/"):
        return f"invalid mount path: '{mount.target}' mount path must be absolute"
    if mount.kind == "bind":
        if not mount.source:
            return "field Source must not be empty"
        if not mount.source.startswith("/"):
            return f"invalid mount path: '{mount.source}' mount path must be absolute"
    if mount.kind == "tmpfs" and mount.source:
        return "field Source must not be specified"
    if mount.propagation not in PROPAGATIONS:
        return f"invalid propagation mode: {mount.propagation}"
    return ""


def tmpfs_options(asked: Iterable[str]) -> tuple[str, ...]:
    """Docker's defaults with what is asked for laid over them: the last word on each matter wins."""
    kept: dict[str, str] = {}
    for option in (*_TMPFS_DEFAULTS, *asked):
        key, equals, value = option.partition("=")
        if equals and key in _VALUES and re.fullmatch(_VALUES[key], value):
            kept[key] = option
        elif not equals and option in _OPPOSITE:
            kept.pop(_OPPOSITE[option], None)
            kept[option] = option
        else:
            raise Invalid(
                f'invalid tmpfs option ["{option}"]',
                hint=f"{', '.join(_VALUES)} with a value as in tmpfs(5), or a flag such as exec",
            )
    usual = {b for _, b in _OPPOSITES}  # what a mount is anyway needs no word
    return tuple(option for option in kept.values() if option not in usual)
