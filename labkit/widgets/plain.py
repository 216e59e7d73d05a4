"""plain: say numbers, names and tables in text that fits and harms nobody.

Names of files and processes are made by others: what does not print (control
characters, broken UTF-8, marks that turn the direction of writing) shows as
an escape, so it can neither hide nor break anything.
"""

from collections.abc import Iterable, Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"


def printable(text: str) -> str:
    r"""The text with whatever does not print as `\x1b` or the like."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that was no UTF-8, as os.fsdecode keeps it
        return f"\\x{number - 0xDC00:02x}"
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def fit(text: str, width: int) -> str:
    """Shorten to `width` characters, in the middle, so that beginning and end remain."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + "…" + (text[-tail:] if tail else "")


def amount(count: float) -> str:
    """Bytes in powers of 1024, with three digits at most."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1000:
            return f"{_digits(count)} {unit}"
        count /= 1024
    return f"{_digits(count)} TiB"


def duration(seconds: float) -> str:
    """Seconds in the unit that leaves the fewest zeros."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{_digits(seconds * factor)} {unit}"
    return f"{_digits(seconds * 1e6)} µs"


def _digits(number: float) -> str:
    if number >= 100 or number == int(number):
        return f"{number:.0f}"
    return f"{number:.1f}".removesuffix(".0") if number >= 10 else f"{number:.2f}".rstrip("0").rstrip(".")


def counted(number: int, one: str, many: str = "") -> str:
    """`1 process`, `2 processes`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def grid(rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> list[str]:
    """Lines with aligned columns; the numbers of those to align right."""
    table, to_right = [list(row) for row in rows], set(right)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in to_right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def sparkline(values: Sequence[float], top: float, width: int) -> str:
    """The last values as a line of blocks, `top` being the full one."""
    return "".join(
        BLOCKS[min(8, max(1 if value > 0 else 0, round(8 * value / top))) if top > 0 else 0]
        for value in values[-width:]
    ).rjust(width)
