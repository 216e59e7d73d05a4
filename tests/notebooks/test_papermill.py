"""Each chapter through papermill: from cold, then again in the same kernel, in shuffled order."""

import leftovers
import pytest
from chapter_cases import Case, Lab, every_chapter

from labkit.course import notebooks, running


@pytest.mark.timeout(900)
@every_chapter(shuffled=True)
def test_a_chapter_runs_from_cold_and_once_more_and_leaves_nothing(case: Case, lab: Lab) -> None:
    before = leftovers.take()
    outcome = running.run(case.course, case.chapter, twice=True)

    assert outcome.passed, outcome.error
    cells = [cell for cell in outcome.notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert len(cells) == 2 * len({cell.id.removesuffix("-again") for cell in cells})
    assert notebooks.shown_errors(outcome.notebook) == []
    assert leftovers.left_since(before) == []
