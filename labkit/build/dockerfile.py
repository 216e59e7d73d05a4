"""dockerfile: read a Dockerfile: its instructions, each with its line and its arguments.

Chapter 8. Pure: text in, Instructions out. Every error names the file and the line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from labkit.build import forms, syntax
from labkit.build.forms import SPACES, Flags
from labkit.build.variables import expand_words
from labkit.errors import Invalid, LabkitError

MOST_BYTES = 4 << 20
"""A Dockerfile is written by a person; what is larger is a mistake in the path."""


class DockerfileError(Invalid):
    """What is wrong with a Dockerfile, and on which line."""

    def __init__(self, message: str, *, file: str, line: int, hint: str = "") -> None:
        super().__init__(f"{file}:{line}: {message}", hint=hint)
        self.file, self.line = file, line


@dataclass(frozen=True, slots=True, kw_only=True)
class Heredoc:
    """The lines between <<NAME and NAME."""

    name: str
    text: str
    expands: bool  # the name stood without quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One instruction as it is written: nothing is expanded yet."""

    keyword: str  # in capitals
    line: int
    end_line: int
    original: str  # in one line, as it was written
    flags: Flags = ()
    words: tuple[str, ...] = ()
    is_exec: bool = False  # the words come from a JSON list
    pairs: tuple[tuple[str, str | None], ...] = ()  # of ARG, ENV and LABEL
    heredocs: tuple[Heredoc, ...] = ()
    trigger: "Instruction | None" = None  # of ONBUILD

    def flag(self, name: str) -> str:
        """The value of a --flag, "" where it was not given."""
        return next((value or "" for key, value in self.flags if key == name), "")

    def all_flags(self, name: str) -> tuple[str, ...]:
        """The values of a --flag that may be given more than once."""
        return tuple(value or "" for key, value in self.flags if key == name)

    def is_set(self, name: str) -> bool:
        """Whether a flag of yes or no is set."""
        return any(key == name and value in (None, "true", "1") for key, value in self.flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dockerfile:
    """What was read."""

    file: str
    instructions: tuple[Instruction, ...]
    escape: str = "\\"
    directives: dict[str, str] = field(default_factory=dict)

    def error(self, instruction: Instruction, message: str, hint: str = "") -> DockerfileError:
        """An error at an instruction."""
        return DockerfileError(message, file=self.file, line=instruction.line, hint=hint)


class _Logical(NamedTuple):
    """Physical lines put together: no comments, no continuations."""

    text: str
    line: int
    end_line: int


_DIRECTIVE = re.compile(r"#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*")
_KNOWN = ("escape", "syntax", "check")
_HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)")


def parse(text: str, file: str = "Dockerfile") -> Dockerfile:
    """Read it whole; DockerfileError names the line that cannot be read."""
    lines = text.removeprefix("\ufeff").split("\n")
    reader = _Reader(lines, file)
    reader.read_directives()
    instructions = tuple(reader.instructions())
    if not instructions:
        raise DockerfileError("file with no instructions", file=file, line=1)
    return Dockerfile(
        file=file, instructions=instructions, escape=reader.escape, directives=reader.directives
    )


def decode(data: bytes, file: str = "Dockerfile") -> str:
    """The text of a file; DockerfileError where it is none."""
    if len(data) > MOST_BYTES:
        raise DockerfileError(f"the file is larger than {MOST_BYTES >> 20} MiB", file=file, line=1)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DockerfileError("the text is not UTF-8", file=file, line=line) from None


def parse_line(text: str, file: str, line: int, escape: str = "\\") -> Instruction:
    """One instruction that lies elsewhere, such as a trigger in an image's OnBuild."""
    reader = _Reader(text.split("\n"), file, first_line=line)
    reader.escape = escape
    found = list(reader.instructions())
    if len(found) != 1:
        raise DockerfileError(f"{text!r} is not one instruction", file=file, line=line)
    return found[0]


class _Reader:
    """Goes through the lines once."""

    def __init__(self, lines: list[str], file: str, *, first_line: int = 1) -> None:
        self.lines, self.file, self.first_line = lines, file, first_line
        self.at = 0
        self.escape = "\\"
        self.directives: dict[str, str] = {}

    @property
    def line(self) -> int:
        """The number of the line that is read next."""
        return self.at + self.first_line

    def read_directives(self) -> None:
        """`# name=value` at the very top; anything else ends them."""
        while self.at < len(self.lines):
            found = _DIRECTIVE.fullmatch(self.lines[self.at].rstrip("\r"))
            if found is None or found[1].lower() not in _KNOWN:
                return
            name, value = found[1].lower(), found[2]
            if name in self.directives:
                raise self._error(f"only one {name} parser directive can be used")
            if name == "escape" and value not in ("\\", "`"):
                raise self._error(f"invalid escape token {value!r} does not match ` or \\")
            self.directives[name] = value
            self.escape = self.directives.get("escape", "\\")
            self.at += 1

    def _error(self, message: str, hint: str = "", line: int | None = None) -> DockerfileError:
        return DockerfileError(message, file=self.file, line=line or self.line, hint=hint)

    def instructions(self) -> Iterator[Instruction]:
        """Every instruction, in order."""
        while (logical := self._logical()) is not None:
            try:
                yield self._instruction(logical)
            except DockerfileError:
                raise
            except LabkitError as error:
                raise self._error(str(error), error.hint, logical.line) from None

    def _logical(self) -> _Logical | None:
        """The next line that says something, with those that continue it."""
        while self.at < len(self.lines):
            begin = self.line
            text, ends = self._physical(first=True)
            while not ends and self.at < len(self.lines):
                more, ends = self._physical(first=False)
                text += more
            if text.strip(SPACES):
                return _Logical(text.strip(SPACES), begin, self.line - 1)
        return None

    def _physical(self, *, first: bool) -> tuple[str, bool]:
        """One line without what continues it; whether it ends there. A comment inside is not there."""
        line = self.lines[self.at].rstrip("\r\n")
        self.at += 1
        stripped = line.strip(SPACES)
        if stripped.startswith("#") or not stripped:
            return "", first
        bare = line.rstrip(" \t")
        if bare.endswith(self.escape) and not bare.endswith(self.escape * 2):
            return bare[:-1], False
        return line, True

    def _instruction(self, logical: _Logical) -> Instruction:
        keyword, _, rest = _cut(logical.text)
        form = syntax.form_of(keyword)
        given, rest = forms.flags(rest)
        syntax.check_flags(keyword.upper(), given)
        trigger = None
        if keyword.upper() == "ONBUILD":
            syntax.check_trigger(_cut(rest)[0].upper())
            trigger = self._instruction(_Logical(rest, logical.line, logical.end_line))
        arguments = form(rest, keyword.upper(), self.escape)
        taken = trigger.heredocs if trigger else self._heredocs(keyword.upper(), arguments, rest)
        found = Instruction(
            keyword=keyword.upper(),
            line=logical.line,
            end_line=self.line - 1,
            original=logical.text,
            flags=given,
            words=arguments.words,
            is_exec=arguments.is_exec,
            pairs=arguments.pairs,
            heredocs=taken,
            trigger=trigger,
        )
        syntax.check_arguments(found.keyword, arguments)
        return found

    def _heredocs(self, keyword: str, arguments: syntax.Arguments, rest: str) -> tuple[Heredoc, ...]:
        """The bodies that follow, one for each <<NAME of the line."""
        if keyword not in ("RUN", "COPY", "ADD") or arguments.is_exec or "<<" not in rest:
            return ()
        opened = [heredoc for word in forms.words(rest, self.escape) if (heredoc := opening(word))]
        return tuple(self._body(*heredoc) for heredoc in opened)

    def _body(self, name: str, expands: bool, strips_tabs: bool) -> Heredoc:
        begin = self.line - 1
        body: list[str] = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            if strips_tabs:
                line = line.lstrip("\t")
            if line.rstrip("\r") == name:
                return Heredoc(name=name, text="".join(f"{row}\n" for row in body), expands=expands)
            body.append(line)
        raise self._error(f"unterminated heredoc: no line says {name}", line=begin)


def opening(word: str) -> tuple[str, bool, bool] | None:
    """Of a word <<NAME: the name, whether its body is expanded, whether leading tabs go; else None."""
    found = _HEREDOC.fullmatch(word)
    if found is None or not found[3] or found[1] not in ("", "0"):
        return None
    try:
        names = expand_words(found[3], {})
    except LabkitError:
        return None
    if len(names) != 1 or "$" in found[3]:
        return None
    return names[0], names[0] == found[3], found[2] == "-"


def _cut(text: str) -> tuple[str, str, str]:
    """The first word, and the rest."""
    parts = re.split(r"([ \t\v\f\r]+)", text, maxsplit=1)
    return (parts[0], parts[1], parts[2].strip(SPACES)) if len(parts) == 3 else (parts[0], "", "")
