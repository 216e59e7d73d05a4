"""show() finds the source, its place and its chapters; failures are shown and not raised."""

import pytest

from labkit.course import expected_failure, fails, progress, show
from labkit.course.chapters import OWN
from labkit.course.failures import NothingFailed
from labkit.errors import Invalid
from labkit.kernel import mounts


def test_a_function_is_shown_with_its_path_lines_and_chapter(capsys):
    show(mounts.enter_root)
    heading, _, text = capsys.readouterr().out.partition("\n\n")

    assert heading.startswith("labkit/kernel/mounts.py, lines ") and heading.endswith("chapter 3")
    assert text.startswith("def enter_root(")


def test_a_module_is_shown_from_its_first_line(capsys):
    show(mounts)

    assert "mounts.py, lines 1 to " in capsys.readouterr().out


def test_what_has_no_source_is_refused():
    with pytest.raises(Invalid, match="has no source to show"):
        show(3)


def test_an_expected_failure_is_shown_as_a_reader_would_see_it(capsys):
    with expected_failure(FileNotFoundError):
        open("/nowhere")  # noqa: SIM115

    assert capsys.readouterr().out == "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere'\n"


def test_another_failure_than_the_expected_is_raised():
    with pytest.raises(ZeroDivisionError), expected_failure(OSError):
        1 / 0  # noqa: B018


def test_that_nothing_fails_is_a_failure():
    with pytest.raises(NothingFailed, match="was expected to fail with OSError"), expected_failure(OSError):
        pass
    with pytest.raises(NothingFailed):
        fails(lambda: None)


def test_progress_lists_every_chapter(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path))
    progress()

    lines = capsys.readouterr().out.splitlines()
    assert [line[:2] for line in lines] == [chapter.number for chapter in OWN.chapters()]
    assert len(lines) > 6
    assert all(line.endswith("not begun") for line in lines)
