"""The notebooks that are kept are those that their sources make; `labkit course build` makes them anew."""

import re

import nbformat
import pytest

from labkit.course import checks, gate, notebooks, sources
from labkit.course.chapters import OWN, Chapter

own_chapters = pytest.mark.parametrize("chapter", OWN.written(), ids=lambda chapter: chapter.number)


@own_chapters
def test_the_students_notebook_is_the_one_that_its_source_makes(chapter: Chapter) -> None:
    made = notebooks.text_of(notebooks.student(sources.read(OWN, chapter)))

    assert OWN.student_notebook(chapter).read_text() == made, f"stale: labkit course build {chapter.number}"


@own_chapters
def test_the_solved_notebook_was_run_from_its_source_as_it_is_now(chapter: Chapter) -> None:
    source = sources.read(OWN, chapter)
    kept = notebooks.load(OWN.solved_notebook(chapter))

    assert notebooks.without_outputs(kept) == notebooks.without_outputs(notebooks.solved(source)), (
        f"stale: labkit course build {chapter.number}"
    )
    assert all(cell.execution_count for cell in kept.cells if cell.cell_type == "code"), "a cell was not run"
    assert notebooks.shown_errors(kept) == []


@own_chapters
def test_a_student_is_shown_no_solution_and_no_hidden_test(chapter: Chapter) -> None:
    text = OWN.student_notebook(chapter).read_text()

    assert "BEGIN SOLUTION" not in text
    assert "HIDDEN TESTS" not in text
    assert all(not cell.get("outputs") for cell in nbformat.reads(text, as_version=4).cells)


@own_chapters
def test_a_chapter_has_the_cells_that_every_chapter_has(chapter: Chapter) -> None:
    cells = sources.read(OWN, chapter).cells
    code = [cell.text for cell in cells if cell.kind == "code"]

    assert cells[0].kind == "markdown" and cells[0].text.startswith("# ")
    assert any("parameters" in cell.tags for cell in cells)
    assert any(f'course.start("{chapter.number}")' in text for text in code)
    assert any("course.show(" in text for text in code)
    assert code[-1].strip() == "course.finish()"


@own_chapters
def test_each_exercise_has_a_check_a_solution_and_a_wrong_answer(chapter: Chapter) -> None:
    source = sources.read(OWN, chapter)
    answered = {exercise for exercise, _, _ in gate.wrong_answers(OWN, chapter)}

    assert len(source.exercises) == len(set(source.exercises)) >= 3
    assert {cell.solution for cell in source.cells if cell.solution} == set(source.exercises)
    assert {exercise.id for exercise in checks.of_chapter(chapter.number)} == set(source.exercises)
    assert answered == set(source.exercises)


@own_chapters
def test_no_output_names_a_process_or_a_place_of_this_machine_where_it_is_compared(chapter: Chapter) -> None:
    for cell in notebooks.load(OWN.solved_notebook(chapter)).cells:
        if "nbval-check-output" in cell.metadata.get("tags", []):
            shown = str([output.get("text") or output.get("data") for output in cell.outputs])
            assert not re.search(r"/tmp/labkit|\bpid \d{3,}|0x[0-9a-f]{8,}", shown), shown
