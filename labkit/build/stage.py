"""stage: carry out one stage, instruction by instruction, each taken from the cache where it can be.

Chapters 8 and 9.
"""

from dataclasses import replace

from labkit.build import cache, configuration, copystep, dockerfile, results, runstep
from labkit.build.dockerfile import DockerfileError, Instruction
from labkit.build.events import Telling
from labkit.build.results import Ground
from labkit.build.scope import Scope
from labkit.build.stages import SCRATCH, Stage
from labkit.build.work import BuildFailed, Prepared, Work
from labkit.engine.attached import Stopped
from labkit.errors import LabkitError
from labkit.images import configs, manifests, store
from labkit.images.configs import History, ImageConfig
from labkit.images.manifests import Platform
from labkit.images.unpacked import Layer


class StageBuild:
    """The state of one stage while it grows."""

    def __init__(self, work: Work, stage: Stage) -> None:
        self.work, self.stage = work, stage
        self.platform = Platform.parse(stage.platform or work.options.platform or str(manifests.here()))
        ground = self._ground()
        self.id = ground.id
        self.layers = ground.layers
        self.config = ground.config
        self.run = configuration.start(ground.config.run)
        self.has_command = False
        self.missed = work.options.no_cache
        self.scope = Scope(
            given=work.options.build_args,
            outer=work.plan.outer,
            platform=work.platform_values,
            escape=work.plan.dockerfile.escape,
        )
        self.triggers = self._triggers(ground.config.run.onbuild)

    def _ground(self) -> Ground:
        if self.stage.parent is not None:
            return self.work.ground_of(self.stage.parent)
        if self.stage.base == SCRATCH:
            platform = self.platform
            config = ImageConfig(architecture=platform.architecture, os=platform.os, variant=platform.variant)
            return Ground(id=f"scratch {platform}", config=config)
        try:
            found = results.image(self.work.paths, self.stage.base)
        except LabkitError as error:
            raise self._failed(self.stage.start, error) from error
        offered = Platform(
            os=found.config.os, architecture=found.config.architecture, variant=found.config.variant
        ).normal()
        if (self.stage.platform or self.work.options.platform) and offered != self.platform:
            message = f"{self.stage.base} is an image for {offered}, not for {self.platform}"
            raise self.work.plan.dockerfile.error(self.stage.start, message)
        return found

    def _triggers(self, lines: tuple[str, ...]) -> list[Instruction]:
        """What the base image's ONBUILDs have left for this build, at the line of FROM."""
        file, start = self.work.plan.dockerfile.file, self.stage.start
        found = [dockerfile.parse_line(text, file, start.line) for text in lines]
        return [replace(instruction, line=start.line, end_line=start.line) for instruction in found]

    def build(self) -> Ground:
        """Carry it out; the result is the ground of what comes after."""
        instructions = [*self.triggers, *self.stage.instructions]
        for position, instruction in enumerate(instructions, 1):
            self.work.check()
            try:
                self._step(instruction, position, len(instructions))
            except (BuildFailed, DockerfileError, Stopped):
                raise
            except (LabkitError, OSError) as error:
                raise self._failed(instruction, error) from error
        self.work.used_args.update(self.scope.declared)
        return Ground(id=self.id, config=replace(self.config, run=self.run), layers=self.layers)

    def _failed(self, instruction: Instruction, error: Exception) -> BuildFailed:
        text = str(error)
        if isinstance(error, OSError):
            text = f"{error.strerror or error}" + (f": {error.filename}" if error.filename else "")
        return BuildFailed(
            text,
            file=self.work.plan.dockerfile.file,
            line=instruction.line,
            instruction=instruction.original.partition("\n")[0],
            hint=getattr(error, "hint", ""),
        )

    def _step(self, instruction: Instruction, position: int, count: int) -> None:
        prepared = self._prepare(instruction)  # it may wait for another stage, so it takes no turn
        with self.work.turn:
            self.work.check()
            telling = self.work.teller.begin(
                self.stage.title, position, count, prepared.said, instruction.line
            )
            try:
                self._take(prepared, telling)
            except BaseException as error:
                telling.fail(str(error))
                raise
        self.has_command = self.has_command or instruction.keyword == "CMD"

    def _prepare(self, instruction: Instruction) -> Prepared:
        """Everything that must be known before the cache can be asked."""
        if instruction.keyword == "RUN":
            return runstep.prepare(self, instruction)
        if instruction.keyword in ("COPY", "ADD"):
            return copystep.prepare(self, instruction)
        change = configuration.apply(self.run, instruction, self.scope, has_command=self.has_command)
        fill = copystep.make_workplace(self, change.run) if instruction.keyword == "WORKDIR" else None
        return Prepared(
            said=change.said, material=(change.said,), run=change.run, author=change.author, work=fill
        )

    def _take(self, prepared: Prepared, telling: Telling) -> None:
        """From the cache where the step is there and none before it was missed; else do it."""
        key = cache.key(self.id, *prepared.material)
        found = None if self.missed else cache.find(self.work.paths, key, self.work.cached)
        cached = found is not None
        if found is None:
            self.missed = True
            found = cache.new(key, self._do(prepared, telling))
            cache.save(self.work.paths, found)
        telling.end(cached=cached, layer_bytes=found.content_bytes if found.layer else None)
        self._stand_on(prepared, found)

    def _do(self, prepared: Prepared, telling: Telling) -> Layer | None:
        if prepared.work is None:
            return None
        with results.draft(self.work.paths) as draft:
            filled = prepared.work(draft, telling)
            return store.keep(self.work.paths, filled) if filled else None

    def _stand_on(self, prepared: Prepared, result: cache.Result) -> None:
        """The ground of the next step."""
        layer = result.made
        step = History(
            created=configs.timestamp(result.created_at),
            created_by=prepared.said,
            author=prepared.author or self.config.author,
            comment=result.comment,
            empty_layer=layer is None,
        )
        self.config = self.config.with_step(step, layer.diff_id if layer else "", prepared.run)
        if prepared.author:
            self.config = replace(self.config, author=prepared.author)
        self.run, self.id = prepared.run, result.id
        if layer:
            self.layers = (*self.layers, layer)
