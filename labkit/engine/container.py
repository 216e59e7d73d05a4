"""container: one container that is kept, from its start to its removal.

Chapter 6. Every answer is asked anew: of the monitor's record, and of the kernel.
"""

import contextlib
import dataclasses
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from labkit.engine import attached, containers, networking, starting, storage
from labkit.engine.attached import Result
from labkit.engine.containers import Record
from labkit.engine.starting import Prepared
from labkit.errors import Conflict, Invalid, NotFound, StartFailed, Unsupported
from labkit.kernel import cgroups, process, trace, trees
from labkit.kernel.cgroup_usage import Usage
from labkit.network.firewall import Published
from labkit.paths import Paths
from labkit.runtime import handshake, logs, status
from labkit.runtime.launcher import Launcher
from labkit.runtime.monitor import Event
from labkit.runtime.request import Exec
from labkit.runtime.status import State, Status


class Container:
    """One container that is kept: a handle, whose every answer is asked anew."""

    def __init__(self, paths: Paths, launcher: Launcher, record: Record) -> None:
        self.record = record
        self._paths = paths
        self._launcher = launcher

    def __repr__(self) -> str:
        return f"<container {self.name}: {self.status}>"

    @property
    def id(self) -> str:
        """64 hexadecimal digits."""
        return self.record.id

    @property
    def name(self) -> str:
        """What it was called."""
        return self.record.name

    @property
    def state(self) -> State:
        """Its life so far, corrected by the kernel."""
        state = status.load(containers.bundle(self._paths, self.id))
        if state.status is Status.RUNNING and self._group_is_frozen():
            return dataclasses.replace(state, status=Status.PAUSED)
        return state

    @property
    def status(self) -> Status:
        """In the words of docker ps."""
        return self.state.status

    @property
    def pid(self) -> int:
        """Its first process as the host sees it; Conflict where it does not run."""
        return self._running().pid

    @property
    def cgroup(self) -> cgroups.Cgroup:
        """Its group, while it runs."""
        self._running()
        return cgroups.open_existing(starting.cgroup_of(self.record))

    @property
    def ports(self) -> tuple[Published, ...]:
        """The host's ports that lead to it while it runs, each with its number."""
        running = self.status in (Status.RUNNING, Status.PAUSED)
        return networking.ports_now(self._paths, self.id) if running else ()

    def usage(self) -> Usage:
        """What it uses now."""
        return self.cgroup.usage()

    def _group_is_frozen(self) -> bool:
        try:
            return cgroups.open_existing(starting.cgroup_of(self.record)).is_frozen()
        except (OSError, Unsupported):
            return False  # the group is going, one directory after the other

    def _running(self) -> State:
        state = self.state
        if state.status not in (Status.RUNNING, Status.PAUSED):
            raise Conflict(f"container {self.name} is not running, it is {state.status}")
        return state

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Run its command in the background. What it wrote in an earlier life is still there."""
        with self._alone():
            status.check_move(self.name, self.status, Status.RUNNING)
            self.record = containers.load(self._paths, self.id)  # it may be on other networks since
            with storage.ready(self._paths, self.record, None, kept=True):
                self._start()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One start or removal of a container at a time, whichever engine asks, flock(2)."""
        place = containers.directory(self._paths, self.id)
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"No such container: {self.name}") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not place.exists():  # removed while we waited
                raise NotFound(f"No such container: {self.name}")
            yield
        finally:
            os.close(descriptor)

    def _start(self) -> None:
        with starting.prepared(self._paths, self.record, kept=True) as ready:
            answer = self._ask_for_a_start(ready)
        if answer is None:
            raise StartFailed(f"the monitor of container {self.name} was killed")
        trace.extend(answer["trace"])
        if answer["message"] == Event.FAILED:
            raise StartFailed(answer["text"], exit_code=answer["exit_code"])

    def _ask_for_a_start(self, ready: Prepared) -> dict[str, Any] | None:
        """The monitor's answer; None where it was killed. What fails here leaves no monitor behind."""
        ours, theirs = handshake.pair()
        nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        try:
            with theirs:
                request = starting.request(self._paths, self.record, attached=False)
                self._launcher.send(request, [theirs.fileno(), ready.held, nothing, nothing, nothing])
            answer = handshake.receive(ours)
            if answer is not None and answer["message"] == Event.BORN:
                trace.extend(answer["trace"])
                attached.go_on(ours, answer["pid"], ready.on_born)
                answer = handshake.receive(ours)
        except BaseException:
            attached.end(ours)
            raise
        finally:
            ours.close()
            os.close(nothing)
        return answer

    def kill(self, number: int | str = signal.SIGKILL) -> None:
        """Send its first process a signal, by number or by name with or without SIG."""
        state = self._running()
        process.kill(state.pid, state.start_ticks, _signal(number))

    def stop(self, timeout_seconds: float = 10.0) -> int:
        """SIGTERM, and after the grace period SIGKILL; return its exit code."""
        if self.status is Status.PAUSED:
            self.unpause()
        self.kill(signal.SIGTERM)
        try:
            return self.wait(timeout_seconds)
        except TimeoutError:
            return self._end()

    def _end(self) -> int:
        """SIGKILL, and wait; return its exit code. That it ends by itself just then is no failure."""
        with contextlib.suppress(Conflict, FileNotFoundError):
            self.kill()  # it reaches a frozen process too, once that is thawed
            if self.status is Status.PAUSED:
                self.cgroup.freeze(False)
        return self.wait()

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Until it has ended and been cleaned up; return its exit code, or raise TimeoutError."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = 0.001
        while (state := self.state).status in (Status.RUNNING, Status.PAUSED) or state.monitor_is_alive:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"container {self.name} is still {state.status} after {timeout_seconds} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.05)
        if state.status is Status.CREATED:
            raise Conflict(f"container {self.name} has never been started")
        return state.exit_code

    def pause(self) -> None:
        """Freeze all of its processes at once."""
        status.check_move(self.name, self.status, Status.PAUSED)
        self.cgroup.freeze()

    def unpause(self) -> None:
        """Let them go on."""
        if self.status is not Status.PAUSED:
            raise Conflict(f"Container {self.name} is not paused")
        self.cgroup.freeze(False)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it with everything it wrote to its own layer. Conflict while it runs, unless by force.

        Volumes stay; with `volumes`, those go that were made for it alone.
        """
        with self._alone():
            self._remove(force)
        if volumes:
            storage.remove_anonymous(self._paths, self.record)

    def _remove(self, force: bool) -> None:
        if self.status in (Status.RUNNING, Status.PAUSED):
            if not force:
                raise Conflict(
                    f"container {self.name} is {self.status}: stop it before removing it, or use force"
                )
            self._end()
        place = containers.directory(self._paths, self.id)
        grave = place.with_name(f".draft-{self.id}")  # from here on nobody can see it, and a sweep ends it
        place.rename(grave)
        trees.remove(containers.bundle(self._paths, self.id))
        trees.remove(grave)

    def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        user: str | None = None,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Result:
        """Run one more command inside, and wait for it."""
        state = self._running()
        if state.status is Status.PAUSED:
            raise Conflict(f"Container {self.name} is paused, unpause the container before exec")
        spec = starting.spec_of(self.record)
        variables = dict(line.split("=", 1) for line in spec.env) | dict(env or {})
        request = Exec(
            container_id=self.id,
            pid=state.pid,
            start_ticks=state.start_ticks,
            cgroup=spec.cgroup,
            process={
                "args": list(command),
                "env": [f"{key}={value}" for key, value in variables.items()],
                "cwd": working_directory or spec.working_directory,
                "capabilities": spec.oci()["process"]["capabilities"],
                "noNewPrivileges": spec.no_new_privileges,
            },
            user=spec.user if user is None else user,
            trace=trace.listening(),
        )
        return attached.run(self._launcher, request, stdin=stdin, timeout_seconds=timeout_seconds)

    def logs(self) -> str:
        """What it has said so far, both streams in order."""
        file = containers.directory(self._paths, self.id) / "log.json"
        return "".join(line.text for line in logs.read(file))


def _signal(number: int | str) -> int:
    if isinstance(number, int):
        return number
    name = number.upper()
    if name.isdigit():
        return int(name)
    try:
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
    except KeyError:
        raise Invalid(f"Invalid signal: {number}", hint="such as TERM or SIGTERM, see signal(7)") from None
