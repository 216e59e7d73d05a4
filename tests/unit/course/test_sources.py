"""A source is read as jupytext reads it, and its cells are known by what they are for."""

import jupytext
import pytest

from labkit.course import sources
from labkit.course.chapters import Course
from labkit.errors import Invalid, NotFound

SOURCE = '''\
# %% [markdown]
# # 93 · Title
#
# Text.

# %% tags=["parameters"]
size = 1

# %%
# %%sh --new net
# ls -l
# # a comment of the shell

# ip link

# %%
# ls is a word that a comment of Python may begin with
size += 1


# %%
def double(number):
    """Twice."""
    if number:
        ### BEGIN SOLUTION
        return 2 * number
        ### END SOLUTION


# %% helper of the same exercise
half = ...
### BEGIN SOLUTION
half = 0.5
### END SOLUTION

# %%
course.check("93.double", double, half)
### BEGIN HIDDEN TESTS
assert double(4) == 8
### END HIDDEN TESTS

# %%
check('93.none', size)
'''


@pytest.fixture
def course(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "93_title.py").write_text(SOURCE)
    (tmp_path / "chapters.toml").write_text(
        '[[chapter]]\nnumber="93"\nslug="title"\ntitle="T"\nneeds=[]\nminutes=1\nwidgets=[]\nmodule="labkit.errors"\n'
    )
    return Course.below(tmp_path)


@pytest.fixture
def source(course):
    return sources.read(course, course.chapters()[0])


def test_the_cells_are_those_that_jupytext_sees(source):
    witness = jupytext.reads(SOURCE, fmt="py:percent").cells

    assert [cell.kind for cell in source.cells] == [cell.cell_type for cell in witness]
    assert source.cells[0].text == witness[0].source
    assert source.cells[1].tags == ("parameters",)


def test_a_magic_and_the_lines_below_it_lose_their_marks_and_a_comment_keeps_its_own(source):
    assert source.cells[2].text == "%%sh --new net\nls -l\n# a comment of the shell\n\nip link"
    assert source.cells[3].text.startswith("# ls is a word")


def test_a_python_magic_keeps_the_comments_between_its_lines():
    (cell,) = sources.parse("# %%\n# %%child --new uts\n# reason\nx = 1\n")

    assert cell.text == "%%child --new uts\n# reason\nx = 1"


def test_solutions_belong_to_the_check_that_follows(source):
    assert [cell.solution for cell in source.cells if cell.solution] == ["93.double", "93.double"]
    assert source.exercises == ["93.double", "93.none"]


def test_a_stub_stands_at_the_indentation_of_its_solution_and_raises_nothing_at_the_left_margin(source):
    inner, outer = (cell.stub for cell in source.cells if cell.solution)

    assert inner.endswith("    if number:\n        # your code here\n        raise NotImplementedError()")
    assert outer == "half = ...\n# your code here"


def test_a_stub_is_a_program_and_hidden_tests_are_hidden(source):
    for cell in source.cells:
        if cell.kind == "code" and not cell.text.startswith("%%"):
            compile(cell.stub, "stub", "exec")
    assert next(cell.stub for cell in source.cells if cell.check) == 'course.check("93.double", double, half)'


def test_the_reference_is_the_solution_and_the_name_that_the_check_is_given(course, monkeypatch):
    monkeypatch.setenv("LABKIT_COURSE", str(course.table.parent))
    text, name = sources.reference("93.double")

    assert name == "double"
    assert "return 2 * number" in text and "BEGIN" not in text and "half = 0.5" in text
    with pytest.raises(NotFound, match=r"no solution to 93\.none"):
        sources.reference("93.none")


@pytest.mark.parametrize(
    "text",
    ["# %%\n### BEGIN SOLUTION\nx = 1\n", '# %%\ncourse.check("93.a", x)\n### BEGIN HIDDEN TESTS\n'],
)
def test_a_marker_that_is_not_closed_is_refused(text):
    with pytest.raises(Invalid, match="a marker is not closed"):
        sources.parse(text)


def test_a_solution_without_a_check_is_refused(course):
    chapter = course.chapters()[0]
    course.source(chapter).write_text("# %%\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n")

    with pytest.raises(Invalid, match="no check after it"):
        sources.read(course, chapter)


def test_an_unknown_chapter_is_named_with_those_there_are(course):
    with pytest.raises(NotFound, match=r"no chapter '94'.*only 93"):
        course.chapter("94")
