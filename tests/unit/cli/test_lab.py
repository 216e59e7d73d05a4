"""The lab's settings: on the loopback, with a token, asking no one outside."""

import json
import os
import stat

import pytest

from labkit.cli import jupyter, lab
from labkit.errors import Invalid, NotFound


@pytest.mark.parametrize("wanted, port", [("", 8888), ("9000", 9000), ("65535", 65535)])
def test_the_port_is_the_one_asked_for(wanted, port):
    assert lab.chosen_port(wanted) == port


@pytest.mark.parametrize("wanted", ["0", "65536", "-1", "http", "80 80", "\uff18\uff18"])
def test_what_is_no_port_is_refused(wanted):
    with pytest.raises(Invalid, match="is not a port"):
        lab.chosen_port(wanted)


def test_the_server_listens_on_the_loopback_alone_and_asks_no_one(tmp_path):
    made = jupyter.settings(8888, "secret", tmp_path)

    assert made["ServerApp"]["ip"] == "127.0.0.1"
    assert made["ServerApp"]["port_retries"] == 0
    assert made["LabApp"]["extension_manager"] == "readonly"
    assert made["LabApp"]["news_url"] is None


def test_token_and_configuration_are_for_root_alone(paths):
    file = jupyter.prepare(paths, 9000)

    for secret in (file, file.parent / "token"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert json.loads(file.read_text())["IdentityProvider"]["token"] == jupyter.token(paths)


def test_the_token_is_made_once(paths):
    jupyter.prepare(paths, 9000)
    first = jupyter.token(paths)
    jupyter.prepare(paths, 9001)

    assert jupyter.token(paths) == first
    assert len(first) >= 40


def test_two_labs_have_two_tokens(paths, tmp_path):
    other = type(paths)(tmp_path / "root", tmp_path / "run")
    jupyter.prepare(paths, 9000)
    jupyter.prepare(other, 9000)

    assert jupyter.token(paths) != jupyter.token(other)


def test_a_lab_that_was_never_started_has_no_token(paths):
    with pytest.raises(NotFound, match="no lab was started"):
        jupyter.token(paths)


def test_a_record_of_a_process_that_is_gone_is_no_running_lab(paths):
    from labkit import records

    records.save(paths.run / "lab.json", jupyter.Lab(os.getpid(), 1, 9000))  # our pid, another start

    assert jupyter.running(paths) is None
