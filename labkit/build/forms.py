"""forms: the ways in which an instruction's arguments can be written.

Chapter 8. JSON lists, words with quotes left in place, NAME=value, --flags.
Pure: text in, words out. Invalid says what is wrong; the caller knows the line.
"""

import json
import re
from typing import Any

from labkit.errors import Invalid

SPACES = " \t\v\f\r\n"
_SPACES = re.compile(r"[ \t\v\f\r\n]+")
_SURROGATES = re.compile("[\ud800-\udfff]")

Flags = tuple[tuple[str, str | None], ...]
"""Each --name with its value, None where it has none."""


def split(text: str) -> tuple[str, ...]:
    """Plain words with spaces between; quotes mean nothing here."""
    return tuple(word for word in _SPACES.split(text) if word)


def json_list(text: str) -> tuple[str, ...] | None:
    """The strings of a JSON list; None where it is not one, which makes it the shell form.

    What follows the list is ignored, as in Docker. A list that holds anything
    but strings is Invalid.
    """
    text = text.strip(SPACES)
    if not text.startswith("["):
        return None
    try:
        found, _ = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(item, str) for item in found):
        raise Invalid("when using JSON array syntax, arrays must be comprised of strings only")
    return tuple(_SURROGATES.sub("\ufffd", item) for item in found)


def _no_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are Python's, not JSON's


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def words(text: str, escape: str) -> list[str]:
    """Words as a shell parts them, with their quotes and escapes still in: expansion takes those away."""
    found: list[str] = []
    word, quote, at = "", "", 0
    while at < len(text):
        character = text[at]
        if character == escape and quote != "'":
            word += text[at : at + 2]
            at += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in SPACES:
            found += [word] if word else []
            word, at = "", at + 1
            continue
        word += character
        at += 1
    return found + ([word] if word else [])


def pairs(text: str, keyword: str, escape: str) -> tuple[tuple[str, str], ...]:
    """NAME=value …, or the older NAME value in which all that follows is the value."""
    found = words(text, escape)
    if not found:
        return ()
    if "=" not in found[0]:
        name, *rest = _SPACES.split(text.strip(SPACES), maxsplit=1)
        if not rest:
            raise Invalid(f"{keyword} must have two arguments", hint=f"{keyword} NAME=value")
        return ((name, rest[0]),)
    for word in found:
        if "=" not in word:
            raise Invalid(f"Syntax error - can't find = in {word!r}. Must be of the form: name=value")
        if word.startswith("="):
            raise Invalid(f"{keyword} names can not be blank")
    return tuple((name, value) for name, _, value in (word.partition("=") for word in found))


def names(text: str, keyword: str, escape: str) -> tuple[tuple[str, str | None], ...]:
    """NAME or NAME=value, as ARG takes them."""
    found = []
    for word in words(text, escape):
        name, equals, value = word.partition("=")
        if not name:
            raise Invalid(f"{keyword} names can not be blank")
        found.append((name, value if equals else None))
    return tuple(found)


def flags(text: str) -> tuple[Flags, str]:
    """The --flags at the beginning, and what follows them. `--` alone ends them."""
    found: list[tuple[str, str | None]] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACES:
            at += 1
        if not text.startswith("--", at):
            return tuple(found), text[at:]
        word, at = _flag_word(text, at)
        if word == "--":
            return tuple(found), text[at:].lstrip(SPACES)
        name, equals, value = word[2:].partition("=")
        found.append((name, value if equals else None))


def _flag_word(text: str, at: int) -> tuple[str, int]:
    """One word from `at` on without its quotes, and where it ends."""
    word, quote = "", ""
    while at < len(text) and (quote or text[at] not in SPACES):
        character = text[at]
        if character == "\\" and at + 1 < len(text):
            at += 1
            word += text[at]
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            word += character
        at += 1
    return word, at
