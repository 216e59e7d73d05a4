"""request: what the engine asks of the launcher, as one packet with its descriptors.

Chapter 6. unix(7) SCM_RIGHTS. Descriptors come in the order of `Run.FILES` and `Exec.FILES`.
"""

import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from labkit.kernel.limits import IoLimit, Limits
from labkit.kernel.mounts import PlannedMount

MOST_BYTES = 200_000  # below the kernel's default for one packet, net.core.wmem_default
MSG_CMSG_CLOEXEC = 0x4000_0000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Start a bundle. `attached` ends it with the engine; a container that is kept has no `trees`."""

    FILES: ClassVar[tuple[str, ...]] = ("report", "ledger", "stdin", "stdout", "stderr")

    container_id: str
    bundle: str
    state_root: str
    state_run: str
    owner: str
    cgroup: str
    limits: Limits
    mounts: tuple[PlannedMount, ...]
    attached: bool
    trees: tuple[str, ...] = ()  # to be removed at its end
    log: str = ""  # where stdout and stderr are kept, instead of the descriptors
    trace: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exec:
    """Start one more process in a running container; `process` as in a config.json."""

    FILES: ClassVar[tuple[str, ...]] = ("report", "stdin", "stdout", "stderr")

    container_id: str
    pid: int
    start_ticks: int
    cgroup: str
    process: Mapping[str, Any]
    user: str = ""
    trace: bool = False


def send(peer: socket.socket, request: Run | Exec, descriptors: Sequence[int]) -> None:
    """One request; the descriptors stay open here."""
    packet = json.dumps([type(request).__name__, asdict(request)]).encode()
    if len(packet) > MOST_BYTES:
        raise OSError(7, "the command and the environment are too long for one request", request.container_id)
    socket.send_fds(peer, [packet], list(descriptors))


def receive(peer: socket.socket) -> tuple[Run | Exec, dict[str, int]] | None:
    """The next request with its descriptors by name; None once the engine is gone."""
    packet, descriptors, _, _ = socket.recv_fds(peer, MOST_BYTES, 8, MSG_CMSG_CLOEXEC)
    if not packet:
        return None
    kind, content = json.loads(packet)
    request = Exec(**content) if kind == "Exec" else _run(content)
    return request, dict(zip(request.FILES, descriptors, strict=True))


def _run(content: dict[str, Any]) -> Run:
    limits = content.pop("limits")
    io = tuple(IoLimit(**row) for row in limits.pop("io"))
    planned = tuple(PlannedMount(**row) for row in content.pop("mounts"))
    return Run(**content, limits=Limits(**limits, io=io), mounts=planned)
