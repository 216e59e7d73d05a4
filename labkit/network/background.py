"""background: start a process that belongs to nobody, and whose errors are kept.

Chapters 11 and 13. fork(2), setsid(2). So are started what answers for containers
(labkit.network.service) and what keeps a host a member (labkit.network.peering).
"""

import os
import subprocess
import sys
from pathlib import Path

from labkit.kernel import trace

MOST_LOG_BYTES = 256 * 1024
_PACKAGE = Path(__file__).resolve().parents[2]

# Forked, so that it is nobody's child; before anything is imported, so that nobody waits for that.
_CODE = "import os; os.fork() and os._exit(0); import sys; sys.path.insert(0, {package!r}); {work}"


def start(work: str, *, keep: int, log: Path, said: str) -> None:
    """Run lines of Python with one descriptor of ours; a log that has grown long begins anew."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_size > MOST_LOG_BYTES:
            os.ftruncate(descriptor, 0)
        with trace.operation("fork", said):
            subprocess.run(
                [sys.executable, "-I", "-c", _CODE.format(package=str(_PACKAGE), work=work)],
                pass_fds=[keep],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=descriptor,
                cwd="/",
                start_new_session=True,  # a Ctrl-C is for the notebook, not for what others rely on
                check=True,
            )
    finally:
        os.close(descriptor)
