"""`labkit lab`, from the address it prints to the Ctrl-C that ends all of it."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from labkit.cli import jupyter, ports
from labkit.paths import Paths

pytestmark = pytest.mark.requires("root")

LABKIT = f"{sys.prefix}/bin/labkit"


@dataclass
class Running:
    process: "subprocess.Popen[str]"
    environment: dict[str, str]
    port: int
    address: str
    seconds: float

    def labkit(self, verb: str, **changed: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([LABKIT, verb], env=self.environment | changed, capture_output=True, text=True)

    def ask(self, path: str, method: str = "GET", token: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"token {token}"} if token else {}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        try:
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self) -> float:
        """Press Ctrl-C, so to say; how long the end took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        self.process.wait(30)
        return time.monotonic() - began


@pytest.fixture
def lab(paths: Paths) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    environment = os.environ | {
        "LABKIT_ROOT": str(paths.root),
        "LABKIT_RUN": str(paths.run),
        "LABKIT_PORT": str(port),
    }
    began = time.monotonic()
    process = subprocess.Popen([LABKIT, "lab"], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    address = next(line.strip() for line in process.stdout if "http://" in line)
    running = Running(process, environment, port, address, time.monotonic() - began)
    yield running
    process.send_signal(signal.SIGINT)
    process.wait(30)
    process.stdout.close()


def test_the_printed_address_opens_the_lab_for_those_who_have_the_token(lab, paths):
    token = lab.address.rpartition("=")[2]

    assert lab.address == f"http://127.0.0.1:{lab.port}/lab?token={jupyter.token(paths)}"
    assert lab.seconds < 20  # a second start takes 2 s here; under emulation it is ten times slower
    assert lab.ask("/lab", token=token)[0] == 200
    assert lab.ask("/api/contents")[0] == 403
    assert lab.ask("/api/contents", token="guessed")[0] == 403


def test_it_listens_on_the_loopback_alone(lab):
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{name}").read_text().splitlines()
    ]
    listening = [
        words[1] for words in lines if words[3] == ports.LISTEN and words[1].endswith(f":{lab.port:04X}")
    ]

    assert listening == [f"0100007F:{lab.port:04X}"]


def test_the_token_is_on_no_command_line_and_in_no_environment(lab, paths):
    token = jupyter.token(paths).encode()

    for process in Path("/proc").glob("[0-9]*"):
        try:
            assert token not in (process / "cmdline").read_bytes()
            assert token not in (process / "environ").read_bytes()
        except OSError:
            continue  # it ended while we looked
    assert token not in jupyter.log_file(paths).read_bytes()


def test_a_second_start_says_that_it_runs_and_where(lab):
    again = lab.labkit("lab")

    assert again.returncode == 0
    assert "runs already" in again.stdout and lab.address in again.stdout
    assert lab.labkit("url").stdout.strip() == lab.address


def test_a_port_that_is_taken_is_refused_with_its_owner_and_the_remedy(lab, tmp_path):
    other = {"LABKIT_ROOT": str(tmp_path / "root"), "LABKIT_RUN": str(tmp_path / "run")}

    refused = lab.labkit("lab", **other)

    assert refused.returncode == 1
    server = jupyter.running(Paths(Path(lab.environment["LABKIT_ROOT"]), Path(lab.environment["LABKIT_RUN"])))
    assert server is not None
    assert f"port {lab.port} is taken by process {server.pid} (" in refused.stderr
    assert f"LABKIT_PORT={lab.port + 1} make lab" in refused.stderr
    assert not (tmp_path / "root").exists()


def test_a_notebooks_kernel_runs_this_environments_python_and_ends_with_the_lab(lab, paths):
    status, body = lab.ask("/api/kernels", "POST", jupyter.token(paths))
    assert status == 201, body
    assert json.loads(body)["name"] == "python3"
    (kernel,) = kernels_of(paths)
    assert (Path("/proc") / str(kernel) / "cmdline").read_bytes().startswith(sys.executable.encode() + b"\0")

    took = lab.end()

    assert lab.process.returncode == 0
    assert took < 8
    assert not Path(f"/proc/{kernel}").exists()
    assert jupyter.running(paths) is None


def test_with_no_lab_running_there_is_no_address(paths):
    done = subprocess.run(
        [LABKIT, "url"],
        env=os.environ | {"LABKIT_ROOT": str(paths.root), "LABKIT_RUN": str(paths.run)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    assert done.stderr == "labkit: no lab is running\n  make lab\n"


def test_a_lab_that_is_killed_takes_its_server_along(lab, paths):
    server = jupyter.running(paths)
    assert server is not None

    lab.process.kill()
    lab.process.wait()

    deadline = time.monotonic() + 10
    while jupyter.running(paths) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def kernels_of(paths: Paths) -> list[int]:
    """The kernels of the server with this run directory, by the connection file they were given."""
    mark = str(paths.run / "jupyter").encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"ipykernel_launcher" in command and mark in command:
            found.append(int(process.name))
    return found
