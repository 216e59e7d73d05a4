"""sparse: where a file of an archive has content, and where holes; the four ways of GNU tar to say it.

Chapter 7. "Storing Sparse Files" in the manual of GNU tar: the old header, and PAX 0.0, 0.1 and 1.0.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labkit.images.tar import Cursor, Member

Segments = list[tuple[int, int]]
"""Offset and length of each run of content, in order."""

MOST = 1 << 16
"""More runs than any real map has; one of 1 MiB could not hold more either."""

_BLOCK = 512


def from_records(
    cursor: "Cursor", member: "Member", records: list[tuple[bytes, bytes]]
) -> tuple[Segments | None, int]:
    """The map that a PAX header speaks of, and the real size; None for a file without holes."""
    if not any(key.startswith(b"GNU.sparse.") for key, _ in records):
        return None, member.size
    said = dict(records)
    version = (said.get(b"GNU.sparse.major"), said.get(b"GNU.sparse.minor"))
    if version == (b"1", b"0"):
        numbers = _in_front(cursor, member)
    elif b"GNU.sparse.map" in said:
        numbers = [_number(text) for text in said[b"GNU.sparse.map"].split(b",")]
    else:
        wanted = (b"GNU.sparse.offset", b"GNU.sparse.numbytes")
        numbers = [_number(value) for key, value in records if key in wanted]
    real = said.get(b"GNU.sparse.realsize") or said.get(b"GNU.sparse.size")
    if real is None:
        raise ValueError("a sparse file without its size")
    return _checked(numbers, member.size, _number(real)), _number(real)


def from_header(cursor: "Cursor", member: "Member", header: bytes) -> tuple[Segments | None, int]:
    """The map of GNU tar's own old header, and the real size."""
    numbers = _octal_pairs(header[386:482])
    more, real = header[482], _octal(header[483:495])
    while more:
        block = cursor.take(_BLOCK)
        if len(block) < _BLOCK or len(numbers) > 2 * MOST:
            raise ValueError("a map of holes without an end")
        numbers += _octal_pairs(block[:504])
        more = block[504]
    return _checked(numbers, member.size, real), real


def _in_front(cursor: "Cursor", member: "Member") -> list[int]:
    """PAX 1.0: the map stands before the content, a number on each line, in whole blocks."""
    lines: list[bytes] = []
    text = b""
    wanted = 1
    while len(lines) < wanted:
        block = cursor.take(min(_BLOCK, member.size))
        if len(block) < _BLOCK:
            raise ValueError("a map of holes without an end")
        member.size -= _BLOCK
        *whole, text = (text + block).split(b"\n")
        lines += whole
        if lines and wanted == 1:
            wanted = 1 + 2 * _number(lines[0])
        if wanted > 2 * MOST:
            raise ValueError(f"a map of {wanted} numbers")
    return [_number(line) for line in lines[1:wanted]]


def _octal_pairs(block: bytes) -> list[int]:
    fields = [block[at : at + 12] for at in range(0, len(block), 12)]
    numbers: list[int] = []
    for offset, length in zip(fields[::2], fields[1::2], strict=True):
        if not offset.strip(b" \0"):
            break
        numbers += [_octal(offset), _octal(length)]
    return numbers


def _octal(text: bytes) -> int:
    if text[0] & 0x80:
        return int.from_bytes(text[1:], "big") & ((1 << 63) - 1)
    digits = text.strip(b" \0") or b"0"
    if not digits.isdigit():
        raise ValueError(f"{text!r} is no number")
    return int(digits, 8)


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise ValueError(f"{text[:30]!r} is no number")
    return int(text)


def _checked(numbers: list[int], stored: int, real: int) -> Segments:
    """Runs in order, inside the file, and together as long as what is stored."""
    if len(numbers) % 2:
        raise ValueError("a map of holes with an odd end")
    segments = list(zip(numbers[::2], numbers[1::2], strict=True))
    end = 0
    for offset, length in segments:
        if offset < end or offset + length > real:
            raise ValueError("a map of holes that leads out of the file")
        end = offset + length
    if sum(length for _, length in segments) != stored or real >= 1 << 63:
        raise ValueError("a map of holes that does not fit the content")
    return segments
