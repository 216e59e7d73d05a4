"""failures: let a cell fail on purpose, and show it as the reader would see it.

Every chapter. The naive version comes first and its error stays in the
notebook; raised, it would stop papermill and every cell after it.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from labkit.course import children, pages
from labkit.errors import LabkitError


class NothingFailed(LabkitError):
    """A cell was to fail and did not: either the text or the machine is wrong."""


@contextmanager
def expected_failure(*kinds: type[BaseException]) -> Iterator[None]:
    """Show the error of the block, which must be one of these kinds (any Exception where none is named)."""
    wanted = kinds or (Exception,)
    try:
        yield
    except wanted as error:
        pages.failure("".join(traceback.format_exception_only(error)).strip())
        return
    names = " or ".join(kind.__name__ for kind in wanted)
    raise NothingFailed(f"this was expected to fail with {names}, and it did not")


def fails(attempt: "str | Callable[..., Any]", *args: Any, **options: Any) -> None:
    """Show how an attempt fails: lines in a fresh child (with the options of `child`), a function here."""
    if not isinstance(attempt, str):
        with expected_failure():
            attempt(*args, **options)
        return
    result = children.child(attempt, *args, **options)
    if not result.failed:
        raise NothingFailed("these lines were expected to fail, and they did not")
