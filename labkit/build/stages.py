"""stages: from the instructions to a graph of stages: what is built on what, and which are needed.

Chapter 9. Pure: nothing is made, and the graph can be drawn before the build.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from labkit.build import options, scope
from labkit.build.dockerfile import Dockerfile, Instruction
from labkit.errors import Invalid, LabkitError

SCRATCH = "scratch"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One FROM with what follows it."""

    index: int
    name: str  # in lower case; "" where it has none
    base: str  # an image, `scratch`, or the stage that `parent` is the index of
    parent: int | None
    platform: str
    start: Instruction
    instructions: tuple[Instruction, ...]
    copies_from: tuple[int, ...]  # the stages that COPY --from and RUN --mount name

    @property
    def title(self) -> str:
        """Its name, or its number."""
        return self.name or f"stage-{self.index}"

    @property
    def needs(self) -> tuple[int, ...]:
        """Every stage that must be there for this one."""
        return tuple(dict.fromkeys((*(() if self.parent is None else (self.parent,)), *self.copies_from)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All stages of a Dockerfile, with variables as far as FROM needs them."""

    dockerfile: Dockerfile
    stages: tuple[Stage, ...]
    target: int
    outer: Mapping[str, str]
    given_outside: frozenset[str]  # the names that an ARG above the first FROM declares

    def needed(self) -> list[int]:
        """The target with all that it is made from, in the order of the file."""
        found: set[int] = set()
        todo = [self.target]
        while todo:
            index = todo.pop()
            if index not in found:
                found.add(index)
                todo += self.stages[index].needs
        return sorted(found)

    def find(self, name: str, before: int) -> int | None:
        """A stage above another one by its name or number; None where that is an image's name."""
        return _find(name, self.stages[:before])


def plan(
    dockerfile: Dockerfile,
    *,
    given: Mapping[str, str] | None = None,
    target: str = "",
    platform: Mapping[str, str] | None = None,
) -> Plan:
    """The graph; DockerfileError names the line that does not fit."""
    above, below = _part(dockerfile)
    try:
        outer = scope.outer_values(above, given or {}, platform or {}, dockerfile.escape)
    except LabkitError as error:
        raise dockerfile.error(above[0], str(error), error.hint) from None
    stages: list[Stage] = []
    for group in below:
        stages.append(_stage(dockerfile, group, stages, outer))
    return Plan(
        dockerfile=dockerfile,
        stages=tuple(stages),
        target=_target(target, stages),
        outer={name: outer.args[name] for name in outer.declared if name in outer.args},
        given_outside=frozenset(outer.declared),
    )


def _part(dockerfile: Dockerfile) -> tuple[list[Instruction], list[list[Instruction]]]:
    """The ARGs above the first FROM, and the instructions of each stage, FROM first."""
    above: list[Instruction] = []
    below: list[list[Instruction]] = []
    for instruction in dockerfile.instructions:
        if instruction.keyword == "FROM":
            below.append([instruction])
        elif below:
            below[-1].append(instruction)
        elif instruction.keyword == "ARG":
            above.append(instruction)
        else:
            raise dockerfile.error(instruction, "no build stage in current context", "FROM comes first")
    if not below:
        raise dockerfile.error(above[0], "no build stage in current context", "there is no FROM")
    return above, below


def _stage(
    dockerfile: Dockerfile, group: list[Instruction], earlier: list[Stage], outer: scope.Scope
) -> Stage:
    start, *rest = group
    try:
        base = outer.expand(start.words[0], {})
        platform = outer.expand(start.flag("platform"), {})
        copies = [name for instruction in rest for name in options.sources_of(instruction)]
    except LabkitError as error:
        raise dockerfile.error(start, str(error), error.hint) from None
    if not base:
        raise dockerfile.error(start, f"base name ({start.words[0]}) should not be blank")
    name = start.words[2].lower() if len(start.words) == 3 else ""
    parent = None if base == SCRATCH else _by_name(base, earlier)
    found = (_find(copied, earlier) for copied in copies)
    return Stage(
        index=len(earlier),
        name=name,
        base=base,
        parent=parent,
        platform=platform,
        start=start,
        instructions=tuple(rest),
        copies_from=tuple(dict.fromkeys(index for index in found if index is not None)),
    )


def _by_name(name: str, stages: "list[Stage] | tuple[Stage, ...]") -> int | None:
    """The last stage of a name, whatever its case."""
    return next(
        (stage.index for stage in reversed(stages) if stage.name and stage.name == name.lower()), None
    )


def _find(name: str, stages: "list[Stage] | tuple[Stage, ...]") -> int | None:
    """A stage by name or number."""
    found = _by_name(name, stages)
    if found is None and name.isascii() and name.isdigit() and int(name) < len(stages):
        return int(name)
    return found


def _target(name: str, stages: list[Stage]) -> int:
    if not name:
        return len(stages) - 1
    found = _find(name, stages)
    if found is None:
        known = ", ".join(stage.title for stage in stages)
        raise Invalid(f"target stage {name!r} could not be found", hint=f"there are {known}")
    return found
