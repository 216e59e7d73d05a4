"""base: what every widget has: its files, its text, its still picture, and a thread where it is live."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget

from labkit.widgets import svg

HERE = Path(__file__).parent


def assets(name: str) -> tuple[str, str]:
    """The script and the style of a widget, each behind the part that all share."""
    script, style = (
        "\n".join((HERE / f"{part}.{kind}").read_text() for part in ("theme", name)) for kind in ("js", "css")
    )
    return script, style


class LabWidget(anywidget.AnyWidget):
    """A widget that also is a text and a still picture, for where no JavaScript runs."""

    _ticker: "Ticker"  # only those that look again and again by themselves have one

    def text(self) -> str:
        """The picture in characters; the same data give the same text."""
        raise NotImplementedError

    def picture(self) -> str:
        """The picture as an SVG document."""
        raise NotImplementedError

    def summary(self) -> str:
        """One sentence that says what is seen, also for those who do not see."""
        raise NotImplementedError

    def close(self) -> None:
        """End the widget, and its thread where it has one."""
        if hasattr(self, "_ticker"):
            self._ticker.stop()
        super().close()

    def __repr__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        data["text/plain"] = self.text()
        data["text/html"] = svg.as_image(self.picture(), self.summary())
        return data, metadata


class Ticker:
    """Calls a function again and again in a thread of its own, until it returns False or is told to stop."""

    def __init__(self, tick: Callable[[], bool], at_end: Callable[[], None], interval_seconds: float) -> None:
        self._tick, self._at_end, self._interval = tick, at_end, interval_seconds
        self._enough = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Whether the thread is at work."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, seconds: float | None) -> None:
        """Begin, and end by itself after `seconds` where they are given; nothing where it runs already."""
        if self.is_running:
            return
        self._enough.clear()
        self._thread = threading.Thread(target=self._run, args=(seconds,), daemon=True, name="labkit-widget")
        self._thread.start()

    def stop(self) -> None:
        """End, and wait until the last call is over."""
        self._enough.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended by itself."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self, seconds: float | None) -> None:
        began = due = time.monotonic()
        try:
            while seconds is None or due + self._interval / 2 < began + seconds:
                due += self._interval
                # After a long pause of the machine go on from now, do not catch up.
                due = max(due, time.monotonic() - self._interval)
                if self._enough.wait(max(0.0, due - time.monotonic())):
                    break
                used = time.thread_time()
                if not self._tick():
                    break
                # Whoever looks at something large looks less often: a tenth of one CPU at most.
                due = max(due, time.monotonic() + 9 * (time.thread_time() - used) - self._interval)
        finally:
            self._at_end()
