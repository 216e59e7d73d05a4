"""runstep: prepare a RUN: its command, its variables, and what is mounted for its time.

Chapter 8. docs.docker.com/reference/dockerfile "RUN --mount". Nothing of a
mount gets into the layer.
"""

import fcntl
import hashlib
import json
import os
import posixpath
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.build import configuration, copying, options, running, sources
from labkit.build.dockerfile import Instruction, opening
from labkit.build.events import Telling
from labkit.build.ignore import Rules
from labkit.build.options import RunMount
from labkit.build.results import open_view
from labkit.build.sources import Source
from labkit.build.work import BuildFailed, Prepared, Work
from labkit.engine.mount import Mount
from labkit.errors import Invalid, NotFound

if TYPE_CHECKING:
    from labkit.build.stage import StageBuild

_LAST_BYTES = 16 << 10
_LAST_LINES = 20
_MOST_SECRET_BYTES = 500 << 10
_SCRIPTS = "/dev/pipes"

Files = dict[str, tuple[str, int]]
"""By its path inside, the text and the mode of a file that is there for the time of the run."""


@dataclass(slots=True)
class _Request:
    """What a RUN shall be, before anything is made for it."""

    instruction: Instruction
    args: tuple[str, ...]
    env: dict[str, str]
    network: str
    mounts: list[RunMount]
    files: Files = field(default_factory=dict)
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
        material=("RUN", args, build_args, files, request.network, [repr(m) for m in mounts], sums),
        run=stage.run,
        work=lambda draft, telling: _work(stage, request, draft, telling),
    )


def _network(instruction: Instruction, of_the_build: str) -> str:
    """`default` is what the build was given, and there the host's, which reaches the mirrors."""
    asked = options.network(instruction.flag("network") or "default")
    if asked == "host" and of_the_build == "none":
        raise Invalid("RUN --network=host is not allowed in a build with --network none")
    chosen = of_the_build if asked == "default" else asked
    return "host" if chosen == "default" else chosen


def _args(
    stage: "StageBuild", instruction: Instruction
) -> tuple[tuple[str, ...], dict[str, tuple[str, int]]]:
    """The words, and the files that must be there for them."""
    if not instruction.heredocs:
        return configuration.command_of(stage.run, instruction), {}
    text, first = instruction.words[0], instruction.heredocs[0]
    if opening(text) is None:  # a command that reads the bodies: the shell knows how
        whole = text + "".join(f"\n{heredoc.text}{heredoc.name}" for heredoc in instruction.heredocs)
        return (*configuration.shell_of(stage.run), whole), {}
    if first.text.startswith("#!"):
        script = posixpath.join(_SCRIPTS, first.name)
        return (script,), {script: (first.text, 0o755)}
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


def _work(stage: "StageBuild", request: _Request, draft: Path, telling: Telling) -> Path:
    last = bytearray()

    def hear(stream: str, data: bytes) -> None:
        last.extend(data)
        del last[:-_LAST_BYTES]
        telling.output(stream, data)

    upper = draft / "upper"
    with ExitStack() as held:
        env = dict(request.env)
        mounts = _mounts(stage.work, request, draft, env, held)
        view = open_view(stage.work.paths, stage.layers)
        held.callback(os.close, view)
        command = running.Command(
            args=request.args,
            env=env,
            working_directory=stage.run.working_directory,
            user=stage.run.user,
            layers=stage.layers,
            network=request.network,
            mounts=mounts,
            files=request.files,
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


# ---------------------------------------------------------------- mounts


def _mounts(
    work: Work, request: _Request, draft: Path, env: dict[str, str], held: ExitStack
) -> Sequence[Mount]:
    found: list[Mount] = []
    for number, mount in enumerate(request.mounts):
        if mount.kind == "secret":
            found += _secret(work, mount, env)
        elif mount.kind == "tmpfs":
            found.append(Mount.tmpfs(mount.target, size_bytes=mount.size_bytes or None, options=("exec",)))
        elif mount.kind == "cache":
            place = held.enter_context(_cache(work, mount, request.bound.get(number)))
            found.append(Mount.bind(place, mount.target, read_only=mount.read_only))
        else:
            place = _copied(request.bound[number], draft / f"bind-{number}")
            found.append(Mount.bind(place, mount.target, read_only=mount.read_only))
    return found


def _copied(source: Source, place: Path) -> Path:
    """A bind mount shows a copy: what is left out stays so, and what is written is gone afterwards."""
    place.mkdir(mode=0o755)
    root = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if source.entry.is_directory:
            copying.copy(root, copying.Copy(sources=[source], destination="/"))
            return place
        copying.copy(root, copying.Copy(sources=[source], destination="/file"))
        return place / "file"
    finally:
        os.close(root)


def _secret(work: Work, mount: RunMount, env: dict[str, str]) -> list[Mount]:
    """A file that only this RUN sees, or a variable that only it has."""
    file = work.options.secrets.get(mount.id)
    if file is None:
        if mount.required:
            raise NotFound(f"secret {mount.id}: not found", hint=f"--secret id={mount.id},src=FILE")
        return []
    with file.open("rb") as reader:
        data = reader.read(_MOST_SECRET_BYTES + 1)
    if len(data) > _MOST_SECRET_BYTES:
        raise Invalid(f"secret {mount.id} is larger than {_MOST_SECRET_BYTES >> 10} KiB")
    if mount.env:
        env[mount.env] = data.decode(errors="surrogateescape")
    if not mount.target:
        return []
    place = work.new_place(private=True) / "secret"
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as writer:
        os.fchown(descriptor, mount.uid, mount.gid)
        os.fchmod(descriptor, 0o400 if mount.mode is None else mount.mode)
        writer.write(data)
    return [Mount.bind(place, mount.target, read_only=True)]


@contextmanager
def _cache(work: Work, mount: RunMount, source: Source | None) -> Iterator[Path]:
    """A directory that outlives the build. `private` takes one that nobody uses, `locked` waits for it."""
    name = hashlib.sha256(json.dumps([mount.id, mount.copied_from, mount.source]).encode()).hexdigest()
    number = 0
    while True:
        place = work.paths.cache / "mounts" / name / str(number)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(place.with_name(f".lock-{number}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            how = {"locked": fcntl.LOCK_EX, "private": fcntl.LOCK_EX | fcntl.LOCK_NB}
            fcntl.flock(lock, how.get(mount.sharing, fcntl.LOCK_SH))
        except BlockingIOError:
            os.close(lock)
            number += 1
            continue
        break
    try:
        if not place.is_dir():
            _new_cache(place, mount, source)
        yield place
    finally:
        os.close(lock)


def _new_cache(place: Path, mount: RunMount, source: Source | None) -> None:
    draft = place.with_name(f".draft-{os.getpid()}-{place.name}")
    draft.mkdir(mode=0o755)
    if source is not None:
        root = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copying.copy(root, copying.Copy(sources=[source], destination="/"))
        finally:
            os.close(root)
    os.chown(draft, mount.uid, mount.gid)
    draft.chmod(0o755 if mount.mode is None else mount.mode)
    draft.rename(place)
