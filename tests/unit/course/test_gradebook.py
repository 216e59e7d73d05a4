"""What has been tried and passed is kept in one record, and an answer with it."""

import pytest

from labkit.course import gradebook
from labkit.errors import NotFound


@pytest.fixture(autouse=True)
def apart(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_PROGRESS", str(tmp_path / "progress"))


def test_tries_are_counted_and_a_pass_stays_passed():
    gradebook.tried("02.pid", passed=False)
    gradebook.tried("02.pid", passed=True, source="def f(): pass", function="f")
    gradebook.tried("02.pid", passed=False)

    assert gradebook.load()["exercises"]["02.pid"]["tries"] == 3
    assert gradebook.passed("02") == {"02.pid"}
    assert gradebook.passed("03") == set()


def test_the_answer_that_passed_is_kept_and_not_one_that_failed():
    gradebook.tried("02.pid", passed=True, source="def f(): pass", function="f")
    gradebook.tried("02.pid", passed=False, source="def g(): pass", function="g")

    assert gradebook.answer("02.pid") == ("def f(): pass", "f")


def test_where_no_answer_passed_there_is_none():
    gradebook.tried("02.pid", passed=False)

    with pytest.raises(NotFound, match=r"no passed answer to 02\.pid"):
        gradebook.answer("02.pid")


def test_a_chapter_can_be_forgotten_without_the_others(tmp_path):
    for exercise in ("02.pid", "03.root"):
        gradebook.tried(exercise, passed=True, source="def f(): pass", function="f")
    gradebook.chapter_started("02")
    gradebook.forget("02")

    assert gradebook.load()["chapters"] == {}
    assert gradebook.passed("02") == set() and gradebook.passed("03") == {"03.root"}
    assert [file.name for file in (tmp_path / "progress" / "answers").iterdir()] == ["03.root.py"]


def test_finishing_twice_keeps_the_first_time():
    gradebook.chapter_started("02")
    gradebook.chapter_finished("02")
    first = gradebook.load()["chapters"]["02"]["finished"]
    gradebook.chapter_finished("02")

    assert first and gradebook.load()["chapters"]["02"]["finished"] == first


def test_nobody_else_can_read_the_record(tmp_path):
    gradebook.chapter_started("02")

    assert (tmp_path / "progress").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "progress" / "progress.json").stat().st_mode & 0o777 == 0o600
