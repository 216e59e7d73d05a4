"""users: who a process inside is, by the image's own passwd and group.

Chapter 15. passwd(5), group(5), setgroups(2), docker-run(1) --user.
"""

from dataclasses import dataclass
from pathlib import Path

from labkit.errors import StartFailed

_MOST_BYTES = 1 << 20  # the files come with the image: read no more than any real one has


@dataclass(frozen=True, slots=True)
class User:
    """What setuid, setgid and setgroups are called with."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def find(wanted: str, etc: Path = Path("/etc")) -> User:
    """The user of `name`, `uid`, `name:group` or `uid:gid`; root where nothing is asked for.

    A number needs no line in passwd. A name that has none is a StartFailed.
    Call it inside the root: the files' links must lead nowhere else.
    """
    name, _, group = wanted.partition(":")
    row = next((r for r in _table(etc / "passwd", 7) if name in (r[0], r[2])), None) if name else None
    row = row or (_row_of_root(etc) if not name else None)
    if row is None and not name.isdigit():
        raise StartFailed(f"unable to find user {name}: no matching entries in passwd file", exit_code=126)
    uid = int(row[2]) if row else int(name)
    gid = _group_id(group, etc) if group else int(row[3]) if row else 0
    member = row[0] if row else ""
    groups = tuple(int(r[2]) for r in _table(etc / "group", 4) if member and member in r[3].split(","))
    return User(uid, gid, groups if not group else (), row[5] if row else "/")


def _row_of_root(etc: Path) -> list[str]:
    rows = (r for r in _table(etc / "passwd", 7) if r[2] == "0")
    return next(rows, ["root", "x", "0", "0", "root", "/root", "/bin/sh"])


def _group_id(group: str, etc: Path) -> int:
    row = next((r for r in _table(etc / "group", 4) if r[0] == group), None)
    if row is None and not group.isdigit():
        raise StartFailed(f"unable to find group {group}: no matching entries in group file", exit_code=126)
    return int(row[2]) if row else int(group)


def _table(file: Path, columns: int) -> list[list[str]]:
    """The lines that have as many columns as they should, and numbers where numbers belong."""
    try:
        with file.open(errors="replace") as reader:
            text = reader.read(_MOST_BYTES)
    except OSError:
        return []  # an image without the file has no names
    rows = (line.split(":") for line in text.splitlines())
    return [
        row for row in rows if len(row) == columns and row[2].isdigit() and (columns == 4 or row[3].isdigit())
    ]
