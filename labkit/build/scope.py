"""scope: which variables an instruction sees: ARG and ENV of its stage, and what was given.

Chapter 8. An ARG is seen from its line on, in its stage alone; ENV lies over it.
Pure: no file is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from labkit.build import variables
from labkit.build.dockerfile import Instruction

PREDEFINED = tuple(
    form for name in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for form in (name, name.lower())
)  # fmt: skip
"""Reach every RUN without an ARG, and are neither in the history nor in the cache's key."""


def platform_values(prefix: str, os: str, architecture: str, variant: str) -> dict[str, str]:
    """TARGETPLATFORM and its parts, or BUILDPLATFORM and its."""
    platform = "/".join(part for part in (os, architecture, variant) if part)
    values = {"PLATFORM": platform, "OS": os, "ARCH": architecture, "VARIANT": variant}
    return {prefix + name: value for name, value in values.items()}


@dataclass(slots=True)
class Scope:
    """The variables of one stage, as they grow from line to line.

    Of the three that a stage starts with, `given` comes from --build-arg,
    `outer` from the ARGs above the first FROM, `platform` from the machine.
    """

    given: Mapping[str, str]
    outer: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    escape: str = "\\"
    args: dict[str, str] = field(default_factory=dict)
    declared: set[str] = field(default_factory=set)

    def declare(self, name: str, default: str | None, env: Mapping[str, str]) -> str | None:
        """An ARG, whose value is given, or its default, or that of the ARG above the first FROM."""
        self.declared.add(name)
        value = None if default is None else variables.expand(default, self.args | dict(env), self.escape)
        if name in self.given:
            value = self.given[name]
        elif value is None:
            value = self.outer.get(name, self.platform.get(name))
        if value is not None:
            self.args[name] = value
        return value

    def expand(self, text: str, env: Mapping[str, str]) -> str:
        """One word of an instruction; ENV lies over ARG."""
        return variables.expand(text, self.args | dict(env), self.escape)

    def expand_words(self, text: str, env: Mapping[str, str]) -> list[str]:
        """A word that may become several, as of EXPOSE."""
        return variables.expand_words(text, self.args | dict(env), self.escape)

    def expand_body(self, text: str, env: Mapping[str, str]) -> str:
        """The body of a here-document."""
        return variables.expand_text(text, self.args | dict(env))

    def build_args(self, env: Mapping[str, str]) -> dict[str, str]:
        """What of the ARGs a RUN gets as environment, and its cache key counts."""
        return {name: self.args[name] for name in sorted(self.args) if name not in env}

    def proxies(self, env: Mapping[str, str]) -> dict[str, str]:
        """What reaches a RUN though no ARG declared it."""
        return {
            name: self.given[name]
            for name in PREDEFINED
            if name in self.given and name not in self.declared and name not in env
        }

    def unused(self) -> list[str]:
        """What was given and no ARG of this stage took."""
        return [name for name in self.given if name not in self.declared and name not in PREDEFINED]


def outer_values(
    args: "list[Instruction]", given: Mapping[str, str], platform: Mapping[str, str], escape: str
) -> Scope:
    """The scope of the lines above the first FROM, in which FROM itself is expanded."""
    scope = Scope(given=given, escape=escape, args=dict(platform))
    for instruction in args:
        for name, default in instruction.pairs:
            scope.declare(name, default, {})
    return scope
