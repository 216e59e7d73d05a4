"""Each way to state a fact: what passes, what fails, and what is then said."""

import pytest

from labkit.course.facts import FactFailed, Facts
from labkit.kernel.namespaces import Namespace
from labkit.ledger import Ledger
from labkit.paths import Paths


@pytest.fixture
def facts(tmp_path):
    paths = Paths(tmp_path / "root", tmp_path / "run")
    return Facts(Ledger.of(paths, "course-93-check"), "mark", tmp_path / "scratch")


def test_facts_that_hold_are_counted(facts):
    facts.equal("one is one", 1, 1)
    facts.differs("one is not two", 1, 2)
    facts.true("it is so", True)
    facts.contains("a is in it", "abc", "a")
    facts.between("two is between", 2, 1, 2)
    facts.is_a(3, int, str)
    facts.is_function(print)

    assert facts.count == 7


@pytest.mark.parametrize(
    ("state", "found", "wanted"),
    [
        (lambda f: f.equal("s", 1, 2), "1", "2"),
        (lambda f: f.differs("s", 1, 1), "1", "anything but 1"),
        (lambda f: f.true("s", False, found="no"), "no", "that it is so"),
        (
            lambda f: f.contains("s", {Namespace.UTS, Namespace.MOUNT}, Namespace.PID),
            "mount, uts",
            "pid in it",
        ),
        (lambda f: f.between("s", 3, 1, 2), "3", "from 1 to 2"),
        (lambda f: f.is_a("x", int), "a str", "an int"),
        (lambda f: f.is_function("x"), "a str: x", "a function, without ()"),
        (lambda f: f.equal("s", "", "text"), "''", "text"),
    ],
)
def test_a_fact_that_does_not_hold_says_what_was_found_and_what_was_wanted(facts, state, found, wanted):
    with pytest.raises(FactFailed) as failed:
        state(facts)

    assert (failed.value.found, failed.value.wanted) == (found, wanted)


def test_a_long_finding_is_cut(facts):
    with pytest.raises(FactFailed) as failed:
        facts.equal("s", "x" * 10_000, "y")

    assert len(failed.value.found) < 400


def test_a_nonce_is_another_each_time(tmp_path, facts):
    other = Facts(facts.ledger, "mark", tmp_path)

    assert facts.nonce != other.nonce and facts.nonce.isalnum()
