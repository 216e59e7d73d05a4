"""forest: random directory trees, as overlay leaves them in a layer, and what can be compared of them."""

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as some

Seen = dict[bytes, tuple[object, ...]]


@dataclass
class Node:
    """What stands at one name."""

    kind: str
    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    children: "dict[bytes, Node]" = field(default_factory=dict)
    opaque: bool = False
    device: tuple[int, int] = (1, 3)
    earlier: int = 0  # for a hard link: which of the files before it


def _is_name(name: bytes) -> bool:
    return name not in (b".", b"..") and not name.startswith(b".wh.") and not {0, ord("/")} & set(name)


_names = some.one_of(
    some.sampled_from(
        [b"a", b"b", b".hidden", b"x" * 101, b"y" * 255, "ä€𝄞".encode(), b"\xff\xfe", b" ", b"-rf"]
    ),
    some.binary(min_size=1, max_size=30).filter(_is_name),
)
_owners = some.sampled_from([0, 1, 1000, 65534, 2097151, 2097152, 4294967294])
_contents = some.one_of(
    some.binary(max_size=700),
    some.sampled_from([0, 511, 512, 513, 200_000]).map(lambda size: b"x" * size),
    some.sampled_from([70_000, 1_200_000]).map(lambda size: b"a" + bytes(size)),
)
_attributes = some.dictionaries(
    some.sampled_from(["user.a", "user.labkit.test", "trusted.b"]), some.binary(max_size=60), max_size=2
)


def _node(kind: str, modes: int = 0o7777, **more: object) -> some.SearchStrategy[Node]:
    return some.builds(
        Node, kind=some.just(kind), mode=some.integers(0, modes), uid=_owners, gid=_owners,
        mtime_ns=some.integers(-(2**31) * 10**9, 2**33 * 10**9), **more,
    )  # fmt: skip


_leaves = some.one_of(
    _node("file", content=_contents, xattrs=_attributes),
    _node("file", content=_contents),
    _node("symlink", content=some.binary(min_size=1, max_size=150).filter(lambda text: 0 not in text)),
    _node("fifo"),
    _node("device", device=some.tuples(some.integers(0, 4095), some.integers(1, 1048575))),
    some.builds(Node, kind=some.just("whiteout")),
    some.builds(Node, kind=some.just("link"), earlier=some.integers(0, 100)),
)
trees = some.dictionaries(
    _names,
    some.recursive(
        _leaves,
        lambda inner: _node(
            "directory", children=some.dictionaries(_names, inner, max_size=4), opaque=some.booleans(),
            xattrs=_attributes,
        ),
        max_leaves=12,
    ),
    max_size=6,
)  # fmt: skip
"""Trees as a strategy of hypothesis: what is at each name of the root."""


def plant(tree: dict[bytes, Node], directory: bytes, files: list[bytes] | None = None) -> None:
    """Make a tree on the disk."""
    files = [] if files is None else files
    for name, node in tree.items():
        path = directory + b"/" + name
        if node.kind == "link":
            if files:
                os.link(files[node.earlier % len(files)], path, follow_symlinks=False)
            continue
        _make(node, path, files)
        if node.kind == "whiteout":
            continue
        for key, value in node.xattrs.items():
            os.setxattr(path, key, value, follow_symlinks=False)
        os.chown(path, node.uid, node.gid, follow_symlinks=False)
        if node.kind != "symlink":
            os.chmod(path, node.mode)
        os.utime(path, ns=(0, node.mtime_ns), follow_symlinks=False)


def _make(node: Node, path: bytes, files: list[bytes]) -> None:
    if node.kind == "file":
        Path(os.fsdecode(path)).write_bytes(node.content)
        files.append(path)
    elif node.kind == "symlink":
        os.symlink(node.content, path)
    elif node.kind == "fifo":
        os.mkfifo(path)
    elif node.kind == "device":
        os.mknod(path, stat.S_IFCHR, os.makedev(*node.device))
    elif node.kind == "whiteout":
        os.mknod(path, stat.S_IFCHR, 0)
    else:
        os.mkdir(path)
        if node.opaque:
            os.setxattr(path, "trusted.overlay.opaque", b"y")
        plant(node.children, path, files)


def see(directory: bytes) -> Seen:
    """All that can be told apart: kinds, modes, owners, content, links, times, attributes."""
    found: Seen = {}
    first: dict[int, bytes] = {}
    for folder, directories, files in os.walk(directory):
        for name in sorted(directories + files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: object = b""
            if stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            relative = path[len(directory) + 1 :]
            whiteout = stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
            attributes = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            same_as = (
                relative if status.st_nlink == 1 or whiteout else first.setdefault(status.st_ino, relative)
            )
            found[relative] = (
                (stat.S_IFMT(status.st_mode), "whiteout") if whiteout
                else (
                    status.st_mode, status.st_uid, status.st_gid, status.st_rdev, content,
                    None if stat.S_ISDIR(status.st_mode) else same_as,
                    status.st_mtime_ns // 10**9, tuple(sorted(attributes.items())),
                )
            )  # fmt: skip
    return found
