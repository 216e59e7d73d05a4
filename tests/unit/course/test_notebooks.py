"""Two notebooks from one source: what is in each, and that equal results are equal bytes."""

from pathlib import Path

import nbformat
import pytest

from labkit.course import notebooks, sources
from labkit.course.chapters import Course

MINI = Path(__file__).parents[2] / "notebooks" / "data" / "mini"


@pytest.fixture
def source(monkeypatch):
    monkeypatch.setenv("LABKIT_COURSE", str(MINI))
    course = Course.below(MINI)
    return sources.read(course, course.chapters()[0])


def output(kind, **fields):
    return nbformat.v4.new_output(kind, **fields)


def test_both_are_valid_notebooks_with_the_same_cells_by_id(source):
    student, solved = notebooks.student(source), notebooks.solved(source)

    for notebook in (student, solved):
        nbformat.validate(nbformat.reads(notebooks.text_of(notebook), as_version=4))
        assert notebook.metadata.kernelspec["name"] == "python3"
    assert [cell.id for cell in student.cells] == [cell.id for cell in solved.cells]
    assert len({cell.id for cell in student.cells}) == len(student.cells)


def test_a_cell_keeps_its_id_when_others_come_before_it(source):
    more = sources.Source(source.chapter, (sources.Cell("code", "1"), *source.cells), source.sha256)

    assert [cell.id for cell in notebooks.solved(more).cells[1:]] == [
        c.id for c in notebooks.solved(source).cells
    ]


def test_equal_cells_have_different_ids(source):
    twice = sources.Source(
        source.chapter, (sources.Cell("code", "1"), sources.Cell("code", "1")), source.sha256
    )
    first, second = (cell.id for cell in notebooks.solved(twice).cells)

    assert second == f"{first}-2"


def test_nbgrader_finds_solutions_and_locked_checks_with_their_points(source):
    cells = {c.id: c.metadata.get("nbgrader", {}) for c in notebooks.student(source).cells}

    assert cells["90-hostname"] == {
        "schema_version": 3, "grade_id": "90-hostname", "grade": True, "locked": True, "solution": False,
        "task": False, "points": 2,
    }  # fmt: skip
    assert cells["90-hostname-answer"]["solution"] and "points" not in cells["90-hostname-answer"]


def test_what_differs_between_two_equal_runs_is_taken_out(source):
    def run(pieces, number):
        notebook = notebooks.solved(source)
        notebook.metadata["papermill"] = notebook.metadata["widgets"] = {"at": number}
        cell = next(c for c in notebook.cells if c.cell_type == "code")
        cell.metadata["execution"] = {"iopub.status.busy": number}
        cell.outputs = [output("stream", name="stdout", text=piece) for piece in pieces]
        view = {"text/plain": "a chart", "application/vnd.jupyter.widget-view+json": {"model_id": number}}
        cell.outputs.append(output("display_data", data=view))
        return notebooks.text_of(notebooks.normalise(notebook))

    assert run(["one\n", "two\n"], "1") == run(["one\ntwo\n"], "2")
    assert "a chart" in run(["one\n"], "1")


def test_standard_output_and_error_are_not_mixed():
    pieces = [output("stream", name=name, text=name) for name in ("stdout", "stderr", "stdout")]

    assert [piece.name for piece in notebooks._joined(pieces)] == ["stdout", "stderr", "stdout"]


def test_an_output_that_is_no_fact_stays_while_its_source_does(source):
    old, new = notebooks.solved(source), notebooks.solved(source)
    for notebook, text in ((old, "old"), (new, "new")):
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = [output("stream", name="stdout", text=text)]
    notebooks.keep_old_outputs(new, old)
    texts = {
        bool({"nbval-ignore-output"} & set(cell.metadata.get("tags", []))): cell.outputs[0].text
        for cell in new.cells
        if cell.cell_type == "code"
    }

    assert texts == {True: "old", False: "new"}


def test_an_output_of_another_source_does_not_stay(source):
    old, new = notebooks.solved(source), notebooks.solved(source)
    old.metadata["labkit"]["source_sha256"] = "another"
    for cell in old.cells:
        cell.outputs = [output("stream", name="stdout", text="old")]
    notebooks.keep_old_outputs(new, old)

    assert all(not cell.outputs for cell in new.cells if cell.cell_type == "code")


def test_an_output_that_shows_an_error_does_not_stay(source):
    old, new = notebooks.solved(source), notebooks.solved(source)
    for cell in old.cells:
        if cell.cell_type == "code":
            cell.outputs = [output("error", ename="NameError", evalue="across", traceback=[])]
    assert len(notebooks.shown_errors(old)) == sum(cell.cell_type == "code" for cell in old.cells)
    notebooks.keep_old_outputs(new, old)

    assert notebooks.shown_errors(new) == []
