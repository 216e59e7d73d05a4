"""unborn: a process in fresh namespaces that waits for its order to become a container.

Chapter 6. clone3(2), pid_namespaces(7). Made ahead of a request, it saves the
request the time for a fork and for its namespaces.
"""

import os
import socket
from dataclasses import dataclass

from labkit.kernel import cgroups, process
from labkit.kernel.cgroups import Cgroup, Hierarchy
from labkit.kernel.namespaces import Namespace
from labkit.runtime import handshake, init, spec


@dataclass(slots=True)
class Unborn:
    """The parent's end of it."""

    kinds: Namespace
    pid: int
    pidfd: int
    peer: socket.socket

    @classmethod
    def clone(cls, kinds: Namespace, hierarchies: list[Hierarchy], group: Cgroup | None = None) -> "Unborn":
        """Make one; with a group of version 2, inside it."""
        ours, theirs = handshake.pair()
        inside = None if group is None else os.open(group.all_directories[0], os.O_RDONLY | os.O_CLOEXEC)
        said = "init with fresh " + " ".join(kind.oci for kind in Namespace if kind in kinds)
        pid, pidfd = process.clone(int(kinds), cgroup=inside, said=said)
        if pid == 0:
            process.close_all_but({theirs.fileno()})  # the descriptors here are other containers' pipes
            init.wait_for_order(theirs, hierarchies, kinds)
        theirs.close()
        if inside is not None:
            os.close(inside)
        return cls(kinds, pid, pidfd, ours)

    def discard(self) -> None:
        """End it, since the order wants another kind of process."""
        self.peer.close()
        process.wait(self.pidfd)
        os.close(self.pidfd)


def usual_kinds() -> Namespace:
    """What most requests want; the cgroup namespace comes once the process is in its group."""
    return spec.NAMESPACES & ~Namespace.CGROUP


def make_ahead(hierarchies: list[Hierarchy]) -> Unborn | None:
    """One for the next request, but not in version 2.

    Moving a process between its groups costs more than all that is saved: the
    kernel must stop every fork of the machine for it.
    """
    if cgroups.version_in_use(hierarchies) == 1:
        return Unborn.clone(usual_kinds(), hierarchies)
    return None
