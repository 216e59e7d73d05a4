"""packages: a directory of a distribution's own packages: downloaded and unpacked, never installed.

Chapter 9. apt-get(8) with a status file that is empty, so that it finds all that is needed;
dpkg-deb(1). No script of a package runs.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from labkit.errors import Unsupported

_MERGED = ("bin", "sbin", "lib", "lib64")  # links into usr/, as base-files' scripts would make them
_UNREAD = ("doc", "info", "locale", "man")  # of usr/share
_ADMIN_DIRECTORIES = "/usr/sbin:/sbin"


def unpack(names: Sequence[str], directory: Path, report: Callable[[str], None]) -> None:
    """Fill a directory with packages and all that they depend on.

    Unsupported where this machine has no apt or its mirror gives no packages.
    """
    with tempfile.TemporaryDirectory(prefix="labkit-packages-") as work:
        files = _download(names, Path(work), report)
        for name in _MERGED:
            (directory / "usr" / name).mkdir(parents=True, exist_ok=True)
            (directory / name).symlink_to(f"usr/{name}")
        for number, file in enumerate(files, 1):
            report(f"unpack {number}/{len(files)} {file.name}")
            _unpack(file, directory)


def _download(names: Sequence[str], work: Path, report: Callable[[str], None]) -> list[Path]:
    """The packages' files. Lists that are old, or not there, are fetched once."""
    (work / "archives/partial").mkdir(parents=True)
    (work / "state").mkdir()
    (work / "state/status").touch()
    settings = {
        "Dir::State::status": work / "state/status",
        "Dir::Cache::archives": work / "archives",
        "APT::Sandbox::User": "root",  # the directory is root's alone
        "APT::Install-Recommends": "false",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    command = ["apt-get", "-q", "-y", *options, "--download-only", "install", *names]
    report(f"download {' '.join(names)}, and what they depend on")
    done = _run(command)
    if done.returncode:
        _run(["apt-get", "-q", "update"])
        done = _run(command)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
        cause = next((line for line in said if line.startswith("E:")), said[-1])
        raise Unsupported(
            f"the packages cannot be downloaded: {cause}", hint="does apt-get update work here?"
        )
    return sorted((work / "archives").glob("*.deb"))


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise Unsupported(f"{command[0]} is not on this machine", hint="use Debian or Ubuntu") from None


def _unpack(file: Path, directory: Path) -> None:
    """One package's files, without what nobody reads in a container."""
    excluded = [f"--exclude=./usr/share/{name}/*" for name in _UNREAD]
    options = ["--keep-directory-symlink", "--numeric-owner", "--same-permissions"]
    path = f"{os.environ.get('PATH', '')}:{_ADMIN_DIRECTORIES}"
    done = subprocess.run(
        ["sh", "-c", 'dpkg-deb --fsys-tarfile "$0" | tar --extract "$@"', file, *options, *excluded],
        cwd=directory, capture_output=True, text=True, check=False, env=os.environ | {"PATH": path},
    )  # fmt: skip
    if done.returncode or done.stderr:
        raise Unsupported(f"{file.name} cannot be unpacked: {done.stderr.strip()}")
