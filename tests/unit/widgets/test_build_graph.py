"""The graph of a build follows what the build tells, and its notebook form shows that."""

import pytest

from labkit.build import stages
from labkit.build.dockerfile import parse
from labkit.build.events import Event, Kind, Teller
from labkit.widgets import BuildGraph, build_graph
from labkit.widgets.build_progress import Notebook

TEXT = """\
FROM lab/debian AS compile
COPY main.c /src/
RUN cc main.c

FROM lab/busybox AS test
RUN check

FROM compile AS strip
RUN strip a.out

FROM scratch
COPY --from=strip /a.out /
COPY --from=lab/busybox /bin/sh /
ENTRYPOINT ["/a.out"]
"""
EVIL = "\x1b[2J<img src=x>"


def planned(text=TEXT, **options):
    return stages.plan(parse(text), **options)


def told(graph):
    return [step["state"] for step in graph.steps]


@pytest.fixture
def graph():
    return BuildGraph.of(planned())


def test_the_plan_is_a_lane_for_each_stage_and_an_arrow_for_each_taking(graph):
    assert graph.stages == ["compile", "test", "strip", "stage-3"]
    assert [(step["text"], step["takes_from"]) for step in graph.steps if step["takes_from"]] == [
        ("FROM compile AS strip", ["compile"]),
        ("COPY --from=strip /a.out /", ["strip"]),
    ]
    assert [step["note"] for step in graph.steps if step["state"] == "base"] == [
        "an image", "a stage", "nothing at all",
    ]  # fmt: skip


def test_a_stage_that_the_target_does_not_need_is_not_built(graph):
    assert [step["text"] for step in graph.steps if step["state"] == "unused"] == [
        "FROM lab/busybox AS test", "RUN check",
    ]  # fmt: skip
    assert set(told(BuildGraph.of(planned(target="test")))[3:5]) == {"base", "waiting"}


def test_two_stages_of_one_name_have_a_lane_each():
    assert BuildGraph.of(planned("FROM a AS x\nFROM b AS x\nFROM x")).stages == ["x", "x (1)", "stage-2"]


def test_the_graph_follows_the_build_step_by_step(graph):
    teller = Teller(graph.hear)
    teller.begin("compile", 1, 2, "COPY main.c /src/", 2).end(cached=True, layer_bytes=2048)
    step = teller.begin("compile", 2, 2, "RUN /bin/sh -c cc main.c", 3)
    assert told(graph)[:3] == ["base", "cached", "running"]
    step.output("stderr", f"compiling\n{EVIL}\n\n".encode())
    assert graph.steps[2]["note"] == "<img src=x>"
    step.end(cached=False, layer_bytes=700_000)

    assert told(graph)[:3] == ["base", "cached", "done"]
    assert graph.steps[1]["size_bytes"] == 2048
    assert graph.steps[2]["size_bytes"] == 700_000
    assert graph.steps[2]["note"] == ""


def test_what_stands_on_a_miss_says_so_also_in_the_next_stage(graph):
    teller = Teller(graph.hear)
    for position, line in ((1, 2), (2, 3)):
        teller.begin("compile", position, 2, "…", line).end(cached=False, layer_bytes=1)
    teller.begin("strip", 1, 1, "…", 9).end(cached=False, layer_bytes=1)
    teller.begin("stage-3", 1, 3, "…", 12).end(cached=False, layer_bytes=1)

    assert [step["note"] for step in graph.steps if step["state"] == "done"] == [
        "", "after a miss", "after a miss", "",
    ]  # fmt: skip


def test_a_stage_that_only_names_another_passes_its_miss_on():
    graph = BuildGraph.of(planned("FROM a AS one\nRUN x\nFROM one AS two\nFROM two\nRUN y"))
    teller = Teller(graph.hear)
    teller.begin("one", 1, 1, "RUN x", 2).end(cached=False, layer_bytes=1)
    teller.begin("stage-2", 1, 1, "RUN y", 5).end(cached=False, layer_bytes=1)

    assert graph.steps[-1]["note"] == "after a miss"


def test_a_failure_and_what_the_build_says_at_its_end_are_kept(graph):
    teller = Teller(graph.hear)
    teller.begin("compile", 1, 2, "COPY", 2).fail(f"Dockerfile:2: no such file {EVIL}\n  | more")
    teller.tell(Event(kind=Kind.WARNING, text=f"mind this {EVIL}"))
    teller.tell(Event(kind=Kind.BUILT, text="app:1", seconds=1.5))

    assert told(graph)[1] == "failed"
    assert graph.steps[1]["note"].startswith("Dockerfile:2: no such file \\x1b")
    assert graph.remarks == ["mind this \\x1b[2J<img src=x>", "built app:1 in 1.5 s"]
    assert graph.text().endswith("one failed\n" + "\n".join(graph.remarks))


def test_triggers_of_the_base_image_come_into_the_lane_in_their_order(graph):
    teller = Teller(graph.hear)
    teller.begin("compile", 1, 4, "ENV A=b", 1).end(cached=True, layer_bytes=None)
    teller.begin("compile", 2, 4, "RUN prepare", 1).end(cached=False, layer_bytes=5)
    teller.begin("compile", 3, 4, "COPY main.c /src/", 2)

    assert [(step["text"], step["state"]) for step in graph.steps[:5]] == [
        ("FROM lab/debian AS compile", "base"),
        ("ONBUILD ENV A=b", "cached"),
        ("ONBUILD RUN prepare", "done"),
        ("COPY main.c /src/", "running"),
        ("RUN cc main.c", "waiting"),
    ]


def test_output_is_shown_at_most_so_often_as_an_eye_can_follow(graph, monkeypatch):
    now = 100.0
    monkeypatch.setattr(build_graph.time, "monotonic", lambda: now)
    step = Teller(graph.hear).begin("compile", 2, 2, "RUN", 3)
    seen = []
    for number, now in enumerate((100.0, 100.05, 100.11)):  # noqa: B007 (the clock reads it)
        step.output("stdout", f"line {number}\n".encode())
        seen.append(graph.steps[2]["note"])

    assert seen == ["line 0", "line 0", "line 2"]


def test_the_table_says_where_each_step_comes_from(graph):
    Teller(graph.hear).begin("compile", 1, 2, "…", 2).end(cached=True, layer_bytes=2048)

    lines = [" ".join(line.split()) for line in graph.text().splitlines()]
    assert lines[:4] == [
        "BuildGraph", "compile", "○ FROM lab/debian AS compile an image", "= COPY main.c /src/ cached 2 KiB",
    ]  # fmt: skip


def test_the_notebook_shows_the_graph_and_at_the_end_shows_it_anew(monkeypatch):
    shown = []

    class Handle:
        def update(self, graph):
            shown.append(told(graph))

    def display(graph, display_id):
        shown.append(told(graph))
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    with Notebook(planned("FROM a\nRUN x")) as listener:
        Teller(listener).begin("stage-0", 1, 1, "RUN x", 2).end(cached=True, layer_bytes=None)

    assert shown == [["base", "waiting"], ["base", "cached"]]


def test_outside_a_notebook_the_build_goes_on_all_the_same(monkeypatch):
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    with Notebook(planned("FROM a")) as listener:
        listener(Event(kind=Kind.BUILT, text="x"))


def test_an_arrow_over_a_lane_runs_where_no_card_is():
    near, far = (
        BuildGraph.of(planned(f"FROM a AS one\nRUN x\nFROM b AS two\nRUN y\nFROM c\nCOPY --from={name} p q"))
        for name in ("two", "one")
    )

    assert near.picture().count(" L") + 1 == far.picture().count(" L")
