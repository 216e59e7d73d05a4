"""A chapter as a student meets it: the lab, its login, the notebook, its widget, an unanswered exercise."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from pages import SETTINGS, LabPage, write_settings
from playwright.sync_api import Browser, expect

from labkit.cli import jupyter
from labkit.paths import Paths

pytestmark = pytest.mark.requires("root", "overlay", "chromium")

LABKIT = f"{sys.prefix}/bin/labkit"
NAME = "05_layers.ipynb"
CHAPTER = jupyter.notebooks() / NAME
SOLVED = jupyter.notebooks() / "solved" / NAME
# A cell has the same id in the student's notebook and in the solved one.
ANSWER = """async answers => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    const stubs = panel.content.widgets.filter(cell => cell.model.id in answers);
    for (const cell of stubs) cell.model.sharedModel.setSource(answers[cell.model.id]);
    return stubs.length;
}"""
PROMPTS = """() => window.jupyterapp.shell.currentWidget.content.widgets
    .filter(cell => cell.model.type === 'code').map(cell => cell.model.executionCount)"""


@dataclass(frozen=True)
class StudentsLab:
    """`labkit lab` as it runs, by the address that it printed."""

    environment: dict[str, str]
    address: str

    @property
    def url(self) -> str:
        return self.address.partition("/lab?")[0]

    @property
    def token(self) -> str:
        return self.address.rpartition("token=")[2]


@pytest.fixture
def lab(paths: Paths) -> Iterator[StudentsLab]:
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    environment = os.environ | {
        "LABKIT_ROOT": str(paths.root), "LABKIT_RUN": str(paths.run), "LABKIT_PORT": str(port),
        "LABKIT_PROGRESS": str(paths.root / "progress"),
    }  # fmt: skip
    settle_in(paths)
    process = subprocess.Popen([LABKIT, "lab"], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = next(line.strip() for line in process.stdout if "http://" in line)
        yield StudentsLab(environment, address)
    finally:
        kernels = kernels_of(paths)
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stdout.close()
        wait_for_the_end_of(kernels)
        subprocess.run([LABKIT, "reset"], env=environment, check=True, capture_output=True)


def settle_in(paths: Paths) -> None:
    """A user's own settings: nothing is saved unasked, all cells are in the page, and it can be asked."""
    home = paths.root / "jupyter"
    home.mkdir(mode=0o700)
    write_settings(home / "lab/user-settings", SETTINGS)
    (home / "jupyter_lab_config.json").write_text('{"LabApp": {"expose_app_in_browser": true}}')


def kernels_of(paths: Paths) -> list[int]:
    """The pids of the lab's kernels, by the connection file that each was given."""
    mark = str(paths.run / "jupyter").encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue  # it ended while we looked
        if b"ipykernel_launcher" in command and mark in command:
            found.append(int(process.name))
    return found


def wait_for_the_end_of(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline, f"kernels outlive the lab: {pids}"
        time.sleep(0.05)


@pytest.fixture
def page(lab: StudentsLab, browser: Browser) -> Iterator[LabPage]:
    """The chapter in a browser that knew only the address without the token, and was let in by the form."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(60_000)
    page = LabPage(context.new_page(), lab)
    page.log_in(lab.token)
    page.show(NAME)
    yield page
    context.close()


def answers() -> dict[str, str]:
    """The source of each solution cell, by the cell's id."""
    cells = nbformat.read(SOLVED, as_version=4).cells
    return {cell.id: cell.source for cell in cells if cell.metadata.get("nbgrader", {}).get("solution")}


def test_who_types_the_printed_token_is_let_in_and_others_are_not(lab, browser):
    context = browser.new_context()
    page = LabPage(context.new_page(), lab)
    try:
        page.log_in("guessed")
        expect(page.page.get_by_text("Invalid credentials")).to_be_visible()
        expect(page.page.locator("#password_input")).to_be_visible()
        page.log_in(lab.token)
        expect(page.page.locator("#jp-main-dock-panel")).to_be_visible(timeout=60_000)
        told = subprocess.run([LABKIT, "url"], env=lab.environment, capture_output=True, text=True)
        assert told.stdout.strip() == lab.address
    finally:
        context.close()


def test_chapter_05_with_answers_runs_whole_and_its_microscope_answers_a_click(lab, page):
    # The very notebook that a student opens; its stubs are filled in the page, as by hand, and never saved.
    before = CHAPTER.read_bytes()
    given = answers()
    assert page.page.evaluate(ANSWER, given) == len(given) >= 3

    page.run_all_cells()

    assert page.cell_errors() == []
    assert None not in page.page.evaluate(PROMPTS)
    page.focus_on_notebook()
    microscope = page.page.locator(".lk-overlay").first
    expect(microscope).to_be_visible()
    path = microscope.locator('.lk-path[data-path="greeting"]')
    path.click()
    detail = microscope.locator(".lk-detail")
    expect(path).to_have_attribute("aria-expanded", "true")
    expect(detail.locator("dt")).to_have_text(["upper", "lower 1"])
    expect(detail.locator("dd").first).to_contain_text("wins")
    expect(detail.locator("dd").last).to_contain_text("hidden")
    for theme in ("light", "dark"):
        page.use_theme(theme)
        microscope.scroll_into_view_if_needed()
        page.keep_picture(f"chapter-05-{theme}")
    expect(page.page.get_by_text("nothing left behind; 5 of 5 exercises passed")).to_be_visible()
    # The lab has no language servers, and JupyterLab asks for them all the same.
    assert [one for one in page.complaints if "/lsp/status" not in one] == []
    assert CHAPTER.read_bytes() == before


def test_an_unanswered_exercise_says_so_in_words_and_the_run_stops_there(lab, page):
    page.run_all_cells()

    (error,) = page.cell_errors()
    assert error.startswith("NotAnswered: 05.stack: not answered yet\n")
    shown = page.page.locator(".jp-OutputArea-output", has_text="not answered yet")
    expect(shown).to_have_count(1)
    said = shown.inner_text().strip()
    assert said.startswith("05.stack: not answered yet")
    assert "hint:" in said
    assert "Traceback" not in said and "File " not in said and len(said.splitlines()) <= 4
    for theme in ("light", "dark"):
        page.use_theme(theme)
        shown.scroll_into_view_if_needed()
        page.keep_picture(f"chapter-05-unanswered-{theme}")
