"""build_progress: show a build as it goes on, in a notebook: its graph, below the cell.

Chapter 9. The form beside the lines of labkit/build/progress.py and the table of labkit/build/terminal.py.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from labkit.build.events import Event
from labkit.build.stages import Plan
from labkit.widgets.build_graph import BuildGraph


class Notebook:
    """A graph that is shown at the beginning, follows the build, and stays as it was at the end.

    plan = builder.plan(context, options)
    with Notebook(plan) as listener:
        builder.build(engine, context, options, listener)
    """

    def __init__(self, plan: Plan) -> None:
        self.graph = BuildGraph.of(plan)
        self._shown: Any = None

    def __enter__(self) -> Callable[[Event], None]:
        from IPython.display import display

        self._shown = display(self.graph, display_id=True)  # type: ignore[no-untyped-call]
        return self.graph.hear

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown is not None:  # there is none outside a notebook
            self._shown.update(
                self.graph
            )  # the text and the still picture that are saved are those of the end
