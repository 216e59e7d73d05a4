"""A check asks the kernel, says which fact fails, and leaves nothing, whatever the answer does."""

import os
import time
from pathlib import Path

import pytest

from labkit import course
from labkit.course import checks, gradebook
from labkit.course.checks import CheckCrashed, exercise
from labkit.errors import Invalid, NotFound
from labkit.kernel.namespaces import Namespace
from labkit.undo import marked

MINI = Path(__file__).parents[1] / "notebooks" / "data" / "mini"
pytestmark = pytest.mark.requires("root", "namespaces")


@pytest.fixture(autouse=True)
def lab(paths, monkeypatch):
    for name, value in (
        ("ROOT", paths.root),
        ("RUN", paths.run),
        ("PROGRESS", paths.root / "p"),
        ("COURSE", MINI),
    ):
        monkeypatch.setenv(f"LABKIT_{name}", str(value))
    monkeypatch.setattr(checks, "_REGISTRY", dict(checks._REGISTRY))
    return paths


@exercise("92.value", title="A value", hint="look it up")
def value(facts, answer):
    facts.equal("seven is returned", facts.call(answer), 7)


def passes(answer):
    checks._REGISTRY["92.value"] = checks.Exercise("92.value", "A value", 1, "look it up", 5.0, value)
    course.check("92.value", answer)


def seven():
    return 7


def eight():
    return 8


def stub():
    raise NotImplementedError()


def crashes():
    return [][1]


def leaves():
    os._exit(0)


def hangs():
    time.sleep(100)


def kills_its_parent_group():
    os.killpg(0, 9)


def mounts_over_etc():
    mounts.mount("labkit-test", "/mnt", "tmpfs")  # noqa: F821
    return 7


def starts_a_daemon():
    subprocess.Popen(["sleep", "61"], start_new_session=True)  # noqa: F821
    return 7


def test_a_pass_is_one_line_and_keeps_the_answer_on_its_own_feet(capsys):
    passes(seven)

    assert capsys.readouterr().out == "92.value: public checks passed (2 facts)\n"
    text, name = gradebook.answer("92.value")
    assert name == "seven" and "return 7" in text
    assert course.use("92.value")() == 7


def test_a_failure_says_which_fact_what_was_found_and_a_hint():
    with pytest.raises(course.CheckFailed) as failed:
        passes(eight)

    assert str(failed.value).splitlines() == [
        "92.value: not passed yet",
        "  fact:   seven is returned",
        "  found:  8",
        "  wanted: 7",
        "  hint:   look it up",
    ]
    assert failed.value._render_traceback_() == [str(failed.value)]
    assert gradebook.load()["exercises"]["92.value"]["tries"] == 1


@pytest.mark.parametrize("answer", [stub, ..., None])
def test_a_stub_is_not_answered_yet(answer):
    with pytest.raises(course.NotAnswered, match=r"92\.value: not answered yet"):
        passes(answer)


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (crashes, "it raised IndexError: list index out of range"),
        (leaves, "it ended its process before it returned: exit code 0"),
        (kills_its_parent_group, "it ended its process before it returned: killed by SIGKILL"),
        (7, "an int: 7"),
        ("echo 7", "a str: echo 7"),
    ],
)
def test_whatever_an_answer_does_is_a_failed_check_with_clear_words(answer, found):
    with pytest.raises(course.CheckFailed) as failed:
        passes(answer)

    assert found in failed.value.found
    assert not isinstance(failed.value, CheckCrashed)


def test_an_answer_that_hangs_is_ended():
    def patient(facts, answer):
        facts.call(answer, timeout_seconds=0.5)

    checks._REGISTRY["92.h"] = checks.Exercise("92.h", "H", 1, "", 5.0, patient)
    with pytest.raises(course.CheckFailed, match=r"it had not returned after 0\.5 s"):
        course.check("92.h", hangs)


def test_a_check_that_hangs_in_the_notebook_itself_is_ended():
    checks._REGISTRY["92.h"] = checks.Exercise("92.h", "H", 1, "", 0.3, lambda facts, answer: answer())
    began = time.monotonic()

    with pytest.raises(course.CheckFailed, match=r"not done after 0\.3 s"):
        course.check("92.h", hangs)
    assert time.monotonic() - began < 3


def test_an_error_of_the_check_itself_is_told_apart_from_a_wrong_answer():
    def clumsy(facts, answer):
        facts.true("it is there", True)
        answer["key"]

    checks._REGISTRY["92.c"] = checks.Exercise("92.c", "C", 1, "", 5.0, clumsy)
    with pytest.raises(CheckCrashed, match=r"TypeError.*after the fact: it is there"):
        course.check("92.c", 3)


def test_a_check_that_states_no_fact_does_not_pass():
    checks._REGISTRY["92.e"] = checks.Exercise("92.e", "E", 1, "", 5.0, lambda facts, answer: None)
    with pytest.raises(CheckCrashed, match="states no fact"):
        course.check("92.e", 3)


def test_a_mount_of_the_answer_is_not_seen_outside():
    before = Path("/proc/self/mountinfo").read_text()
    passes(mounts_over_etc)

    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_daemon_that_the_answer_started_is_ended(lab):
    passes(starts_a_daemon)

    assert list(marked(f"course-92-check@{lab.run}")) == []


def test_what_a_check_made_is_gone_after_a_failure_too(lab):
    made = []

    def makes(facts, answer):
        made.append(facts.scratch("x"))
        made.extend(facts.cgroup("g").all_directories)
        facts.true("it is made", all(directory.is_dir() for directory in made))
        facts.true("never", False)

    checks._REGISTRY["92.m"] = checks.Exercise("92.m", "M", 1, "", 5.0, makes)
    with pytest.raises(course.CheckFailed, match="never"):
        course.check("92.m", seven)
    assert made and not any(directory.exists() for directory in made)


def test_a_probe_holds_the_child_to_be_looked_at_and_lets_it_go():
    def rename(name):
        namespaces.unshare(Namespace.UTS)  # noqa: F821
        socket.sethostname(name)  # noqa: F821
        return os.getpid()

    with course.probe(rename, "probed") as held:
        assert held.value == held.pid and held.alive
        assert held.own_namespaces() == {Namespace.UTS}
        assert held.inside("uts", "hostname") == "probed"
        assert held.status("NSpid") == [str(held.pid)]
        assert held.inside("uts", "false").startswith("error")
    assert not held.alive


def test_a_probe_sees_what_the_answer_has_started():
    def starts():
        return subprocess.Popen(["sh", "-c", "sleep 60; true"]).pid  # noqa: F821

    with course.probe(starts) as held:
        assert held.until(lambda: len(held.descendants()) == 2)
        assert held.descendants()[0] == held.value


def test_a_probe_of_an_answer_that_becomes_another_program():
    def becomes():
        os.execvp("sleep", ["sleep", "60"])

    with course.probe(becomes, returns=False) as held:
        assert held.until(lambda: Path(f"/proc/{held.pid}/comm").read_text() == "sleep\n")
    assert not Path(f"/proc/{held.pid}").exists()


def test_use_gives_the_reference_where_no_answer_was_kept_and_says_which(capsys):
    assert course.use("90.hostname").__name__ == "rename"
    assert capsys.readouterr().out == "90.hostname: the reference rename() is in use\n"

    passes(seven)
    capsys.readouterr()
    assert course.use("92.value")() == 7
    assert capsys.readouterr().out == "92.value: your own seven() is in use\n"
    assert course.use(eight, "92.value")() == 8
    assert course.use(stub, "92.value")() == 7


def test_a_function_in_use_can_be_sent_to_a_child():
    rename = course.use("90.hostname")

    with course.probe(rename, "again") as held:
        assert held.inside("uts", "hostname") == "again"


def test_an_unknown_exercise_is_named_with_those_of_its_chapter():
    with pytest.raises(
        NotFound, match=r"no exercise '90\.moon'; there is 90\.hostname, 90\.kinds, 90\.first"
    ):
        course.check("90.moon", 1)


@pytest.mark.parametrize("name", ["pid", "02", "02.", "x.pid", "02.a b"])
def test_an_id_that_is_none_is_refused(name):
    with pytest.raises(Invalid, match="is not an exercise id"):
        exercise(name, title="T", hint="h")
