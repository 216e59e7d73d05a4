"""engine: make, run, look at, stop and remove containers.

Chapter 6. Everything that is made is in the container's ledger first, so that
whoever comes next can undo what a kill has left.
"""

import dataclasses
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from labkit import records
from labkit.engine import attached, containers
from labkit.engine.attached import Result
from labkit.engine.containers import Record
from labkit.errors import Conflict, Invalid, LabkitError, NotFound, StartFailed, Unsupported
from labkit.images import base, store
from labkit.images.overlay import Overlay
from labkit.kernel import cgroups, process, trace
from labkit.kernel.cgroup_usage import Usage
from labkit.kernel.limits import Limits
from labkit.ledger import Ledger
from labkit.paths import Paths
from labkit.runtime import handshake, logs, status
from labkit.runtime.launcher import Launcher
from labkit.runtime.monitor import Event
from labkit.runtime.request import Exec, Run
from labkit.runtime.spec import Spec
from labkit.runtime.status import State, Status

OWNER_LABEL = "labkit.owner"
"""Says for whom a container was made, such as a chapter, so that a reset finds it."""


class Engine:
    """All containers and images below one pair of directories."""

    def __init__(self, paths: Paths | None = None, *, owner: str = "") -> None:
        if os.geteuid() != 0:
            raise Unsupported(
                "labkit makes namespaces, mounts and cgroups, for which it must be root", hint="sudo"
            )
        self.paths = paths or Paths.from_environment()
        self.paths.prepare()
        self.owner = owner
        self.launcher = Launcher()
        self.sweep()

    def close(self) -> None:
        """End the launcher; detached containers go on."""
        self.launcher.close()

    # ------------------------------------------------------------------ run

    def run(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        limits: Limits = Limits(),  # noqa: B008 (an immutable value)
        env: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        user: str | None = None,
        hostname: str | None = None,
        read_only: bool = False,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
    ) -> Result:
        """Run a command in a container that is gone afterwards, and return what it said and how it ended."""
        record = self._record(image, command, limits, env, working_directory, user, hostname, read_only, "")
        with self._prepared(record) as held:
            return attached.run(
                self.launcher,
                self._request(record, attached_=True),
                first_files=[held],
                stdin=stdin,
                timeout_seconds=timeout_seconds,
            )

    def create(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        name: str = "",
        limits: Limits = Limits(),  # noqa: B008 (an immutable value)
        env: Mapping[str, str] | None = None,
        working_directory: str | None = None,
        user: str | None = None,
        hostname: str | None = None,
        read_only: bool = False,
    ) -> "Container":
        """Keep a record of a container that is not started yet."""
        name = containers.check_name(self.paths, name) if name else containers.new_name(self.paths)
        record = self._record(image, command, limits, env, working_directory, user, hostname, read_only, name)
        draft = self.paths.containers / f".draft-{record.id}"
        with _no_space_is_named(self.paths.containers), _undone_on_failure(draft):
            draft.mkdir(mode=0o700)
            _make_overlay_directories(draft)
            records.save(draft / "container.json", record)
            draft.rename(containers.directory(self.paths, record.id))
        records.sync_directory(self.paths.containers)
        return Container(self, record)

    def _record(
        self,
        image_name: str,
        command: Sequence[str] | None,
        limits: Limits,
        env: Mapping[str, str] | None,
        working_directory: str | None,
        user: str | None,
        hostname: str | None,
        read_only: bool,
        name: str,
    ) -> Record:
        if isinstance(command, str):
            raise Invalid(
                f"the command is a list of words, not {command!r}",
                hint='["sh", "-c", …] runs a line of shell',
            )
        image = base.get(self.paths, image_name)
        container_id = containers.new_id()
        host = hostname if hostname is not None else container_id[:12]
        variables = dict(line.split("=", 1) for line in image.env) | {"HOSTNAME": host} | dict(env or {})
        record = Record(
            id=container_id,
            name=name or container_id[:12],
            image=image.name,
            layers=image.layers,
            args=tuple(command if command is not None else image.command),
            env=tuple(f"{key}={value}" for key, value in variables.items()),
            working_directory=working_directory or image.working_directory,
            user=image.user if user is None else user,
            hostname=host,
            read_only=read_only,
            limits=_with_swap_as_docker(limits),
            created_at=time.time(),
            labels={OWNER_LABEL: self.owner} if self.owner else {},
        )
        self._spec(record)  # a request that makes no sense is refused before anything is made
        return record

    def _spec(self, record: Record) -> Spec:
        return Spec(
            args=record.args,
            env=record.env,
            working_directory=record.working_directory,
            user=record.user,
            hostname=record.hostname,
            read_only=record.read_only,
            cgroup=self._cgroup(record),
            limits=record.limits,
        )

    @staticmethod
    def _cgroup(record: Record) -> str:
        return f"{cgroups.HOME}/{record.id}"

    @staticmethod
    def _owner(record: Record) -> str:
        return f"container-{record.id}"

    @contextmanager
    def _prepared(self, record: Record, *, kept: bool = False) -> Iterator[int]:
        """Make a bundle and, for a container that is not kept, its directories. Yields the held ledger.

        From the moment the monitor has the ledger, undoing it is the monitor's
        part; what fails before is undone here.
        """
        ledger = Ledger.of(self.paths, self._owner(record))
        place, bundle = containers.directory(self.paths, record.id), containers.bundle(self.paths, record.id)
        held = ledger.hold()
        try:
            with _no_space_is_named(self.paths.root):
                ledger.enter("tree", bundle)
                if not kept:
                    ledger.enter("tree", place)
                ledger.enter("cgroup", self._cgroup(record))
                bundle.mkdir(mode=0o700, exist_ok=kept)
                (bundle / "rootfs").mkdir(exist_ok=kept)
                if not kept:
                    place.mkdir(mode=0o700)
                    _make_overlay_directories(place)
                records.save(bundle / "config.json", self._spec(record).oci(), durable=False)
            yield held
        except BaseException:
            os.close(held)
            if not ledger.is_held():
                ledger.undo()
            raise
        os.close(held)

    def _request(self, record: Record, *, attached_: bool) -> Run:
        place, bundle = containers.directory(self.paths, record.id), containers.bundle(self.paths, record.id)
        overlay = Overlay(
            lower=tuple(store.layer_directory(self.paths, layer) for layer in reversed(record.layers)),
            upper=place / "upper",
            work=place / "work",
            volatile=attached_,
        )
        return Run(
            container_id=record.id,
            bundle=str(bundle),
            state_root=str(self.paths.root),
            state_run=str(self.paths.run),
            owner=self._owner(record),
            cgroup=self._cgroup(record),
            limits=record.limits,
            mounts=(overlay.plan(bundle / "rootfs"),),
            attached=attached_,
            remove=attached_,
            log="" if attached_ else str(place / "log.json"),
            trace=trace.listening(),
        )

    # ------------------------------------------------------------------ look

    def containers(self) -> "list[Container]":
        """All that are kept, the oldest first."""
        return [Container(self, record) for record in containers.all_records(self.paths)]

    def get(self, name: str) -> "Container":
        """By name, id or its beginning; NotFound otherwise."""
        return Container(self, containers.find(self.paths, name))

    # ----------------------------------------------------------------- sweep

    def sweep(self) -> list[str]:
        """Undo what killed engines and monitors left; what somebody still looks after is not touched."""
        removed: list[str] = []
        for ledger in Ledger.all(self.paths):
            if ledger.owner.startswith("container-") and not ledger.is_held():
                removed += self._undo_stale(ledger)
        for draft in self.paths.containers.glob(".draft-*"):
            if time.time() - draft.lstat().st_mtime > 60:  # a create that is under way takes no minute
                shutil.rmtree(draft, ignore_errors=True)
                removed.append(f"tree {draft}")
        return removed

    def _undo_stale(self, ledger: Ledger) -> list[str]:
        """A container that is kept stays kept: its state says from now on that it was killed."""
        container_id = ledger.owner.removeprefix("container-")
        bundle = containers.bundle(self.paths, container_id)
        kept = (containers.directory(self.paths, container_id) / "container.json").exists()
        state = status.load(bundle) if kept and bundle.exists() else None
        removed = ledger.undo()
        if state is not None and state.started_at:
            bundle.mkdir(mode=0o700)
            status.save(bundle, dataclasses.replace(state, status=Status.EXITED))
        return removed


class Container:
    """One container that is kept: a handle, whose every answer is asked anew."""

    def __init__(self, engine: Engine, record: Record) -> None:
        self.engine = engine
        self.record = record

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
        state = status.load(containers.bundle(self.engine.paths, self.id))
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
        return cgroups.open_existing(Engine._cgroup(self.record))

    def usage(self) -> Usage:
        """What it uses now."""
        return self.cgroup.usage()

    def _group_is_frozen(self) -> bool:
        try:
            return cgroups.open_existing(Engine._cgroup(self.record)).is_frozen()
        except FileNotFoundError:
            return False

    def _running(self) -> State:
        state = self.state
        if state.status not in (Status.RUNNING, Status.PAUSED):
            raise Conflict(f"container {self.name} is not running, it is {state.status}")
        return state

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Run its command in the background. What it wrote in an earlier life is still there."""
        status.check_move(self.name, self.status, Status.RUNNING)
        ours, theirs = handshake.pair()
        with ours, self.engine._prepared(self.record, kept=True) as held:
            nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            try:
                with theirs:
                    request = self.engine._request(self.record, attached_=False)
                    self.engine.launcher.send(request, [theirs.fileno(), held, nothing, nothing, nothing])
            finally:
                os.close(nothing)
            answer = handshake.receive(ours)
        if answer is None:
            raise StartFailed(f"the monitor of container {self.name} was killed")
        trace.extend(answer["trace"])
        if answer["message"] == Event.FAILED:
            raise StartFailed(answer["text"], exit_code=answer["exit_code"])

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
            self.kill(signal.SIGKILL)
            return self.wait()

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Until it has ended and been cleaned up; return its exit code. TimeoutError where it takes longer."""
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

    def remove(self, *, force: bool = False) -> None:
        """Remove it with everything it wrote. Conflict while it runs, unless by force."""
        if self.status in (Status.RUNNING, Status.PAUSED):
            if not force:
                raise Conflict(
                    f"container {self.name} is {self.status}: stop the container before removing it, or force it"
                )
            self.kill()  # SIGKILL reaches a frozen process too, once it is thawed
            if self.status is Status.PAUSED:
                self.cgroup.freeze(False)
            self.wait()
        place = containers.directory(self.engine.paths, self.id)
        grave = place.with_name(f".draft-{self.id}")  # from here on nobody can see it, and a sweep ends it
        place.rename(grave)
        for directory in (grave, containers.bundle(self.engine.paths, self.id)):
            shutil.rmtree(directory, ignore_errors=not directory.exists())

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
        spec = self.engine._spec(self.record)
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
        return attached.run(self.engine.launcher, request, stdin=stdin, timeout_seconds=timeout_seconds)

    def logs(self) -> str:
        """What it has said so far, both streams in order."""
        file = containers.directory(self.engine.paths, self.id) / "log.json"
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


def _make_overlay_directories(place: Path) -> None:
    (place / "upper").mkdir(mode=0o755)  # it becomes the container's /
    (place / "work").mkdir(mode=0o700)


def _with_swap_as_docker(limits: Limits) -> Limits:
    """A memory limit alone allows as much swap again, as in docker-run(1), where there is any."""
    if limits.memory_bytes is None or limits.memory_swap_bytes is not None:
        return limits
    if len(Path("/proc/swaps").read_text().splitlines()) < 2 or not cgroups.can_limit_swap():
        return limits
    return dataclasses.replace(limits, memory_swap_bytes=2 * limits.memory_bytes)


@contextmanager
def _no_space_is_named(place: Path) -> Iterator[None]:
    """ENOSPC as an error that says where, and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno == 28:  # ENOSPC
            raise LabkitError(
                f"no space is left below {place}", hint="remove containers and images, or move LABKIT_ROOT"
            ) from error
        raise


@contextmanager
def _undone_on_failure(directory: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


__all__ = ["Container", "Engine", "NotFound", "Result"]
