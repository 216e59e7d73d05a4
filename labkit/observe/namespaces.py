"""namespaces: who shares which view of the machine with whom.

Chapter 2. namespaces(7), lsns(8).
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from labkit.kernel import namespaces
from labkit.kernel.namespaces import Namespace
from labkit.observe import processes


@dataclass(frozen=True, slots=True)
class NamespaceRow:
    """One process and the namespaces it lives in, by their inode numbers."""

    pid: int
    name: str
    command: str
    user: str
    ns_pid: int  # its pid as its own pid namespace counts: 1 for a container's first
    cgroup: str
    is_kernel_thread: bool
    identities: dict[str, int]  # by OCI name: mount, uts, ipc, pid, network, user, cgroup, time


@dataclass(frozen=True, slots=True)
class SharedNamespace:
    """One namespace with all its members."""

    kind: str
    identity: int
    pids: tuple[int, ...]
    is_host: bool


def rows(pids: "Iterable[int] | None" = None) -> list[NamespaceRow]:
    """A row for each of these processes (or for all) that is there and ours to see."""
    found = []
    for process in processes.rows(pids):
        if process.state in "ZX":
            continue  # it has ended, and most of its namespaces are gone with it
        try:
            identities = namespaces.identities(process.pid)
        except (ProcessLookupError, PermissionError):
            continue  # it ended while we looked, or belongs to somebody else
        found.append(
            NamespaceRow(
                pid=process.pid,
                name=process.name,
                command=process.command,
                user=process.user,
                ns_pid=process.ns_pids[-1],
                cgroup=process.cgroup,
                is_kernel_thread=process.is_kernel_thread,
                identities={kind.oci: number for kind, number in identities.items()},
            )
        )
    return found


def host() -> dict[str, int]:
    """The machine's own namespaces: those of process 1, or ours where we may not look at it."""
    try:
        identities = namespaces.identities(1)
    except PermissionError:
        identities = namespaces.identities("self")
    return {kind.oci: number for kind, number in identities.items()}


def shared(members: list[NamespaceRow]) -> list[SharedNamespace]:
    """The same rows turned round: each namespace once, with who is in it; the kinds in clone(2)'s order."""
    of_host = host()
    by_identity: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in members:
        for kind, number in row.identities.items():
            by_identity[kind, number].append(row.pid)
    order = [kind.oci for kind in Namespace]
    found = [
        SharedNamespace(kind, number, tuple(pids), of_host.get(kind) == number)
        for (kind, number), pids in by_identity.items()
    ]
    return sorted(found, key=lambda one: (order.index(one.kind), not one.is_host, one.identity))


def who_shares(pid: int, kind: str, members: list[NamespaceRow]) -> list[int]:
    """The processes that live in the same namespace of this kind as `pid`, itself among them."""
    wanted = namespaces.identity(pid, Namespace.named(kind))
    return [row.pid for row in members if row.identities.get(kind) == wanted]
