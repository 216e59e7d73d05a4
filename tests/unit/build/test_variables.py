"""Variables are put in as Docker's shell rules have it."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from labkit.build.variables import expand, expand_text, expand_words
from labkit.errors import LabkitError

VALUES = {"A": "one", "EMPTY": "", "SPACED": "a b", "_x9": "nine"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$A", "one"),
        ("${A}", "one"),
        ("x${A}y$A.z", "xoneyone.z"),
        ("$NONE", ""),
        ("$A_b", ""),
        ("$_x9", "nine"),
        (r"\$A", "$A"),
        (r"\${A}", "${A}"),
        ("'$A'", "$A"),
        ('"$A"', "one"),
        (r'"\$A \x \""', r'$A \x "'),
        (r"a\b", "ab"),
        ("a'b'\"c\"", "abc"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.", "$."),
        ("$1x", "x"),
        ("${A:-two}", "one"),
        ("${NONE:-two}", "two"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY-two}", ""),
        ("${NONE-two}", "two"),
        ("${A:+two}", "two"),
        ("${EMPTY:+two}", ""),
        ("${EMPTY+two}", "two"),
        ("${NONE+two}", ""),
        ("${A:?no}", "one"),
        ("${NONE:-$A}", "one"),
        ("${NONE:-${EMPTY:-three}}", "three"),
        ("${NONE:-'a}b'}", "a}b"),
        ("$SPACED", "a b"),
        ("\\", ""),
    ],
)
def test_one_word(text, expanded):
    assert expand(text, VALUES) == expanded


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a  b", ["a", "b"]),
        ("$SPACED c", ["a", "b", "c"]),
        ('"$SPACED" c', ["a b", "c"]),
        ("'a b'c d", ["a bc", "d"]),
        ("$NONE", []),
        (r"a\ b c", ["a b", "c"]),
    ],
)
def test_many_words(text, words):
    assert expand_words(text, VALUES) == words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a", "matching single-quote"),
        ('"a', "matching double-quote"),
        ("${A", "bad substitution"),
        ("${}", "bad substitution"),
        ("${A!x}", "unsupported modifier"),
        ("${A:-x", "matching }"),
        ("${NONE:?give me one}", "NONE: give me one"),
        ("${EMPTY:?}", "EMPTY: not allowed to be empty"),
        ("${NONE?}", "NONE: not allowed to be unset"),
        ("${x:-" * 5000, "nested more than"),
    ],
)
def test_what_is_wrong_is_said(text, message):
    with pytest.raises(LabkitError, match=message):
        expand(text, VALUES)


def test_another_escape_makes_a_backslash_a_letter():
    assert expand(r"C:\dir`$A", VALUES, "`") == r"C:\dir$A"


def test_the_body_of_a_here_document_keeps_its_quotes():
    assert expand_text('it\'s "$A" \\$A \\n\n', VALUES) == 'it\'s "one" $A \\n\n'


@given(some.text(alphabet="${}:-+?'\"\\ aA_1\n"))
def test_any_text_expands_or_is_refused(text):
    for function in (expand, expand_words, expand_text):
        try:
            function(text, VALUES)
        except LabkitError as error:
            assert str(error)


@given(some.text(alphabet=some.characters(exclude_characters="'", exclude_categories=["Cs"])))
def test_what_stands_in_single_quotes_stays_as_it_is(text):
    assert expand(f"'{text}'", VALUES) == text
