"""inotify: hear of every name that comes into a directory or leaves it, without looking again and again.

Chapter 12. inotify(7). The kernel queues an event before the call that caused
it returns: who finds the queue empty knows that nothing has changed.
"""

import os
import struct
from enum import IntFlag
from typing import NamedTuple

from labkit.kernel import libc

_HEAD = struct.Struct("iIII")  # struct inotify_event, before its name
_BUFFER_BYTES = 64 * 1024


class Happening(IntFlag):
    """What is heard of; the last three come unasked. linux/inotify.h."""

    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    ONLY_DIRECTORIES = 0x0100_0000  # a wish: refuse to watch what is none
    IS_DIRECTORY = 0x4000_0000
    OVERFLOW = 0x4000  # the queue was full: events are missing
    IGNORED = 0x8000  # the watch has ended, for its directory is gone


class Event(NamedTuple):
    """One change. `name` is empty where it is about the watched directory itself."""

    watch: int  # what `watch` returned for the directory, -1 at OVERFLOW
    happening: Happening
    name: str


def start() -> int:
    """A descriptor that can be polled; reading it never waits."""
    return libc.call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)


def watch(descriptor: int, directory: "os.PathLike[str] | str", happenings: Happening) -> int:
    """Hear of a directory from now on. One directory has one number, however often it is asked for."""
    wanted = int(happenings | Happening.ONLY_DIRECTORIES)
    return libc.call("inotify_add_watch", descriptor, os.fsencode(directory), wanted, path=directory)


def read(descriptor: int) -> list[Event]:
    """What has happened since the last time, oldest first."""
    try:
        data = os.read(descriptor, _BUFFER_BYTES)
    except BlockingIOError:
        return []
    events = []
    place = 0
    while place < len(data):
        number, happening, _, length = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        name = os.fsdecode(data[place : place + length].rstrip(b"\0"))
        events.append(Event(number, Happening(happening), name))
        place += length
    return events
