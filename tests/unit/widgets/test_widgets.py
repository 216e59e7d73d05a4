import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import traitlets

from labkit.images import store
from labkit.images.configs import History, ImageConfig
from labkit.kernel.cgroup_usage import Usage
from labkit.kernel.trace import Operation
from labkit.observe import namespaces, topology
from labkit.observe.namespaces import NamespaceRow
from labkit.observe.stacks import Layer
from labkit.observe.topology import Interface, Place, Port
from labkit.widgets import (
    BuildGraph,
    CgroupCockpit,
    LayerStack,
    NamespaceMap,
    NetworkMap,
    OverlayMicroscope,
    SyscallTimeline,
    cockpit_charts,
)
from labkit.widgets.build_graph import GraphStep
from labkit.widgets.namespace_map import runs
from labkit.widgets.syscall_timeline import stack

VIEW = "application/vnd.jupyter.widget-view+json"
EVIL = "<img src=x onerror=alert(1)>"


class Group:
    """A cgroup whose usage the test says; it is gone once its directory is."""

    path = f"labkit/{EVIL}"

    def __init__(self, directory: Path) -> None:
        self.all_directories = [directory]
        self.used = Usage(memory_bytes=2**20, memory_limit_bytes=2**21, processes=3)

    def usage(self) -> Usage:
        return self.used


@pytest.fixture
def layers(tmp_path):
    for file in ("low/etc/hosts", "low/gone", "up/etc/hosts", f"up/{EVIL.replace('/', '')}"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(file)
    return tmp_path


@pytest.fixture
def machine(monkeypatch):
    """Two containers that share one network, beside the host."""
    kinds = ("uts", "pid", "network")
    homes = {1: (10, 20, 30), 5: (11, 21, 31), 6: (11, 21, 31), 7: (12, 22, 31)}
    groups = {1: "/", 5: "/labkit/web", 6: "/labkit/web", 7: "/labkit/db"}
    rows = [
        NamespaceRow(
            pid, f"n{pid}", EVIL, "root", 1, groups[pid], False, dict(zip(kinds, inodes, strict=True))
        )
        for pid, inodes in homes.items()
    ]
    monkeypatch.setattr(namespaces, "rows", lambda pids: rows)
    monkeypatch.setattr(namespaces, "host", lambda: rows[0].identities)
    return NamespaceMap([1, 5, 6, 7], kinds)


@pytest.fixture
def timeline():
    return SyscallTimeline(
        [
            Operation("init", "mount", EVIL, 100.002, 0.001),
            Operation("engine", "cgroup.mkdir", "/sys/fs/cgroup/x", 100.0, 0.001),
            Operation("init", "mknod", "/dev/null", 100.004, 0.0005, "Operation not permitted"),
        ]
    )


@pytest.fixture
def layer_stack(layers):
    low, up = (Layer(f"sha256:{name}", layers / name, EVIL) for name in ("low", "up"))
    return LayerStack({"app:1": [low, up], EVIL: [low]})


@pytest.fixture
def build_graph():
    return BuildGraph(
        [
            GraphStep(stage=EVIL, text="FROM lab/debian", line=1, state="cached", size_bytes=2**20),
            GraphStep(stage=EVIL, text=f"RUN echo {EVIL}", line=2, state="done", seconds=0.5),
            GraphStep(stage="test", text="RUN check", line=3, state="unused"),
            GraphStep(stage="last", text="COPY --from=0 a b", line=4, takes_from=(EVIL,), note=EVIL),
        ]
    )


@pytest.fixture
def network(monkeypatch):
    """A host with a switch, and one container whose name is hostile."""
    bridge = Interface(index=2, name="br0", kind="bridge", addresses=("10.5.0.1/24",))
    port = Interface(index=3, name="port2", kind="veth", bridge="br0", peer=(EVIL, "eth0"))
    card = Interface(index=2, name="eth0", kind="veth", peer=("host", "port2"), addresses=("10.5.0.2/24",))
    published = Port(protocol="tcp", port=8080, to_address="10.5.0.2", to_port=80)
    places = [
        Place(name="host", pid=1, identity=1, interfaces=(bridge, port), ports=(published,)),
        Place(name=EVIL, pid=1, identity=2, interfaces=(card,), gateway="10.5.0.1"),
    ]
    monkeypatch.setattr(topology, "look", lambda asked: places)
    return NetworkMap({})


@pytest.fixture
def every_widget(machine, layers, layer_stack, build_graph, timeline, network, tmp_path):
    return [
        machine,
        network,
        OverlayMicroscope([layers / "low"], layers / "up"),
        CgroupCockpit(Group(tmp_path)),
        timeline,
        layer_stack,
        build_graph,
    ]


def test_importing_labkit_widgets_alone_loads_no_widget_library():
    code = "import sys, labkit.widgets; sys.exit('anywidget' in sys.modules or 'IPython' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_each_widget_shows_a_view_a_text_and_an_image(every_widget):
    for widget in every_widget:
        data, _ = widget._repr_mimebundle_()

        assert data[VIEW]["model_id"] == widget.model_id
        assert data["text/plain"] == widget.text() == repr(widget)
        assert data["text/html"].startswith('<img src="data:image/svg+xml;base64,')


def test_the_text_holds_no_address_and_is_the_same_each_time(every_widget):
    for widget in every_widget:
        assert "0x" not in widget.text()
        assert widget.text() == widget.text()


def test_the_still_picture_is_well_formed_and_a_hostile_name_is_only_a_text(every_widget):
    for widget in every_widget:
        document = ElementTree.fromstring(widget.picture())

        tags = {element.tag.rpartition("}")[2] for element in document.iter()}
        assert not tags & {"img", "script", "foreignObject", "a"}


def test_the_drawn_elements_lie_on_the_sheet(every_widget):
    for widget in every_widget:
        document = ElementTree.fromstring(widget.picture())
        width, height = float(document.attrib["width"]), float(document.attrib["height"])
        for box in document.iter("{http://www.w3.org/2000/svg}rect"):
            right = float(box.attrib["x"]) + float(box.attrib["width"])
            assert right <= width, box.attrib
            assert float(box.attrib["y"]) + float(box.attrib["height"]) <= height, box.attrib


def test_every_trait_that_is_sent_says_what_it_is():
    kinds = (
        NamespaceMap,
        OverlayMicroscope,
        CgroupCockpit,
        SyscallTimeline,
        LayerStack,
        BuildGraph,
        NetworkMap,
    )
    for kind in kinds:
        own = {name: trait for name, trait in vars(kind).items() if hasattr(trait, "help")}
        assert own
        assert all(trait.help for trait in own.values())


def test_a_shared_namespace_has_the_letter_of_its_first_owner(machine):
    cells = [line.split()[-3:] for line in machine.text().splitlines()[2:6]]

    assert cells == [["·", "·", "·"], ["A", "A", "A"], ["A", "A", "A"], ["B", "B", "A"]]


def test_groups_are_named_after_their_cgroup_or_by_the_caller(machine):
    assert [line["group"] for line in machine.lines] == ["host", "web", "web", "db"]

    machine._names = {7: "database"}
    machine.refresh()
    assert machine.lines[-1]["group"] == "database"


def test_all_processes_fold_the_hosts_own_into_one_row():
    whole = NamespaceMap()

    first, *others = whole.lines
    assert int(first["name"].removesuffix(" processes")) > 1
    assert all(line["cells"] != first["cells"] for line in others)


def test_an_unknown_kind_is_refused_with_the_ones_there_are():
    with pytest.raises(ValueError, match="there are mount, uts"):
        NamespaceMap([], ["networks"])


def test_runs_of_the_same_namespace_are_one_block():
    assert runs(["a", "a", "b", "a"]) == [(0, 1, "a"), (2, 2, "b"), (3, 3, "a")]


def test_the_microscope_marks_what_was_copied_up_and_what_is_new(layers):
    rows = {row["path"]: row for row in OverlayMicroscope([layers / "low"], layers / "up").rows}

    assert [cell["state"] for cell in rows["etc/hosts"]["cells"]] == ["wins", "hidden"]
    assert rows["etc/hosts"]["mark"] == "copied up"
    assert "wins" in rows["etc/hosts"]["story"][0]["fate"]
    assert [cell["state"] for cell in rows["etc"]["cells"]] == ["wins", "merged"]
    assert rows["gone"]["mark"] == ""


def test_watching_sees_a_copy_up_as_it_happens(layers):
    with OverlayMicroscope([layers / "low"], layers / "up") as microscope:
        (layers / "up/gone").write_text("mine now")
        wait_until(lambda: microscope.events)

    assert microscope.events == [{"path": "gone", "what": "copied up"}]
    assert not microscope.watching


def test_a_microscope_without_layers_says_what_it_needs():
    with pytest.raises(TypeError, match="merged="):
        OverlayMicroscope()


def wait_until(holds, seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_the_cockpit_samples_ten_times_a_second_and_ends_by_itself(tmp_path):
    cockpit = CgroupCockpit(Group(tmp_path)).start(0.5)
    cockpit.wait(5)

    assert cockpit.state == "stopped"
    assert len(cockpit.history) == 5
    assert cockpit.history[-1]["memory_bytes"] == 2**20
    assert "1 MiB" in cockpit.text()
    assert "limit 2 MiB" in cockpit.text()


def test_the_cockpit_keeps_its_last_picture_when_the_group_is_gone(tmp_path):
    home = tmp_path / "group"
    home.mkdir()
    cockpit = CgroupCockpit(Group(home)).start()
    wait_until(lambda: cockpit.latest)
    home.rmdir()
    cockpit.wait(5)

    assert cockpit.state == "ended"
    assert cockpit.history


def test_closing_the_cockpit_ends_its_thread(tmp_path):
    cockpit = CgroupCockpit(Group(tmp_path)).start()
    cockpit.close()

    assert not cockpit._ticker.is_running


def test_an_out_of_memory_kill_is_told_in_words_and_drawn(tmp_path):
    group = Group(tmp_path)
    with CgroupCockpit(group) as cockpit:
        wait_until(lambda: cockpit.latest)
        group.used = Usage(memory_bytes=2**20, memory_limit_bytes=2**21, oom_kills=1, frozen=True)
        wait_until(lambda: cockpit.latest[0]["oom_kills"])

    assert "1 killed, out of memory" in cockpit.text()
    assert "frozen" in cockpit.text()
    assert "OOM kill" in cockpit.picture()


def test_stretches_are_told_from_the_sample_before_to_the_last_that_holds():
    samples = [{"at": float(at), "frozen": at in (2, 3)} for at in range(6)]

    assert list(cockpit_charts.stretches(samples, "frozen")) == [(1.0, 3.0)]


def test_a_limit_far_above_all_values_does_not_flatten_the_curve():
    memory = cockpit_charts.CHARTS[0]
    near = [{"memory_bytes": 2**20, "memory_limit_bytes": 2**22}]
    far = [{"memory_bytes": 2**20, "memory_limit_bytes": 2**34}]

    assert cockpit_charts.scale(memory, near) > 2**22
    assert cockpit_charts.scale(memory, far) < 2**21


def test_the_timeline_orders_its_lanes_as_a_start_goes_and_its_bars_by_time(timeline):
    assert timeline.lanes == ["engine", "init"]
    assert [one["call"] for one in timeline.operations] == ["cgroup.mkdir", "mount", "mknod"]
    assert timeline.operations[0]["at"] == 0
    assert timeline.span_seconds == pytest.approx(0.0045)


def test_the_timeline_tells_the_chapter_and_the_error(timeline):
    assert [one["chapter"] for one in timeline.operations] == ["04", "03", "03"]
    assert "✕ Operation not permitted" in timeline.text()
    assert "1 failed" in timeline.summary()


def test_an_empty_trace_is_a_picture_too():
    empty = SyscallTimeline([])

    assert "nothing was recorded" in empty.text()
    ElementTree.fromstring(empty.picture())


def test_operations_that_overlap_lie_in_rows_below_each_other():
    rows = stack([{"process": "a", "at": at, "took": 1.0} for at in (0.0, 0.5, 1.0)])

    assert [one["row"] for one in rows] == [0, 1, 0]


def test_a_long_wait_is_folded_so_that_the_start_is_seen():
    start = [Operation("init", "mount", str(number), 1 + number / 1000, 0.0005) for number in range(6)]
    long = SyscallTimeline([*start, Operation("monitor", "wait", "for init", 9.0, 0.001)])

    assert long.axis_seconds < 0.01 < 8 < long.span_seconds
    assert "≈" in long.text()
    assert "quiet" in long.picture()


def test_the_stack_says_what_is_shared_and_what_is_hidden_and_still_there(layer_stack):
    assert [row["name"] for row in layer_stack.rows] == ["layer 2", "layer 1"]
    assert layer_stack.rows[1]["hidden"] == {"app:1": len("low/etc/hosts"), EVIL: 0}
    assert layer_stack.rows[1]["files"][0]["hidden_by"] == {"app:1": "layer 2"}
    assert "shared" in layer_stack.summary() and "13 B hidden, and still there" in layer_stack.summary()


def test_another_images_eye_can_be_chosen_and_only_that_of_one_that_is_there(layer_stack):
    layer_stack.chosen = EVIL
    assert "hidden, and still" not in layer_stack.summary()

    with pytest.raises(traitlets.TraitError, match="none of app:1"):
        layer_stack.chosen = "app:2"


def test_a_stack_of_the_labs_images_has_their_layers_and_the_steps_that_made_them(paths, monkeypatch):
    monkeypatch.setenv("LABKIT_ROOT", str(paths.root))
    layers = []
    config = ImageConfig(architecture="amd64")
    for step in ("COPY a /", "COPY b /"):
        with store.new_layer(paths) as draft:
            (draft / step[5]).write_text(step)
            layers.append(store.keep(paths, draft))
        config = config.with_step(History(created_by=step), layers[-1].diff_id)
        config = config.with_step(History(created_by="ENV x=y", empty_layer=True))
    store.make(paths, config, layers, ["app:1"])
    store.make(paths, replace(config, diff_ids=config.diff_ids[:1]), layers[:1], ["app:2"])

    stack = LayerStack.of("app:1", "app:2")

    assert [(row["digest"], row["created_by"]) for row in stack.rows] == [
        (layers[1].diff_id, "COPY b /"), (layers[0].diff_id, "COPY a /"),
    ]  # fmt: skip
    assert stack.rows[1]["images"] == ["app:1", "app:2"]
    assert [file["path"] for file in stack.rows[1]["files"]] == ["a"]


def test_a_stack_without_an_image_says_what_it_needs():
    with pytest.raises(TypeError, match="at least one image"):
        LayerStack({})


def test_the_graph_says_what_was_cached_made_and_not_needed(build_graph):
    assert build_graph.stages == [EVIL, "test", "last"]
    assert build_graph.summary() == "Build of 3 stages: 1 cached, 1 made in 500 ms, 1 waiting, 1 not needed"
    assert build_graph.picture().count("<path") == 2


def test_a_step_of_the_graph_goes_on_and_only_to_a_state_that_there_is(build_graph):
    build_graph.update(3, state="failed", seconds=1.5)
    assert build_graph.summary().endswith("one failed")

    with pytest.raises(ValueError, match="cached, done, failed, unused"):
        build_graph.update(3, state="finished")
    with pytest.raises(TypeError, match="no speed"):
        build_graph.update(3, speed=1)
