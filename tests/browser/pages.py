"""pages: a JupyterLab of one's own, and a notebook in a browser, as the browser tests use them."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import quote

from playwright.sync_api import ConsoleMessage, Locator, Page

from labkit.kernel import process

ARTIFACTS = Path(__file__).parents[2] / "artifacts"
CHROMIUM = Path("/usr/bin/chromium")
CHROMIUM_FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # else cells off screen are not in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
# The kernel may be listed before it answers, and a run-all then does nothing: wait for its own word.
RUN_ALL = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
    await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
END_KERNEL = "() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()"
CELL_ERRORS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code')
    .flatMap(cell => cell.model.outputs.toJSON())
    .filter(output => output.output_type === 'error')
    .map(output => `${output.ename}: ${output.evalue}`)"""


@dataclass
class LabServer:
    """JupyterLab on a free port of 127.0.0.1, with directories of its own; a context manager."""

    home: Path
    notebooks: Path
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)
    _process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.home / "jupyterlab.log"

    def __enter__(self) -> Self:
        write_settings(self.home / "settings", SETTINGS)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=lambda: process.die_with_parent(signal.SIGTERM),
            )  # fmt: skip
        self._wait_until_it_answers()
        return self

    def _command(self) -> list[str]:
        options = {
            "ServerApp.ip": "127.0.0.1", "ServerApp.port": self.port, "ServerApp.port_retries": 0,
            "ServerApp.open_browser": False, "ServerApp.allow_root": True,
            "ServerApp.root_dir": self.notebooks, "LabApp.expose_app_in_browser": True,
        }  # fmt: skip
        return [sys.executable, "-m", "jupyterlab", *(f"--{name}={value}" for name, value in options.items())]

    def _environment(self) -> dict[str, str]:
        places = {
            "JUPYTER_CONFIG_DIR": "config", "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTER_DATA_DIR": "data",
            "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }  # fmt: skip
        own = {name: str(self.home / place) for name, place in places.items()}
        # By the environment, not as an argument: every user can read arguments in /proc.
        return {**os.environ, **own, "JUPYTER_TOKEN": self.token, **self.environment}

    def _wait_until_it_answers(self, timeout_seconds: float = 60) -> None:
        assert self._process is not None
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"JupyterLab ended by itself:\n{self.log.read_text()[-3000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=2):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.2)
        self._end()
        raise TimeoutError(
            f"JupyterLab did not answer in {timeout_seconds} s:\n{self.log.read_text()[-3000:]}"
        )

    def __exit__(
        self, kind: "type[BaseException] | None", error: "BaseException | None", trace: "TracebackType | None"
    ) -> None:
        self._end()

    def _end(self) -> None:
        """SIGTERM lets it end its kernels; SIGKILL for the whole session where it does not."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def write_settings(folder: Path, settings: Mapping[str, object]) -> None:
    """Put JupyterLab's own settings into a user's folder of settings."""
    for name, value in settings.items():
        file = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))


def write_notebook(folder: Path, name: str, cells: list[str]) -> str:
    """Put a notebook of these code cells into a folder; returns its file's name."""
    notebook = {
        "nbformat": 4, "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "cells": [
            {"cell_type": "code", "id": f"cell-{number}", "metadata": {}, "execution_count": None,
             "outputs": [], "source": source}
            for number, source in enumerate(cells)
        ],
    }  # fmt: skip
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook))
    return f"{name}.ipynb"


class Served(Protocol):
    """A JupyterLab that can be reached: its address without a path, and its token."""

    @property
    def url(self) -> str: ...

    @property
    def token(self) -> str: ...


class LabPage:
    """One browser page on a JupyterLab, with whatever the page complained of."""

    def __init__(self, page: Page, server: Served) -> None:
        self.page = page
        self.server = server
        self.theme = "light"
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(f"uncaught: {error}"))
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")

    def open(self, notebook: str, theme: str = "light") -> Self:
        """Log in by the token, open a notebook (relative to the server's folder) in this theme."""
        address = f"{self.server.url}/lab/tree/{quote(notebook)}?reset&token={self.server.token}"
        self.page.goto(address)
        self.page.wait_for_selector(".jp-Notebook", timeout=60_000)
        self.use_theme(theme)
        return self

    def log_in(self, token: str) -> None:
        """Open the address without a token, as one who has lost it, and type one into the form."""
        self.page.goto(f"{self.server.url}/lab")
        self.page.locator("#password_input").fill(token)
        self.page.locator("#login_submit").click()

    def show(self, notebook: str) -> None:
        """Open a notebook where one has been let in already."""
        self.page.wait_for_selector("#jp-main-dock-panel")
        self.page.goto(f"{self.server.url}/lab/tree/{quote(notebook)}?reset")
        self.page.wait_for_selector(".jp-Notebook")

    def use_theme(self, theme: str) -> None:
        """Change JupyterLab's theme and wait until the page has it."""
        self.theme = theme
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })", THEMES[theme]
        )
        is_light = str(theme == "light").lower()
        self.page.wait_for_selector(f'body[data-jp-theme-light="{is_light}"]', state="attached")

    def run_all_cells(self) -> None:
        """Run the notebook to its end; which cells failed is in `cell_errors`."""
        self.page.evaluate(RUN_ALL)

    def close(self) -> None:
        """End the notebook's kernel, which would outlive the page, and then the page with its profile."""
        if self.page.locator(".jp-Notebook").count():
            self.page.evaluate(END_KERNEL)
        self.page.context.close()

    def cell_errors(self) -> list[str]:
        """The errors in the outputs of the notebook's cells."""
        errors: list[str] = self.page.evaluate(CELL_ERRORS)
        return errors

    def focus_on_notebook(self) -> None:
        """Close the side bar, so a picture shows the notebook."""
        self.page.evaluate("() => window.jupyterapp.shell.collapseLeft()")

    def keep_picture(self, name: str, of: "Locator | None" = None) -> Path:
        """Keep a screenshot, of the page or of one element, among the artefacts."""
        ARTIFACTS.mkdir(exist_ok=True)
        place = ARTIFACTS / f"{name}.png"
        if of is None:
            self.page.screenshot(path=place)
        else:
            of.screenshot(path=place)
        return place


def run_all_cells(page: LabPage, notebook: str, theme: str = "light") -> None:
    """Open a notebook and run it whole; an AssertionError names the cells' errors."""
    page.open(notebook, theme)
    page.run_all_cells()
    errors = page.cell_errors()
    assert not errors, f"cells of {notebook} failed: {errors}"
