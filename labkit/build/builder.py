"""builder: build an image: every stage that is needed, side by side where none waits for another.

Chapter 9. `build` is what the command line and the API call.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, replace

from labkit.build import cache, dockerfile, results, scope, stages
from labkit.build.context import Context
from labkit.build.events import Event, Kind, Listener, Teller
from labkit.build.results import Ground
from labkit.build.stage import StageBuild
from labkit.build.stages import Plan
from labkit.build.work import Options, Work
from labkit.engine.attached import Stopped
from labkit.engine.engine import Engine
from labkit.errors import LabkitError
from labkit.images import lock, manifests, references, store
from labkit.images.configs import ImageConfig
from labkit.images.manifests import Platform
from labkit.images.store import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build has made, and what it told on the way (output of RUNs aside)."""

    image: Image
    config: ImageConfig
    plan: Plan
    events: tuple[Event, ...]
    seconds: float

    @property
    def image_id(self) -> str:
        """The digest of its config, as Docker has it."""
        return self.image.id

    @property
    def cached(self) -> int:
        """How many steps were taken from the cache."""
        return sum(event.kind is Kind.CACHED for event in self.events)

    @property
    def done(self) -> int:
        """How many steps had to be done."""
        return sum(event.kind is Kind.DONE for event in self.events)


def plan(context: Context, options: Options | None = None) -> Plan:
    """What a build of this context will do; DockerfileError names the line that does not fit."""
    options = options or Options()
    return stages.plan(
        dockerfile.parse(context.text, context.file),
        given=options.build_args,
        target=options.target,
        platform=_platform_values(options.platform),
    )


def build(
    engine: Engine, context: Context, options: Options | None = None, listener: Listener | None = None
) -> Built:
    """Build what a context's Dockerfile says.

    DockerfileError where it cannot be read, BuildFailed where a step fails:
    both name the file and the line.
    """
    began = time.monotonic()
    options = options or Options()
    planned = plan(context, options)
    for tag in options.tags:
        references.parse(tag)  # not after all the work
    with lock.adding(engine.paths), ExitStack() as held:
        run = _Run(planned)
        work = Work(
            engine=engine,
            context=context,
            options=options,
            plan=planned,
            teller=Teller(listener),
            platform_values=_platform_values(options.platform),
            place=held.enter_context(results.draft(engine.paths)),
            ground_of=run.ground_of,
            cached=_cached_by(engine, options.cache_from),
        )
        held.callback(work.close)
        run.work = work
        ground = run.target()
        config = _with_labels(ground.config, options.labels)
        image = store.make(engine.paths, config, ground.layers, options.tags)
        _warn(work)
    work.teller.tell(Event(kind=Kind.BUILT, text=image.name or image.id, seconds=time.monotonic() - began))
    return Built(
        image=image,
        config=config,
        plan=planned,
        events=tuple(work.teller.events),
        seconds=time.monotonic() - began,
    )


def _platform_values(text: str) -> dict[str, str]:
    here = manifests.here()
    target = Platform.parse(text) if text else here
    return scope.platform_values("BUILD", here.os, here.architecture, here.variant) | scope.platform_values(
        "TARGET", target.os, target.architecture, target.variant
    )


def _cached_by(engine: Engine, names: Sequence[str]) -> dict[str, cache.Result]:
    """What images tell of the steps that made them; one that is not there tells nothing."""
    found: dict[str, cache.Result] = {}
    for name in names:
        try:
            ground = results.image(engine.paths, name)
        except LabkitError:
            continue
        found |= cache.of_history(ground.config.history, ground.layers)
    return found


def _with_labels(config: ImageConfig, labels: Mapping[str, str]) -> ImageConfig:
    """--label lies over the LABELs of the file."""
    return replace(config, run=replace(config.run, labels=config.run.labels | dict(labels)))


def _warn(work: Work) -> None:
    """Of what was given and nobody took."""
    known = work.used_args | work.plan.given_outside | set(scope.PREDEFINED)
    unused = sorted(set(work.options.build_args) - known)
    if unused:
        text = f"[Warning] One or more build-args {unused} were not consumed"
        work.teller.tell(Event(kind=Kind.WARNING, text=text))


class _Run:
    """The stages of one build: each is built once, by the first who asks for it, in a thread of its own."""

    work: Work

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._lock = threading.Lock()
        self._futures: dict[int, Future[Ground]] = {}
        self._threads: list[threading.Thread] = []
        self._first_failure: BaseException | None = None

    def ground_of(self, index: int) -> Ground:
        """A stage's result; it is waited for."""
        return self._future(index).result()

    def _future(self, index: int) -> "Future[Ground]":
        with self._lock:
            if index not in self._futures:
                future: Future[Ground] = Future()
                self._futures[index] = future
                thread = threading.Thread(target=self._build, args=(index, future), name=f"stage {index}")
                self._threads.append(thread)
                thread.start()
            return self._futures[index]

    def _build(self, index: int, future: "Future[Ground]") -> None:
        stage = self.plan.stages[index]
        try:
            for needed in stage.needs:
                self._future(needed)  # they begin now; who needs one waits for it there
            future.set_result(StageBuild(self.work, stage).build())
        except BaseException as failure:
            with self._lock:
                if self._first_failure is None and not isinstance(failure, Stopped):
                    self._first_failure = failure
            self.work.give_up()
            future.set_exception(failure)

    def target(self) -> Ground:
        """The result of the stage that is wanted; whatever happens, no thread is left."""
        try:
            return self.ground_of(self.plan.target)
        except BaseException:
            self.work.give_up()
            self._join()
            if self._first_failure is not None:
                raise self._first_failure from None
            raise
        finally:
            self._join()

    def _join(self) -> None:
        for thread in list(self._threads):
            thread.join()
