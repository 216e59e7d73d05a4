"""nbval runs the solved notebooks anew and compares the outputs that are facts."""

import subprocess
import sys
from pathlib import Path

import pytest
from chapter_cases import Case, Lab, cases, every_chapter

from labkit.course import building, notebooks, sources

HERE = Path(__file__).parent


def nbval(notebook: Path, lab: Lab) -> "subprocess.CompletedProcess[str]":
    """A pytest of its own, since this one's settings are not for notebooks."""
    return subprocess.run(
        [
            sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", str(notebook.parent), "-q",
            "-p", "no:cacheprovider", "--nbval-lax", "--nbval-sanitize-with", str(HERE / "sanitize.cfg"),
            "--nbval-cell-timeout", "240", str(notebook),
        ],
        capture_output=True, text=True, check=False, env=lab.environment, timeout=850,
    )  # fmt: skip


def solved(case: Case, folder: Path) -> Path:
    """The solved notebook; that of the small chapter is made here, since none is kept."""
    if not case.folder:
        return case.course.solved_notebook(case.chapter)
    copy = folder / "solved.ipynb"
    run = building.execute(notebooks.solved(sources.read(case.course, case.chapter)), case.chapter, folder)
    copy.write_text(notebooks.text_of(run))
    return copy


@pytest.mark.timeout(900)
@every_chapter(shuffled=True)
def test_a_new_run_shows_what_the_solved_notebook_says(case: Case, lab: Lab, tmp_path: Path) -> None:
    compared = nbval(solved(case, tmp_path), lab)

    assert compared.returncode == 0, compared.stdout[-6000:] + compared.stderr[-2000:]
    assert " passed" in compared.stdout


@pytest.mark.requires("root")
def test_an_output_that_has_become_wrong_is_found(lab: Lab, tmp_path: Path) -> None:
    notebook = solved(cases()[0], tmp_path)
    notebook.write_text(notebook.read_text().replace("inside: box as process 1", "inside: box as process 2"))

    compared = nbval(notebook, lab)

    assert compared.returncode == 1
    assert "inside: box as process 2" in compared.stdout
