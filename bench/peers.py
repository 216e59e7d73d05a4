"""Other people's programs to measure beside; the dockerd is the one that the tests start."""

import os
import platform
import shutil
import sys
from pathlib import Path

from labkit.kernel import cgroups

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from dockerd import Docker, daemon

__all__ = ["Docker", "daemon", "docker_version", "machine", "must_be_here"]


def must_be_here(*programs: str) -> None:
    """End with a word about those that are missing: there is nothing to compare with."""
    if missing := [name for name in programs if shutil.which(name) is None]:
        raise SystemExit(
            f"no {' and no '.join(missing)} here to compare with: make test PEERS=1 installs them"
        )


def docker_version(docker: Docker) -> str:
    """The daemon's, not the command's."""
    return "dockerd " + docker.must("version", "--format", "{{.Server.Version}}").strip()


def machine() -> str:
    """The machine in a few words."""
    release, python = platform.release().partition("-")[0], platform.python_version()
    return f"Linux {release}, {os.cpu_count()} CPUs, cgroups {cgroups.layout()}, Python {python}"
