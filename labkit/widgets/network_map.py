"""network_map: see who is joined to whom, by which cable, and which way a packet goes.

Chapter 11. Each namespace is a card, each switch a bar, each cable a line; the
traffic is the kernel's own count, a few times a second.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

import traitlets

from labkit.observe import packet_path, topology
from labkit.observe.topology import Place
from labkit.widgets import network_layout, plain, svg
from labkit.widgets.base import LabWidget, Ticker, assets
from labkit.widgets.network_layout import Box, Wire

LOOKS_PER_SECOND = 4
LOOK_ANEW = 8  # every so many looks at the counters, one at the links and rules
HOST = "host"


class NetworkMap(LabWidget):
    """Namespaces, switches, cables and published ports; click one to see the way of its packets.

    `places` are processes by a name of yours, one for each namespace; None for
    the host and the running containers of labkit.
    """

    _esm, _css = assets("network_map")

    boxes: "traitlets.List[dict[str, Any]]" = traitlets.List(
        help="what is drawn as a rectangle, see network_layout.Box"
    ).tag(sync=True)
    wires: "traitlets.List[dict[str, Any]]" = traitlets.List(help="the cables, see network_layout.Wire").tag(
        sync=True
    )
    paths: "traitlets.Dict[str, list[dict[str, Any]]]" = traitlets.Dict(
        help="by the key of a box the hops of its packets: keys that light up, and a sentence"
    ).tag(sync=True)
    traffic: "traitlets.Dict[str, list[float]]" = traitlets.Dict(
        help="by the key of an interface, bytes per second received and transmitted"
    ).tag(sync=True)
    size = traitlets.List([svg.WIDTH, 120], help="width and height of the map, in pixels").tag(sync=True)
    left_out = traitlets.Int(help="how many places did not fit").tag(sync=True)
    watching = traitlets.Bool(False, help="whether the counters are looked at again and again").tag(sync=True)

    def __init__(self, places: "Mapping[str, int] | None" = None) -> None:
        self._asked = None if places is None else dict(places)
        self._places: list[Place] = []
        self._ticker = Ticker(self._tick, self._settle, 1 / LOOKS_PER_SECOND)
        self._ticks = 0
        self._counted: tuple[float, dict[str, tuple[int, int]]] = (0.0, {})
        super().__init__()
        self.refresh()

    def refresh(self) -> None:
        """Look again at namespaces, links and rules, and draw what is there now."""
        self._places = topology.look(running() if self._asked is None else self._asked)
        layout = network_layout.lay(self._places)
        with self.hold_sync():
            self.size = [svg.WIDTH, round(layout.height)]
            self.boxes = [asdict(box) for box in layout.boxes]
            self.wires = [asdict(wire) for wire in layout.wires]
            self.paths = {box.key: self._path(box) for box in layout.boxes if box.has_path}
            self.left_out = layout.left_out

    def _path(self, box: Box) -> list[dict[str, Any]]:
        if box.kind == "port":
            (place, port) = next(
                (place, port)
                for place in self._places
                for port in place.ports
                if packet_path.port_key(place.name, port) == box.key
            )
            steps = packet_path.into(self._places, place.name, port)
        else:
            steps = packet_path.out_of(self._places, box.key.removesuffix("/"))
        return [{"keys": list(step.keys), "said": plain.printable(step.said)} for step in steps]

    def watch(self, seconds: float | None = None) -> Self:
        """Look again and again in the background, until `stop`, `close` or the end of `seconds`."""
        self.watching = True
        self._ticker.start(seconds)
        return self

    def stop(self) -> None:
        """End the watching; the last map stays."""
        self._ticker.stop()

    def __enter__(self) -> Self:
        return self.watch()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _tick(self) -> bool:
        self._ticks += 1
        if self._ticks % LOOK_ANEW == 0:
            self.refresh()
        now, counted = time.monotonic(), self._count()
        before, old = self._counted
        self._counted = (now, counted)
        if before:
            self.traffic = {
                key: [
                    round(max(0, new - was) / (now - before)) for new, was in zip(pair, old[key], strict=True)
                ]
                for key, pair in counted.items()
                if key in old
            }
        return bool(self._places)

    def _count(self) -> dict[str, tuple[int, int]]:
        """What the lower end of each cable has counted."""
        pids = {place.name: place.pid for place in self._places}
        by_place = {name: topology.counters(pid) for name, pid in pids.items()}
        return {
            packet_path.key(name, interface): pair
            for name, counters in by_place.items()
            for interface, pair in counters.items()
        }

    def _settle(self) -> None:
        self.watching = False
        self.traffic = {}

    def summary(self) -> str:
        """How many places, switches, cables and ports."""
        kinds = [box["kind"] for box in self.boxes]
        counted = [
            plain.counted(len(self._places), "namespace"),
            plain.counted(kinds.count("bridge"), "switch", "switches"),
            plain.counted(len(self.wires), "cable"), plain.counted(kinds.count("port"), "published port"),
        ]  # fmt: skip
        return f"Network map: {', '.join(counted)}"

    def text(self) -> str:
        """Each place with its interfaces, where they lead, and its ports."""
        lines = ["NetworkMap"]
        for place in self._places:
            facts = [f"default route by {place.gateway}"] if place.gateway else []
            hidden = network_layout.worth_telling(place.masqueraded)
            facts += [f"hides {', '.join(hidden)}"] if hidden else []
            name = plain.printable(place.name)
            lines.append(f"{name}: {'; '.join(facts)}" if facts else name)
            rows = [
                ["", one.name, one.kind or "card", ", ".join(one.addresses), _leads(one)]
                for one in place.interfaces
                if one.name != "lo" and (one.addresses or one.peer or one.kind == "bridge")
            ]
            lines += plain.grid(rows) if rows else []
            for port in place.ports:
                asked = f"{port.address or 'any address'}:{port.port}/{port.protocol}"
                lines.append(f"  {asked} leads to {port.to_address}:{port.to_port}")
        return "\n".join(lines)

    def picture(self) -> str:
        """The same map as a drawing."""
        drawing = svg.Drawing(self.summary())
        drawing.text(16, 26, "Who is joined to whom", "f-ink bold")
        for box in self.boxes:
            if box["kind"] == "host":
                _draw_box(drawing, Box(**box))
        for wire in self.wires:
            _draw_wire(drawing, Wire(**wire))
        for box in self.boxes:
            if box["kind"] != "host":
                _draw_box(drawing, Box(**box))
        more = f" · {plain.counted(self.left_out, 'place')} left out" if self.left_out else ""
        y = float(self.size[1]) - 8
        drawing.text(16, y, f"same colour: the same switch · dashed: no carrier{more}", "f-soft small")
        return drawing.finish(self.size[1] + 6.0)


def _leads(one: topology.Interface) -> str:
    parts = [f"into {one.bridge}"] if one.bridge else []
    parts += [f"to {one.peer[0]} {one.peer[1]}"] if one.peer else []
    return ", ".join(map(plain.printable, parts))


def _draw_wire(drawing: svg.Drawing, wire: Wire) -> None:
    dashes = "" if wire.is_up else " dashed"
    drawing.line(wire.x1, wire.y1, wire.x2, wire.y2, f"s-{svg.hue(wire.hue)}{dashes}", 2)


def _draw_box(drawing: svg.Drawing, box: Box) -> None:
    colour = svg.hue(box.hue)
    middle, room = box.x + box.width / 2, box.width - 8
    if box.kind == "host":
        drawing.box(box.x, box.y, box.width, box.height, "f-host s-edge", 8)
        drawing.text(box.x + 12, box.y + 20, box.title, "f-ink bold", room=200)
        drawing.text(box.x + box.width - 12, box.y + 20, box.note, "f-soft small", "end", room=560)
        return
    ground = "f-paper s-soft" if not box.hue else f"f-{colour} s-{colour} tint"
    if box.kind in ("container", "outside"):
        drawing.box(box.x, box.y, box.width, box.height, "f-paper", 7)
        drawing.box(box.x, box.y, box.width, box.height, ground, 7)
        drawing.text(middle, box.y + 17, box.title, "f-ink bold", "middle", room=room)
        drawing.text(middle, box.y + 42, box.note, "f-soft small", "middle", room=room)
        return
    if box.kind == "end":
        drawing.box(box.x, box.y, box.width, box.height, f"f-paper s-{colour}", 4)
        drawing.text(middle, box.y + 14, box.title, "f-soft small mono", "middle", room=room)
        return
    if box.kind != "card":
        drawing.box(box.x, box.y, box.width, box.height, "f-paper", 5)
        drawing.box(box.x, box.y, box.width, box.height, ground, 5)
    drawing.text(middle, box.y + 14, box.title, "f-ink mono", "middle", room=room)
    drawing.text(middle, box.y + 28, box.note, "f-soft small mono", "middle", room=room)


def running() -> dict[str, int]:
    """The host and the containers of labkit that run, by their names."""
    from labkit.engine.default import engine
    from labkit.errors import Conflict

    found = {HOST: 1}
    for one in engine().containers():
        try:
            found[one.name if one.name != HOST else f"{one.name} (container)"] = one.pid
        except Conflict:
            continue  # it does not run
    return found
