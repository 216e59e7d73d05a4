"""namespace_map: see who shares which namespace with whom.

Chapter 2. One column a kind, one row a process; the same colour and letter in
a column is the same namespace, grey is the host's own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import PurePosixPath
from typing import Any

import traitlets

from labkit.kernel.namespaces import Namespace
from labkit.observe import namespaces, processes
from labkit.observe.namespaces import NamespaceRow
from labkit.widgets import plain, svg
from labkit.widgets.base import LabWidget, assets

KINDS = tuple(kind.oci for kind in Namespace)
MOST_ROWS = 60
HOST = "host"
CONTAINER_ID = re.compile("[0-9a-f]{64}")


@dataclass(slots=True)
class Line:
    """One row of the map: a process, or all of the host's that live nowhere of their own."""

    group: str
    name: str
    where: str  # its pid, or how many processes the row stands for
    command: str
    hue: int
    cells: dict[str, str]  # by kind, the key of its namespace


@dataclass(slots=True)
class Space:
    """One namespace on the map."""

    kind: str
    identity: int
    letter: str  # empty for the host's
    hue: int  # 0 for the host's
    members: list[str] = field(default_factory=list)


class NamespaceMap(LabWidget):
    """Who shares what: hover or click a namespace and all its members light up.

    `pids` are the processes to show, None for all (the host's fold into one
    row). `names` calls processes by a name of yours, such as their container's.
    """

    _esm, _css = assets("namespace_map")

    kinds = traitlets.List(traitlets.Unicode(), help="the columns, by OCI name").tag(sync=True)
    lines: "traitlets.List[dict[str, Any]]" = traitlets.List(help="one row for each process, see Line").tag(
        sync=True
    )
    spaces: "traitlets.Dict[str, dict[str, Any]]" = traitlets.Dict(
        help="the namespaces by their key, see Space"
    ).tag(sync=True)
    left_out = traitlets.Int(help="how many processes did not fit").tag(sync=True)

    def __init__(
        self,
        pids: "Iterable[int] | None" = None,
        kinds: Sequence[str] = KINDS,
        *,
        names: "Mapping[int, str] | None" = None,
    ) -> None:
        self._pids = None if pids is None else list(pids)
        self._names = dict(names or {})
        super().__init__(kinds=[Namespace.named(kind).oci for kind in kinds])
        self.refresh()

    def refresh(self) -> None:
        """Look again and draw what is there now."""
        rows = namespaces.rows(self._pids)
        if self._pids is None:  # threads of the kernel are nobody's processes
            rows = [row for row in rows if not row.is_kernel_thread]
        lines, spaces = arrange(rows, namespaces.host(), self.kinds, self._names)
        if self._pids is None:
            lines = fold(lines, spaces)
        with self.hold_sync():
            self.left_out = max(0, len(lines) - MOST_ROWS)
            self.lines = [asdict(line) for line in lines[:MOST_ROWS]]
            self.spaces = {key: asdict(space) for key, space in spaces.items()}

    def summary(self) -> str:
        """How many live where."""
        groups = list(dict.fromkeys(line["group"] for line in self.lines if line["group"] != HOST))
        own = sum(1 for space in self.spaces.values() if space["hue"])
        rows, spaces = plain.counted(len(self.lines), "row"), plain.counted(own, "namespace")
        said = f"Namespace map: {rows}, {spaces} that are not the host's"
        return said + (f"; groups {', '.join(groups)}" if groups else "")

    def text(self) -> str:
        """A table with a letter for each namespace and a dot for the host's."""
        head = ["", "process", "", *self.kinds]
        body = [
            [plain.fit(line["group"], 16), plain.fit(line["name"], 20), line["where"], *self._signs(line)]
            for line in self.lines
        ]
        more = [f"… and {plain.counted(self.left_out, 'more row')}"] if self.left_out else []
        legend = "the same letter in a column is the same namespace, · is the host's own"
        return "\n".join(["NamespaceMap", *plain.grid([head, *body], right=[2]), *more, legend])

    def _signs(self, line: dict[str, Any]) -> list[str]:
        spaces = (self.spaces.get(line["cells"].get(kind, "")) for kind in self.kinds)
        return ["" if space is None else space["letter"] or "·" for space in spaces]

    def picture(self) -> str:
        """The same map as a drawing: a block for each run of rows in the same namespace."""
        left, top, step, right = 262.0, 64.0, 28.0, 16.0
        drawing = svg.Drawing(self.summary())
        drawing.text(16, 26, "Who shares which namespace", "f-ink bold")
        width = (svg.WIDTH - left - right) / max(1, len(self.kinds))
        for number, kind in enumerate(self.kinds):
            drawing.text(left + width * (number + 0.5), top - 12, kind, "f-soft small", "middle")
        for number, line in enumerate(self.lines):
            self._draw_line(drawing, number, line, top + step * number, step)
        for number, kind in enumerate(self.kinds):
            self._draw_column(drawing, kind, left + width * number + 3, width - 6, top, step)
        bottom = top + step * len(self.lines) + 22
        more = f" · {plain.counted(self.left_out, 'row')} left out" if self.left_out else ""
        drawing.text(
            16,
            bottom,
            f"same colour and letter in a column: same namespace · grey: the host's{more}",
            "f-soft small",
        )
        return drawing.finish(bottom + 14)

    def _draw_line(
        self, drawing: svg.Drawing, number: int, line: dict[str, Any], y: float, step: float
    ) -> None:
        first = number == 0 or self.lines[number - 1]["group"] != line["group"]
        if first and number:
            drawing.line(16, y, 252, y, "s-edge")
        if first:
            drawing.text(16, y + step / 2 + 4, line["group"], f"f-{svg.hue(line['hue'])} bold", room=100)
        drawing.text(122, y + step / 2 + 4, line["name"], "f-ink mono", room=84 if line["where"] else 130)
        drawing.text(252, y + step / 2 + 4, line["where"], "f-soft mono small", "end")

    def _draw_column(
        self, drawing: svg.Drawing, kind: str, x: float, width: float, top: float, step: float
    ) -> None:
        keys = [line["cells"].get(kind, "") for line in self.lines]
        for first, last, key in runs(keys):
            space = self.spaces.get(key)
            if space is None:
                continue
            y, height = top + step * first + 3, step * (last - first + 1) - 6
            colour = svg.hue(space["hue"])
            drawing.box(
                x, y, width, height, "f-host" if not space["hue"] else f"f-{colour} s-{colour} tint", 5
            )
            for number in range(first, last + 1):
                middle = top + step * (number + 0.5) + 4
                kind_of = f"f-{colour} bold" if space["hue"] else "f-soft small"
                drawing.text(x + width / 2, middle, space["letter"] or HOST, kind_of, "middle")


def runs(keys: Sequence[str]) -> list[tuple[int, int, str]]:
    """Where the same key stands in a row: first, last, key."""
    found: list[tuple[int, int, str]] = []
    for number, key in enumerate(keys):
        if found and found[-1][2] == key:
            found[-1] = (found[-1][0], number, key)
        else:
            found.append((number, number, key))
    return found


def arrange(
    rows: Sequence[NamespaceRow],
    host: Mapping[str, int],
    kinds: Sequence[str],
    names: Mapping[int, str],
) -> tuple[list[Line], dict[str, Space]]:
    """Sort the processes into groups, the host's first, and give each namespace its letter.

    A namespace has the letter and colour of the group that is first seen in
    it, so a borrowed one shows whose it is.
    """
    groups: dict[object, list[NamespaceRow]] = {}
    for row in rows:
        groups.setdefault(_group_of(row, host), []).append(row)
    ordered = sorted(groups.items(), key=lambda item: item[0] is not None)
    common = {processes.own_cgroup(), "/", *(row.cgroup for row in groups.get(None, ()))}
    lines: list[Line] = []
    spaces: dict[str, Space] = {}
    for number, (group, members) in enumerate(ordered, start=0 if None in groups else 1):
        title = HOST if group is None else _title(members, common, names, {line.group for line in lines})
        for row in members:
            cells = {kind: f"{kind}:{row.identities[kind]}" for kind in kinds if kind in row.identities}
            called = plain.printable(row.name)
            lines.append(Line(title, called, str(row.pid), plain.printable(row.command), number, cells))
            for kind, key in cells.items():
                if key not in spaces:
                    spaces[key] = _space(kind, row.identities[kind], number, host, spaces)
                spaces[key].members.append(f"{called} {row.pid}")
    return lines, spaces


def _group_of(row: NamespaceRow, host: Mapping[str, int]) -> object:
    """None for what lives in the host's namespaces alone; else by pid namespace and cgroup."""
    own = {kind: number for kind, number in row.identities.items() if host.get(kind) != number}
    if not own:
        return None
    return (own["pid"] if "pid" in own else tuple(own.values()), row.cgroup)


def _title(
    members: Sequence[NamespaceRow], common: set[str], names: Mapping[int, str], taken: set[str]
) -> str:
    """The name that was given, else that of a cgroup of its own, else of the first process; each once."""
    first = members[0]
    given = next((names[row.pid] for row in members if row.pid in names), "")
    found = given or (first.name if first.cgroup in common else PurePosixPath(first.cgroup).name)
    plainly = plain.printable(found[:12] if CONTAINER_ID.fullmatch(found) else found)
    tries = (f"{plainly} {number}" if number > 1 else plainly for number in count(1))
    return next(title for title in tries if title not in taken)


def _space(
    kind: str, identity: int, group: int, host: Mapping[str, int], spaces: Mapping[str, Space]
) -> Space:
    if host.get(kind) == identity:
        return Space(kind, identity, "", 0)
    again = sum(1 for other in spaces.values() if (other.kind, other.hue) == (kind, group))
    letter = chr(ord("A") + (group - 1) % 26) + (str(again + 1) if again else "")
    return Space(kind, identity, letter, group)


def fold(lines: Sequence[Line], spaces: Mapping[str, Space]) -> list[Line]:
    """Put the host's own processes into one row, so that what differs is seen."""
    of_host = [line for line in lines if all(not spaces[key].hue for key in line.cells.values())]
    if len(of_host) < 2:
        return list(lines)
    what = "the processes that live in the host's namespaces alone"
    one = Line(HOST, f"{len(of_host)} processes", "", what, 0, of_host[0].cells)
    kept = {id(line) for line in of_host}
    return [one, *(line for line in lines if id(line) not in kept)]
