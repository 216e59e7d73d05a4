"""luggage: a function of the notebook as text, with all it needs to run in another process.

Every chapter. A fresh child shares no memory with the notebook, so what a
function mentions travels with it: imports, plain values, other functions.
"""

import ast
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit.errors import Invalid

MISSING = object()


def pack(function: Callable[..., Any]) -> str:
    """Source that defines `function` and all that it mentions, standing on its own."""
    packed: dict[str, str] = {}
    _add(function, packed)
    return "from __future__ import annotations\n\n" + "\n".join(packed.values())


def pack_names(code: str, known: Mapping[str, Any]) -> str:
    """Lines that define what `code` mentions of the known names, as far as it can travel."""
    packed: dict[str, str] = {}
    for name in _mentioned(code):
        if name in known:
            _add_value(name, known[name], packed)
    return "\n".join(packed.values())


def source(function: Callable[..., Any]) -> str:
    """The text of one function, at the left margin."""
    if not isinstance(function, types.FunctionType):
        raise Invalid(f"{function!r} is not a function written with def")
    if function.__name__ == "<lambda>":
        raise Invalid("a lambda has no text of its own to send to a child; write it with def")
    try:
        return textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise Invalid(
            f"the source of {function.__name__}() is not to be found; define it in a cell"
        ) from None


def _add(function: Callable[..., Any], packed: dict[str, str]) -> None:
    text = source(function)
    packed[function.__name__] = ""  # known from here on, so that recursion ends
    closure = inspect.getclosurevars(function).nonlocals
    for name in _mentioned(text):
        value = closure.get(name, function.__globals__.get(name, MISSING))
        if value is not MISSING and name not in packed:
            _add_value(name, value, packed, home=function.__globals__)
    del packed[function.__name__]
    packed[function.__name__] = text  # after what it mentions, since a default value is evaluated at once


def _add_value(name: str, value: Any, packed: dict[str, str], home: Mapping[str, Any] | None = None) -> None:
    if isinstance(value, types.ModuleType):
        packed[name] = f"import {value.__name__}" + (f" as {name}" if value.__name__ != name else "") + "\n"
        if "." in value.__name__:
            parent, _, last = value.__name__.rpartition(".")
            packed[name] = f"from {parent} import {last} as {name}\n"
    elif isinstance(value, types.FunctionType) and _is_local(value, home):
        _add(value, packed)
        if value.__name__ != name:
            packed[name] = f"{name} = {value.__name__}\n"
    elif isinstance(value, (type, types.FunctionType, types.BuiltinFunctionType)):
        if value.__module__ not in (None, "__main__") and "." not in value.__qualname__:
            packed[name] = f"from {value.__module__} import {value.__qualname__} as {name}\n"
    elif isinstance(value, Path):
        packed[name] = f"from pathlib import Path\n{name} = Path({str(value)!r})\n"
    elif _is_literal(value):
        packed[name] = f"{name} = {value!r}\n"


def _is_local(function: types.FunctionType, home: Mapping[str, Any] | None) -> bool:
    written_here = function.__module__ == "__main__" or function.__module__ not in sys.modules
    return written_here or (home is not None and function.__globals__ is home)


def _is_literal(value: Any) -> bool:
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False


def _mentioned(text: str) -> list[str]:
    """The names that a text reads, each once, in the order in which it does."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []  # the child will say so, with the line
    names = (
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    )
    return list(dict.fromkeys(names))
