"""default: the engine of this process, in one call.

Chapter 6. `labkit.run`, `labkit.create` and `labkit.get` come from here.
"""

import functools
import os
from collections.abc import Sequence
from typing import Any, Literal, Unpack, overload

from labkit.engine.attached import Result
from labkit.engine.container import Container
from labkit.engine.engine import Engine
from labkit.engine.starting import Options
from labkit.ledger import MARK
from labkit.paths import Paths


@functools.lru_cache(maxsize=8)
def _engine(paths: Paths, owner: str) -> Engine:
    return Engine(paths, owner=owner)


def engine() -> Engine:
    """The engine of LABKIT_ROOT and LABKIT_RUN; it is made once, and again where those have changed."""
    return _engine(Paths.from_environment(), os.environ.get(MARK, ""))


@overload
def run(
    image: str,
    command: Sequence[str] | None = None,
    *,
    detach: Literal[False] = False,
    stdin: str | bytes | None = None,
    timeout_seconds: float | None = None,
    **options: Unpack[Options],
) -> Result: ...
@overload
def run(
    image: str,
    command: Sequence[str] | None = None,
    *,
    detach: Literal[True],
    name: str = "",
    **options: Unpack[Options],
) -> Container: ...
def run(
    image: str, command: Sequence[str] | None = None, *, detach: bool = False, **options: Any
) -> Result | Container:
    """Run a command in a container: its Result, or with `detach` the Container that goes on.

    A container that is not detached is gone when the call returns. The options
    are those of Engine.run and Engine.create.
    """
    if not detach:
        return engine().run(image, command, **options)
    container = engine().create(image, command, **options)
    try:
        container.start()
    except BaseException:
        container.remove(force=True, volumes=True)
        raise
    return container


def create(
    image: str, command: Sequence[str] | None = None, *, name: str = "", **options: Unpack[Options]
) -> Container:
    """A container that is not started yet."""
    return engine().create(image, command, name=name, **options)


def get(name: str) -> Container:
    """A container by its name or id."""
    return engine().get(name)
