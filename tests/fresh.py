"""A few lines in a fresh interpreter of one thread: pytest itself is never moved or forked raw."""

import subprocess
import sys
import textwrap
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
PRELUDE = f"""
import sys; sys.path.insert(0, {str(PACKAGE)!r})
import os, signal, socket, time
from pathlib import Path
from labkit.kernel import capabilities, cgroups, idmap, interfaces, mounts, namespaces, process, trace, trees
from labkit.kernel.idmap import IdMap
from labkit.kernel.limits import Limits
from labkit.kernel.mounts import MountFlag
from labkit.kernel.namespaces import Namespace
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    """The lines, still running; with pipes for what they read and print."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", PRELUDE + textwrap.dedent(code), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(child: subprocess.Popen[str]) -> None:
    """Kill it, reap it, close its pipes."""
    child.kill()
    child.communicate()


def run(code: str, *arguments: object) -> str:
    """What the lines printed; they must end well."""
    child = start(code, *arguments)
    printed, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    return printed.strip()
