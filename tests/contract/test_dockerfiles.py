"""Every Dockerfile of the corpus becomes the same image here and in dockerd's classic builder.

What the classic builder does not know has a Dockerfile.classic beside it that
says the same in its words.
"""

import hashlib
import http.server
import io
import os
import stat
import tarfile
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dockerd
import pytest

from labkit.build import builder, context, results
from labkit.build.work import Options
from labkit.engine.engine import Engine
from labkit.images import base, store

CORPUS = Path(__file__).parent / "dockerfiles"
CASES = sorted(place.name for place in CORPUS.iterdir())
COMPARED = (
    "Env Cmd Entrypoint Labels WorkingDir User ExposedPorts Volumes "
    "StopSignal Healthcheck Shell OnBuild".split()
)
SERVED = {"/served.txt": b"served over the network\n"}

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "dockerd")


class Files(http.server.BaseHTTPRequestHandler):
    """Serves what ADD asks for, on the loopback."""

    def do_GET(self) -> None:
        content = SERVED.get(self.path)
        self.send_response(200 if content is not None else 404)
        self.send_header("Last-Modified", "Tue, 14 Nov 2023 22:13:20 GMT")
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("inside"))
    SERVED["/served.tar.gz"] = packed.getvalue()
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}"
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture
def engine(paths) -> Iterator[Engine]:
    made = Engine(paths)
    yield made
    made.close()


def told(name: str, server: str) -> tuple[dict[str, str], str]:
    """The build-args and the target of a case."""
    file = CORPUS / name / "case.toml"
    found = tomllib.loads(file.read_text()) if file.exists() else {}
    args = {key: value.format(server=server) for key, value in found.get("args", {}).items()}
    return args, found.get("target", "")


def ours(engine: Engine, name: str, server: str) -> tuple[dict[str, Any], dict[str, Any]]:
    args, target = told(name, server)
    file = str(CORPUS / name / "Dockerfile")
    with context.of_directory(CORPUS / name, file=file) as found:
        built = builder.build(engine, found, Options(build_args=args, target=target, network="none"
                              if name != "run_network" else "default"))  # fmt: skip
    root = results.open_view(engine.paths, store.layers_of(engine.paths, built.image))
    try:
        return built.config.run.json(), dict(walked(root, ""))
    finally:
        os.close(root)


def walked(root: int, path: str) -> Iterator[tuple[str, Any]]:
    for name in os.listdir(f"/proc/self/fd/{root}/{path}"):  # noqa: PTH208 (through a descriptor)
        below = f"{path}/{name}".lstrip("/")
        place = f"/proc/self/fd/{root}/{below}"
        status = os.lstat(place)
        kinds = {stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo", stat.S_IFREG: "file"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "device")
        content: Any = str(Path(place).readlink()) if kind == "link" else None
        if kind == "file":
            content = Path(place).read_bytes()
        yield below, (kind, oct(stat.S_IMODE(status.st_mode)), status.st_uid, status.st_gid, content)
        if kind == "directory":
            yield from walked(root, below)


def theirs(docker: dockerd.Docker, engine: Engine, name: str, server: str) -> Any:
    args, target = told(name, server)
    image = base.get(engine.paths, "lab/busybox")
    layer = store.layer_directory(engine.paths, image.layers[0])
    words = [f"ENV {line}" for line in image.env] + ['CMD ["sh"]']
    docker.import_tree(layer, "lab/busybox", *words)
    classic = CORPUS / name / "Dockerfile.classic"
    file = classic if classic.exists() else CORPUS / name / "Dockerfile"
    given = [word for key, value in args.items() for word in ("--build-arg", f"{key}={value}")]
    wanted = ["--target", target.lower()] if target else []
    docker.must("build", "--network=none", "-t", f"case/{name}", "-f", file, *given, *wanted, CORPUS / name)
    config, tree = docker.saved(f"case/{name}")
    return config["config"], tree


def readable(tree: dict[str, Any]) -> dict[str, Any]:
    """With sums instead of long contents, so that a difference can be read."""

    def short(content: Any) -> Any:
        if isinstance(content, bytes) and len(content) > 80:
            return hashlib.sha256(content).hexdigest()
        return content

    return {path: (*found[:4], short(found[4])) for path, found in tree.items()}


def compared(config: dict[str, Any]) -> dict[str, Any]:
    """Of a config what must be equal; nothing said is the same as said to be empty."""
    found = {name: config.get(name) for name in COMPARED}
    found["WorkingDir"] = found["WorkingDir"] or "/"
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("name", CASES)
def test_a_dockerfile_becomes_the_same_image_as_in_dockerd(name, engine, docker, server):
    our_config, our_tree = ours(engine, name, server)
    their_config, their_tree = theirs(docker, engine, name, server)

    assert readable(our_tree) == readable(their_tree)
    assert compared(our_config) == compared(their_config)


def test_the_corpus_is_as_large_as_it_should_be():
    assert len(CASES) >= 40
