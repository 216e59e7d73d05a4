"""configuration: what each instruction changes in an image's config.

Chapter 8. config.md of image-spec; the values are those that Docker writes. Pure.
"""

import posixpath
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from labkit.build import options, patterns
from labkit.build.dockerfile import Instruction
from labkit.build.scope import Scope
from labkit.errors import Invalid
from labkit.images.configs import Healthcheck, RunConfig

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A config after an instruction, and the instruction in the words of the history."""

    run: RunConfig
    said: str
    author: str = ""


def start(inherited: RunConfig) -> RunConfig:
    """What a stage begins with: the base image's config, without its triggers and with a PATH."""
    env = inherited.env
    if not any(line.startswith("PATH=") for line in env):
        env = (*env, PATH)
    return replace(inherited, env=env, onbuild=())


def environment(run: RunConfig) -> dict[str, str]:
    """Its variables by name; of two of one name the last counts."""
    return {name: value for name, _, value in (line.partition("=") for line in run.env)}


def with_env(run: RunConfig, pairs: Mapping[str, str]) -> RunConfig:
    """Variables set, each in its old place where it had one."""
    known = environment(run) | dict(pairs)
    return replace(run, env=tuple(f"{name}={value}" for name, value in known.items()))


def shell_of(run: RunConfig) -> tuple[str, ...]:
    """What a shell form is handed to."""
    return run.shell or SHELL


def command_of(run: RunConfig, instruction: Instruction) -> tuple[str, ...]:
    """The words of CMD, ENTRYPOINT or RUN: the shell form becomes three."""
    return instruction.words if instruction.is_exec else (*shell_of(run), instruction.words[0])


def working_directory(run: RunConfig, path: str) -> str:
    """A path seen from the one before."""
    return patterns.clean(posixpath.join(run.working_directory or "/", path))


def apply(run: RunConfig, instruction: Instruction, scope: Scope, *, has_command: bool) -> Change:
    """The config after an instruction that changes it alone.

    `has_command` says whether this stage had a CMD: an ENTRYPOINT takes away
    the one that came with the base image.
    """
    return _APPLY[instruction.keyword](run, instruction, scope, has_command)


def _env(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    seen = environment(run)
    pairs = {scope.expand(name, seen): scope.expand(value or "", seen) for name, value in instruction.pairs}
    if "" in pairs:
        raise Invalid("ENV names can not be blank")
    said = "ENV " + " ".join(f"{name}={value}" for name, value in pairs.items())
    return Change(run=with_env(run, pairs), said=said)


def _label(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    seen = environment(run)
    pairs = {scope.expand(name, seen): scope.expand(value or "", seen) for name, value in instruction.pairs}
    if "" in pairs:
        raise Invalid("LABEL names can not be blank")
    said = "LABEL " + " ".join(f"{name}={value}" for name, value in pairs.items())
    return Change(run=replace(run, labels=run.labels | pairs), said=said)


def _arg(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    said = []
    for name, default in instruction.pairs:
        value = scope.declare(name, default, environment(run))
        said.append(name if value is None else f"{name}={value}")
    return Change(run=run, said="ARG " + " ".join(said))


def _cmd(run: RunConfig, instruction: Instruction, _scope: Scope, _: bool) -> Change:
    command = command_of(run, instruction)
    return Change(run=replace(run, command=command), said=f"CMD {_listed(command)}")


def _entrypoint(run: RunConfig, instruction: Instruction, _scope: Scope, has_command: bool) -> Change:
    entrypoint = command_of(run, instruction)
    changed = replace(run, entrypoint=entrypoint, command=run.command if has_command else None)
    return Change(run=changed, said=f"ENTRYPOINT {_listed(entrypoint)}")


def _expose(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    seen = environment(run)
    words = [word for text in instruction.words for word in scope.expand_words(text, seen)]
    ports = [port for word in words for port in options.ports(word)]
    exposed = tuple(sorted({*run.exposed_ports, *ports}))
    return Change(run=replace(run, exposed_ports=exposed), said=f"EXPOSE {' '.join(words)}")


def _volume(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    seen = environment(run)
    places = [scope.expand(word, seen).strip() for word in instruction.words]
    if "" in places:
        raise Invalid("VOLUME specified can not be an empty string")
    volumes = tuple(sorted({*run.volumes, *places}))
    return Change(run=replace(run, volumes=volumes), said=f"VOLUME {_listed(tuple(places))}")


def _user(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    user = scope.expand(instruction.words[0], environment(run))
    return Change(run=replace(run, user=user), said=f"USER {user}")


def _workdir(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    path = working_directory(run, scope.expand(instruction.words[0], environment(run)))
    return Change(run=replace(run, working_directory=path), said=f"WORKDIR {path}")


def _shell(run: RunConfig, instruction: Instruction, _scope: Scope, _: bool) -> Change:
    return Change(run=replace(run, shell=instruction.words), said=f"SHELL {_listed(instruction.words)}")


def _stopsignal(run: RunConfig, instruction: Instruction, scope: Scope, _: bool) -> Change:
    said = scope.expand(instruction.words[0], environment(run))
    name = said.upper().removeprefix("SIG")
    known = name.isdigit() and 0 < int(name[:4]) <= signal.SIGRTMAX
    if not (known or f"SIG{name}" in signal.Signals.__members__ or name.startswith(("RTMIN", "RTMAX"))):
        raise Invalid(f"Invalid signal: {said}", hint="such as SIGTERM or 15, see signal(7)")
    return Change(run=replace(run, stop_signal=said), said=f"STOPSIGNAL {said}")


def _maintainer(run: RunConfig, instruction: Instruction, _scope: Scope, _: bool) -> Change:
    return Change(run=run, said=f"MAINTAINER {instruction.words[0]}", author=instruction.words[0])


def _onbuild(run: RunConfig, instruction: Instruction, _scope: Scope, _: bool) -> Change:
    text = instruction.words[0] + "".join(
        f"\n{heredoc.text}{heredoc.name}" for heredoc in instruction.heredocs
    )
    return Change(run=replace(run, onbuild=(*run.onbuild, text)), said=f"ONBUILD {text}")


def _healthcheck(run: RunConfig, instruction: Instruction, _scope: Scope, _: bool) -> Change:
    kind, *command = instruction.words
    if kind == "NONE":
        if instruction.flags:
            raise Invalid("HEALTHCHECK NONE takes no flags")
        return Change(run=replace(run, healthcheck=Healthcheck(test=("NONE",))), said="HEALTHCHECK NONE")
    retries = instruction.flag("retries") or "0"
    if not retries.isascii() or not retries.isdigit() or len(retries) > 9:
        raise Invalid(f"--retries must be a number that is not negative, not {retries!r}")
    names = ("interval", "timeout", "start-period", "start-interval")
    times = {name: options.duration_ns(instruction.flag(name), name) for name in names}
    test = ("CMD" if instruction.is_exec else "CMD-SHELL", *command)
    check = Healthcheck(
        test=test,
        interval_ns=times["interval"],
        timeout_ns=times["timeout"],
        start_period_ns=times["start-period"],
        start_interval_ns=times["start-interval"],
        retries=int(retries),
    )
    return Change(run=replace(run, healthcheck=check), said=instruction.original)


def _listed(words: tuple[str, ...]) -> str:
    """A list as Docker's history has it."""
    return "[" + " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words) + "]"


_APPLY: dict[str, Callable[[RunConfig, Instruction, Scope, bool], Change]] = {
    "ARG": _arg,
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
"""Every instruction but FROM, RUN, COPY and ADD."""
