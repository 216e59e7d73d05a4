"""labkit: how Docker works inside, as a course, and the container engine that the course builds.

    import labkit
    from labkit import Limits, MiB

    labkit.run("lab/busybox", ["echo", "hello"], limits=Limits(memory_bytes=64 * MiB))

The names are looked up when they are first used, so that what starts often
(the launcher, the children of a notebook) imports only what it needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.engine.default import create, get, run
    from labkit.engine.mount import Mount
    from labkit.kernel.limits import IoLimit, Limits
    from labkit.kernel.trace import record as trace

__version__ = "0.1.0"

KiB, MiB, GiB = 2**10, 2**20, 2**30

_HOMES = {
    "run": ("labkit.engine.default", "run"),
    "create": ("labkit.engine.default", "create"),
    "get": ("labkit.engine.default", "get"),
    "Mount": ("labkit.engine.mount", "Mount"),
    "Limits": ("labkit.kernel.limits", "Limits"),
    "IoLimit": ("labkit.kernel.limits", "IoLimit"),
    "trace": ("labkit.kernel.trace", "record"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'labkit' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(importlib.import_module(module), attribute)


__all__ = ["GiB", "IoLimit", "KiB", "Limits", "MiB", "Mount", "create", "get", "run", "trace"]
