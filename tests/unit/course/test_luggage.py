"""A function takes along what it mentions, and stands on its own in another process."""

import posixpath as places
from pathlib import Path

import pytest

from labkit.course import luggage
from labkit.errors import Invalid
from labkit.kernel.namespaces import Namespace

FACTOR = 3
PLACE = Path("/somewhere")


def helper(number):
    return number * FACTOR


def answer(number, kind: Namespace = Namespace.UTS):
    return [helper(number), str(PLACE), places.basename("a/b"), kind.link, endless(2)]


def endless(number):
    return 0 if number == 0 else endless(number - 1) or FACTOR


def run(source, name, *args):
    names: dict[str, object] = {}
    exec(compile(source, "<there>", "exec"), names)
    return names[name](*args)


def test_helpers_values_paths_and_imports_travel_with_a_function():
    assert run(luggage.pack(answer), "answer", 2) == answer(2) == [6, "/somewhere", "b", "uts", 3]


def test_a_variable_of_the_enclosing_function_travels_too():
    word = "closed over"

    def inner():
        return word

    assert run(luggage.pack(inner), "inner") == "closed over"


def test_a_lambda_and_a_builtin_are_refused_with_the_remedy():
    with pytest.raises(Invalid, match="write it with def"):
        luggage.pack(lambda: 1)
    with pytest.raises(Invalid, match="not a function written with def"):
        luggage.pack(print)


def test_lines_get_the_plain_values_that_they_mention_and_no_others():
    known = {"size": 4, "place": PLACE, "other": 1, "thing": object()}

    packed = luggage.pack_names("print(size, place, thing)", known)

    assert "size = 4" in packed and "Path('/somewhere')" in packed
    assert "other" not in packed and "thing" not in packed


def test_lines_that_are_no_program_get_nothing():
    assert luggage.pack_names("def f(:", {"f": 1}) == ""
