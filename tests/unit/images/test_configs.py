import json

import pytest

from labkit.errors import Invalid
from labkit.images import configs
from labkit.images.configs import Healthcheck, History, ImageConfig, RunConfig

DIGEST = "sha256:" + "0123456789abcdef" * 4
FULL = ImageConfig(
    architecture="arm",
    variant="v7",
    created="2024-02-03T04:05:06.789Z",
    author="somebody",
    run=RunConfig(
        user="1000:1000",
        exposed_ports=("53/udp", "80/tcp"),
        env=("PATH=/bin", "EMPTY="),
        entrypoint=("/entry",),
        command=(),
        volumes=("/data",),
        working_directory="/work",
        labels={"a": "b"},
        stop_signal="SIGINT",
        shell=("/bin/bash", "-c"),
        healthcheck=Healthcheck(test=("CMD-SHELL", "true"), interval_ns=10**9, retries=3),
        onbuild=("RUN true",),
    ),
    diff_ids=(DIGEST,),
    history=(History(created_by="ADD x /"), History(created_by="ENV a=b", empty_layer=True)),
)


def test_a_config_survives_writing_and_reading():
    assert ImageConfig.parse(FULL.encode()) == FULL
    assert ImageConfig.parse(ImageConfig(architecture="amd64").encode()) == ImageConfig(architecture="amd64")


def test_the_same_config_has_the_same_bytes_in_whatever_order_it_was_read():
    turned = json.loads(FULL.encode())
    turned["config"] = dict(reversed(turned["config"].items()))

    assert ImageConfig.parse(json.dumps(turned).encode()).encode() == FULL.encode()


def test_an_empty_command_is_kept_apart_from_none():
    written = json.loads(FULL.encode())["config"]

    assert written["Cmd"] == []
    assert "Cmd" not in json.loads(ImageConfig(architecture="amd64").encode())["config"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rootfs": None}, "config.rootfs"),
        ({"rootfs": {"type": "tar", "diff_ids": []}}, "rootfs.type"),
        ({"rootfs": {"type": "layers", "diff_ids": ["sha256:../x"]}}, r"rootfs.diff_ids\[0\]"),
        ({"config": {"Env": ["=x"]}}, r"config.config.Env\[0\]"),
        ({"config": {"Env": "x"}}, "config.config.Env"),
        ({"config": {"Cmd": [1]}}, r"config.config.Cmd\[0\]"),
        ({"config": {"Healthcheck": {"Interval": "1s"}}}, "config.config.Healthcheck.Interval"),
        ({"architecture": None}, "config.architecture"),
        ({"history": [{"empty_layer": "yes"}]}, r"config.history\[0\].empty_layer"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    with pytest.raises(Invalid, match=named):
        ImageConfig.parse(json.dumps(json.loads(FULL.encode()) | change).encode())


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        ({}, ("entry", "cmd")),
        ({"command": ["x", "y"]}, ("entry", "x", "y")),
        ({"command": []}, ("entry",)),
        ({"entrypoint": ["e"]}, ("e",)),
        ({"entrypoint": ["e"], "command": ["x"]}, ("e", "x")),
        ({"entrypoint": [], "command": ["x"]}, ("x",)),
    ],
)
def test_what_runs_is_by_dockers_table(asked, runs):
    assert configs.args(image_entrypoint=["entry"], image_command=["cmd"], **asked) == runs


def test_a_step_adds_its_layer_and_an_empty_one_none():
    step = FULL.with_step(History(created="2025-01-01T00:00:00Z", created_by="RUN x"), DIGEST)

    assert step.diff_ids == (DIGEST, DIGEST)
    assert step.created == "2025-01-01T00:00:00Z"
    assert FULL.with_step(History(created_by="CMD x", empty_layer=True)).diff_ids == (DIGEST,)
    with pytest.raises(Invalid):
        FULL.with_step(History(created_by="RUN x"))


def test_times_are_read_as_go_writes_them():
    assert configs.seconds("1970-01-01T00:00:01.123456789Z") == pytest.approx(1.123456)
    assert configs.seconds("0001-01-01T00:00:00Z") == 0.0
    assert configs.seconds("yesterday") == 0.0
    assert configs.seconds(configs.timestamp(1_700_000_000.25)) == 1_700_000_000.25
