"""register: who is on which network at this moment, held in memory and never out of date.

Chapter 12. The records of labkit.network.endpoints are the truth. They are read
once; from then on inotify(7) names those that changed.
"""

import ipaddress
import os
from pathlib import Path

from labkit.kernel import inotify
from labkit.kernel.inotify import Event, Happening
from labkit.network import endpoints
from labkit.network.endpoints import Endpoint
from labkit.network.names import Book
from labkit.paths import Paths

_DIRECTORIES = Happening.CREATE | Happening.MOVED_TO
_RECORDS = Happening.MOVED_TO | Happening.MOVED_FROM | Happening.DELETE  # they are written by rename(2)


class Register:
    """The endpoints of all networks of an engine."""

    def __init__(self, paths: Paths) -> None:
        self.version = 0
        """Another number after each change."""
        self._top = paths.endpoints
        self._descriptor = -1
        self._places: dict[int, Path] = {}  # what each watch is on: the top, networks, their endpoints
        self._networks: dict[Path, dict[str, Endpoint]] = {}  # by `endpoints` or `remote` of a network
        self._begin()

    def close(self) -> None:
        """Hear no more."""
        os.close(self._descriptor)

    def _begin(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = inotify.start()
        self._places.clear()
        self._networks.clear()
        self._top.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._watch(self._top)

    def catch_up(self) -> int:
        """Take in what has changed, one system call where that is nothing; return the version."""
        if events := inotify.read(self._descriptor):
            self.version += 1
            if any(event.happening & Happening.OVERFLOW for event in events):
                self._begin()
            else:
                for event in events:
                    self._take_in(event)
        return self.version

    def book_of(self, container_id: str) -> Book:
        """What a container may look up: first the networks that lead out, then by name, as in Docker."""
        file = f"{container_id}.json"
        own = [
            (members[file], place)
            for place, members in self._networks.items()
            if place.name == "endpoints" and file in members
        ]
        own.sort(key=lambda found: (found[0].internal, found[0].network_name))
        return Book.of([self._members(place) for _, place in own])

    def _members(self, place: Path) -> list[Endpoint]:
        """Who is on a network, by its `endpoints`: here, and on the other hosts that share it."""
        elsewhere = self._networks.get(place.with_name("remote"), {})
        return [*self._networks[place].values(), *elsewhere.values()]

    def _take_in(self, event: Event) -> None:
        place = self._places.get(event.watch)
        if place is None:
            return
        if event.happening & Happening.IGNORED:
            del self._places[event.watch]
            self._networks.pop(place, None)
        elif place in self._networks:
            self._read(place, event.name)
        elif event.happening & Happening.IS_DIRECTORY:
            self._watch(place / event.name)

    def _watch(self, place: Path) -> None:
        """Listen first, then look, so that nothing can happen in between."""
        depth = len(place.relative_to(self._top).parts)
        if depth == 2 and place.name not in ("endpoints", "remote"):
            return
        try:
            number = inotify.watch(self._descriptor, place, _RECORDS if depth == 2 else _DIRECTORIES)
            names = sorted(os.listdir(place))  # noqa: PTH208
        except (FileNotFoundError, NotADirectoryError):
            return  # it is gone again, or was never ours
        self._places[number] = place
        if depth == 2:
            self._networks[place] = {}
        for name in names:
            if depth == 2:
                self._read(place, name)
            else:
                self._watch(place / name)

    def _read(self, place: Path, name: str) -> None:
        if name.startswith(".") or not name.endswith(".json"):
            return
        members = self._networks[place]
        try:
            found = endpoints.load(place / name)
            for address in filter(None, (found.ipv4, found.ipv6)):
                ipaddress.ip_interface(address)
            members[name] = found
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            members.pop(name, None)  # it left, or is no record
