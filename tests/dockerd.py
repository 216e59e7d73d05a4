"""A dockerd of the test's own: its directories, its socket, no bridge, no firewall; ended by its pid."""

import io
import json
import os
import posixpath
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_START_SECONDS = 60


@dataclass(frozen=True)
class Docker:
    """A running daemon, asked through the docker command."""

    socket: Path

    @property
    def host(self) -> str:
        """What DOCKER_HOST takes."""
        return f"unix://{self.socket}"

    def __call__(self, *words: "str | Path") -> subprocess.CompletedProcess[str]:
        """One docker command, however it ends."""
        return subprocess.run(
            ["docker", *map(str, words)], capture_output=True, text=True, env=self.environment
        )

    def must(self, *words: "str | Path") -> str:
        """What a command printed; its failure is shown with what it said."""
        done = self(*words)
        assert done.returncode == 0, f"docker {' '.join(map(str, words))}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A container without a network that is gone afterwards."""
        return self("run", "--rm", "--network", "none", *words)

    @property
    def environment(self) -> dict[str, str]:
        """Of the docker command: the classic builder, and no settings of the user's."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.socket.parent),
            "DOCKER_HOST": self.host,
            "DOCKER_BUILDKIT": "0",
        }

    def import_tree(self, directory: Path, name: str, *changes: str) -> None:
        """An image of one layer from a directory."""
        words = [word for change in changes for word in ("--change", change)]
        with subprocess.Popen(["tar", "-C", directory, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(
                ["docker", "import", *words, "-", name],
                stdin=tar.stdout, capture_output=True, check=True, env=self.environment,
            )  # fmt: skip

    def saved(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The config of an image, and its tree: what each path is."""
        done = subprocess.run(["docker", "save", name], capture_output=True, check=True, env=self.environment)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:

            def read(member: str) -> bytes:
                reader = archive.extractfile(member)
                assert reader
                return reader.read()

            (manifest,) = json.loads(read("manifest.json"))
            found: dict[str, Any] = {}
            for layer in manifest["Layers"]:
                _lay_over(found, read(_target(archive, layer)))
            return json.loads(read(manifest["Config"])), found


@contextmanager
def daemon(network_namespace: str = "") -> Iterator[Docker]:
    """Start it, wait until it answers, and end it with all it started.

    In a network namespace of its own, by name, it has its bridges and its rules;
    in the host's it has neither, and touches nothing.
    """
    enter = ["nsenter", f"--net=/run/netns/{network_namespace}"] if network_namespace else []
    alone = [] if network_namespace else ["--iptables=false", "--ip6tables=false", "--bridge=none"]
    home = Path(tempfile.mkdtemp(prefix="labkit-dockerd-", dir="/var/tmp"))
    docker = Docker(home / "docker.sock")
    with (home / "log").open("wb") as log:
        started = subprocess.Popen(
            [
                *enter, "dockerd", "--data-root", home / "data", "--exec-root", home / "exec",
                "-p", home / "pid", "-H", docker.host, *alone,
            ],
            stdout=log, stderr=log, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        )  # fmt: skip
    try:
        deadline = time.monotonic() + _START_SECONDS
        while docker("version").returncode:
            said = (home / "log").read_text()[-2000:]
            assert started.poll() is None, f"dockerd ended: {said}"
            assert time.monotonic() < deadline, f"dockerd does not answer: {said}"
            time.sleep(0.1)
        yield docker
    finally:
        started.send_signal(signal.SIGTERM)
        started.wait(timeout=60)
        shutil.rmtree(home, ignore_errors=True)


# ------------------------------------------------------------ the tree of a saved image


def _target(archive: tarfile.TarFile, name: str) -> str:
    """A layer that an image has twice is a link to its first copy."""
    member = archive.getmember(name)
    if not member.issym():
        return name
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))


def _lay_over(found: dict[str, Any], layer: bytes) -> None:
    """Lay a layer's tar over a tree, whiteouts first, as layer.md has it."""
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        members = [(member, posixpath.normpath("/" + member.name).lstrip("/")) for member in archive]
        for _, path in members:
            parent, name = posixpath.split(path)
            if name == ".wh..wh..opq":
                _remove(found, parent, itself=False)
            elif name.startswith(".wh."):
                _remove(found, posixpath.join(parent, name[4:]), itself=True)
        for member, path in members:
            if path and not posixpath.basename(path).startswith(".wh."):
                if not member.isdir():
                    _remove(found, path, itself=True)
                found[path] = _described(found, archive, member)


def _remove(found: dict[str, Any], path: str, *, itself: bool) -> None:
    for known in [known for known in found if known.startswith(path + "/") or (itself and known == path)]:
        del found[known]


def _described(found: dict[str, Any], archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    if member.islnk():
        return found[posixpath.normpath("/" + member.linkname).lstrip("/")]
    kinds = {tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo"}
    kind = kinds.get(member.type, "file" if member.isreg() else "device")
    mode = 0o777 if kind == "link" else member.mode & 0o7777  # Go writes the kind there too
    reader = archive.extractfile(member) if kind == "file" else None
    content: Any = reader.read() if reader else member.linkname if kind == "link" else None
    return kind, oct(mode), member.uid, member.gid, content
