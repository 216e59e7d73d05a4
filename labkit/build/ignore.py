"""ignore: what of a context stays at home: the rules of a .dockerignore.

Chapter 9. One pattern a line, read from the top: the last one that names a path
decides; `!` lets a path in again; a pattern names all that is below it too.
"""

import re
from dataclasses import dataclass
from functools import cached_property

from labkit.build import patterns
from labkit.errors import Invalid


@dataclass(frozen=True)
class Rule:
    """One line."""

    pattern: str
    keeps: bool  # it began with !
    line: int

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """The pattern, ready to match."""
        return patterns.compiled(self.pattern, stars=True)


@dataclass(frozen=True)
class Rules:
    """All lines of one file, in order."""

    rules: tuple[Rule, ...] = ()

    def leave_out(self, path: str) -> bool:
        """Whether a path, relative to the context, is left out."""
        out = False
        parts = path.split("/")
        places = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
        for rule in self.rules:
            if rule.keeps == out and any(rule.expression.fullmatch(place) for place in places):
                out = not rule.keeps
        return out

    @cached_property
    def lets_in_again(self) -> bool:
        """Whether any rule begins with `!`: then a directory that is left out must be looked into."""
        return any(rule.keeps for rule in self.rules)


def parse(text: str, file: str = ".dockerignore") -> Rules:
    """The rules of a file; Invalid names a line that cannot be one."""
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if line.startswith("#") or not line.strip():
            continue
        found.append(_rule(line.strip(), number, file))
    return Rules(tuple(rule for rule in found if rule.pattern not in (".", "/")))


def _rule(text: str, number: int, file: str) -> Rule:
    keeps = text.startswith("!")
    pattern = text[1:].strip() if keeps else text
    if not pattern:
        raise Invalid(f'{file}:{number}: illegal exclusion pattern: "!"')
    pattern = patterns.clean(pattern)
    rule = Rule(pattern[1:] if len(pattern) > 1 and pattern[0] == "/" else pattern, keeps, number)
    try:
        _ = rule.expression
    except Invalid as error:
        raise Invalid(f"{file}:{number}: {error}") from None
    return rule
