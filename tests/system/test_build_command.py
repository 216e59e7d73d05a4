"""`labkit build` takes what docker build takes, and says what it says."""

import io
import sys
import tarfile

import pytest

from labkit.cli import main
from labkit.engine.default import engine
from labkit.images import store

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")


@pytest.fixture
def place(paths, tmp_path, monkeypatch):
    """A context, with an engine of the test's own behind the command."""
    monkeypatch.setenv("LABKIT_ROOT", str(paths.root))
    monkeypatch.setenv("LABKIT_RUN", str(paths.run))
    (tmp_path / "Dockerfile").write_text(
        "FROM lab/busybox AS base\nARG WHO=nobody\nRUN echo hello $WHO > /who\nFROM base\nRUN false\n"
    )
    yield tmp_path
    engine().close()


def build(*words, stdin=b"", monkeypatch=None):
    if monkeypatch:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    return main.run(["build", *map(str, words)])


def test_it_builds_a_target_with_args_labels_tags_and_an_iidfile(place, paths, capsys):
    code = build(
        "-t", "lab/one", "--tag", "lab/two:2", "--build-arg", "WHO=world", "--label", "a=b",
        "--target", "base", "--iidfile", place / "id", "--network", "none", "--progress", "plain", place,
    )  # fmt: skip

    said = capsys.readouterr()
    assert code == 0, said.err
    image = store.get(paths, "lab/two:2")
    assert said.out.strip() == (place / "id").read_text() == image.id == store.get(paths, "lab/one").id
    assert image.labels == {"a": "b"}
    assert "#2 [base 2/2] RUN |1 WHO=world /bin/sh -c echo hello $WHO > /who" in said.err
    assert engine().run("lab/one", ["cat", "/who"]).stdout == "hello world\n"


def test_quiet_says_the_id_alone(place, capsys):
    assert build("-q", "--target", "base", place) == 0

    said = capsys.readouterr()
    assert said.out.startswith("sha256:")
    assert said.err == ""


def test_a_failure_ends_with_its_place_and_an_exit_code(place, capsys):
    assert build(place) == 1

    said = capsys.readouterr().err
    assert 'labkit: Dockerfile:5: RUN false: process "/bin/sh -c false" did not complete' in said


def test_a_value_may_come_from_the_environment(place, capsys, monkeypatch, paths):
    monkeypatch.setenv("WHO", "the environment")
    monkeypatch.setenv("KEY", "hidden")
    (place / "Dockerfile").write_text(
        "FROM lab/busybox\nARG WHO\n"
        "RUN --mount=type=secret,id=KEY echo $WHO > /who; wc -c < /run/secrets/KEY >> /who\n"
    )

    assert build("--build-arg", "WHO", "--secret", "id=KEY,env=KEY", "-t", "lab/x", place) == 0, (
        capsys.readouterr().err
    )
    assert engine().run("lab/x", ["cat", "/who"]).stdout == "the environment\n6\n"


def test_the_dockerfile_or_the_context_may_be_standard_input(place, monkeypatch, capsys):
    alone = b"FROM lab/busybox\nLABEL alone=yes\n"
    assert build("-q", "-", stdin=alone, monkeypatch=monkeypatch) == 0
    assert build("-q", "-f", "-", place, stdin=alone, monkeypatch=monkeypatch) == 0
    first, second = capsys.readouterr().out.split()
    assert first == second

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(place / "Dockerfile", "other/Name")
    words = ("-q", "-f", "other/Name", "--target", "base", "-")
    assert build(*words, stdin=packed.getvalue(), monkeypatch=monkeypatch) == 0


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("-t", "UPPER", "."), 2, "must be lowercase"),
        (("--target", "nope", "."), 2, "target stage 'nope' could not be found"),
        (("-f", "Nope", "."), 1, "unable to prepare context"),
        (("/not/there",), 1, "path '/not/there' not found"),
        (("https://host.invalid/x.git",), 1, "a context from the network is not supported"),
        (("-f", "-", "-"), 2, "can't use stdin for both"),
        (("--platform", "a/b/c/d", "."), 2, "is no platform"),
        (("--platform", "linux/s390x", "."), 2, "is an image for"),
        (("--secret", "src=x", "."), 2, "is not id=NAME"),
        (("--secret", "id=x,src=/nope", "."), 1, "is not a file"),
        (("--build-arg", "=x", "."), 2, "is not NAME=value"),
    ],
)
def test_what_makes_no_sense_is_refused(place, capsys, monkeypatch, words, code, message):
    monkeypatch.chdir(place)

    assert build("--progress", "plain", *words, stdin=b"", monkeypatch=monkeypatch) == code
    assert message in capsys.readouterr().err
