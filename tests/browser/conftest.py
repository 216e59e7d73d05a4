"""One JupyterLab and one Chromium for all browser tests; a fresh profile for each test."""

from collections.abc import Callable, Iterator

import pytest
from pages import CHROMIUM, CHROMIUM_FLAGS, LabPage, LabServer, write_notebook
from playwright.sync_api import Browser, sync_playwright


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """JupyterLab over an empty folder, `lab_server.notebooks`, into which tests put what they open."""
    home = tmp_path_factory.mktemp("jupyterlab")
    notebooks = home / "notebooks"
    notebooks.mkdir()
    with LabServer(home, notebooks) as server:
        yield server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium without a window; as root it has no sandbox, so it opens only our own pages."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(CHROMIUM_FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def lab_page(lab_server: LabServer, browser: Browser) -> Iterator[LabPage]:
    """A page on that JupyterLab; `run_all_cells(lab_page, "name.ipynb", "dark")` does the rest."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(60_000)
    lab = LabPage(page, lab_server)
    yield lab
    lab.close()


@pytest.fixture
def notebook(lab_server: LabServer) -> Callable[[str, list[str]], str]:
    """Write a notebook of these code cells into the server's folder; returns its name."""
    return lambda name, cells: write_notebook(lab_server.notebooks, name, cells)
