"""jupyter: JupyterLab as one child process: its settings, its token, its log and its end.

The server runs as root, since its kernels make namespaces and mounts. So it
listens on the loopback only, and its token is in a file that root alone reads,
never on a command line.
"""

import http.client
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from labkit import records
from labkit.errors import LabkitError, NotFound
from labkit.kernel import process
from labkit.paths import Paths

ADDRESS = "127.0.0.1"
START_SECONDS = 120.0  # under emulation JupyterLab's imports alone take 16 s
STOP_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Lab:
    """A server that was started: the very process, and its port."""

    pid: int
    start_ticks: int
    port: int


def _home(paths: Paths) -> Path:
    """The student's settings, history and token: kept over a boot."""
    return paths.root / "jupyter"


def _record(paths: Paths) -> Path:
    return paths.run / "lab.json"


def log_file(paths: Paths) -> Path:
    """What the server says."""
    return paths.run / "lab.log"


def running(paths: Paths) -> Lab | None:
    """The lab that runs with these paths, if one does."""
    try:
        lab = Lab(**records.load(_record(paths)))
    except FileNotFoundError:
        return None
    return lab if process.is_alive(lab.pid, lab.start_ticks) else None


def token(paths: Paths) -> str:
    """The lab's token, made at its first start; NotFound before that."""
    try:
        return (_home(paths) / "token").read_text()
    except FileNotFoundError:
        raise NotFound("no lab was started yet", hint="make lab") from None


def url(paths: Paths, lab: Lab) -> str:
    """The one address to open."""
    return f"http://{ADDRESS}:{lab.port}/lab?token={token(paths)}"


def notebooks() -> Path:
    """The folder with the chapters, beside the package."""
    folder = Path(__file__).parents[2] / "notebooks"
    if not folder.is_dir():
        raise NotFound(f"no chapters at {folder}", hint="start the lab from a checkout of the project")
    return folder


def settings(port: int, secret: str, folder: Path) -> dict[str, object]:
    """The server's configuration: what it offers, and that it asks no one outside."""
    return {
        "ServerApp": {
            "ip": ADDRESS,
            "port": port,
            "port_retries": 0,  # another port than the one that was asked for would not be found
            "open_browser": False,
            "allow_root": True,
            "root_dir": str(folder),
            "terminado_settings": {"shell_command": ["/bin/bash"]},  # a login shell would forget our PATH
            "jpserver_extensions": {"jupyterlab": True, "jupyter_lsp": False, "notebook_shim": False},
        },
        "IdentityProvider": {"token": secret},
        "LabApp": {
            "extension_manager": "readonly",  # the other kind asks a package registry
            "news_url": None,
            "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        },
    }


def prepare(paths: Paths, port: int) -> Path:
    """Lay down token and configuration for root's eyes; return the configuration's file."""
    paths.prepare()
    home = _home(paths)
    home.mkdir(mode=0o700, exist_ok=True)
    home.chmod(0o700)
    secret = home / "token"
    if not secret.exists():
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writer:
            writer.write(secrets.token_hex(24))
    file = home / "jupyter_server_config.json"
    records.save(file, settings(port, token(paths), notebooks()), durable=False)
    return file


def _environment(paths: Paths) -> dict[str, str]:
    """Our own places for JupyterLab's files, and the environment's programs first on the PATH."""
    home = _home(paths)
    programs = Path(sys.prefix) / "bin"
    return os.environ | {
        "PATH": f"{programs}:{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin",
        "JUPYTER_CONFIG_DIR": str(home),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(paths.run / "jupyter"),
        "IPYTHONDIR": str(home / "ipython"),
    }


def start(paths: Paths, port: int) -> "tuple[subprocess.Popen[bytes], Lab]":
    """Start the server in a session of its own, so that Ctrl-C reaches us first."""
    prepare(paths, port)
    descriptor = os.open(log_file(paths), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        server = subprocess.Popen(
            (sys.executable, "-m", "jupyterlab"),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=_environment(paths),
            start_new_session=True,
            preexec_fn=_end_with_us,
        )
    finally:
        os.close(descriptor)
    lab = Lab(server.pid, process.started_at(server.pid), port)
    records.save(_record(paths), lab, durable=False)
    return server, lab


def _end_with_us() -> None:
    process.die_with_parent(signal.SIGTERM)


def wait_until_it_answers(paths: Paths, server: "subprocess.Popen[bytes]", lab: Lab) -> None:
    """Return when the page can be opened; an error names the log where it cannot."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(lab.port, token(paths)):
        if server.poll() is not None:
            raise LabkitError(f"JupyterLab ended at once: {last_words(paths)}", hint=f"see {log_file(paths)}")
        if time.monotonic() > deadline:
            raise LabkitError(
                f"JupyterLab does not answer after {START_SECONDS:.0f} s", hint=f"see {log_file(paths)}"
            )
        time.sleep(0.05)


def _answers(port: int, secret: str) -> bool:
    connection = http.client.HTTPConnection(ADDRESS, port, timeout=10)
    try:
        connection.request("GET", "/lab", headers={"Authorization": f"token {secret}"})
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def last_words(paths: Paths) -> str:
    """The last line of the log, or that there is none."""
    lines = log_file(paths).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def stop(paths: Paths, server: "subprocess.Popen[bytes]") -> None:
    """End the server and its kernels without a question; with SIGKILL where it takes too long.

    A kernel looks for its server every second and ends by itself without one.
    """
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    _record(paths).unlink(missing_ok=True)
