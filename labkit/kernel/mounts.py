"""mounts: put file systems into the tree, and read the tree back.

Chapter 3. mount(2), pivot_root(2), mount_namespaces(7), mount_setattr(2), proc_pid_mountinfo(5).
"""

import ctypes
import os
import re
from dataclasses import dataclass
from enum import IntFlag
from pathlib import Path

from labkit.kernel import libc

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
DETACH = 2  # MNT_DETACH of umount2(2)


class MountFlag(IntFlag):
    """The bits of mount(2), linux/mount.h."""

    RDONLY = 1
    NOSUID = 2
    NODEV = 4
    NOEXEC = 8
    REMOUNT = 32
    NOSYMFOLLOW = 256
    NOATIME = 1024
    NODIRATIME = 2048
    BIND = 4096
    MOVE = 8192
    REC = 16384
    UNBINDABLE = 1 << 17
    PRIVATE = 1 << 18
    SLAVE = 1 << 19
    SHARED = 1 << 20
    RELATIME = 1 << 21
    STRICTATIME = 1 << 24

    def __str__(self) -> str:
        return "|".join(str(flag.name) for flag in MountFlag if flag in self)


class MountAttribute(IntFlag):
    """The bits of mount_setattr(2), linux/mount.h."""

    RDONLY = 0x1
    NOSUID = 0x2
    NODEV = 0x4
    NOEXEC = 0x8
    IDMAP = 0x10_0000


def mount(
    source: str,
    target: "os.PathLike[str] | str",
    kind: str = "",
    flags: MountFlag = MountFlag(0),  # noqa: B008 (an immutable value)
    options: str = "",
) -> None:
    """Attach a file system, or with flags change what is attached: mount(2) in its own order."""
    said = f"{source or kind or 'none'} on {os.fspath(target)}"
    libc.call(
        "mount", os.fsencode(source), os.fsencode(target), kind.encode(), int(flags), os.fsencode(options),
        said=said + (f" type {kind}" if kind else "") + (f" {flags}" if flags else "")
        + (f" ({options})" if options else ""),
        path=target,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlannedMount:
    """A mount still to be made, by whoever shall own it: plain enough to be printed or sent."""

    source: str
    target: str
    kind: str
    flags: int = 0
    options: str = ""
    directory: str = ""  # where the options' relative names begin

    def apply(self) -> None:
        """Make it. With a `directory` this process goes there and back: for fresh processes only."""
        if not self.directory:
            mount(self.source, self.target, self.kind, MountFlag(self.flags), self.options)
            return
        came_from = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir(self.directory)
            mount(self.source, self.target, self.kind, MountFlag(self.flags), self.options)
        finally:
            os.fchdir(came_from)
            os.close(came_from)


def bind(
    source: "os.PathLike[str] | str", target: "os.PathLike[str] | str", *, recursive: bool = False
) -> None:
    """Show a file or directory at a second place."""
    mount(os.fspath(source), target, flags=MountFlag.BIND | (MountFlag.REC if recursive else MountFlag(0)))


def remount(target: "os.PathLike[str] | str", flags: MountFlag) -> None:
    """Change the flags of one mount, such as RDONLY, and not of the file system behind it."""
    mount("", target, flags=MountFlag.REMOUNT | MountFlag.BIND | flags)


def propagate(target: "os.PathLike[str] | str", how: MountFlag, *, recursive: bool = True) -> None:
    """Set how mounts travel between this place and its copies: PRIVATE, SLAVE, SHARED or UNBINDABLE."""
    mount("", target, flags=how | (MountFlag.REC if recursive else MountFlag(0)))


def unmount(target: "os.PathLike[str] | str", flags: int = 0) -> None:
    """Take the topmost mount off a place; EBUSY while it is used, unless DETACH."""
    libc.call("umount2", os.fsencode(target), flags, said=os.fspath(target), path=target)


def enter_root(new_root: "os.PathLike[str] | str") -> None:
    """Make `new_root`, a mount, this namespace's `/` and let the old root go.

    pivot_root(".", ".") stacks the old root on the new one, so no spare
    directory is needed to park it: see the notes in pivot_root(2).
    """
    os.chdir(new_root)
    libc.call("pivot_root", b".", b".", said=f"{os.fspath(new_root)} becomes /", path=new_root)
    libc.call("umount2", b".", DETACH, said="the old root, which lies on top", path=new_root)
    os.chdir("/")


class _MountAttr(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = tuple((name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd"))


def set_attributes(
    descriptor: int,
    attributes: MountAttribute,
    *,
    recursive: bool = False,
    propagation: MountFlag = MountFlag(0),  # noqa: B008 (an immutable value)
    user_namespace: int | None = None,
    path: "os.PathLike[str] | str | None" = None,
) -> None:
    """Set attributes of the mount behind a descriptor, for a whole tree where asked, mount_setattr(2)."""
    request = _MountAttr(
        attr_set=int(attributes), propagation=int(propagation), userns_fd=user_namespace or 0
    )
    libc.syscall(
        "mount_setattr", libc.MOUNT_SETATTR, ctypes.c_int(descriptor), ctypes.c_char_p(b""),
        ctypes.c_uint(AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)),
        ctypes.byref(request), ctypes.c_size_t(ctypes.sizeof(request)),
        said=" ".join(str(word.name) for word in (*attributes, *propagation)), path=path,
    )  # fmt: skip


def clone_tree(source: "os.PathLike[str] | str", *, recursive: bool = False) -> int:
    """A detached copy of a mount, as a descriptor: nobody sees it until it is attached, open_tree(2)."""
    flags = 1 | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0)  # 1 is OPEN_TREE_CLONE
    return libc.syscall(
        "open_tree", libc.OPEN_TREE, ctypes.c_int(AT_FDCWD), ctypes.c_char_p(os.fsencode(source)),
        ctypes.c_uint(flags), said=f"a detached copy of {os.fspath(source)}", path=source,
    )  # fmt: skip


def attach(descriptor: int, target: "os.PathLike[str] | str", *, at: int | None = None) -> None:
    """Put a detached mount into the tree, move_mount(2).

    With `at`, a descriptor of the very place, no path is looked up; `target` is what it is called.
    """
    name, flags = (os.fsencode(target), 0x04) if at is None else (b"", 0x44)  # F_EMPTY_PATH, T_EMPTY_PATH
    libc.syscall(
        "move_mount", libc.MOVE_MOUNT, ctypes.c_int(descriptor), ctypes.c_char_p(b""),
        ctypes.c_int(AT_FDCWD if at is None else at), ctypes.c_char_p(name), ctypes.c_uint(flags),
        said=os.fspath(target), path=target,
    )  # fmt: skip


def bind_idmapped(
    source: "os.PathLike[str] | str", target: "os.PathLike[str] | str", user_namespace: int
) -> None:
    """Show a directory at a second place with its owners translated: a mount only the newer calls can make.

    `user_namespace` is a descriptor, as from `idmap.user_namespace`. Linux 5.12.
    """
    tree = clone_tree(source)
    try:
        set_attributes(tree, MountAttribute.IDMAP, user_namespace=user_namespace, path=source)
        attach(tree, target)
    finally:
        os.close(tree)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of mountinfo, in the order and the words of proc_pid_mountinfo(5)."""

    mount_id: int
    parent_id: int
    device: str  # major:minor
    root: str
    mount_point: str
    options: str
    tags: tuple[str, ...]  # shared:N, master:N, propagate_from:N, unbindable
    kind: str
    source: str
    super_options: str  # as the kernel shows them: a comma inside a value is still \054

    @property
    def propagation(self) -> str:
        """Shared, slave, unbindable, or private where no tag says otherwise."""
        words = {tag.partition(":")[0] for tag in self.tags}
        names = [
            name
            for tag, name in (("shared", "shared"), ("master", "slave"), ("unbindable", "unbindable"))
            if tag in words
        ]
        return " ".join(names) or "private"

    def option(self, name: str) -> str | None:
        """The value of a super option, such as `lowerdir` of an overlay; None where it is not there."""
        for option in self.super_options.split(","):
            key, _, value = option.partition("=")
            if key == name:
                return unescape(value)
        return None


def parse_mountinfo(text: str) -> list[Mount]:
    """Every mount of a /proc/PID/mountinfo; spaces and the like come back from their octal form."""
    return [_parse_line(line) for line in text.splitlines() if line]


def _parse_line(line: str) -> Mount:
    before, _, after = line.partition(" - ")
    mount_id, parent_id, device, root, point, options, *tags = before.split(" ")
    kind, source, super_options = [*after.split(" "), "", ""][:3]
    return Mount(
        int(mount_id), int(parent_id), device, unescape(root), unescape(point), options,
        tuple(tag for tag in tags if tag), unescape(kind), unescape(source), super_options,
    )  # fmt: skip


def unescape(text: str) -> str:
    """Undo the kernel's mangle(): a byte as a backslash and three octal digits."""
    if "\\" not in text:
        return text
    plain = re.sub(rb"\\([0-7]{3})", lambda found: bytes((int(found[1], 8),)), os.fsencode(text))
    return os.fsdecode(plain)


def mounts(pid: "int | str" = "self") -> list[Mount]:
    """The mounts that a process sees."""
    return parse_mountinfo(os.fsdecode(Path(f"/proc/{pid}/mountinfo").read_bytes()))


def escape_option(path: "os.PathLike[str] | str", *, in_list: bool = False) -> str:
    r"""Write a path as a value of overlay's options: `\` and `,` escaped, in a list `:` too.

    docs.kernel.org/filesystems/overlayfs.html, "Multiple lower layers".
    """
    escaped = os.fspath(path).replace("\\", "\\\\").replace(",", "\\,")
    return escaped.replace(":", "\\:") if in_list else escaped
