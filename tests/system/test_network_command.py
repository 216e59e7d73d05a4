"""`labkit network` and the options of `labkit run` that speak of networks."""

import json

import pytest

from labkit.cli import main
from labkit.engine import default
from labkit.network import endpoints, networks

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox", "veth", "nft")
BUSYBOX = "lab/busybox"


@pytest.fixture
def labkit(engine, monkeypatch, capfd):
    """The command on the test's own engine: its exit code, and what it printed and complained of."""
    monkeypatch.setenv("LABKIT_ROOT", str(engine.paths.root))
    monkeypatch.setenv("LABKIT_RUN", str(engine.paths.run))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words):
        code = main.run(list(words))
        return (code, *capfd.readouterr())

    yield run
    default.engine().close()


def test_a_network_is_made_listed_described_and_removed(labkit, engine):
    options = (
        "--subnet 10.89.7.0/24 --ip-range 10.89.7.128/25 --gateway 10.89.7.1 --aux-address router=10.89.7.9"
    )
    code, made, _ = labkit(
        "network", "create", *options.split(), "--subnet", "fd00:89:7::/64", "--label", "tier=web",
        "-o", "com.docker.network.driver.mtu=1300", "blue",
    )  # fmt: skip
    assert code == 0
    network = networks.find(engine.paths, "blue")
    assert made == f"{network.id}\n" and network.mtu == 1300

    assert labkit("network", "ls", "-q")[1] == f"{network.short}\n"
    listed = labkit("network", "ls")[1].splitlines()
    assert listed[1].split() == [network.short, "blue", "bridge", "10.89.7.0/24,", "fd00:89:7::/64"]
    (shown,) = json.loads(labkit("network", "inspect", "blue")[1])
    assert shown["IPAM"]["Config"] == [
        {
            "Subnet": "10.89.7.0/24", "Gateway": "10.89.7.1", "IPRange": "10.89.7.128/25",
            "AuxiliaryAddresses": {"router": "10.89.7.9"},
        },
        {"Subnet": "fd00:89:7::/64", "Gateway": "fd00:89:7::1"},
    ]  # fmt: skip
    assert (shown["Labels"], shown["EnableIPv6"], shown["Internal"]) == ({"tier": "web"}, True, False)
    code, removed, said = labkit("network", "rm", "nope", "blue")
    assert (code, removed) == (1, "blue\n") and "network nope not found" in said


def test_run_takes_a_network_and_ps_tells_the_ports(labkit, engine):
    labkit("network", "create", "--subnet", "10.89.7.0/24", "blue")
    words = "run -d --name web --network blue --ip 10.89.7.50 --network-alias www --add-host far:10.1.1.1"
    assert labkit(*words.split(), "-p", "127.0.0.1:18070:80", BUSYBOX, "sleep", "300")[0] == 0
    (endpoint,) = endpoints.of_container(engine.paths, engine.get("web").id)

    assert (endpoint.ipv4, "www" in endpoint.aliases) == ("10.89.7.50/24", True)
    assert "127.0.0.1:18070->80/tcp" in labkit("ps")[1]
    (shown,) = json.loads(labkit("network", "inspect", "blue")[1])
    assert [one["Name"] for one in shown["Containers"].values()] == ["web"]
    assert labkit("network", "create", "green")[0] == 0
    assert labkit("network", "connect", "--alias", "w", "green", "web")[0] == 0
    assert len(endpoints.of_container(engine.paths, engine.get("web").id)) == 2
    assert labkit("network", "rm", "green")[0] == 1
    assert labkit("network", "disconnect", "green", "web")[0] == 0
    assert labkit("network", "prune")[1] == "green\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("network create --gateway 10.1.1.1 x1", "give its --subnet too"),
        (
            "network create --subnet 10.89.7.0/24 --gateway 10.89.7.1 --gateway 10.89.7.2 x1",
            "takes one gateway",
        ),
        ("network create --subnet 10.89.7.9/24 x1", "it should be 10.89.7.0/24"),
        ("network create -o nothing --label =x x1", "is not NAME=value"),
        ("network create host", "predefined"),
        ("network disconnect blue nobody", "not found"),
        ("run --network nowhere lab/busybox true", "network nowhere not found"),
        ("run -p 80:x lab/busybox true", "is no port"),
    ],
)
def test_what_makes_no_sense_is_refused_and_named(labkit, engine, words, said):
    code, printed, complaint = labkit(*words.split())
    assert code != 0 and printed == "" and said in complaint
    assert [one.name for one in networks.all_networks(engine.paths) if one.name != "bridge"] == []


def test_standard_input_is_for_a_container_only_where_that_is_asked_for(labkit, monkeypatch, capfd):
    import io
    import types

    given = types.SimpleNamespace(buffer=io.BytesIO(b"one two\n"), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", given)

    for options, words in (([], "0\n"), (["-i"], "2\n")):
        with pytest.raises(SystemExit) as ended:
            labkit("run", *options, "--network", "none", BUSYBOX, "wc", "-w")
        assert (ended.value.code, capfd.readouterr().out) == (0, words)
