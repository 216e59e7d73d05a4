"""A build that is killed at any moment leaves nothing that can be seen; the next start collects the rest."""

import os
import signal
import subprocess
import sys
import time

import pytest

from labkit.build import builder, context
from labkit.build.work import Options
from labkit.engine.engine import Engine
from labkit.images import base, collect, store

pytestmark = pytest.mark.requires("root", "overlay", "cgroups", "namespaces", "busybox")

TEXT = """
FROM lab/busybox AS one
COPY file /file
RUN sleep 0.05; echo one > /one
FROM lab/busybox
RUN --mount=type=cache,target=/c sleep 0.05; echo two > /two
COPY --from=one /one /file /from/
RUN sleep 0.05; cat /two /from/one > /all
"""
BUILD = """
import sys
from pathlib import Path
from labkit.build import builder, context
from labkit.build.work import Options
from labkit.engine.engine import Engine
from labkit.paths import Paths
engine = Engine(Paths(Path(sys.argv[1]), Path(sys.argv[2])))
print("ready", flush=True)
with context.of_directory(Path(sys.argv[3])) as found:
    builder.build(engine, found, Options(tags=("lab/built",), network="none"))
print("built", flush=True)
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "Dockerfile").write_text(TEXT)
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    return tmp_path


@pytest.mark.parametrize("after_ms", [0, 10, 30, 60, 90, 130, 180, 240, 300])
def test_a_build_that_is_killed_leaves_all_or_nothing(paths, place, after_ms):
    engine = Engine(paths)
    base.get(paths, "lab/busybox")
    words = [sys.executable, "-c", BUILD, str(paths.root), str(paths.run), str(place)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        time.sleep(after_ms / 1000)
        child.send_signal(signal.SIGKILL)
    engine.close()

    again = Engine(paths)
    deadline = time.monotonic() + 10
    while list(paths.ledger.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)  # the launcher ends with its engine, and its containers with it
        again.sweep()
    collect.collect(paths, wait=True)

    assert list(paths.layers.glob(".draft-*")) == []
    assert list(paths.ledger.iterdir()) == []
    names = {image.name for image in store.all_images(paths)}
    assert names in ({"lab/busybox"}, {"lab/busybox", "lab/built"})
    with context.of_directory(place) as found:
        built = builder.build(again, found, Options(tags=("lab/built",), network="none"))
    assert again.run("lab/built", ["cat", "/all"]).stdout == "two\none\n"
    assert store.get(paths, "lab/built").id == built.image_id
    again.close()
