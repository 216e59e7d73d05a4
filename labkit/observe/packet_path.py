"""packet_path: the way of a packet, from a container to the outside or from a published port to one.

Chapter 11. Derived from what `topology` has seen, so it says what should
happen; `packet_trace` says what did.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from labkit.observe.topology import Interface, Place, Port


@dataclass(frozen=True, slots=True)
class Step:
    """One hop."""

    keys: tuple[str, ...]  # what it touches on a map
    said: str


def key(place: str, interface: str = "") -> str:
    """How a place, or one of its interfaces, is called on a map."""
    return f"{place}/{interface}"


def port_key(place: str, port: Port) -> str:
    """How a published port is called on a map."""
    return f"{place}/{port.address}:{port.port}/{port.protocol}"


def out_of(places: Sequence[Place], name: str) -> list[Step]:
    """From a place to whoever is outside."""
    return list(_outwards({place.name: place for place in places}, name))


def into(places: Sequence[Place], name: str, port: Port) -> list[Step]:
    """From the outside through a published port of a place."""
    return list(_inwards({place.name: place for place in places}, name, port))


def _outwards(places: dict[str, Place], name: str) -> Iterator[Step]:
    me = places[name]
    cable = me.interface(me.gateway_interface) or next(
        (one for one in me.interfaces if one.kind == "veth"), None
    )
    if cable is None:
        yield Step((key(name),), f"{name} has no cable: no packet leaves")
        return
    source = address_of(cable)
    goal = (
        f"for the gateway {me.gateway}" if me.gateway else "for neighbours alone: there is no default route"
    )
    yield Step(
        (key(name), key(name, cable.name)),
        f"{name}: leaves by {cable.name} from {source or 'no address'}, {goal}",
    )
    if cable.peer is None or cable.peer[0] not in places:
        return
    host, end = places[cable.peer[0]], cable.peer[1]
    yield from _over_the_cable(host, end)
    if not me.gateway:
        return
    own = host.owner_of(me.gateway)
    if own is None:
        yield Step((key(host.name),), f"{host.name}: nobody here has the address {me.gateway}")
        return
    yield Step(
        (key(host.name), key(host.name, own.name)),
        f"{host.name}: {own.name} is the gateway, so the host takes it in",
    )
    yield from _onwards(places, host, source, {end, own.name})


def _over_the_cable(host: Place, end: str) -> Iterator[Step]:
    port = host.interface(end)
    role = f", a port of the switch {port.bridge}" if port and port.bridge else ""
    yield Step((key(host.name), key(host.name, end)), f"{host.name}: comes out of the cable at {end}{role}")


def _onwards(places: dict[str, Place], host: Place, source: str, passed: set[str]) -> Iterator[Step]:
    """What a host does with a packet that is for somebody else."""
    if not host.forwards:
        yield Step((key(host.name),), f"{host.name}: it is for somebody else, and ip_forward is off: dropped")
        return
    up = uplink(host, passed)
    if up is None:
        yield Step((key(host.name),), f"{host.name}: no interface leads any further")
        return
    hidden = source and host.hides(source)
    seen = (
        f"masquerade, from here on it comes from {address_of(up)}"
        if hidden
        else f"it still comes from {source}"
    )
    yield Step((key(host.name), key(host.name, up.name)), f"{host.name}: forward, out by {up.name}; {seen}")
    if up.peer and up.peer[0] in places and up.peer[0] != host.name:
        yield Step((key(up.peer[0]), key(*up.peer)), f"{up.peer[0]}: arrives at {up.peer[1]}")


def _inwards(places: dict[str, Place], name: str, port: Port) -> Iterator[Step]:
    host = places[name]
    up = uplink(host, set())
    asked = f"{port.address or (address_of(up) if up else '') or 'any address'}:{port.port}"
    if up and up.peer and up.peer[0] in places and up.peer[0] != name:
        yield Step((key(up.peer[0]), key(*up.peer)), f"{up.peer[0]}: asks {asked}")
    keys = (key(name), port_key(name, port), *([key(name, up.name)] if up else []))
    yield Step(
        keys, f"{name}: prerouting, dnat: no longer to {asked} but to {port.to_address}:{port.to_port}"
    )
    target, card = _owner(places, port.to_address)
    if target is None or card is None:
        yield Step((key(name),), f"{name}: nobody on this map has the address {port.to_address}")
        return
    if card.peer and card.peer[0] == name:
        end = host.interface(card.peer[1])
        if end and end.bridge:
            yield Step((key(name, end.bridge),), f"{name}: forward, a neighbour on the switch {end.bridge}")
        yield Step((key(name, card.peer[1]),), f"{name}: into the cable at {card.peer[1]}")
    yield Step(
        (key(target.name), key(target.name, card.name)),
        f"{target.name}: arrives at {card.name}, port {port.to_port}; the answer goes back the same way",
    )


def _owner(places: dict[str, Place], address: str) -> tuple[Place | None, Interface | None]:
    for place in places.values():
        if card := place.owner_of(address):
            return place, card
    return None, None


def uplink(host: Place, passed: set[str]) -> Interface | None:
    """By which interface a host reaches the rest of the world: its default route's, else one of its own."""
    others = [one for one in host.interfaces if is_uplink(one) and one.name not in passed]
    return next((one for one in others if one.name == host.gateway_interface), others[0] if others else None)


def is_uplink(one: Interface) -> bool:
    """Whether an interface is neither the loopback nor part of a switch, and has an address."""
    return one.name != "lo" and one.kind != "bridge" and not one.bridge and bool(one.addresses)


def address_of(interface: Interface) -> str:
    """Its first address, without the prefix."""
    return interface.addresses[0].partition("/")[0] if interface.addresses else ""
