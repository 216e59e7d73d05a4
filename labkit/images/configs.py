"""configs: what an image says of itself: what runs in it, what its layers are, how it came to be.

Chapters 7 and 8. config.md of image-spec 1.1, with the fields that Docker adds.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Self

from labkit.errors import Invalid
from labkit.images import fields, references
from labkit.images.fields import Fields

NOTHING: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck:
    """How to see that a container is well. Nothing given means: as the parent has it."""

    test: tuple[str, ...] = ()  # ("NONE",), ("CMD", …) or ("CMD-SHELL", text)
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0

    @classmethod
    def read(cls, found: Fields) -> Self:
        """From JSON."""
        return cls(
            test=found.texts("Test"),
            interval_ns=found.number("Interval"),
            timeout_ns=found.number("Timeout"),
            start_period_ns=found.number("StartPeriod"),
            start_interval_ns=found.number("StartInterval"),
            retries=found.number("Retries"),
        )

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        rows = {
            "Test": list(self.test),
            "Interval": self.interval_ns,
            "Timeout": self.timeout_ns,
            "StartPeriod": self.start_period_ns,
            "StartInterval": self.start_interval_ns,
            "Retries": self.retries,
        }
        return {name: value for name, value in rows.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """What a container of the image gets where nothing else is asked for."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()  # 80/tcp
    env: tuple[str, ...] = ()  # NAME=value
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_directory: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    shell: tuple[str, ...] = ()
    healthcheck: Healthcheck | None = None
    onbuild: tuple[str, ...] = ()

    @classmethod
    def read(cls, found: Fields) -> Self:
        """From JSON."""
        env = found.texts("Env")
        for number, line in enumerate(env):
            if not all(line.partition("=")[:2]):
                raise found.refuse(f"Env[{number}]", f"is {line!r}, but a line of it is NAME=value")
        return cls(
            user=found.text("User"),
            exposed_ports=tuple(sorted(found.names("ExposedPorts"))),
            env=env,
            entrypoint=found.texts("Entrypoint") if "Entrypoint" in found else None,
            command=found.texts("Cmd") if "Cmd" in found else None,
            volumes=tuple(sorted(found.names("Volumes"))),
            working_directory=found.text("WorkingDir"),
            labels=found.labels("Labels"),
            stop_signal=found.text("StopSignal"),
            shell=found.texts("Shell"),
            healthcheck=found.maybe("Healthcheck", Healthcheck.read),
            onbuild=found.texts("OnBuild"),
        )

    def json(self) -> dict[str, Any]:
        """As JSON has it: what is not said is left out."""
        rows: dict[str, Any] = {
            "User": self.user,
            "ExposedPorts": {port: {} for port in self.exposed_ports},
            "Env": list(self.env),
            "Entrypoint": _list(self.entrypoint),
            "Cmd": _list(self.command),
            "Volumes": {volume: {} for volume in self.volumes},
            "WorkingDir": self.working_directory,
            "Labels": dict(sorted(self.labels.items())),
            "StopSignal": self.stop_signal,
            "Shell": list(self.shell),
            "Healthcheck": self.healthcheck.json() if self.healthcheck else None,
            "OnBuild": list(self.onbuild),
        }
        said_empty = {"Entrypoint": self.entrypoint is not None, "Cmd": self.command is not None}
        return {name: value for name, value in rows.items() if value or said_empty.get(name)}


def _list(words: tuple[str, ...] | None) -> list[str] | None:
    return None if words is None else list(words)


def args(
    *,
    image_entrypoint: Sequence[str],
    image_command: Sequence[str],
    entrypoint: Sequence[str] | None = None,
    command: Sequence[str] | None = None,
) -> tuple[str, ...]:
    """What a container runs: Docker's table of ENTRYPOINT, CMD and what was asked for.

    | asked for              | runs                                        |
    | ---------------------- | ------------------------------------------- |
    | nothing                | the image's ENTRYPOINT and CMD              |
    | a command              | the image's ENTRYPOINT and that command     |
    | an entrypoint          | that alone: the image's CMD was not for it  |
    | both                   | both                                        |

    The shell form is no case of its own: the builder has already written it as
    ["/bin/sh", "-c", text]. A CMD after a shell form ENTRYPOINT is handed over,
    and the shell takes it as $0 and on: it has no effect, as Docker warns.
    """
    if entrypoint is not None:
        return (*entrypoint, *(command or ()))
    return (*image_entrypoint, *(image_command if command is None else command))


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """One step in an image's making; an empty one changed the config alone and made no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    @classmethod
    def read(cls, found: Fields) -> Self:
        """From JSON."""
        return cls(
            created=found.text("created"),
            created_by=found.text("created_by"),
            author=found.text("author"),
            comment=found.text("comment"),
            empty_layer=found.flag("empty_layer"),
        )

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        rows = {
            "created": self.created,
            "created_by": self.created_by,
            "author": self.author,
            "comment": self.comment,
            "empty_layer": self.empty_layer,
        }
        return {name: value for name, value in rows.items() if value}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The config of an image. Its digest is the image's id."""

    architecture: str
    os: str = "linux"
    variant: str = ""
    created: str = ""  # RFC 3339
    author: str = ""
    run: RunConfig = field(default_factory=RunConfig)
    diff_ids: tuple[str, ...] = ()  # of the uncompressed layers, the lowest first
    history: tuple[History, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From its bytes."""
        found = fields.parse(data, "config")
        kind, diff_ids = found.one("rootfs", lambda rootfs: (rootfs.text("type"), rootfs.texts("diff_ids")))
        if kind != "layers":
            raise found.refuse("rootfs.type", f"must be 'layers', not {kind!r}")
        for number, diff_id in enumerate(diff_ids):
            try:
                references.check_digest(diff_id)
            except Invalid as error:
                raise found.refuse(f"rootfs.diff_ids[{number}]", f"does not name content: {error}") from None
        return cls(
            architecture=found.text("architecture", None),
            os=found.text("os", None),
            variant=found.text("variant"),
            created=found.text("created"),
            author=found.text("author"),
            run=found.maybe("config", RunConfig.read) or RunConfig(),
            diff_ids=diff_ids,
            history=found.many("history", History.read),
        )

    def encode(self) -> bytes:
        """Its bytes, whose digest is the image's id."""
        rows: dict[str, Any] = {
            "created": self.created,
            "author": self.author,
            "architecture": self.architecture,
            "os": self.os,
            "variant": self.variant,
            "config": self.run.json(),
            "rootfs": {"type": "layers", "diff_ids": list(self.diff_ids)},
            "history": [step.json() for step in self.history],
        }
        needed = ("config", "rootfs", "architecture", "os")
        return fields.canonical({name: value for name, value in rows.items() if value or name in needed})

    def with_step(self, step: History, diff_id: str = "", run: RunConfig | None = None) -> Self:
        """The config after one more step, which made a layer unless it says that it is empty."""
        if step.empty_layer == bool(diff_id):
            raise Invalid(f"a step that made a layer names it, an empty one does not: {step.created_by!r}")
        return replace(
            self,
            created=step.created or self.created,
            run=run or self.run,
            diff_ids=(*self.diff_ids, diff_id) if diff_id else self.diff_ids,
            history=(*self.history, step),
        )


def timestamp(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 has them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def seconds(created: str) -> float:
    """RFC 3339, with nanoseconds as Go writes them, as seconds since 1970; 0 where nothing is said."""
    if not created:
        return 0.0
    try:
        return max(0.0, datetime.fromisoformat(created).timestamp())
    except (ValueError, OverflowError):
        return 0.0  # a date for people; no start depends on it
