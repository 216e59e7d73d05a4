"""probes: run an answer in a fresh child and hold it there, to be looked at from outside.

Every chapter. What an answer prints proves little; what /proc says of its
process, and what nsenter(1) finds when it goes in after it, proves much.
"""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labkit.course import orders
from labkit.course.children import Child, Result
from labkit.errors import LabkitError
from labkit.kernel import mounts
from labkit.kernel.cgroups import Cgroup
from labkit.kernel.namespaces import Namespace, identities


class AnswerFailed(LabkitError):
    """An answer raised an error, ended its process, or did not come back."""

    def __init__(self, message: str, *, kind: str = "") -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Probe:
    """A child that has run an answer and is held."""

    child: Child
    value: Any  # what the answer returned

    @property
    def pid(self) -> int:
        """The process that ran the answer."""
        return self.child.pid

    @property
    def alive(self) -> bool:
        """Whether it is still there."""
        return self.child.alive

    def descendants(self) -> list[int]:
        """What the answer has started, the eldest first, and what that has started."""
        found: list[int] = []
        todo = [self.pid]
        while todo:
            born = _children_of(todo.pop(0))
            found += born
            todo += born
        return found

    def namespaces(self, pid: int | None = None) -> dict[Namespace, int]:
        """The namespaces that it, or one of its descendants, lives in."""
        return identities(pid or self.pid)

    def own_namespaces(self, pid: int | None = None) -> set[Namespace]:
        """The kinds in which it is apart from the notebook."""
        ours = identities("self")
        return {kind for kind, identity in self.namespaces(pid).items() if ours[kind] != identity}

    def status(self, field: str, pid: int | None = None) -> list[str]:
        """The words of one line of /proc/PID/status, such as NSpid or CapEff."""
        for line in Path(f"/proc/{pid or self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return value.split()
        raise KeyError(field)

    def mounts(self, pid: int | None = None) -> list[mounts.Mount]:
        """The mounts that it sees."""
        return mounts.mounts(pid or self.pid)

    def inside(self, kinds: str, *command: str, pid: int | None = None) -> str:
        """A second witness: what a command says that nsenter(1) runs in its namespaces, such as "uts,mnt"."""
        options = [_NSENTER[Namespace.named(kind)] for kind in kinds.split(",")]
        done = subprocess.run(
            ["nsenter", "--target", str(pid or self.pid), *options, *command],
            capture_output=True, text=True, check=False, timeout=10, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.stdout.strip() if done.returncode == 0 else f"error: {done.stderr.strip()}"

    def until(self, holds: Callable[[], bool], timeout_seconds: float = 5.0) -> bool:
        """Ask again and again until it holds: False when the time is over, AnswerFailed if it fails."""
        deadline = time.monotonic() + timeout_seconds
        while not holds():
            with contextlib.suppress(TimeoutError):
                self.child.wait_value(0.0)
            if error := self.child.error:
                raise AnswerFailed(f"it raised {error['message']}", kind=error["kind"])
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def kill(self) -> Result:
        """End it."""
        return self.child.kill()


_NSENTER = {
    Namespace.MOUNT: "--mount", Namespace.UTS: "--uts", Namespace.IPC: "--ipc", Namespace.PID: "--pid",
    Namespace.NETWORK: "--net", Namespace.USER: "--user", Namespace.CGROUP: "--cgroup",
    Namespace.TIME: "--time",
}  # fmt: skip


def _children_of(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(born) for task in tasks for born in (task / "children").read_text().split()]
    except OSError:
        return []


@contextmanager
def probe(
    function: Callable[..., Any],
    *args: Any,
    namespaces: str | Namespace = "",
    cgroup: Cgroup | None = None,
    returns: bool = True,
    timeout_seconds: float = 10.0,
    owner: str = "",
) -> Iterator[Probe]:
    """Run an answer in a fresh child and hold the child for the block; AnswerFailed where it fails.

    `returns=False` is for an answer that becomes another program or goes on
    for ever: the block begins as soon as it has begun, so use `until`.
    """
    given = orders.order(function, *args, namespaces=namespaces, hold=True)
    with Child.start(given, talk=False, cgroup=cgroup, owner=owner) as child:
        if returns or child.error:
            _wait_for_value(child, timeout_seconds)
        yield Probe(child, child.value)


def call(
    function: Callable[..., Any],
    *args: Any,
    namespaces: str | Namespace = "",
    cgroup: Cgroup | None = None,
    timeout_seconds: float = 10.0,
    owner: str = "",
) -> Any:
    """What an answer returns when it is run in a fresh child; AnswerFailed where it fails."""
    given = orders.order(function, *args, namespaces=namespaces)
    child = Child.start(given, talk=False, cgroup=cgroup, owner=owner)
    try:
        _wait_for_value(child, timeout_seconds)
    finally:
        child.kill()
    return child.value


def _wait_for_value(child: Child, timeout_seconds: float) -> None:
    try:
        child.wait_value(timeout_seconds)
    except TimeoutError:
        child.kill()
        raise AnswerFailed(f"it had not returned after {timeout_seconds:g} s") from None
    if child.has_value:
        return
    result = child.wait(timeout_seconds=5.0)
    if result.error_kind:
        raise AnswerFailed(f"it raised {result.error}", kind=result.error_kind)
    raise AnswerFailed(f"it ended its process before it returned: {result.error or 'exit code 0'}")
