"""widgets: draw what observe returns, live in a notebook and as a still picture elsewhere.

Each is a Python class of traits with its .js and .css beside it (anywidget);
none changes the system. They load on first use, so `import labkit` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labkit.widgets.build_graph import BuildGraph
    from labkit.widgets.cgroup_cockpit import CgroupCockpit
    from labkit.widgets.layer_stack import LayerStack
    from labkit.widgets.namespace_map import NamespaceMap
    from labkit.widgets.network_map import NetworkMap
    from labkit.widgets.overlay_microscope import OverlayMicroscope
    from labkit.widgets.syscall_timeline import SyscallTimeline

__all__ = [
    "BuildGraph",
    "CgroupCockpit",
    "LayerStack",
    "NamespaceMap",
    "NetworkMap",
    "OverlayMicroscope",
    "SyscallTimeline",
]

_MODULES = {
    "BuildGraph": "build_graph",
    "CgroupCockpit": "cgroup_cockpit",
    "LayerStack": "layer_stack",
    "NamespaceMap": "namespace_map",
    "NetworkMap": "network_map",
    "OverlayMicroscope": "overlay_microscope",
    "SyscallTimeline": "syscall_timeline",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
