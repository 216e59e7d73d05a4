"""How long a 500 MB image takes to be loaded, unpacked and written again, beside dockerd and umoci.

    sudo .venv/bin/python -m bench images [--rounds 3] [--write]

One layer of 5,000 files, half text and half noise. Each contestant is a program
of its own, started for the one task, and what it made is removed in between.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import peers, tables

MARK = "<!-- images.py -->"
ROUNDS = 3
FILES, FILE_BYTES = 5000, 100 << 10

LOAD = "from labkit.images import archive; archive.load(paths, Path(sys.argv[1]))"
SAVE = (
    "from labkit.images import saving; file = open(sys.argv[1], 'wb', 0); "
    "saving.save(paths, ['bench:1'], file.write, compress='gzip')"
)


def main(rounds: int, write: bool) -> None:
    peers.must_be_here("dockerd", "docker", "umoci", "skopeo", "gzip")
    with (
        tempfile.TemporaryDirectory(prefix="labkit-bench-", dir="/var/tmp") as place,
        peers.daemon() as docker,
    ):
        bench = Bench(Path(place), docker)
        found = {
            "a docker archive, loaded": (bench.archives(rounds), "docker load"),
            "an OCI layout of gzip, unpacked": (bench.layouts(rounds), "umoci unpack"),
            "saved, with gzip": (bench.saves(rounds), "docker save and gzip"),
        }
        version = peers.docker_version(docker)
    sizes = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in bench.saved_bytes.items())
    memory = f"Saved: {sizes}. labkit's programs used at most {bench.most_kib / 1024:.0f} MiB of memory."
    said = f"{rounds} rounds on {time.strftime('%Y-%m-%d')}; {peers.machine()}; {version}. {memory}"
    table = "\n\n".join([*(tables.ratios(name, *one, unit="s") for name, one in found.items()), said])
    print(table)
    if write:
        tables.write(MARK, table)


class Bench:
    """The image in both forms, and what each contestant does with it."""

    def __init__(self, place: Path, docker: peers.Docker) -> None:
        self.place, self.docker = place, docker
        self.most_kib = 0
        self.saved_bytes: dict[str, int] = {}
        self.archive, self.layout, self.out = place / "image.tar", place / "layout", place / "out"
        tree = write_tree(place / "tree")
        docker.import_tree(tree, "bench:1")
        shutil.rmtree(tree)
        docker.must("save", "-o", str(self.archive), "bench:1")
        subprocess.run(
            [
                "skopeo",
                "--insecure-policy",
                "copy",
                "-q",
                f"docker-archive:{self.archive}",
                f"oci:{self.layout}:1",
            ],
            check=True,
        )

    def archives(self, rounds: int) -> dict[str, list[float]]:
        docker = self.docker
        return race(
            rounds,
            {
                "labkit": (self._remove, lambda: self.labkit(LOAD, self.archive)),
                "docker load": (
                    lambda: docker.must("rmi", "bench:1"),
                    lambda: docker.must("load", "-q", "-i", str(self.archive)),
                ),
            },
        )

    def layouts(self, rounds: int) -> dict[str, list[float]]:
        umoci = ["umoci", "unpack", "--image", f"{self.layout}:1", str(self.out)]
        return race(
            rounds,
            {
                "labkit": (self._remove, lambda: self.labkit(LOAD, self.layout)),
                "umoci unpack": (
                    self._remove,
                    lambda: subprocess.run(umoci, check=True, capture_output=True),
                ),
            },
        )

    def saves(self, rounds: int) -> dict[str, list[float]]:
        self._remove()
        self.labkit(LOAD, self.archive)
        line = f"docker save bench:1 | gzip > {self.out}"
        environment = self.docker.environment

        def size(name: str) -> None:
            self.saved_bytes[name] = self.out.stat().st_size

        def theirs() -> None:
            subprocess.run(["sh", "-c", line], env=environment, check=True)
            size("gzip")

        def ours() -> None:
            self.labkit(SAVE, self.out)
            size("labkit")

        return race(
            rounds,
            {
                "labkit": (self._forget, ours),
                "docker save and gzip": (
                    self._forget,
                    theirs,
                ),
            },
        )

    def labkit(self, code: str, argument: Path) -> None:
        """A few lines in a process of their own; its memory is noted."""
        begin = "import sys; from pathlib import Path; from labkit.paths import Paths; "
        begin += f"paths = Paths(Path({str(self.place / 'root')!r}), Path({str(self.place / 'run')!r})); "
        child = subprocess.Popen([sys.executable, "-c", f"{begin}paths.prepare(); {code}", argument])
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"labkit ended with {child.returncode}")
        self.most_kib = max(self.most_kib, used.ru_maxrss)

    def _remove(self) -> None:
        for name in ("root", "run", "out"):
            shutil.rmtree(self.place / name, ignore_errors=True)

    def _forget(self) -> None:
        self.out.unlink(missing_ok=True)


def race(
    rounds: int, contestants: Mapping[str, tuple[Callable[[], object], Callable[[], object]]]
) -> dict[str, list[float]]:
    """Seconds of each, in turn; before each its own clearing up, with the disk at rest."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for number in range(rounds + 1):
        for name, (clear, run) in contestants.items():
            clear()
            os.sync()
            began = time.perf_counter()
            run()
            if number:  # the first one warms up
                times[name].append(time.perf_counter() - began)
    return times


def write_tree(place: Path) -> Path:
    """Files in a hundred directories: text that packs well, and noise that does not."""
    noise = random.Random(1)
    line = b"the same words again and again, as in a manual page, with a number: %d\n"
    for number in range(FILES):
        file = place / f"{number % 100:02}" / f"{number}.data"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            file.write_bytes(noise.randbytes(FILE_BYTES))
        else:
            file.write_bytes(b"".join(line % (number * step) for step in range(FILE_BYTES // len(line))))
    return place
