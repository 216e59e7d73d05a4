"""membership: whether this host shares networks with others, and as whom.

Chapter 13. One record, LABKIT_ROOT/host.json, that outlives a boot. The number
of the lease on which all hangs that the others see of this host is in
LABKIT_RUN/peer/lease; who keeps that alive is labkit.network.peering.
"""

from dataclasses import dataclass
from pathlib import Path

from labkit import records
from labkit.errors import Conflict
from labkit.paths import Paths

LEASE_SECONDS = 10
"""How long the others wait for a host that says nothing, before it is gone for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """One member, as it sees itself."""

    id: str  # 16 digits, chosen when it joined
    name: str
    address: str  # of IPv4: where the others send what is for its containers
    etcd: tuple[str, ...]  # the endpoints, http://10.0.0.1:2379


def file_of(paths: Paths) -> Path:
    """Where it is written down that this host is a member."""
    return paths.root / "host.json"


def place_of(paths: Paths) -> Path:
    """The lock, the lease and the log of the process that keeps this host a member."""
    return paths.run / "peer"


def load(paths: Paths) -> Host | None:
    """This host, if it is a member."""
    try:
        found = records.load(file_of(paths))
    except FileNotFoundError:
        return None
    return Host(**{**found, "etcd": tuple(found["etcd"])})


def require(paths: Paths) -> Host:
    """This host; Conflict where it is no member."""
    host = load(paths)
    if host is None:
        raise Conflict(
            "this host shares no networks with others",
            hint="labkit host join --etcd http://ADDRESS:2379 --address ADDRESS",
        )
    return host


def save(paths: Paths, host: Host) -> None:
    """Write it down."""
    records.save(file_of(paths), host)


def forget(paths: Paths) -> None:
    """A member no longer."""
    file_of(paths).unlink(missing_ok=True)


def lease(paths: Paths) -> int:
    """The lease that was last known; 0 where none was."""
    try:
        return int(records.load(place_of(paths) / "lease")["lease"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return 0


def keep_lease(paths: Paths, lease: int) -> None:
    """Tell all commands of this host on which lease to hang what they write."""
    records.save(place_of(paths) / "lease", {"lease": lease}, durable=False)
