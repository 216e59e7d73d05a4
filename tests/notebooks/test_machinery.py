"""The machinery that makes and runs chapters, proved with a small one."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from chapter_cases import LABKIT, MINI, Lab

from labkit.course import building, notebooks, report, running, sources
from labkit.course.chapters import Course

pytestmark = pytest.mark.requires("root")


@pytest.fixture
def course(tmp_path: Path, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Course:
    """A copy of the small course, to be built in and broken."""
    copy = Path(shutil.copytree(MINI, tmp_path / "mini"))
    monkeypatch.setenv("LABKIT_COURSE", str(copy))
    return Course.below(copy)


def test_a_second_build_with_equal_results_gives_equal_bytes(course: Course) -> None:
    chapter = course.chapters()[0]
    first = building.build(course, chapter, told=lambda line: None)
    bytes_of = {file: file.read_bytes() for file in first}

    assert len(first) == 2
    assert building.build(course, chapter, told=lambda line: None) == []
    assert {file: file.read_bytes() for file in first} == bytes_of


def test_outputs_are_kept_and_nothing_of_the_moment_is(course: Course) -> None:
    chapter = course.chapters()[0]
    building.build(course, chapter, told=lambda line: None)
    solved = json.loads(course.solved_notebook(chapter).read_text())

    text = json.dumps(solved)
    assert "inside: box as process 1" in text
    assert "90.first: public checks passed (4 facts)" in text
    assert "iopub" not in text and "papermill" not in text
    assert solved["metadata"]["labkit"]["source_sha256"] == sources.read(course, chapter).sha256


def test_a_cell_that_fails_stops_a_build_names_itself_and_writes_nothing(course: Course) -> None:
    chapter = course.chapters()[0]
    file = course.source(chapter)
    file.write_text(file.read_text().replace("kinds = 8", "kinds = 9"))

    with pytest.raises(building.ChapterFailed, match=r"90\.kinds: not passed yet"):
        building.build(course, chapter, told=lambda line: None)
    assert not course.solved_notebook(chapter).exists()
    assert not course.student_notebook(chapter).exists()


def test_a_parameter_reaches_the_chapter(course: Course) -> None:
    outcome = running.run(course, course.chapters()[0], {"name": "cat"})

    assert outcome.passed, outcome.error
    assert "inside: cat as process 1" in notebooks.text_of(outcome.notebook)


def test_a_failed_chapter_is_reported_with_its_cell_and_the_exit_code_is_1(
    course: Course, tmp_path: Path
) -> None:
    file = course.source(course.chapters()[0])
    file.write_text(file.read_text().replace("kinds = 8", "kinds = 9"))
    page = tmp_path / "report.html"

    done = subprocess.run(
        [LABKIT, "course", "run", "--report", str(page)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert "90  FAILED" in done.stdout and "90.kinds: not passed yet" in done.stdout
    assert 'class="failed"' in page.read_text()
    assert "90.kinds: not passed yet" in (tmp_path / "report.chapters" / "90_mini.html").read_text()


def test_a_report_needs_nothing_from_elsewhere(course: Course, tmp_path: Path) -> None:
    outcome = running.run(course, course.chapters()[0])
    index = report.write(tmp_path / "report.html", [outcome])
    page = tmp_path / "report.chapters" / "90_mini.html"

    assert "report.chapters/90_mini.html" in index.read_text()
    for text in (index.read_text(), page.read_text()):
        assert "prefers-color-scheme: dark" in text
        assert "http" not in text.replace("http-equiv", "")
        assert "<script" not in text
    assert "inside: box as process 1" in page.read_text()


def test_a_fresh_copy_keeps_the_readers_work_beside_it(course: Course) -> None:
    chapter = course.chapters()[0]
    building.fresh(course, "90")
    mine = course.student_notebook(chapter)
    mine.write_text(mine.read_text().replace("A small chapter", "My notes"))

    old, new = building.fresh(course, "90")

    assert old is not None and "My notes" in old.read_text()
    assert "My notes" not in new.read_text()
    again, _ = building.fresh(course, "90")
    assert again is None


def test_a_solved_notebook_is_one_that_nbgrader_can_release(course: Course) -> None:
    notebook = notebooks.solved(sources.read(course, course.chapters()[0]))
    graded = [cell.metadata["nbgrader"] for cell in notebook.cells if "nbgrader" in cell.metadata]

    assert [cell["grade_id"] for cell in graded] == [
        "90-hostname-answer", "90-hostname", "90-kinds-answer", "90-kinds", "90-first-answer", "90-first",
    ]  # fmt: skip
    assert [cell.get("points") for cell in graded] == [None, 2, None, 1, None, 1]
    assert all(
        cell["schema_version"] == 3 and cell["grade"] == cell["locked"] != cell["solution"] for cell in graded
    )
