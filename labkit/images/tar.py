"""tar: members read from a stream, and written: ustar, PAX, and what GNU tar writes.

Chapter 7. pax(1), tar(5). Read are long names, large numbers, extended attributes
and sparse files in each of their four forms; written is ustar, and PAX where ustar
has no room. Names are bytes, as the kernel has them.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from labkit.errors import Invalid
from labkit.images import sparse
from labkit.images.sparse import Segments

BLOCK = 512
MOST_HEADER_BYTES = 1 << 20
"""An extended header, a long name or a map of holes may be this large, as in Go's archive/tar."""

FILE, LINK, SYMLINK, CHARACTER, BLOCKDEVICE, DIRECTORY, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"
_FILES = (FILE, b"\0", b"7", b"S")
_KINDS = (*_FILES, LINK, SYMLINK, CHARACTER, BLOCKDEVICE, DIRECTORY, FIFO)
_XATTR = b"SCHILY.xattr."
_ZEROS = bytes(BLOCK)


@dataclass(slots=True, kw_only=True)
class Member:
    """One entry of an archive. `size` is what follows in the stream, `real_size` what the file has."""

    name: bytes
    kind: bytes = FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    target: bytes = b""
    major: int = 0
    minor: int = 0
    xattrs: dict[str, bytes] = field(default_factory=dict)
    segments: Segments | None = None  # where a sparse file has content
    real_size: int = 0

    def __str__(self) -> str:
        return told(self.name)


def told(name: bytes) -> str:
    """A name for people: what is no text is escaped."""
    return name.decode(errors="backslashreplace")


class Cursor:
    """Blocks of a stream as one run of bytes, of which no more than `most_bytes` are read."""

    def __init__(self, next_block: Callable[[], bytes], most_bytes: int) -> None:
        self._next = next_block
        self._block = b""
        self._at = 0
        self.left = most_bytes

    def _fetch(self) -> bool:
        self._block, self._at = self._next(), 0
        self.left -= len(self._block)
        if self.left < 0:
            raise Invalid("the archive is larger than is allowed", hint="it may be made to fill a disk")
        return bool(self._block)

    @property
    def allowed(self) -> int:
        """How much more may be taken."""
        return self.left + len(self._block) - self._at

    def take(self, size: int) -> bytes:
        """Exactly that much, or less at the end."""
        begin, end = self._at, self._at + size
        if end <= len(self._block):
            self._at = end
            return self._block[begin:end]
        return b"".join(self.pieces(size, short=True))

    def pieces(self, size: int, *, short: bool = False) -> Iterator[bytes | memoryview]:
        """That much in pieces; Invalid where the stream ends before, unless it may be short."""
        while size:
            if self._at >= len(self._block) and not self._fetch():
                if short:
                    return
                raise Invalid("the archive is cut off in the middle")
            begin, self._at = self._at, min(self._at + size, len(self._block))
            size -= self._at - begin
            whole = begin == 0 and self._at == len(self._block)
            yield self._block if whole else memoryview(self._block)[begin : self._at]

    def skip(self, size: int, *, short: bool = False) -> None:
        """Leave that much out."""
        for _ in self.pieces(size, short=short):
            pass

    def skip_padding(self, size: int) -> None:
        """What follows content of that size. Go's tar, and what umoci inserts with it, may end before."""
        self.skip(padding(size), short=True)

    def drain(self) -> None:
        """To the end of the stream."""
        while self._fetch():
            pass


def members(cursor: Cursor) -> Iterator[Member]:
    """Every member. Whoever asks for the next has read its content: `size` bytes, then the padding."""
    number = 0
    while header := _header(cursor):
        number += 1
        try:
            member = _extended(cursor, header)
        except (ValueError, OverflowError) as error:
            raise Invalid(
                f"member {number} of the archive has a header that makes no sense: {error}"
            ) from None
        if member is None:
            return
        yield member


def padding(size: int) -> int:
    """How many bytes follow content of that size."""
    return -size % BLOCK


def _header(cursor: Cursor) -> bytes:
    """The next block that is a header; none at the end, which two blocks of zeros or nothing mark."""
    block = cursor.take(BLOCK)
    if not block:
        return b""
    if block == _ZEROS:
        second = cursor.take(BLOCK)
        if second and second != _ZEROS:
            raise Invalid("the archive goes on after a block of zeros")
        return b""
    if len(block) < BLOCK:
        raise Invalid("the archive is cut off in the middle")
    return block


def _extended(cursor: Cursor, header: bytes) -> Member | None:
    """A member with all that the headers before its own say of it."""
    records: list[tuple[bytes, bytes]] = []
    name = target = b""
    while (kind := header[156:157]) in (b"x", b"g", b"L", b"K"):
        _check_sum(header)
        size = _number(header[124:136])
        if size > MOST_HEADER_BYTES:
            raise ValueError(f"{size} bytes of header")
        content = cursor.take(size)
        cursor.skip(padding(size))
        if len(content) < size:
            raise Invalid("the archive is cut off in the middle")
        if kind == b"x":
            records = _records(content)
        elif kind == b"L":
            name = content.split(b"\0", 1)[0]
        elif kind == b"K":
            target = content.split(b"\0", 1)[0]
        if not (header := _header(cursor)):
            if kind == b"g":  # a comment for the whole archive, which may stand alone
                return None
            raise ValueError("it is missing")
    try:
        member = _plain(header)
        member.name, member.target = name or member.name, target or member.target
        _apply(member, records)
        _finish(cursor, member, header, records)
    except ValueError as error:
        said = dict(records).get(b"path") or name or header[:100].split(b"\0", 1)[0]
        raise ValueError(f"{told(said[:300])!r}: {error}") from None
    return member


def _plain(header: bytes) -> Member:
    """What one block of 512 bytes says, tar(5)."""
    _check_sum(header)
    kind = header[156:157]
    if kind not in _KINDS:
        raise ValueError(f"{kind!r} is no kind of file that a layer can have")
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345:346] != b"\0":
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return Member(
        name=name,
        kind=kind,
        mode=_number(header[100:108]) & 0o7777,
        uid=_number(header[108:116]),
        gid=_number(header[116:124]),
        size=_number(header[124:136]),
        mtime_ns=_number(header[136:148], signed=True) * 10**9,
        target=header[157:257].split(b"\0", 1)[0],
        major=_number(header[329:337]) if kind in (CHARACTER, BLOCKDEVICE) else 0,
        minor=_number(header[337:345]) if kind in (CHARACTER, BLOCKDEVICE) else 0,
    )


def _check_sum(header: bytes) -> None:
    """The sum of all bytes, those of the sum itself taken as spaces; old tars took bytes as signed."""
    said = _number(header[148:156])
    total = sum(header) - sum(header[148:156]) + 8 * 32
    if said != total:
        high = sum(byte >= 128 for byte in header[:148]) + sum(byte >= 128 for byte in header[156:])
        if said != total - 256 * high:
            raise ValueError("the checksum is wrong")


def _number(text: bytes, *, signed: bool = False) -> int:
    """Octal digits, or where the first bit is set a number in two's complement, as GNU tar has it."""
    if text[0] & 0x80:
        value = int.from_bytes(bytes((text[0] & 0x7F,)) + text[1:], "big")
        if text[0] & 0x40:
            value -= 1 << (8 * len(text) - 1)
    else:
        digits = text.strip(b" \0")
        value = int(digits, 8) if digits.isdigit() else _refuse_number(digits)
    if value >= 1 << 63 or value < (-(1 << 63) if signed else 0):
        raise ValueError(f"the number {value}")
    return value


def _refuse_number(digits: bytes) -> int:
    if digits:
        raise ValueError(f"{digits!r} is no number")
    return 0


def _records(content: bytes) -> list[tuple[bytes, bytes]]:
    """`LENGTH KEY=VALUE` and a new line, of an extended header, pax(1)."""
    found, at = [], 0
    while at < len(content):
        space = content.find(b" ", at, at + 20)
        digits = content[at:space]
        if space < 0 or not digits.isdigit():
            raise ValueError("an extended header without a length")
        end = at + int(digits)
        record = content[space + 1 : end]
        key, equals, value = record[:-1].partition(b"=")
        if end > len(content) or not equals or not key or record[-1:] != b"\n":
            raise ValueError("an extended header that is damaged")
        found.append((key, value))
        at = end
    return found


def _apply(member: Member, records: list[tuple[bytes, bytes]]) -> None:
    """What an extended header says goes before what the plain one says; an empty value takes it back."""
    for key, value in records:
        if key.startswith(_XATTR):
            member.xattrs[key[len(_XATTR) :].decode()] = value
        elif not value:
            continue
        elif key in (b"path", b"linkpath", b"GNU.sparse.name"):
            if b"\0" in value:
                raise ValueError("a zero byte in a name")
            if key == b"linkpath":
                member.target = value
            else:
                member.name = value
        elif key in (b"size", b"uid", b"gid"):
            setattr(member, key.decode(), _decimal(value))
        elif key == b"mtime":
            member.mtime_ns = _time_ns(value)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19 or int(text) >= 1 << 63:
        raise ValueError(f"{text[:30]!r} is no number")
    return int(text)


def _time_ns(text: bytes) -> int:
    """Seconds with a fraction, as nanoseconds; not as a float, which would round them."""
    found = re.fullmatch(rb"(-?)(\d{1,18})(?:\.(\d*))?", text)
    if found is None:
        raise ValueError(f"{text[:30]!r} is no time")
    nanoseconds = int(found[2]) * 10**9 + int((found[3] or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if found[1] else nanoseconds


def _finish(cursor: Cursor, member: Member, header: bytes, records: list[tuple[bytes, bytes]]) -> None:
    """One word for each kind, no content where there is none, and the map of a sparse file."""
    if member.kind in (FILE, b"\0", b"7"):
        if member.kind == b"\0" and member.name.endswith(b"/"):
            member.kind, member.size = DIRECTORY, 0
        else:
            member.kind = FILE
            member.segments, member.real_size = sparse.from_records(cursor, member, records)
    elif member.kind == b"S":
        member.kind = FILE
        member.segments, member.real_size = sparse.from_header(cursor, member, header)
    else:
        member.size = 0
    if not member.name:
        raise ValueError("it has no name")


# ------------------------------------------------------------------------- writing


def head(member: Member) -> bytes:
    """The header of a member, with an extended one before it where it is needed."""
    records: dict[bytes, bytes] = {}
    name, target = _short(member.name, b"path", records), _short(member.target, b"linkpath", records)
    uid, gid = _small(member.uid, 7, b"uid", records), _small(member.gid, 7, b"gid", records)
    size = _small(member.size, 11, b"size", records)
    mtime = _small(member.mtime_ns // 10**9, 11, b"mtime", records)
    for key in sorted(member.xattrs):
        records[_XATTR + key.encode()] = member.xattrs[key]
    numbers = (member.mode, uid, gid, size, mtime)
    block = _block(name, member.kind, target, numbers, member.major, member.minor)
    if not records:
        return block
    content = b"".join(_record(key, value) for key, value in records.items())
    extended = _block(b"PaxHeaders.0/" + name[-80:].strip(b"/"), b"x", b"", (0o644, 0, 0, len(content), 0))
    return extended + content + bytes(padding(len(content))) + block


def _block(
    name: bytes, kind: bytes, target: bytes, numbers: tuple[int, ...], major: int = 0, minor: int = 0
) -> bytes:
    first = name.ljust(100, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % numbers
    last = b"%c%b%b%07o\0%07o\0" % (kind, target.ljust(100, b"\0"), b"ustar\x0000" + bytes(64), major, minor)
    total = sum(first) + 8 * 32 + sum(last)
    return first + b"%06o\0 " % total + last + bytes(167)


def _short(text: bytes, key: bytes, records: dict[bytes, bytes]) -> bytes:
    if len(text) > 100:
        records[key] = text
    return text[:100]


def _small(value: int, digits: int, key: bytes, records: dict[bytes, bytes]) -> int:
    if 0 <= value < 8**digits:
        return value
    records[key] = b"%d" % value
    return 0


def _record(key: bytes, value: bytes) -> bytes:
    """A record of an extended header: the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length += 1
    return b"%d %b=%b\n" % (length, key, value)


END = bytes(2 * BLOCK)
"""What an archive ends with."""
