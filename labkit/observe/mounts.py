"""mounts: what a process sees mounted, as a tree, with overlays taken apart.

Chapters 3 and 5. proc_pid_mountinfo(5), mount_namespaces(7), findmnt(8).
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import NotFound, Unsupported
from labkit.kernel import mounts


@dataclass(frozen=True, slots=True)
class Overlay:
    """The directories that an overlay mount stacks; `lower` has the topmost first."""

    lower: tuple[str, ...]
    upper: str | None  # None where it was mounted read-only
    work: str | None


@dataclass(frozen=True, slots=True)
class MountRow:
    """One mount with its place in the tree."""

    mount_id: int
    parent_id: int
    depth: int
    mount_point: str
    kind: str
    source: str
    options: str
    propagation: str
    overlay: Overlay | None


def tree(pid: "int | str" = "self") -> list[MountRow]:
    """The mounts of a process, each below the mount it is attached to."""
    return rows(os.fsdecode(Path(f"/proc/{pid}/mountinfo").read_bytes()))


def rows(mountinfo: str) -> list[MountRow]:
    """As `tree`, from the text of a mountinfo."""
    parsed = {mount.mount_id: mount for mount in mounts.parse_mountinfo(mountinfo)}
    children: dict[int, list[int]] = {}
    for number, mount in parsed.items():
        children.setdefault(mount.parent_id, []).append(number)
    roots = [n for n, mount in parsed.items() if mount.parent_id not in parsed or mount.parent_id == n]
    found = []
    waiting = [(number, 0) for number in reversed(roots)]
    while waiting:
        number, depth = waiting.pop()
        found.append(_row(parsed[number], depth))
        waiting += [(child, depth + 1) for child in reversed(children.get(number, [])) if child != number]
    return found


def _row(mount: mounts.Mount, depth: int) -> MountRow:
    return MountRow(
        mount.mount_id, mount.parent_id, depth, mount.mount_point, mount.kind, mount.source, mount.options,
        mount.propagation, decode_overlay(mount.super_options) if mount.kind == "overlay" else None,
    )  # fmt: skip


def decode_overlay(super_options: str) -> Overlay:
    r"""The layers in the last field of an overlay's line in mountinfo, as the kernel wrote it.

    The kernel shows a comma inside a value as `\054`, so the field is split
    first and made plain afterwards. `lowerdir=` holds a list with the escapes
    of mount(2); `lowerdir+=`, from fsconfig(2), one plain path each.
    """
    lower: list[str] = []
    single: dict[str, str] = {}
    for option in super_options.split(","):
        key, _, shown = option.partition("=")
        value = mounts.unescape(shown)
        if key == "lowerdir":
            lower += split_layers(value)
        elif key == "lowerdir+":
            lower.append(value)
        else:
            single[key] = value
    return Overlay(tuple(lower), single.get("upperdir"), single.get("workdir"))


def split_layers(lowerdir: str) -> list[str]:
    r"""Split the value of `lowerdir` at the colons that no backslash escapes."""
    parts = re.findall(r"((?:\\.|[^:\\])+)", lowerdir)
    return [re.sub(r"\\(.)", r"\1", part) for part in parts]


def overlay_at(merged: "os.PathLike[str] | str", pid: "int | str" = "self") -> Overlay:
    """The layers behind an overlay mount, by the directory where it is seen.

    Of several mounts on one place the last is seen; in the tree it hangs below the others.
    """
    place = str(Path(merged).resolve())
    found = next((mount.overlay for mount in reversed(tree(pid)) if mount.mount_point == place), None)
    if found is None:
        raise NotFound(
            f"no overlay is mounted on {place}", hint="name the layers: lower=[…], upper=…, or mount it first"
        )
    relative = [layer for layer in (*found.lower, found.upper) if layer and not layer.startswith("/")]
    if relative:
        raise Unsupported(
            f"the overlay on {place} was mounted with relative directories ({', '.join(relative)})",
            hint="the kernel does not keep what they were relative to: name the layers, lower=[…], upper=…",
        )
    return found
