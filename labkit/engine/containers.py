"""containers: what is kept of each container, and how one is found by name or id.

Chapter 6. One directory for each: container.json, upper, work, log.
"""

import contextlib
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit import records
from labkit.engine import networking
from labkit.engine.mount import Mount
from labkit.engine.networking import NO_NETWORK, Networking
from labkit.errors import Conflict, Invalid, NotFound
from labkit.kernel.limits import IoLimit, Limits
from labkit.paths import Paths

_MOODS = (
    "brave calm clever eager gentle happy jolly keen lively proud quick quiet sharp steady warm wise".split()
)
_NOUNS = "anchor barge beacon cargo crane ferry harbor jetty keel lantern mast pier rudder sail tug".split()
_ID = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One container as it was asked for. Ids have 64 digits; `short` is for people."""

    id: str
    name: str
    image: str
    layers: tuple[str, ...]
    args: tuple[str, ...]
    env: tuple[str, ...]
    working_directory: str
    user: str
    hostname: str
    read_only: bool
    limits: Limits
    created_at: float
    labels: dict[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()  # in the order in which they are made
    networking: Networking = NO_NETWORK
    image_id: str = ""  # whatever the image's name has come to mean since

    @property
    def short(self) -> str:
        """The first twelve digits, as docker ps shows them."""
        return self.id[:12]


def directory(paths: Paths, container_id: str) -> Path:
    """Where a container's own files are."""
    return paths.containers / container_id


def bundle(paths: Paths, container_id: str) -> Path:
    """Where its OCI bundle is while the machine is up."""
    return paths.bundles / container_id


def save(paths: Paths, record: Record) -> None:
    """Keep a record for good."""
    records.save(directory(paths, record.id) / "container.json", record)


def load(paths: Paths, container_id: str) -> Record:
    """One record; FileNotFoundError where there is none."""
    found: dict[str, Any] = records.load(directory(paths, container_id) / "container.json")
    limits = found.pop("limits")
    io = tuple(IoLimit(**row) for row in limits.pop("io"))
    mounts = tuple(Mount(**_with_tuples(row)) for row in found.pop("mounts", ()))
    told = networking.rows(found.pop("networking", {}))
    return Record(**_with_tuples(found), limits=Limits(**limits, io=io), mounts=mounts, networking=told)


def _with_tuples(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}


def all_records(paths: Paths) -> list[Record]:
    """Every container that is kept, the oldest first; a half-made one has no record and is not shown."""
    found = [load(paths, file.parent.name) for file in paths.containers.glob("[!.]*/container.json")]
    return sorted(found, key=lambda record: record.created_at)


def find(paths: Paths, name: str) -> Record:
    """By name, id, or as much of the id as is not ambiguous."""
    if _ID.fullmatch(name):
        with contextlib.suppress(FileNotFoundError):
            return load(paths, name)  # no need to read all the others
    known = all_records(paths)
    exact = [record for record in known if name in (record.name, record.id)]
    matching = exact or [record for record in known if len(name) >= 2 and record.id.startswith(name)]
    if len(matching) > 1:
        raise Invalid(
            f"{name} is the beginning of {len(matching)} containers' ids", hint="give more of its digits"
        )
    if not matching:
        raise NotFound(f"No such container: {name}")
    return matching[0]


def new_id() -> str:
    """64 hexadecimal digits."""
    return secrets.token_hex(32)


def check_name(paths: Paths, name: str) -> str:
    """A name that can be given; Conflict names the container that has it."""
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
            hint="two letters or more",
        )
    for record in all_records(paths):
        if record.name == name:
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{record.id}". '
                "You have to remove (or rename) that container to be able to reuse that name."
            )
    return name


def new_name(paths: Paths) -> str:
    """Two words that no container is called by; with a number once they run out."""
    taken = {record.name for record in all_records(paths)}
    for _ in range(100):
        name = f"{secrets.choice(_MOODS)}_{secrets.choice(_NOUNS)}"
        if name not in taken:
            return name
    return f"{secrets.choice(_MOODS)}_{secrets.choice(_NOUNS)}{secrets.randbelow(10**6)}"
