"""status: where a container is in its life, and which moves there are.

Chapter 6. runtime.md "State" and "Lifecycle" of runtime-spec 1.2. What a file
says of a running container is a claim; the kernel's answer is the truth.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from labkit import records
from labkit.errors import Conflict
from labkit.kernel import process


class Status(StrEnum):
    """The words of `docker ps`."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


NEXT = {
    Status.CREATED: {Status.RUNNING},
    Status.RUNNING: {Status.PAUSED, Status.EXITED},
    Status.PAUSED: {Status.RUNNING, Status.EXITED},
    Status.EXITED: {Status.RUNNING},
}


def check_move(name: str, now: Status, wanted: Status) -> None:
    """Conflict where a container cannot go from one to the other."""
    if wanted not in NEXT[now]:
        raise Conflict(f"container {name} is {now}, it cannot become {wanted}")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The last that a monitor wrote. Times are seconds since 1970; pid 0 is nobody."""

    status: Status
    pid: int = 0
    start_ticks: int = 0
    monitor_pid: int = 0
    monitor_start_ticks: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0

    @property
    def is_running(self) -> bool:
        """Whether the kernel knows its first process still, or the monitor that will report its end."""
        return process.is_alive(self.pid, self.start_ticks) or self.monitor_is_alive

    @property
    def monitor_is_alive(self) -> bool:
        """Whether somebody will still write this file."""
        return process.is_alive(self.monitor_pid, self.monitor_start_ticks)


def save(bundle: Path, state: State) -> None:
    """Beside the bundle's config.json; it speaks of kernel objects, so a boot may lose it."""
    records.save(bundle / "state.json", state, durable=False)


def load(bundle: Path) -> State:
    """What the monitor wrote, corrected by the kernel: one that was killed with its monitor has exited."""
    state = _read(bundle)
    while state.status in (Status.RUNNING, Status.PAUSED) and not state.is_running:
        meanwhile = _read(bundle)  # a monitor writes its last word before it ends: it may be there by now
        if meanwhile == state:
            return replace(state, status=Status.EXITED, exit_code=137, error="its monitor was killed")
        state = meanwhile
    return state


def _read(bundle: Path) -> State:
    try:
        found = records.load(bundle / "state.json")
    except FileNotFoundError:
        return State(status=Status.CREATED)
    return State(**{**found, "status": Status(found["status"])})
