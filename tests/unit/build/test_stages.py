"""Stages form a graph, which is known before anything is built."""

import pytest

from labkit.build import stages
from labkit.build.dockerfile import DockerfileError, parse
from labkit.errors import Invalid


def planned(text, **options):
    return stages.plan(parse(text), **options)


def test_only_what_the_target_is_made_from_is_needed():
    text = """
FROM a AS one
FROM b AS two
FROM one AS three
COPY --from=0 x y
FROM c
RUN --mount=type=bind,from=three,target=/x true
"""
    found = planned(text)

    assert [stage.needs for stage in found.stages] == [(), (), (0,), (2,)]
    assert found.needed() == [0, 2, 3]
    assert planned(text, target="two").needed() == [1]
    assert planned(text, target="THREE").needed() == [0, 2]
    assert planned(text, target="1").needed() == [1]


def test_a_name_that_no_stage_above_has_is_an_images():
    found = planned("FROM late AS first\nCOPY --from=other x y\nFROM first AS late\n")

    assert [(stage.parent, stage.copies_from) for stage in found.stages] == [(None, ()), (0, ())]
    assert found.stages[0].base == "late"


def test_scratch_is_no_stage_even_where_one_is_called_so():
    found = planned("FROM a AS scratch\nFROM scratch")

    assert found.stages[1].parent is None


def test_from_is_expanded_by_what_stands_above():
    text = (
        "ARG BASE=debian\nARG TAG=${BASE}-12\nFROM ${BASE}:$TAG AS x\nFROM --platform=$BUILDPLATFORM ${X:-y}"
    )

    assert [stage.base for stage in planned(text).stages] == ["debian:debian-12", "y"]
    given = planned(text, given={"BASE": "busybox"}, platform={"BUILDPLATFORM": "linux/amd64"})
    assert [stage.base for stage in given.stages] == ["busybox:busybox-12", "y"]
    assert given.stages[1].platform == "linux/amd64"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("RUN x", 1, "no build stage in current context"),
        ("ARG x", 1, "no build stage in current context"),
        ("ARG x\nFROM $x", 2, "base name \\(\\$x\\) should not be blank"),
        ("ARG x=${y:?say-y}\nFROM a", 1, "y: say-y"),
        ("FROM a\nFROM ${x:?say-x}", 2, "x: say-x"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(text, line, message):
    with pytest.raises(DockerfileError, match=f"^Dockerfile:{line}: {message}"):
        planned(text)


def test_a_target_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(Invalid, match="target stage 'x' could not be found") as caught:
        planned("FROM a AS one\nFROM b", target="x")

    assert caught.value.hint == "there are one, stage-1"
