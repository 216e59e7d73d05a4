"""runstep: prepare a RUN: its command, its variables, and what is mounted for its time.

Chapter 8. docs.docker.com/reference/dockerfile "RUN --mount". Nothing of a
mount gets into the layer.
"""

import os
import posixpath
import signal
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.build import configuration, mounting, options, running, sources
from labkit.build.dockerfile import Instruction, opening
from labkit.build.events import Telling
from labkit.build.ignore import Rules
from labkit.build.options import RunMount
from labkit.build.results import open_view
from labkit.build.running import File
from labkit.build.sources import Source
from labkit.build.work import BuildFailed, Prepared
from labkit.errors import Invalid

if TYPE_CHECKING:
    from labkit.build.stage import StageBuild

_LAST_BYTES = 16 << 10
_LAST_LINES = 20
_SCRIPTS = "/dev/pipes"


@dataclass(slots=True)
class _Request:
    """What a RUN shall be, before anything is made for it."""

    instruction: Instruction
    args: tuple[str, ...]
    env: dict[str, str]
    network: str
    mounts: list[RunMount]
    files: dict[str, File] = field(default_factory=dict)  # by their paths inside
    bound: dict[int, Source] = field(default_factory=dict)  # of bind and cache mounts, by their number


def prepare(stage: "StageBuild", instruction: Instruction) -> Prepared:
    """A RUN."""
    seen = configuration.environment(stage.run)
    options.security(instruction.flag("security") or "sandbox")
    args, files = _args(stage, instruction)
    mounts = [options.run_mount(stage.scope.expand(text, seen)) for text in instruction.all_flags("mount")]
    build_args = stage.scope.build_args(seen)
    request = _Request(
        instruction=instruction,
        args=args,
        env=seen | build_args | stage.scope.proxies(seen),
        network=_network(instruction, stage.work.options.network),
        mounts=mounts,
        files=files,
    )
    sums = [_bind(stage, request, number, mount) for number, mount in enumerate(mounts)]
    told = [f"|{len(build_args)}", *(f"{k}={v}" for k, v in build_args.items())] if build_args else []
    shown = [f"--mount={text}" for text in instruction.all_flags("mount")]
    return Prepared(
        said=" ".join(("RUN", *shown, *told, *args)),
        material=("RUN", args, build_args, repr(files), request.network, [repr(m) for m in mounts], sums),
        run=stage.run,
        work=lambda place, telling: _work(stage, request, place, telling),
    )


def _network(instruction: Instruction, of_the_build: str) -> str:
    """`default` is what the build was given, and there the host's, which reaches the mirrors."""
    asked = options.network(instruction.flag("network") or "default")
    if asked == "host" and of_the_build == "none":
        raise Invalid("RUN --network=host is not allowed in a build with --network none")
    chosen = of_the_build if asked == "default" else asked
    return "host" if chosen == "default" else chosen


def _args(stage: "StageBuild", instruction: Instruction) -> tuple[tuple[str, ...], dict[str, File]]:
    """The words, and the files that must be there for them."""
    if not instruction.heredocs:
        return configuration.command_of(stage.run, instruction), {}
    text, first = instruction.words[0], instruction.heredocs[0]
    if opening(text) is None:  # a command that reads the bodies: the shell knows how
        whole = text + "".join(f"\n{heredoc.text}{heredoc.name}" for heredoc in instruction.heredocs)
        return (*configuration.shell_of(stage.run), whole), {}
    if first.text.startswith("#!"):
        script = posixpath.join(_SCRIPTS, first.name)
        return (script,), {script: File(first.text.encode(), 0o755)}
    return (*configuration.shell_of(stage.run), first.text), {}


def _bind(stage: "StageBuild", request: _Request, number: int, mount: RunMount) -> str:
    """Find what a mount shows; its sum goes into the step's key."""
    if mount.kind not in ("bind", "cache") or (mount.kind == "cache" and not mount.copied_from):
        return ""
    tree = stage.work.context.tree
    if mount.copied_from:
        _, tree = stage.work.tree(mount.copied_from, stage.stage.index)
    (source,) = sources.select(tree, mount.source.lstrip("/") or ".")
    request.bound[number] = source
    return sources.content_sum(source, Rules()) if mount.kind == "bind" else ""


def _work(stage: "StageBuild", request: _Request, place: Path, telling: Telling) -> Path:
    last = bytearray()

    def hear(stream: str, data: bytes) -> None:
        last.extend(data)
        del last[:-_LAST_BYTES]
        telling.output(stream, data)

    upper = place / "upper"
    with ExitStack() as held:
        env = dict(request.env)
        needed = mounting.prepare(stage.work, mounting.Needs(request.mounts, request.bound, place), held)
        env |= needed.env
        view = open_view(stage.work.paths, stage.layers)
        held.callback(os.close, view)
        command = running.Command(
            args=request.args,
            env=env,
            working_directory=stage.run.working_directory,
            user=stage.run.user,
            layers=tuple(layer.name for layer in stage.layers),
            network=request.network,
            mounts=needed.mounts,
            files=request.files | needed.files,
        )
        code = running.run(stage.work.engine, command, upper, view=view, hearer=hear, stop=stage.work.stop)
    if code:
        raise _failed(stage, request, code, bytes(last))
    return upper


def _failed(stage: "StageBuild", request: _Request, code: int, last: bytes) -> BuildFailed:
    output = "\n".join(last.decode(errors="replace").splitlines()[-_LAST_LINES:])
    words = " ".join(request.args)
    killed = f" (killed by {signal.Signals(code - 128).name})" if code - 128 in set(signal.Signals) else ""
    message = f'process "{words}" did not complete successfully: exit code: {code}{killed}'
    if output:
        message += "\n" + "\n".join(f"  | {line}" for line in output.splitlines())
    return BuildFailed(
        message,
        file=stage.work.plan.dockerfile.file,
        line=request.instruction.line,
        instruction=request.instruction.original.partition("\n")[0],
        command_exit_code=code,
        output=output,
    )
