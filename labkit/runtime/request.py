"""request: what the engine asks of the launcher, as one packet with its descriptors.

Chapter 6. unix(7) SCM_RIGHTS. Descriptors come in the order of `Run.FILES` and `Exec.FILES`.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from labkit.kernel.limits import IoLimit, Limits
from labkit.kernel.mounts import PlannedMount
from labkit.runtime import handshake


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Start a bundle. An attached container ends with the engine, another has a log and a state."""

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
    log: str = ""  # where stdout and stderr are kept, instead of the descriptors
    waits: bool = False  # before its command runs, the engine is told its pid, and says GO
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
    handshake.send(peer, type(request).__name__, files=descriptors, content=asdict(request))


def receive(peer: socket.socket) -> tuple[Run | Exec, dict[str, int]] | None:
    """The next request with its descriptors by name; None once the engine is gone."""
    packet = handshake.receive(peer)
    if packet is None:
        return None
    content = packet["content"]
    request = Exec(**content) if packet["message"] == "Exec" else _run(content)
    return request, dict(zip(request.FILES, packet["files"], strict=True))


def planned(rows: Iterable[Mapping[str, Any]]) -> tuple[PlannedMount, ...]:
    """Mounts as they come out of a packet."""
    return tuple(PlannedMount(**row) for row in rows)


def _run(content: dict[str, Any]) -> Run:
    limits = content.pop("limits")
    io = tuple(IoLimit(**row) for row in limits.pop("io"))
    return Run(**{**content, "mounts": planned(content["mounts"])}, limits=Limits(**limits, io=io))
