"""init: the life of a container's first process between clone3 and exec, step by step.

Chapters 3 and 6. Each step stands where it stands for a reason; the order is
the lesson. runtime.md "Lifecycle" of runtime-spec 1.2, capabilities(7), execve(2).
"""

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from labkit.errors import LabkitError, StartFailed
from labkit.kernel import capabilities, cgroups, interfaces, libc, memory, mounts, namespaces, process, trace
from labkit.kernel.cgroups import Cgroup, Hierarchy
from labkit.kernel.mounts import PlannedMount
from labkit.kernel.namespaces import Namespace
from labkit.runtime import handshake, rootfs, spec, users
from labkit.runtime.handshake import Message
from labkit.runtime.request import planned

QUIET_SECONDS = 0.005


@dataclass(slots=True)
class Birth:
    """What the steps need to know, and what they find out for one another."""

    config: Mapping[str, Any]
    root: Path
    group: Cgroup | None
    peer: socket.socket
    stdio: Sequence[int]
    hierarchies: list[Hierarchy]
    first_mounts: Sequence[PlannedMount] = ()  # such as the overlay that is the root
    trees: Mapping[int, int] = field(default_factory=dict)  # the sources of bind mounts, outside.take
    waits: bool = False  # for a GO before the command
    user: users.User = users.User(0, 0, (), "/")  # noqa: RUF009 (a frozen value)

    @property
    def kinds(self) -> Namespace:
        """The namespaces that it shall have."""
        return spec.namespaces_of(self.config)


def stand_alone(_: Birth) -> None:
    """End with the monitor, and take no signal meant for its session."""
    process.die_with_parent()
    os.setsid()


def join_namespaces(birth: Birth) -> None:
    """Those that are there already, such as the network of another container."""
    for kind, path in spec.namespaces_to_join(birth.config).items():
        namespaces.enter_path(path, kind)


def join_cgroup(birth: Birth) -> None:
    """Be counted, and only then let the group look like the root of all groups."""
    if birth.group is not None and birth.group.version == 1:
        birth.group.join()  # in version 2 the process was born in it
    if Namespace.CGROUP in birth.kinds:
        namespaces.unshare(Namespace.CGROUP)


def build_root(birth: Birth) -> None:
    """Mount what the container has, below the root that is not yet `/`."""
    if Namespace.MOUNT not in birth.kinds:
        raise StartFailed("a container without a mount namespace would change the host's mounts")
    mounts.propagate("/", mounts.MountFlag.SLAVE)  # the host's unmounts reach us, our mounts never the host
    for mount in birth.first_mounts:
        mount.apply()
    rootfs.build(birth.root, birth.config.get("mounts", ()), birth.hierarchies, birth.trees)


def enter_root(birth: Birth) -> None:
    """Let the image be all there is."""
    rootfs.enter(birth.root)


def set_names(birth: Birth) -> None:
    """The hostname, and a loopback that answers."""
    if birth.config.get("hostname") and Namespace.UTS in birth.kinds:
        with trace.operation("sethostname", birth.config["hostname"]):
            socket.sethostname(birth.config["hostname"])
    if Namespace.NETWORK in birth.kinds:
        interfaces.bring_up("lo")


def await_network(birth: Birth) -> None:
    """What the command finds must be there before it looks."""
    if birth.waits and handshake.receive(birth.peer) is None:
        os._exit(125)  # the monitor is gone


def make_workplace(birth: Birth) -> None:
    """The working directory, where the image has none, as Docker does; a failure shows in go_to_work."""
    with contextlib.suppress(OSError):
        Path(birth.config["process"]["cwd"]).mkdir(parents=True, exist_ok=True)


def close_the_root(birth: Birth) -> None:
    """Mask what tells of the host, and take the right to write where it is not wanted."""
    linux = birth.config["linux"]
    rootfs.protect(linux.get("readonlyPaths", ()))
    rootfs.mask(linux.get("maskedPaths", ()))
    if birth.config["root"].get("readonly"):
        rootfs.make_read_only()


def go_to_work(birth: Birth) -> None:
    """Into the working directory."""
    directory = birth.config["process"]["cwd"]
    with trace.operation("chdir", directory):
        os.chdir(directory)


def take_stdio(birth: Birth) -> None:
    """The three descriptors that every program expects."""
    for number, descriptor in enumerate(birth.stdio):
        os.dup2(descriptor, number)


def drop_bounding(birth: Birth) -> None:
    """No execve may ever give more than this."""
    capabilities.drop_bounding(birth.config["process"]["capabilities"]["bounding"])


def become_user(birth: Birth) -> None:
    """Groups, then gid, then uid: each needs the power that the next one ends."""
    process_ = birth.config["process"]
    asked = birth.config.get("annotations", {}).get("labkit.user", "")
    numbers = process_.get("user", {})
    birth.user = users.find(asked or (f"{numbers['uid']}:{numbers['gid']}" if numbers.get("uid") else ""))
    capabilities.keep_over_setuid(True)
    with trace.operation("setuid", f"uid {birth.user.uid}, gid {birth.user.gid}"):
        os.setgroups(birth.user.groups)
        os.setresgid(birth.user.gid, birth.user.gid, birth.user.gid)
        os.setresuid(birth.user.uid, birth.user.uid, birth.user.uid)
    capabilities.keep_over_setuid(False)


def keep_capabilities(birth: Birth) -> None:
    """Root keeps the chosen ones; for a user the kernel clears them at execve, as it should."""
    sets = birth.config["process"]["capabilities"]
    permitted = capabilities.mask(sets["permitted"])
    effective = capabilities.mask(sets["effective"])
    if birth.user.uid != 0:
        permitted = effective = 0
    capabilities.set_own(effective, permitted, 0)


def refuse_privileges(birth: Birth) -> None:
    """On request, no setuid program works from here on."""
    if birth.config["process"].get("noNewPrivileges"):
        process.no_new_privileges()


STEPS: tuple[Callable[[Birth], None], ...] = (
    stand_alone,        # first: whatever happens next, it must end with the monitor
    join_namespaces,    # while the host's /proc is in reach
    join_cgroup,        # while the host's /sys/fs/cgroup is in reach, and so that all below is counted
    build_root,         # while the host's files are in reach
    enter_root,         # from here on `/` is the image
    set_names,          # needs CAP_SYS_ADMIN and CAP_NET_ADMIN, soon gone
    await_network,      # as late as can be, since others work on it meanwhile; it may need sysctls of ours
    make_workplace,     # as root, before `/` may become read-only
    close_the_root,     # after the last write to /proc, with CAP_SYS_ADMIN still there
    take_stdio,         # as root, which may reopen what it likes
    drop_bounding,      # needs CAP_SETPCAP, soon gone
    become_user,        # needs CAP_SETUID; the image's passwd is read inside
    go_to_work,         # as the user, whose right to the directory is what counts
    keep_capabilities,  # after setuid, which clears the effective set
    refuse_privileges,  # last: nothing above may need what it forbids
)  # fmt: skip


def wait_for_order(peer: socket.socket, hierarchies: list[Hierarchy], kinds: Namespace) -> NoReturn:
    """Be ready: from here on one message makes a container of this process in its fresh namespaces."""
    process.die_with_parent()
    process.set_name("labkit:init")
    if not select.select([peer], (), (), QUIET_SECONDS)[0]:
        memory.populate()  # it was made ahead: nobody waits yet
        if Namespace.NETWORK in kinds:
            interfaces.bring_up("lo")
    order = handshake.receive(peer)
    if order is None:
        os._exit(0)  # the monitor is gone, and nobody will ask
    trace.become("init", trace.Trace() if order["trace"] else None)
    run(
        Birth(
            order["config"],
            Path(order["root"]),
            cgroups.open_existing(order["cgroup"], hierarchies),
            peer,
            order["files"][:3],
            hierarchies,
            planned(order["mounts"]),
            dict(zip(order["trees"], order["files"][3:], strict=True)),
            order["waits"],
        )
    )


def run(birth: Birth, steps: Sequence[Callable[[Birth], None]] = STEPS) -> NoReturn:
    """Take the steps and become the command; whatever fails is told to the monitor."""
    try:
        for step in steps:
            step(birth)
        execute(birth)
    except StartFailed as failure:
        _tell(birth.peer, str(failure), failure.exit_code)
    except (OSError, LabkitError, ValueError, KeyError) as failure:
        where = f": {failure.filename}" if isinstance(failure, OSError) and failure.filename else ""
        text = failure.strerror if isinstance(failure, OSError) and failure.strerror else str(failure)
        notes = "; ".join(getattr(failure, "__notes__", ()))
        _tell(birth.peer, f"container init: {text}{where}" + (f" ({notes})" if notes else ""), 125)
    os._exit(125)


def _tell(peer: socket.socket, message: str, exit_code: int) -> None:
    rows = trace.take_rows()
    handshake.send(peer, Message.FAILED, text=message, exit_code=exit_code, trace=rows)


def execute(birth: Birth) -> NoReturn:
    """Find the program as a shell would and become it."""
    process_ = birth.config["process"]
    args, env = process_["args"], dict(line.split("=", 1) for line in process_["env"])
    env.setdefault("HOME", birth.user.home)
    program = find_program(args[0], env.get("PATH", os.defpath))
    trace.note("execve", f"{program} {' '.join(args[1:])}".rstrip())
    handshake.send(birth.peer, Message.READY, trace=trace.take_rows())
    restore_signals()
    close_at_exec()
    try:
        os.execve(program, args, env)
    except OSError as failure:
        reason = (failure.strerror or "").lower()
        raise StartFailed(f'exec: "{args[0]}": {reason}', exit_code=126) from None


def find_program(name: str, search: str) -> str:
    """Where a command's file is; StartFailed with Docker's words and 127 or 126."""
    places = [name] if "/" in name else [f"{directory or '.'}/{name}" for directory in search.split(":")]
    denied = ""
    for place in places:
        try:
            mode = os.stat(place).st_mode
        except OSError as failure:
            if failure.errno == errno.EACCES:
                denied = "permission denied"
            continue
        if stat.S_ISDIR(mode):
            denied = denied or "is a directory"
        elif not mode & 0o111 or not os.access(place, os.X_OK):
            denied = "permission denied"
        else:
            return place
    if denied:
        raise StartFailed(f'exec: "{name}": {denied}', exit_code=126)
    missing = "no such file or directory" if "/" in name else "executable file not found in $PATH"
    raise StartFailed(f'exec: "{name}": {missing}', exit_code=127)


def restore_signals() -> None:
    """Undo what Python changed (it ignores SIGPIPE, and a child of it would too), and block none."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def close_at_exec() -> None:
    """Whatever is open beyond stdio belongs to the host, close_range(2) with CLOSE_RANGE_CLOEXEC."""
    libc.syscall(
        "close_range", libc.CLOSE_RANGE, ctypes.c_uint(3), ctypes.c_uint(2**32 - 1), ctypes.c_uint(4)
    )
