"""orders: what a child is to do, as one message to it.

Every chapter. The other side is labkit.course.inside.
"""

import base64
import json
import os
import pickle
import sysconfig
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import labkit
from labkit.course import luggage
from labkit.errors import Invalid
from labkit.kernel.idmap import IdMap
from labkit.kernel.namespaces import Namespace
from labkit.ledger import MARK
from labkit.paths import Paths

REMAPPED = (IdMap(0, 100_000, 65_536),)
"""Root inside, nobody outside: what a child with a user namespace of its own gets unless told otherwise."""

mark = ""
"""Whose children these are; `course.start` sets it to the chapter's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a child is to do."""

    code: str
    function: str = ""  # the one to call after the code, and whose value travels back
    arguments: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})
    shell: bool = False
    namespaces: Namespace = Namespace(0)  # noqa: RUF009 (an immutable value)
    ids: Sequence[IdMap] = REMAPPED
    root: str = ""
    hold: bool = False  # stay after the code has run, until let go

    def encode(self) -> bytes:
        """One line of JSON; arguments pickled, so that paths and id maps can travel."""
        given = base64.b64encode(pickle.dumps(self.arguments)).decode() if any(self.arguments) else ""
        order = {
            "code": self.code, "function": self.function, "arguments": given, "shell": self.shell,
            "namespaces": int(self.namespaces), "root": self.root, "hold": self.hold,
            "path": [str(Path(labkit.__file__).parents[1]), sysconfig.get_path("purelib")],
        }  # fmt: skip
        return json.dumps(order).encode() + b"\n"


def order(
    code: str | Callable[..., Any],
    *args: Any,
    namespaces: str | Namespace = "",
    root: os.PathLike[str] | str | None = None,
    ids: Sequence[IdMap] = REMAPPED,
    shell: bool = False,
    hold: bool = False,
    **values: Any,
) -> Order:
    """Put an order together; a function brings the text of all that it mentions."""
    kinds = kinds_of(namespaces)
    if root is not None:
        kinds |= Namespace.MOUNT
    text, function = (
        (textwrap.dedent(code), "") if isinstance(code, str) else (luggage.pack(code), code.__name__)
    )
    return Order(
        code=text,
        function=function,
        arguments=(args, values),
        shell=shell,
        namespaces=kinds,
        ids=ids,
        root="" if root is None else os.fspath(Path(root).resolve(strict=True)),
        hold=hold,
    )


def kinds_of(namespaces: str | Namespace) -> Namespace:
    """Kinds of namespaces by their names, `pid,uts,mnt`, or as they are."""
    if isinstance(namespaces, Namespace):
        return namespaces
    kinds = Namespace(0)
    for name in filter(None, namespaces.replace(",", " ").split()):
        try:
            kinds |= Namespace.named(name)
        except ValueError as unknown:
            raise Invalid(str(unknown)) from None
    return kinds


def environment(owner: str) -> dict[str, str]:
    """The notebook's environment less the notebook's own variables, with the owner's mark."""
    owner = owner or mark or f"course@{Paths.from_environment().run}"
    ours = ("JPY_", "IPY", "PYTEST", "MPLBACKEND", "PYDEVD", "COLUMNS", "LINES")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {MARK: owner, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
