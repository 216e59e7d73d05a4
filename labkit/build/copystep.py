"""copystep: prepare COPY and ADD: find their sources, sum them up, and know how to copy them.

Chapter 8.
"""

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from labkit.build import adding, configuration, copying, ignore, inside, options, results, sources
from labkit.build.dockerfile import Heredoc, Instruction, opening
from labkit.build.events import Telling
from labkit.build.ignore import Rules
from labkit.build.sources import Source
from labkit.build.work import Fill, Prepared
from labkit.errors import Invalid
from labkit.images.configs import RunConfig

if TYPE_CHECKING:
    from labkit.build.stage import StageBuild


def prepare(stage: "StageBuild", instruction: Instruction) -> Prepared:
    """A COPY or an ADD."""
    seen = configuration.environment(stage.run)
    *names, target = [
        word if opening(word) and instruction.heredocs else stage.scope.expand(word, seen)
        for word in instruction.words
    ]
    place = copying.destination(stage.run.working_directory, target)
    owner = stage.scope.expand(instruction.flag("chown"), seen)
    mode_text = stage.scope.expand(instruction.flag("chmod"), seen)
    mode = options.mode(mode_text) if mode_text else None
    excludes = ignore.parse("\n".join(instruction.all_flags("exclude")), "--exclude")
    found = [source for source in _sources(stage, instruction, names) if not _is_excluded(source, excludes)]
    sums = [(_name(source, instruction), sources.content_sum(source, excludes)) for source in found]
    request = copying.Copy(
        sources=found,
        destination=place,
        keyword=instruction.keyword,
        owner=owner,
        mode=mode,
        keeps_parents=instruction.is_set("parents"),
        excludes=excludes,
    )
    is_link = instruction.is_set("link")
    flags = [f"--{name}" + (f"={value}" if value else "") for name, value in instruction.flags]
    said = " ".join((instruction.keyword, *flags, *names, target))
    return Prepared(
        said=said,
        material=(instruction.keyword, place, owner, mode, is_link, request.keeps_parents, sums),
        run=stage.run,
        work=lambda draft, _: _fill(stage, request, draft, is_link),
    )


def _sources(stage: "StageBuild", instruction: Instruction, names: list[str]) -> list[Source]:
    """What each argument names, in order."""
    tree = stage.work.context.tree
    if copied_from := instruction.flag("from"):
        _, tree = stage.work.tree(copied_from, stage.stage.index)
    adding.check_checksum(instruction.flag("checksum"), names)
    bodies = {heredoc.name: heredoc for heredoc in instruction.heredocs}
    found: list[Source] = []
    for name in names:
        start = opening(name)
        if start and start[0] in bodies:
            found.append(_body(stage, bodies[start[0]]))
        elif instruction.keyword == "ADD" and adding.is_url(name):
            found.append(adding.fetched(stage.work, name, instruction.flag("checksum")))
        else:
            found += sources.select(tree, name)
    return found


def _is_excluded(source: Source, excludes: Rules) -> bool:
    """Whether --exclude names a file that is a source itself; what it names below one is left out later."""
    if not excludes.rules or source.entry.is_directory:
        return False
    return excludes.leave_out(source.name) or excludes.leave_out(os.path.basename(source.name))  # noqa: PTH119


def _name(source: Source, instruction: Instruction) -> str:
    """What of a source's name shows at the destination."""
    if instruction.is_set("parents"):
        return f"{source.name} {source.pivot}"
    return "" if source.entry.is_directory else os.path.basename(source.name)  # noqa: PTH119


def _body(stage: "StageBuild", heredoc: Heredoc) -> Source:
    """The body of a here-document as a file."""
    text = heredoc.text
    if heredoc.expands:
        text = stage.scope.expand_body(text, configuration.environment(stage.run))
    if "/" in heredoc.name:
        raise Invalid(f"the here-document {heredoc.name} cannot be a file of that name")
    place = stage.work.new_place()
    file = place / heredoc.name
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    file.chmod(0o644)
    os.utime(file, (0, 0))
    tree = stage.work.keep_tree(sources.open_tree(place, f"<<{heredoc.name}"))
    return Source(tree, heredoc.name, heredoc.name)


def _fill(stage: "StageBuild", request: copying.Copy, draft: Path, is_link: bool) -> Path:
    upper, work = _places(draft)
    with ExitStack() as held:
        if request.keyword == "ADD":
            request = adding.unpacked(request, draft, held)
        below = () if is_link else stage.layers
        root = held.enter_context(results.changing(stage.work.paths, below, upper, work))
        copying.copy(root, request)
    return upper


def _places(draft: Path) -> tuple[Path, Path]:
    upper, work = draft / "upper", draft / "work"
    upper.mkdir(mode=0o755)
    upper.chmod(0o755)
    work.mkdir(mode=0o700)
    return upper, work


def make_workplace(stage: "StageBuild", run: RunConfig) -> Fill:
    """WORKDIR makes its directory, where there is none."""

    def fill(draft: Path, _: Telling) -> Path | None:
        upper, work = _places(draft)
        with results.changing(stage.work.paths, stage.layers, upper, work) as root:
            copying.make_directory(root, inside.real_path(root, run.working_directory))
        return upper if any(upper.iterdir()) else None

    return fill
