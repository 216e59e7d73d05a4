"""patterns: which paths a pattern names: Go's filepath.Match, and the ** of ignore files.

Chapter 9. Each pattern becomes a regular expression, once.
"""

import functools
import posixpath
import re

from labkit.errors import Invalid

_WILD = re.compile(r"[*?\[\\]")


def has_wildcards(pattern: str) -> bool:
    """Whether it can name anything but itself."""
    return _WILD.search(pattern) is not None


def clean(path: str) -> str:
    """The shortest way to write a path, as Go's filepath.Clean has it."""
    path = posixpath.normpath(path) if path else "."
    return "/" + path.lstrip("/") if path.startswith("/") else path


def match(pattern: str, path: str) -> bool:
    """Whether a pattern of COPY or ADD names a path; `*` and `?` stop at a slash."""
    return compiled(pattern).fullmatch(path) is not None


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str, *, stars: bool = False) -> re.Pattern[str]:
    """The regular expression of a pattern; with `stars`, `**` stands for any number of directories."""
    made, at = "", 0
    while at < len(pattern):
        character = pattern[at]
        if stars and pattern.startswith("**", at):
            text, at = _any_depth(pattern, at + 2)
        elif character == "*":
            text, at = "[^/]*", at + 1
        elif character == "?":
            text, at = "[^/]", at + 1
        elif character == "[":
            text, at = _class(pattern, at)
        elif character == "\\":
            if at + 1 == len(pattern):
                raise _bad(pattern)
            text, at = re.escape(pattern[at + 1]), at + 2
        else:
            text, at = re.escape(character), at + 1
        made += text
    return re.compile(made, re.DOTALL)


def _any_depth(pattern: str, at: int) -> tuple[str, int]:
    """What `**` stands for; a slash after it belongs to it."""
    while pattern.startswith("*", at):
        at += 1
    if at == len(pattern):
        return ".*", at
    return "(?:.*/)?", at + (1 if pattern[at] == "/" else 0)


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A class such as [a-z] or [^0-9]; a range that runs backwards holds nothing, as in Go."""
    negated = pattern.startswith("[^", at)
    at += 2 if negated else 1
    ranges: list[tuple[str, str]] = []
    while not ranges or not pattern.startswith("]", at):
        low, at = _member(pattern, at)
        high = low
        if pattern.startswith("-", at):
            high, at = _member(pattern, at + 1)
        ranges.append((low, high))
    inside = "".join(f"{re.escape(low)}-{re.escape(high)}" for low, high in ranges if low <= high)
    if not inside:
        return ("." if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{inside}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    """One character of a class, which may be escaped."""
    escaped = pattern.startswith("\\", at)
    at += escaped
    if at + 1 >= len(pattern) or (not escaped and pattern[at] in "-]"):  # a ] must still follow
        raise _bad(pattern)
    return pattern[at], at + 1


def _bad(pattern: str) -> Invalid:
    return Invalid(f"syntax error in pattern: {pattern}")
