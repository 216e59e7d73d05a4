"""How long a container takes from the call to its end: `true` in one root, beside crun and runc.

    sudo .venv/bin/python -m bench start [--rounds 50] [--write]

One round runs each of them once, in turn, so that all meet the same machine.
labkit.run mounts an overlay, makes the cgroup and all namespaces, takes in the
output and removes everything; crun and runc get the layer itself as their root.
crun 1.8 refuses a hybrid cgroup hierarchy, so all of them run in a mount
namespace in which only the hierarchies with controllers are left.
"""

import ctypes
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import peers, tables
from labkit.engine import starting
from labkit.engine.engine import Engine
from labkit.kernel import cgroups, mounts
from labkit.kernel.mounts import MountFlag
from labkit.kernel.namespaces import Namespace
from labkit.paths import Paths

MARK = "<!-- start.py -->"
ROUNDS = 50


def main(rounds: int, write: bool) -> None:
    peers.must_be_here("crun", "runc")
    hide_the_tree_without_controllers()
    with tempfile.TemporaryDirectory(prefix="labkit-bench-") as place:
        times = measure(Path(place), rounds)
    table = as_table(times, rounds)
    print(table)
    if write:
        tables.write(MARK, table)


def hide_the_tree_without_controllers() -> None:
    """On a hybrid machine, take version 2's empty tree out of this process's own view."""
    libc = ctypes.CDLL(None)
    if cgroups.layout() == "hybrid" and libc.unshare(int(Namespace.MOUNT)) == 0:
        mounts.propagate("/", MountFlag.PRIVATE)
        for hierarchy in cgroups.hierarchies():
            if hierarchy.version == 2:
                mounts.unmount(hierarchy.mount_point)


def measure(place: Path, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by runtime, round by round."""
    engine = Engine(Paths(place / "root", place / "run"))
    bundle = write_bundle(engine, place / "bundle")
    runs: dict[str, Callable[[], None]] = {
        "labkit.run": lambda: check(engine.run("lab/busybox", ["true"]).exit_code),
        "crun run": lambda: check(spawn("crun", "run", "--bundle", str(bundle), "labkit-bench")),
        "runc run": lambda: check(spawn("runc", "run", "--bundle", str(bundle), "labkit-bench")),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 3):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if number >= 3:  # the first ones warm up the caches of all three
                times[name].append((time.perf_counter() - began) * 1e3)
    engine.close()
    return times


def write_bundle(engine: Engine, bundle: Path) -> Path:
    """The engine's own config.json, with the layer as the root."""
    record = starting.new_record(engine.paths, "lab/busybox", ["true"])
    config = starting.spec_of(record).oci()
    config["root"]["path"] = str(engine.paths.layers / record.layers[0])
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def spawn(*command: str) -> int:
    return subprocess.run(command, stdin=subprocess.DEVNULL, close_fds=False).returncode


def check(exit_code: int) -> None:
    if exit_code:
        raise SystemExit(f"`true` ended with {exit_code}")


def as_table(times: dict[str, list[float]], rounds: int) -> str:
    crun = statistics.median(times["crun run"])
    rows = [
        f"| {name} | {statistics.median(t):.1f} | {min(t):.1f} | {statistics.quantiles(t, n=20)[-1]:.1f} "
        f"| {statistics.median(t) / crun:.2f} |"
        for name, t in times.items()
    ]
    versions = ", ".join(version(peer) for peer in ("crun", "runc"))
    machine = (
        f"Linux {platform.release().partition('-')[0]}, {os.cpu_count()} CPUs, cgroups {cgroups.layout()}"
    )
    return "\n".join(
        [
            "| start and end of `true` | median ms | least ms | 95 % ms | of crun's median |",
            "| --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"{rounds} rounds on {time.strftime('%Y-%m-%d')}; {machine}; {versions}, "
            f"Python {platform.python_version()}.",
        ]
    )


def version(program: str) -> str:
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return told.splitlines()[0].replace(" version", "")
