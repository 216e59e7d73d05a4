"""Which chapters run, in which order, with which parameters; and what is said of it."""

from pathlib import Path

import pytest

from labkit.course import running
from labkit.course.chapters import OWN, Course
from labkit.errors import Invalid

MINI = Path(__file__).parents[2] / "notebooks" / "data" / "mini"


def test_values_are_json_where_they_can_be_and_text_otherwise():
    parsed = running.parse_parameters(["size=3", 'names=["a"]', "word=a=b"])

    assert parsed == {"size": 3, "names": ["a"], "word": "a=b"}


@pytest.mark.parametrize("text", ["size", "=3", "a b=3"])
def test_what_is_not_name_and_value_is_refused(text):
    with pytest.raises(Invalid, match="write NAME=VALUE"):
        running.parse_parameters([text])


def test_a_parameter_that_no_chapter_has_is_refused_with_those_there_are():
    course = Course.below(MINI)

    with pytest.raises(Invalid, match="no chosen chapter has a parameter size; there is name"):
        running.run_all(course, course.written(), {"size": 1})


def test_a_seed_gives_its_order_again_and_is_told():
    told: list[str] = []
    first = running.ordered(OWN.chapters(), shuffle=True, told=told.append)
    seed = int(told[0].split("--seed ")[1].rstrip(")"))

    assert running.ordered(OWN.chapters(), shuffle=True, seed=seed, told=told.append) == first
    assert sorted(first, key=lambda c: c.number) == OWN.chapters()
    assert running.ordered(OWN.chapters(), shuffle=False) == OWN.chapters()
