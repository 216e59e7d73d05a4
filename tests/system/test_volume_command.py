"""`labkit volume` and the options of `labkit run` that speak of mounts."""

import json

import pytest

from labkit.cli import main
from labkit.engine import default, volumes

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")
BUSYBOX = "lab/busybox"


@pytest.fixture
def labkit(engine, monkeypatch, capfd):
    """The command on the test's own engine: its exit code, and what it printed and complained of."""
    monkeypatch.setenv("LABKIT_ROOT", str(engine.paths.root))
    monkeypatch.setenv("LABKIT_RUN", str(engine.paths.run))

    def run(*words):
        code = main.run(list(words))
        return (code, *capfd.readouterr())

    yield run
    default.engine().close()


def test_a_volume_is_made_listed_described_and_removed(labkit, engine):
    assert labkit("volume", "create", "--label", "tier=web", "site") == (0, "site\n", "")
    code, anonymous, _ = labkit("volume", "create")
    assert code == 0 and len(anonymous.strip()) == 64

    listed = labkit("volume", "ls")[1].splitlines()
    assert [line.split()[0] for line in listed] == ["NAME", *sorted([anonymous.strip(), "site"])]
    assert labkit("volume", "ls", "-q", "--filter", "label=tier=web")[1] == "site\n"
    assert labkit("volume", "ls", "-q", "-f", "name=it", "-f", "dangling=true")[1] == "site\n"
    (described,) = json.loads(labkit("volume", "inspect", "site")[1])
    assert described["Mountpoint"] == str(volumes.directory(engine.paths, "site"))
    assert (described["Name"], described["Labels"], described["Driver"]) == ("site", {"tier": "web"}, "local")

    assert labkit("volume", "rm", "nope", "site")[:2] == (1, "site\n")
    assert labkit("volume", "rm", "--force", "nope")[0] == 0
    assert labkit("volume", "prune", "--force")[1].splitlines() == [
        anonymous.strip(),
        "1 removed, 0.0 MiB freed",
    ]


def test_prune_asks_first_and_leaves_what_has_a_name(labkit, engine, monkeypatch):
    import io

    labkit("volume", "create", "kept")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))

    assert labkit("volume", "prune", "--all")[0] == 130
    assert labkit("volume", "prune", "-f")[1] == "0 removed, 0.0 MiB freed\n"
    assert labkit("volume", "prune", "-a", "-f")[1].startswith("kept\n")


def test_run_takes_the_mounts_and_rm_takes_the_volumes_along(labkit, engine, tmp_path):
    (tmp_path / "page").write_text("hello\n")
    words = ["-v", "data:/data", "-v", "/scratch", "--mount", f"type=bind,src={tmp_path},dst=/srv,ro"]
    labkit("run", "--detach", "--name", "web", *words, "--tmpfs", "/run:size=1m", BUSYBOX, "sleep", "300")
    labkit("run", "-d", "--name", "aside", "--volumes-from", "web:ro", "--read-only", BUSYBOX, "sleep", "300")

    said = engine.get("aside").exec(["sh", "-c", "cat /srv/page; touch /data/x; ls /run"])
    assert said.stdout == "hello\n" and "Read-only file system" in said.stderr
    assert "web" in labkit("ps")[1]
    assert engine.get("web").id[:12] in labkit("volume", "ls")[1]
    labkit("rm", "-f", "aside")
    assert labkit("rm", "-f", "-v", "web")[1] == "web\n"
    assert labkit("volume", "ls", "-q")[1] == "data\n"


@pytest.mark.parametrize("words", [("-f", "odd=1"), ("--filter", "dangling=perhaps")])
def test_a_filter_that_is_not_known_is_a_usage_error(labkit, words):
    code, _, said = labkit("volume", "ls", *words)

    assert code == 2 and words[1] in said
