"""syntax: what each instruction may look like: the form of its arguments and its flags, as tables.

Chapter 8. docs.docker.com/reference/dockerfile. An instruction that breaks its
row of a table is Invalid, in Docker's words.
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from labkit.build import forms
from labkit.build.forms import SPACES, Flags
from labkit.errors import Invalid, Unsupported


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one instruction, in whatever form it takes them."""

    words: tuple[str, ...] = ()
    is_exec: bool = False
    pairs: tuple[tuple[str, str | None], ...] = ()


Form = Callable[[str, str, str], Arguments]
"""What reads the text after an instruction's keyword and flags: (text, keyword, escape)."""


def _words(text: str, _keyword: str, _escape: str) -> Arguments:
    return Arguments(forms.split(text))


def _whole(text: str, _keyword: str, _escape: str) -> Arguments:
    return Arguments((text,) if text else ())


def _command(text: str, _keyword: str, _escape: str) -> Arguments:
    """Exec form or shell form."""
    found = forms.json_list(text)
    return Arguments(found, is_exec=True) if found is not None else Arguments((text,) if text else ())


def _list(text: str, _keyword: str, _escape: str) -> Arguments:
    """Words, which may be written as a JSON list."""
    found = forms.json_list(text)
    return Arguments(found, is_exec=True) if found is not None else Arguments(forms.split(text))


def _pairs(text: str, keyword: str, escape: str) -> Arguments:
    return Arguments(pairs=forms.pairs(text, keyword, escape))


def _names(text: str, keyword: str, escape: str) -> Arguments:
    return Arguments(pairs=forms.names(text, keyword, escape))


def _health(text: str, keyword: str, escape: str) -> Arguments:
    """NONE, or CMD and a command."""
    kind, *rest = text.split(None, 1)[:2] or [""]
    if kind.upper() not in ("CMD", "NONE"):
        raise Invalid(f"Unknown type {kind!r} in HEALTHCHECK (try CMD)")
    command = _command(rest[0].strip(SPACES) if rest else "", keyword, escape)
    if kind.upper() == "NONE" and command.words:
        raise Invalid("HEALTHCHECK NONE takes no arguments")
    if kind.upper() == "CMD" and not command.words:
        raise Invalid("Missing command after HEALTHCHECK CMD")
    return Arguments((kind.upper(), *command.words), command.is_exec)


FORMS: dict[str, Form] = {
    "ADD": _list,
    "ARG": _names,
    "CMD": _command,
    "COPY": _list,
    "ENTRYPOINT": _command,
    "ENV": _pairs,
    "EXPOSE": _words,
    "FROM": _words,
    "HEALTHCHECK": _health,
    "LABEL": _pairs,
    "MAINTAINER": _whole,
    "ONBUILD": _whole,
    "RUN": _command,
    "SHELL": _command,
    "STOPSIGNAL": _whole,
    "USER": _whole,
    "VOLUME": _list,
    "WORKDIR": _whole,
}
"""Every instruction there is."""

FLAGS: dict[str, tuple[str, ...]] = {
    "ADD": ("checksum", "chmod", "chown", "exclude", "link"),
    "COPY": ("chmod", "chown", "exclude", "from", "link", "parents"),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "retries", "start-interval", "start-period", "timeout"),
    "RUN": ("mount", "network", "security"),
}

_REPEATED = ("exclude", "mount")
_YES_OR_NO = ("link", "parents")
_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")


def form_of(keyword: str) -> Form:
    """How an instruction's arguments are read."""
    form = FORMS.get(keyword.upper())
    if form is None:
        near = difflib.get_close_matches(keyword.upper(), FORMS, 1)
        raise Invalid(f"unknown instruction: {keyword}", hint=f"did you mean {near[0]}?" if near else "")
    return form


def check_flags(keyword: str, given: Flags) -> None:
    """A flag that an instruction does not know, or that lacks its value, is refused."""
    known = FLAGS.get(keyword, ())
    seen = set()
    for name, value in given:
        if keyword == "ADD" and name == "keep-git-dir":
            raise Unsupported("ADD of a git repository is not supported", hint="clone it, and COPY it")
        if name not in known:
            raise Invalid(f"unknown flag: --{name}", hint=f"{keyword} knows {_list_of(known)}")
        if name in seen and name not in _REPEATED:
            raise Invalid(f"duplicate flag specified: {name}")
        seen.add(name)
        if name in _YES_OR_NO:
            if value not in (None, "true", "false", "1", "0"):
                raise Invalid(f"expecting boolean value for flag {name}, not: {value}")
        elif not value:
            raise Invalid(f"missing a value on flag: {name}")


def _list_of(names: tuple[str, ...]) -> str:
    return ", ".join(f"--{name}" for name in names) or "no flags"


def check_trigger(keyword: str) -> None:
    """What cannot wait for the next build."""
    if keyword == "ONBUILD":
        raise Invalid("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise Invalid(f"{keyword} isn't allowed as an ONBUILD trigger")


def check_arguments(keyword: str, arguments: Arguments) -> None:
    """As many arguments as there must be."""
    count = len(arguments.pairs if keyword in ("ARG", "ENV", "LABEL") else arguments.words)
    if keyword == "FROM":
        _check_from(arguments.words)
    elif keyword in ("ADD", "COPY"):
        if count == 1:
            raise Invalid(
                f"{keyword} requires at least two arguments, but only one was provided. "
                "Destination could not be determined"
            )
        if count == 0:
            raise Invalid(f"{keyword} requires at least two arguments")
    elif keyword in ("MAINTAINER", "STOPSIGNAL", "USER", "WORKDIR"):
        if count != 1:
            raise Invalid(f"{keyword} requires exactly one argument")
    elif keyword == "SHELL":
        if not arguments.is_exec:
            raise Invalid("SHELL requires the arguments to be in JSON form")
        if not count:
            raise Invalid("SHELL requires at least one argument")
    elif count == 0 and not (arguments.is_exec and keyword in ("CMD", "ENTRYPOINT")):
        raise Invalid(f"{keyword} requires at least one argument")
    if keyword == "VOLUME" and not all(word.strip() for word in arguments.words):
        raise Invalid("VOLUME specified can not be an empty string")
    for word in (*arguments.words, *(text or "" for pair in arguments.pairs for text in pair)):
        if "\0" in word:
            raise Invalid(f"{keyword} holds a zero byte, which no program can be given")


def _check_from(words: tuple[str, ...]) -> None:
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
        raise Invalid("FROM requires either one or three arguments", hint="FROM image AS name")
    if len(words) == 3 and not _STAGE_NAME.fullmatch(words[2].lower()):
        raise Invalid(
            f"invalid name for build stage: {words[2]!r}, name can't start with a number or contain symbols"
        )
