"""How long a build of ten steps takes, cold and fully cached, beside dockerd's classic builder.

    sudo .venv/bin/python -m bench build [--rounds 5] [--write]

Both build the same Dockerfile on the same busybox, with no network in RUN.
Cold is `--no-cache`. labkit's builder is called as a notebook calls it; the row
"labkit build" is the command, with the start of its Python.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import peers, tables
from labkit.build import builder, context
from labkit.build.work import Options
from labkit.engine.engine import Engine
from labkit.images import base, store
from labkit.paths import Paths

MARK = "<!-- build.py -->"
ROUNDS = 5
LABKIT = Path(sys.executable).with_name("labkit")
DOCKERFILE = """\
FROM lab/busybox
ENV GREETING=hello
WORKDIR /app
COPY source ./source
RUN mkdir out && cat source/* > out/all
RUN sort out/all > out/sorted
RUN sed s/line/word/ out/sorted > out/words
COPY settings.conf /etc/settings.conf
RUN wc -l out/words > out/count
RUN chown -R 1000:1000 out
CMD ["cat", "out/count"]
"""


def main(rounds: int, write: bool) -> None:
    peers.must_be_here("dockerd", "docker")
    with (
        tempfile.TemporaryDirectory(prefix="labkit-bench-", dir="/var/tmp") as place,
        peers.daemon() as docker,
    ):
        cold, cached = measure(Path(place), docker, rounds)
        version = peers.docker_version(docker)
    table = "\n\n".join(
        [
            tables.ratios("ten steps, cold", cold, "docker build"),
            tables.ratios("ten steps, cached", cached, "docker build"),
            f"{rounds} rounds on {time.strftime('%Y-%m-%d')}; {peers.machine()}; {version}.",
        ]
    )
    print(table)
    if write:
        tables.write(MARK, table)


def measure(
    place: Path, docker: "peers.Docker", rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    engine = Engine(Paths(place / "root", place / "run"))
    source = write_context(place / "context")
    busybox = base.get(engine.paths, base.BUSYBOX)
    docker.import_tree(store.layer_directory(engine.paths, busybox.layers[0]), "lab/busybox")

    def ours(fresh: bool) -> None:
        with context.of_directory(source) as found:
            options = Options(tags=("bench:1",), no_cache=fresh, network="none")
            builder.build(engine, found, options)

    def command(fresh: bool) -> None:
        words = [
            LABKIT,
            "build",
            "--quiet",
            "--network",
            "none",
            "-t",
            "bench:2",
            *(["--no-cache"] if fresh else []),
        ]
        environment = {"LABKIT_ROOT": str(engine.paths.root), "LABKIT_RUN": str(engine.paths.run)}
        subprocess.run([*words, source], env=environment, check=True, stdout=subprocess.DEVNULL)

    def theirs(fresh: bool) -> None:
        words = ["build", "--quiet", "--network", "none", "-t", "bench", *(["--no-cache"] if fresh else [])]
        docker.must(*words, str(source))

    contestants: dict[str, Callable[[bool], None]] = {
        "labkit's builder": ours, "labkit build": command, "docker build": theirs,
    }  # fmt: skip
    found = []
    for fresh in (True, False):
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(rounds + 1):
            for name, run in contestants.items():
                began = time.perf_counter()
                run(fresh)
                if number:  # the first one warms up
                    times[name].append((time.perf_counter() - began) * 1e3)
        found.append(times)
    engine.close()
    return found[0], found[1]


def write_context(place: Path) -> Path:
    """A hundred files of a thousand lines, and a Dockerfile."""
    (place / "source").mkdir(parents=True)
    for number in range(100):
        lines = (f"line {number * 7919 % 10007} {step}\n" for step in range(1000))
        (place / "source" / f"{number:03}.txt").write_text("".join(lines))
    (place / "settings.conf").write_text("colour=green\n")
    (place / "Dockerfile").write_text(DOCKERFILE)
    return place
