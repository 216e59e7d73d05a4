"""overlay: many read-only layers and one writable directory, seen as one tree.

Chapter 5. docs.kernel.org/filesystems/overlayfs.html, mount(2).
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import Invalid, Unsupported
from labkit.kernel import mounts
from labkit.kernel.mounts import MountFlag, PlannedMount

MOST_LOWER = 500
"""OVL_MAX_STACK of the kernel."""

_FLAGS = int(MountFlag.NODEV)
"""Anybody can put a device into a layer, and none shall open there: /dev is a mount of its own."""

_PLAIN = "redirect_dir=off,metacopy=off,index=off"
"""Whatever a distribution has as default: an upper directory shall be a layer that makes sense by itself."""

LINKS = ".l"
"""Beside the layers: a short name for each that is one of many."""

_PAGE_BYTES = 4096
"""mount(2) copies one page of options, with the byte that ends them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """What is laid over what. Without `upper` and `work` the result is read-only.

    `volatile` leaves out every sync of the upper directory: right for one that
    is thrown away with its container. Linux 5.10.
    """

    lower: tuple[Path, ...]  # the topmost first, as the kernel has it
    upper: Path | None = None
    work: Path | None = None  # empty, and on the file system of `upper`
    volatile: bool = False

    def __post_init__(self) -> None:
        if not self.lower:
            raise Invalid("an overlay needs at least one lower directory")
        if len(self.lower) > MOST_LOWER:
            raise Invalid(f"an overlay takes at most {MOST_LOWER} lower directories, not {len(self.lower)}")
        if (self.upper is None) != (self.work is None):
            raise Invalid(
                "an overlay's upper directory needs a work directory beside it, and the other way about"
            )
        if self.upper is None and len(self.lower) < 2:
            raise Invalid("without an upper directory an overlay needs two lower ones; a bind mount would do")

    def options(self, below: Path | None = None) -> str:
        """The options as text; lower directories relative to `below` where it is given."""
        return self._options([path.relative_to(below) if below else path for path in self.lower])

    def _options(self, names: Sequence[Path]) -> str:
        parts = ["lowerdir=" + ":".join(mounts.escape_option(name, in_list=True) for name in names)]
        if self.upper is not None and self.work is not None:
            parts += [
                f"upperdir={mounts.escape_option(self.upper)}",
                f"workdir={mounts.escape_option(self.work)}",
                _PLAIN,
            ]
            if self.volatile:
                parts.append("volatile")
        return ",".join(parts)

    def plan(self, target: Path) -> PlannedMount:
        """The mount to make, from any process.

        A missing directory is named: the kernel would only say ENOENT. Many
        layers fit into the one page of options by names relative to the
        directory that holds them all, and very many by short links there.
        """
        for directory in (*self.lower, *(d for d in (self.upper, self.work) if d)):
            if not directory.is_dir():
                raise FileNotFoundError(2, "no such directory for an overlay", str(directory))
        options = self.options()
        if len(os.fsencode(options)) < _PAGE_BYTES:
            return PlannedMount("overlay", str(target), "overlay", _FLAGS, options)
        common = Path(os.path.commonpath(self.lower))
        options = self.options(below=common)
        if len(os.fsencode(options)) >= _PAGE_BYTES:
            options = self._options([_short(path, common) for path in self.lower])
        if len(os.fsencode(options)) >= _PAGE_BYTES:
            raise Unsupported(
                f"{len(self.lower)} layers do not fit into the {_PAGE_BYTES} bytes that mount(2) takes",
                hint="squash some of the image's layers into one",
            )
        return PlannedMount("overlay", str(target), "overlay", _FLAGS, options, str(common))

    def mount(self, target: Path) -> None:
        """Mount it here and now."""
        self.plan(target).apply()


def _short(layer: Path, common: Path) -> Path:
    """A link to a layer by its last digits; by more of them where another layer has those."""
    goal = Path("..") / layer.relative_to(common)
    for digits in (8, 16, 64):
        link = Path(LINKS) / layer.name[-digits:]
        (common / LINKS).mkdir(mode=0o711, exist_ok=True)
        with suppress(FileExistsError):
            (common / link).symlink_to(goal)
        if (common / link).readlink() == goal:
            break
    return link
