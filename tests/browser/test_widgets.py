"""The widgets in a real JupyterLab and a real Chromium, in both themes."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import LabPage, LabServer, run_all_cells, write_notebook
from playwright.sync_api import Browser, expect

from labkit.kernel import cgroups
from labkit.kernel.limits import Limits

pytestmark = pytest.mark.requires("root", "cgroups", "chromium")

WIDGETS = ("map", "cockpit", "overlay", "timeline", "stack", "build", "network")
EVIL = "<img src=x onerror=window.harmed=1>"
PREPARE = """
from labkit.kernel import cgroups
from labkit.kernel.trace import Operation
from labkit.observe.stacks import Layer
from labkit.widgets import BuildGraph, CgroupCockpit, LayerStack, NamespaceMap, NetworkMap
from labkit.widgets import OverlayMicroscope, SyscallTimeline
from labkit.widgets.build_graph import GraphStep
"""
OPERATIONS = f"""
SyscallTimeline([
    Operation("engine", "cgroup.mkdir", "/sys/fs/cgroup/labkit/web", 1.000, 0.0004),
    Operation("launcher", "clone3", "fresh namespaces", 1.0005, 0.002),
    Operation("init", "mount", {EVIL!r}, 1.003, 0.001),
    Operation("init", "mknod", "/dev/null", 1.0041, 0.00001, "Operation not permitted"),
    Operation("init", "execve", "/bin/true", 1.005, 0.0),
])
"""
BUILD = f"""
graph = BuildGraph([
    GraphStep(stage="build", text="FROM lab/debian", line=1, state="cached"),
    GraphStep(stage="build", text={EVIL!r}, line=2, state="running", note="a file has changed"),
    GraphStep(stage="last", text="COPY --from=build a b", line=4, takes_from=["build"]),
])
graph
"""
EXECUTE = """code => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel
    .requestExecute({ code }).done"""
FINISH = "graph.update(1, state='done', seconds=0.25, size_bytes=2048)"


@pytest.fixture(scope="module")
def stranger() -> Iterator[int]:
    """A process in namespaces of its own, whose name is hostile."""
    script = f"printf %s {EVIL[:14]!r} > /proc/self/comm; echo ready; read wait"
    starter = subprocess.Popen(
        ["unshare", "--uts", "--net", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert starter.stdin is not None
    assert starter.stdout is not None
    assert starter.stdout.readline() == b"ready\n"
    yield starter.pid
    starter.kill()
    starter.communicate()


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    path = f"{cgroups.HOME}/widgets-{os.getpid()}"
    made = cgroups.create(path, Limits(processes=9))
    yield path
    made.kill()
    made.remove()


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("layers")
    for file in ("low/etc/hosts", "low/etc/motd", "up/etc/hosts", f"up/{EVIL}"):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text(file)
    return home


NETWORK = """
set -e
ip link set lo up; ip link add br0 type bridge; ip address add 10.5.0.1/24 dev br0; ip link set br0 up
for number in 2 3; do
  eval pid=\\$pid$number
  ip link add port$number type veth peer name eth0 netns $pid; ip link set port$number master br0 up
  nsenter -t $pid -n sh -c "
    ip link set lo up; ip address add 10.5.0.$number/24 dev eth0; ip link set eth0 up
    ip route add default via 10.5.0.1"
done
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link add up0 type veth peer name far0; ip link set far0 up
ip address add 203.0.113.1/24 dev up0; ip link set up0 up
nft add table ip box
nft 'add chain ip box come { type nat hook prerouting priority dstnat; }'
nft 'add rule ip box come tcp dport 8080 dnat to 10.5.0.2:80'
"""


@pytest.fixture(scope="module")
def network() -> Iterator[dict[str, int]]:
    """A host with a switch and a published port, and two namespaces on it, one with a hostile name."""
    held = [subprocess.Popen(["unshare", "--net", "sleep", "1000"]) for _ in range(3)]
    ours = os.stat("/proc/self/ns/net").st_ino
    for one in held:
        while os.stat(f"/proc/{one.pid}/ns/net").st_ino == ours:
            time.sleep(0.01)
    host, web, other = (one.pid for one in held)
    subprocess.run(
        ["nsenter", "-t", str(host), "-n", "sh", "-c", NETWORK],
        env={**os.environ, "pid2": str(web), "pid3": str(other)}, check=True,
    )  # fmt: skip
    yield {"host": host, "web": web, EVIL: other}
    for one in held:
        one.kill()
        one.wait()


@pytest.fixture(scope="module", params=["light", "dark"])
def shown(
    request: pytest.FixtureRequest,
    lab_server: LabServer,
    browser: Browser,
    stranger: int,
    group: str,
    layers: Path,
    network: dict[str, int],
) -> Iterator[LabPage]:
    """A notebook with all widgets, run whole."""
    low, up = str(layers / "low"), str(layers / "up")
    cells = [
        PREPARE,
        f"import os; NamespaceMap([os.getpid(), {stranger}])",
        f"cockpit = CgroupCockpit(cgroups.open_existing({group!r})).start(); cockpit",
        f"microscope = OverlayMicroscope([{low!r}], {up!r}).watch(); microscope",
        OPERATIONS,
        f"low, up = Layer('sha256:1', {low!r}, 'ADD base /'), Layer('sha256:2', {up!r}, {EVIL!r})",
        "LayerStack({'app:2': [low, up], 'app:1': [low]})",
        BUILD,
        f"network = NetworkMap({network!r}).watch(); network",
    ]
    name = write_notebook(lab_server.notebooks, f"widgets-{request.param}", cells)
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = LabPage(context.new_page(), lab_server)
    run_all_cells(page, name, request.param)
    page.focus_on_notebook()
    yield page
    page.close()


def test_each_widget_is_drawn_and_the_page_has_no_complaint(shown):
    for name in WIDGETS:
        widget = shown.page.locator(f".lk-{name}")
        expect(widget).to_be_visible()
        shown.keep_picture(f"{name}-{shown.theme}", of=widget)

    assert shown.complaints == []


def test_a_hostile_name_is_shown_and_does_nothing(shown):
    expect(shown.page.locator(".lk-overlay .lk-name", has_text=EVIL)).to_have_count(1)
    expect(shown.page.locator(".lk-map .lk-who", has_text=EVIL[:14])).to_have_count(1)
    shown.page.locator(".lk-timeline .lk-bar").nth(2).click()
    expect(shown.page.locator(".lk-timeline .lk-detail")).to_contain_text(EVIL)

    assert shown.page.locator(".labkit img").count() == 0
    assert shown.page.evaluate("window.harmed") is None


def test_the_ground_follows_the_theme(shown):
    light = """element => {
        const canvas = document.createElement("canvas").getContext("2d");
        canvas.fillStyle = getComputedStyle(element).backgroundColor;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data[1];
    }"""
    for widget in shown.page.locator(".labkit").all():
        ground = widget.evaluate(light)
        assert (ground > 200) == (shown.theme == "light"), ground


def test_a_click_on_a_namespace_lights_up_its_members_and_tells_its_inode(shown, stranger):
    inode = os.stat(f"/proc/{stranger}/ns/uts").st_ino
    cell = shown.page.locator(f'.lk-map .lk-cell[data-key="uts:{inode}"]')
    cell.click()

    expect(cell).to_have_attribute("aria-pressed", "true")
    expect(shown.page.locator(".lk-map .lk-lit.lk-cell")).to_have_count(1)
    expect(shown.page.locator(".lk-map .lk-detail")).to_contain_text(str(inode))


def test_arrow_keys_walk_over_the_map_and_escape_lets_go(shown):
    cells = shown.page.locator(".lk-map .lk-cell")
    cells.first.click()
    shown.page.keyboard.press("ArrowRight")
    expect(cells.nth(1)).to_be_focused()
    shown.page.keyboard.press("ArrowDown")
    shown.page.keyboard.press("Enter")
    expect(cells.nth(9)).to_have_attribute("aria-pressed", "true")
    shown.page.keyboard.press("Escape")

    expect(shown.page.locator('.lk-map [aria-pressed="true"]')).to_have_count(0)


def test_a_click_on_a_path_tells_its_versions_and_which_one_wins(shown):
    path = shown.page.locator('.lk-overlay .lk-path[data-path="etc/hosts"]')
    path.click()
    detail = shown.page.locator(".lk-overlay .lk-detail")

    expect(path).to_have_attribute("aria-expanded", "true")
    expect(detail.locator("dt")).to_have_text(["upper", "lower 1"])
    expect(detail.locator("dd").first).to_contain_text("wins")
    expect(detail.locator("dd").last).to_contain_text("hidden")
    shown.keep_picture(f"overlay-chosen-{shown.theme}", of=shown.page.locator(".lk-overlay"))


def test_a_copy_up_is_seen_as_it_happens(shown, layers):
    copy = layers / "up/etc/motd"
    row = shown.page.locator(".lk-overlay tr", has=shown.page.locator('[data-path="etc/motd"]'))
    expect(row).not_to_contain_text("copied up")
    copy.write_text("changed")
    try:
        expect(row).to_contain_text("copied up", timeout=5000)
        expect(shown.page.locator(".lk-overlay .lk-events")).to_contain_text("copied up etc/motd")
    finally:
        copy.unlink()


def test_arrow_keys_walk_along_the_operations_and_zoom(shown):
    timeline = shown.page.locator(".lk-timeline")
    timeline.locator(".lk-bar").first.click()
    expect(timeline.locator(".lk-detail")).to_contain_text("1 of 5")
    shown.page.keyboard.press("ArrowRight")
    expect(timeline.locator(".lk-detail")).to_contain_text("clone3 fresh namespaces")
    expect(timeline.locator(".lk-detail")).to_contain_text("chapter 02")
    before = float(timeline.locator(".lk-chosen .lk-mark").get_attribute("width"))
    shown.page.keyboard.press("+")

    expect(timeline.locator(".lk-bar")).not_to_have_count(5)
    assert float(timeline.locator(".lk-chosen .lk-mark").get_attribute("width")) > 1.5 * before
    shown.page.keyboard.press("0")
    expect(timeline.locator(".lk-bar")).to_have_count(5)


def test_an_operation_that_was_refused_says_why(shown):
    shown.page.locator(".lk-timeline .lk-failed").click()

    expect(shown.page.locator(".lk-timeline .lk-detail")).to_contain_text("refused: Operation not permitted")
    shown.keep_picture(f"timeline-chosen-{shown.theme}", of=shown.page.locator(".lk-timeline"))


def test_a_click_on_a_layer_tells_its_files_and_which_of_them_nobody_sees(shown):
    stack = shown.page.locator(".lk-stack")
    stack.locator('.lk-layer[data-layer="layer 1"]').click()
    detail = stack.locator(".lk-detail")

    expect(detail.locator("dd", has_text="/etc/hosts")).to_contain_text("hidden by layer 2")
    expect(detail.locator("dd", has_text="/etc/motd")).not_to_contain_text("hidden")
    shown.keep_picture(f"stack-chosen-{shown.theme}", of=stack)


def test_the_other_image_hides_nothing_of_the_layer_that_both_share(shown):
    stack = shown.page.locator(".lk-stack")
    expect(stack.locator(".lk-lost")).to_have_count(1)
    stack.locator('.lk-image[data-image="app:1"]').click()

    expect(stack.locator(".lk-lost")).to_have_count(0)
    expect(stack.locator(".lk-total")).to_contain_text("app:1: 25 B in 1 layer, 25 B shared")
    stack.locator('.lk-image[data-image="app:2"]').click()
    expect(stack.locator(".lk-lost")).to_have_count(1)


def test_a_click_on_a_step_tells_where_it_stands_and_why_it_was_made_again(shown):
    graph = shown.page.locator(".lk-build")
    graph.locator(".lk-step").nth(1).click()
    detail = graph.locator(".lk-detail")

    expect(detail).to_contain_text(EVIL)
    expect(detail).to_contain_text("line 2")
    expect(detail).to_contain_text("a file has changed")
    expect(graph.locator(".lk-arrow")).to_have_count(1)
    shown.keep_picture(f"build-chosen-{shown.theme}", of=graph)


def test_a_step_changes_while_the_build_goes_on(shown):
    step = shown.page.locator(".lk-build .lk-step").nth(1)
    expect(step).to_contain_text("running")
    shown.page.evaluate(EXECUTE, FINISH)

    expect(step).to_contain_text("250 ms · 2 KiB")
    expect(shown.page.locator(".lk-build .lk-is-done")).to_have_count(1)


def test_a_click_on_a_container_lights_up_the_way_of_its_packets(shown):
    network = shown.page.locator(".lk-network")
    network.locator('[data-key="web/"]').click()
    steps = network.locator(".lk-detail li")

    expect(steps).to_have_count(4)
    expect(steps.nth(2)).to_contain_text("br0 is the gateway")
    for key in ("web/eth0", "host/port2", "host/br0", "host/up0"):
        expect(network.locator(f'.lk-box.lk-lit[data-key="{key}"]')).to_have_count(1)
    expect(network.locator('.lk-box.lk-lit[data-key="host/port3"]')).to_have_count(0)
    expect(network.locator(".lk-wire.lk-lit")).to_have_count(1)
    shown.keep_picture(f"network-chosen-{shown.theme}", of=network)
    network.locator('[data-key="web/"]').click()
    expect(network.locator(".lk-lit")).to_have_count(0)


def test_a_published_port_is_reached_by_keys_and_shows_the_way_in(shown):
    network = shown.page.locator(".lk-network")
    port = network.locator('[data-key="host/:8080/tcp"]')
    port.focus()
    shown.page.keyboard.press("Enter")
    expect(port).to_have_attribute("aria-pressed", "true")
    expect(network.locator(".lk-detail")).to_contain_text("but to 10.5.0.2:80")
    shown.page.keyboard.press("Escape")

    expect(network.locator('[aria-pressed="true"]')).to_have_count(0)


def test_traffic_is_seen_on_the_cable_it_runs_over(shown, network):
    wires = shown.page.locator(".lk-network .lk-wire")
    words = "busybox ping -q -i 0.05 -c 60 -s 4000 10.5.0.1".split()
    with subprocess.Popen(["nsenter", "-t", str(network["web"]), "-n", *words], stdout=subprocess.DEVNULL):
        expect(wires.nth(0)).to_contain_text("KiB/s", timeout=5000)
        expect(shown.page.locator(".lk-network .lk-busy")).to_have_count(1)
        shown.keep_picture(f"network-busy-{shown.theme}", of=shown.page.locator(".lk-network"))
    expect(shown.page.locator(".lk-network .lk-busy")).to_have_count(0, timeout=5000)


def test_the_cockpit_follows_the_group_live(shown, group):
    cockpit = shown.page.locator(".lk-cockpit")
    processes = cockpit.locator('[aria-label="Processes"] .lk-value')
    expect(cockpit.locator(".lk-state")).to_have_text("live")
    expect(cockpit).to_contain_text("limit 9 processes")
    with subprocess.Popen(["sleep", "60"]) as child:
        cgroups.open_existing(group).add(child.pid)
        expect(processes).to_have_text("1 process", timeout=5000)
        child.kill()

    expect(processes).to_have_text("0 processes", timeout=5000)


def test_a_frozen_group_is_told_and_marked(shown, group):
    cockpit = shown.page.locator(".lk-cockpit")
    made = cgroups.open_existing(group)
    made.freeze()
    try:
        expect(cockpit.locator(".lk-state")).to_have_text("frozen", timeout=5000)
        expect(cockpit.locator(".lk-frozen").first).to_be_attached()
    finally:
        made.freeze(False)

    expect(cockpit.locator(".lk-state")).to_have_text("live", timeout=5000)


def test_the_cockpits_button_shortens_the_time_that_is_shown(shown):
    button = shown.page.locator(".lk-cockpit .lk-span")
    button.click()
    expect(button).to_have_text("show 60 s")
    button.click()

    expect(button).to_have_text("show the last 10 s")


def test_the_saved_notebook_holds_the_text_and_the_still_picture(shown, lab_server):
    shown.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    saved = json.loads((lab_server.notebooks / f"widgets-{shown.theme}.ipynb").read_text())
    bundles = [output["data"] for cell in saved["cells"] for output in cell["outputs"] if "data" in output]

    assert len(bundles) == len(WIDGETS)
    for bundle in bundles:
        assert "".join(bundle["text/html"]).startswith('<img src="data:image/svg+xml;base64,')
        assert "object at 0x" not in "".join(bundle["text/plain"])


def test_a_page_that_is_loaded_again_shows_what_was_sampled_before(shown):
    shown.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    shown.page.wait_for_timeout(5500)  # a keyframe of the history comes every 5 s
    shown.open(f"widgets-{shown.theme}.ipynb", shown.theme)
    curve = shown.page.locator('.lk-cockpit [aria-label="Processes"] .lk-curve')

    expect(shown.page.locator(".lk-cockpit .lk-state")).to_have_text("live")
    assert len(curve.get_attribute("points").split()) > 50
    assert shown.page.locator(".labkit").count() == len(WIDGETS)
