"""fields: read JSON that came from outside, field by field; what does not fit is named.

Chapter 7. Every type of image-spec is read through this, so a hostile manifest ends in one Invalid.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from labkit.errors import Invalid

T = TypeVar("T")

MOST_BYTES = 4 << 20
"""No manifest or config is larger, and registries take none that is."""


def parse(data: bytes, what: str) -> "Fields":
    """An object from its bytes; Invalid says of `what` that it is none."""
    if len(data) > MOST_BYTES:
        raise Invalid(f"{what} has {len(data)} bytes, and may have {MOST_BYTES}")
    try:
        found = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise Invalid(f"{what} is no JSON: {error}") from None
    return Fields(found, what)


def canonical(content: Any) -> bytes:
    """The bytes of what labkit writes itself: the same for the same content, so its digest is too."""
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()


class Fields:
    """One object of JSON, which knows where it stands: `config.rootfs.diff_ids[2]`."""

    __slots__ = ("_content", "_place")

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, dict):
            raise Invalid(f"{place} must be an object, not {_told(content)}")
        self._content: dict[str, Any] = content
        self._place = place

    def __contains__(self, name: str) -> bool:
        return self._content.get(name) is not None

    def refuse(self, name: str, why: str) -> Invalid:
        """The error for one field, to be raised."""
        return Invalid(f"{self._place}.{name} {why}")

    def text(self, name: str, default: str | None = "") -> str:
        """A text; without a default it must be there."""
        return _text(self._required(name, default), f"{self._place}.{name}")

    def number(self, name: str, default: int | None = 0) -> int:
        """A whole number that is not negative, and fits into 63 bits."""
        found = self._required(name, default)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < 1 << 63:
            raise self.refuse(name, f"must be a whole number from 0 on, not {_told(found)}")
        return found

    def signed(self, name: str) -> int:
        """A whole number that may be negative; 0 where it is not there."""
        found = self._required(name, 0)
        if not isinstance(found, int) or isinstance(found, bool) or abs(found) >= 1 << 63:
            raise self.refuse(name, f"must be a whole number, not {_told(found)}")
        return found

    def flag(self, name: str) -> bool:
        """True or false; false where it is not there."""
        found = self._required(name, False)
        if not isinstance(found, bool):
            raise self.refuse(name, f"must be true or false, not {_told(found)}")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; none where it is not there."""
        return tuple(_text(item, place) for item, place in self._items(name))

    def names(self, name: str) -> tuple[str, ...]:
        """The keys of an object that is used as a set: exposed ports, volumes."""
        return tuple(_text(key, f"{self._place}.{name}") for key in self._mapping(name))

    def labels(self, name: str) -> dict[str, str]:
        """An object with a text for each name."""
        place = f"{self._place}.{name}"
        return {
            _text(key, place): _text(value, f"{place}[{key!r}]") for key, value in self._mapping(name).items()
        }

    def one(self, name: str, read: "Callable[[Fields], T]") -> T:
        """An object that must be there, as what `read` makes of it."""
        return read(Fields(self._required(name, None), f"{self._place}.{name}"))

    def maybe(self, name: str, read: "Callable[[Fields], T]") -> T | None:
        """An object, or None where it is not there."""
        return self.one(name, read) if name in self else None

    def many(self, name: str, read: "Callable[[Fields], T]") -> tuple[T, ...]:
        """A list of objects; none where it is not there."""
        return tuple(read(Fields(item, place)) for item, place in self._items(name))

    def _required(self, name: str, default: Any) -> Any:
        found = self._content.get(name)
        if found is None:
            found = default
        if found is None:
            raise self.refuse(name, "is missing")
        return found

    def _items(self, name: str) -> Iterator[tuple[Any, str]]:
        found = self._required(name, [])
        if not isinstance(found, list):
            raise self.refuse(name, f"must be a list, not {_told(found)}")
        for number, item in enumerate(found):
            yield item, f"{self._place}.{name}[{number}]"

    def _mapping(self, name: str) -> dict[str, Any]:
        found: Any = self._required(name, {})
        if not isinstance(found, dict):
            raise self.refuse(name, f"must be an object, not {_told(found)}")
        return found


def _text(found: Any, place: str) -> str:
    if not isinstance(found, str):
        raise Invalid(f"{place} must be a text, not {_told(found)}")
    try:
        found.encode()
    except UnicodeEncodeError:  # JSON can write half a character, "\ud800"
        raise Invalid(f"{place} holds half a character: {found!r}") from None
    if "\0" in found:
        raise Invalid(f"{place} holds a zero byte: {found!r}")
    return found


def _told(found: Any) -> str:
    told = repr(found)
    return told if len(told) <= 60 else f"{told[:57]}..."
