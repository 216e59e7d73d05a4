"""network_layout: where each namespace, switch and cable lies on a map of networks.

Chapter 11. The outside above, a host with its switches in the middle, and what
is plugged into them below. One arithmetic for the live and for the still map.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from labkit.observe.packet_path import is_uplink, key, port_key
from labkit.observe.topology import Interface, Place, Port
from labkit.widgets import plain, svg

MARGIN, GAP = 16.0, 14.0
CARD_TALL, CARD_HEAD, CHIP_TALL, BAR_TALL = 58.0, 26.0, 36.0, 34.0
MOST_COLUMNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle with one or two lines."""

    key: str
    kind: str  # host, outside, container, uplink, port, bridge, end
    x: float
    y: float
    width: float
    height: float
    title: str
    note: str = ""
    hue: int = 0
    has_path: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A cable between two interfaces; its traffic is counted at the second one."""

    ends: tuple[str, str]
    x1: float
    y1: float
    x2: float
    y2: float
    hue: int = 0
    is_up: bool = True


@dataclass(slots=True)
class Layout:
    """Everything on the map."""

    boxes: list[Box] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    height: float = 0.0
    left_out: int = 0
    ends: dict[str, Box] = field(default_factory=dict)  # where a cable can meet a box, by its key

    def add(self, **values: object) -> Box:
        """Put a box on the map."""
        box = Box(**values)  # type: ignore[arg-type]
        self.boxes.append(box)
        self.ends[box.key] = box
        return box


def lay(places: Sequence[Place]) -> Layout:
    """A map of these places."""
    layout = Layout()
    hosts = [place for place in places if _switches(place) or published(place)]
    rest = [place for place in places if place not in hosts]
    y = 46.0
    for host in hosts:
        inside = [p for p in rest if _is_plugged_into(p, host)]
        outside = [p for p in rest if p not in inside and _is_joined_to(p, host)]
        rest = [p for p in rest if p not in inside and p not in outside]
        y = _host(layout, host, outside, inside, y)
    if rest or not places:
        y = _cards(layout, rest, "container", y, {}) + GAP
    _cables(layout, places)
    layout.height = y + 22
    return layout


def published(place: Place) -> list[Port]:
    """The ports that lead to another place: one that leads to a loopback, as of a name server, does not."""
    return [port for port in place.ports if not ipaddress.ip_address(port.to_address).is_loopback]


def worth_telling(masqueraded: Sequence[str]) -> list[str]:
    """The ranges without the loopback's, which is hidden only where a port of it leads into a container."""
    return [one for one in masqueraded if not one.startswith("127.")]


def _switches(place: Place) -> list[Interface]:
    """Its bridges, those first that something is plugged into."""
    used = {one.bridge for one in place.interfaces}
    bridges = [one for one in place.interfaces if one.kind == "bridge"]
    return sorted(bridges, key=lambda one: one.name not in used)


def _is_joined_to(place: Place, host: Place) -> bool:
    return any(one.peer and one.peer[0] == host.name for one in place.interfaces)


def _is_plugged_into(place: Place, host: Place) -> bool:
    return bool(_switch_of(place, host))


def _switch_of(place: Place, host: Place) -> str:
    """The first switch of a host that a place is plugged into; empty where it is into none."""
    for one in place.interfaces:
        end = host.interface(one.peer[1]) if one.peer and one.peer[0] == host.name else None
        if end and end.bridge:
            return end.bridge
    return ""


def _host(layout: Layout, host: Place, outside: Sequence[Place], inside: Sequence[Place], y: float) -> float:
    """What is outside, the host, what is inside; where the next thing may begin."""
    switches = _switches(host)
    hues = {one.name: number for number, one in enumerate(switches, 1)}
    ordered = sorted(inside, key=lambda place: hues.get(_switch_of(place, host), 0))
    layout.left_out += max(0, len(ordered) - MOST_COLUMNS)
    ordered = ordered[:MOST_COLUMNS]
    if outside:
        y = _cards(layout, outside, "outside", y, {}) + 34
    top = y
    sheet = len(layout.boxes)
    y = _chips(layout, host, y + 32)
    y = _bars(layout, host, switches, ordered, hues, y)
    facts = ["forwards" if host.forwards else "does not forward"]
    facts += [f"hides {', '.join(hidden)}"] if (hidden := worth_telling(host.masqueraded)) else []
    layout.add(
        key=key(host.name), kind="host", x=MARGIN, y=top, width=svg.WIDTH - 2 * MARGIN, height=y - top,
        title=plain.printable(host.name), note=" · ".join(facts),
    )  # fmt: skip
    layout.boxes.insert(sheet, layout.boxes.pop())  # it lies under what is in it
    if ordered:
        y = _cards(
            layout, ordered, "container", y + 40, {p.name: hues.get(_switch_of(p, host), 0) for p in ordered}
        )
    return y + GAP


def _chips(layout: Layout, host: Place, y: float) -> float:
    """A row of the interfaces that lead out, and of the published ports."""
    ups = [one for one in host.interfaces if is_uplink(one)]
    width = (svg.WIDTH - 2 * MARGIN - GAP * 5) / 4
    entries: list[dict[str, object]] = [
        {
            "key": key(host.name, one.name),
            "kind": "uplink",
            "title": one.name,
            "note": ", ".join(one.addresses),
        }
        for one in ups
    ]
    entries += [
        {
            "key": port_key(host.name, port), "kind": "port", "has_path": True,
            "title": f"{port.address + ':' if port.address else ''}{port.port}/{port.protocol}",
            "note": f"→ {port.to_address}:{port.to_port}", "hue": _hue_of(host, port.to_address),
        }
        for port in published(host)
    ]  # fmt: skip
    for number, entry in enumerate(entries):
        row, column = divmod(number, 4)
        x = MARGIN + GAP + column * (width + GAP)
        layout.add(**entry, x=x, y=y + row * (CHIP_TALL + 8), width=width, height=CHIP_TALL)
    return y + -(-len(entries) // 4) * (CHIP_TALL + 8) + 6


def _hue_of(host: Place, address: str) -> int:
    """The colour of the switch behind which an address lies."""
    for number, switch in enumerate(_switches(host), 1):
        if any(
            ipaddress.ip_address(address) in ipaddress.ip_interface(own).network for own in switch.addresses
        ):
            return number
    return 0


def _columns(count: int) -> tuple[float, float]:
    """The width of a card, and how far it is from one to the next."""
    room = svg.WIDTH - 2 * MARGIN - 2 * GAP
    step = min(room / max(1, count), 220.0)
    return step - GAP, step


def _bars(
    layout: Layout,
    host: Place,
    switches: Sequence[Interface],
    inside: Sequence[Place],
    hues: dict[str, int],
    y: float,
) -> float:
    """Each switch above the places that are plugged into it, with a small box for each end of a cable."""
    if not switches:
        return y + 4
    width, step = _columns(max(len(inside), len(switches)))
    column = 0
    for switch in switches:
        members = [place for place in inside if _switch_of(place, host) == switch.name]
        span = max(1, len(members))
        x = MARGIN + GAP + column * step
        wide = span * step - GAP
        if x + wide > svg.WIDTH - MARGIN:
            layout.left_out += 1
            continue
        note = ", ".join(switch.addresses) or "no address"
        layout.add(
            key=key(host.name, switch.name), kind="bridge", x=x, y=y, width=wide, height=BAR_TALL,
            title=switch.name, note=note, hue=hues[switch.name],
        )  # fmt: skip
        column += span
    for number, place in enumerate(inside):
        ends = _ends_at(place, host)
        for place_of_end, end in enumerate(ends):
            wide = width / len(ends)
            x = MARGIN + GAP + number * step + place_of_end * wide
            layout.add(
                key=key(host.name, end.name), kind="end", title=end.name, hue=hues.get(end.bridge, 0),
                x=x, y=y + BAR_TALL + 4, width=wide - 4, height=20,
            )  # fmt: skip
    return y + BAR_TALL + (36 if inside else 12)


def _ends_at(place: Place, host: Place) -> list[Interface]:
    """The host's ends of a place's cables."""
    names = [one.peer[1] for one in place.interfaces if one.peer and one.peer[0] == host.name]
    return [end for name in names if (end := host.interface(name))]


def _cards(layout: Layout, places: Sequence[Place], kind: str, y: float, hues: dict[str, int]) -> float:
    """A row of places, each with its interfaces."""
    layout.left_out += max(0, len(places) - MOST_COLUMNS)
    shown = places[:MOST_COLUMNS]
    width, step = _columns(len(shown))
    for number, place in enumerate(shown):
        x = MARGIN + GAP + number * step
        cards = [one for one in place.interfaces if one.kind == "veth" or is_uplink(one)]
        layout.add(
            key=key(place.name), kind=kind, x=x, y=y, width=width, height=CARD_TALL,
            title=plain.printable(place.name), note="" if cards else "the loopback alone",
            hue=hues.get(place.name, 0), has_path=kind == "container",
        )  # fmt: skip
        for place_of_card, one in enumerate(cards):
            wide = (width - 12) / len(cards)
            layout.add(
                key=key(place.name, one.name), kind="card", x=x + 6 + place_of_card * wide, y=y + CARD_HEAD,
                width=wide - (4 if len(cards) > 1 else 0), height=CARD_TALL - CARD_HEAD - 6,
                title=one.name, note=", ".join(one.addresses) or "no address", hue=hues.get(place.name, 0),
            )  # fmt: skip
    return y + CARD_TALL


def _cables(layout: Layout, places: Sequence[Place]) -> None:
    """A line between the two ends of every cable that are on the map."""
    done = set()
    for place in places:
        for one in place.interfaces:
            if one.peer is None:
                continue
            first, second = layout.ends.get(key(place.name, one.name)), layout.ends.get(key(*one.peer))
            if first is None or second is None or frozenset((first.key, second.key)) in done:
                continue
            done.add(frozenset((first.key, second.key)))
            upper, lower = (first, second) if first.y <= second.y else (second, first)
            layout.wires.append(_wire(upper, lower, is_up=one.is_up and one.has_carrier))


def _edges(box: Box) -> tuple[float, float]:
    """Where a cable meets a box, from above and from below; an interface's lies within its place's card."""
    if box.kind == "card":
        return box.y - CARD_HEAD, box.y - CARD_HEAD + CARD_TALL
    return box.y, box.y + box.height


def _wire(upper: Box, lower: Box, *, is_up: bool) -> Wire:
    """Straight down where the two lie above each other; from side to side where they lie in one row."""
    x1, x2 = upper.x + upper.width / 2, lower.x + lower.width / 2
    y1, y2 = _edges(upper)[1], _edges(lower)[0]
    if upper.y == lower.y:
        left, right = sorted((upper, lower), key=lambda box: box.x)
        x1, x2, y1 = left.x + left.width, right.x, upper.y + upper.height / 2
        y2, upper, lower = y1, left, right
    elif upper.x < x2 < upper.x + upper.width:
        x1 = x2
    return Wire(
        ends=(upper.key, lower.key), x1=x1, y1=y1, x2=x2, y2=y2, hue=lower.hue or upper.hue, is_up=is_up
    )
