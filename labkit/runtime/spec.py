"""spec: what a container shall be, in the words of the OCI runtime specification.

Chapters 6 and 14. config.md and config-linux.md of runtime-spec 1.2. A Spec is
written as a bundle's config.json, so runc and crun can run the same container.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from labkit.errors import Invalid
from labkit.kernel.limits import CPU_PERIOD_US, Limits, plan
from labkit.kernel.namespaces import Namespace

OCI_VERSION = "1.0.2"  # the newest that the peers in Debian 12 read; nothing here needs more

NO_LIMITS = Limits()

NAMESPACES = (
    Namespace.PID | Namespace.NETWORK | Namespace.IPC | Namespace.UTS | Namespace.MOUNT | Namespace.CGROUP
)

# Docker's default set without MKNOD, which comes back with the device controller that makes it harmless.
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in (
        "CHOWN DAC_OVERRIDE FSETID FOWNER NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE "
        "SYS_CHROOT KILL AUDIT_WRITE"
    ).split()
)

# What of /proc and /sys speaks of the host, or lets one change it: the lists that Docker uses.
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound",  "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
    "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


@dataclass(frozen=True, slots=True)
class Mount:
    """One file system inside, config.md "Mounts"."""

    destination: str
    kind: str
    source: str
    options: tuple[str, ...] = ()


MOUNTS = (
    Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev")),
    Mount("/dev", "tmpfs", "tmpfs", ("nosuid", "strictatime", "mode=755", "size=65536k")),
    Mount(
        "/dev/pts",
        "devpts",
        "devpts",
        ("nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    ),
    Mount("/sys", "sysfs", "sysfs", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/sys/fs/cgroup", "cgroup", "cgroup", ("nosuid", "noexec", "nodev", "ro")),
    Mount("/dev/mqueue", "mqueue", "mqueue", ("nosuid", "noexec", "nodev")),
    Mount("/dev/shm", "tmpfs", "shm", ("nosuid", "noexec", "nodev", "mode=1777", "size=67108864")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One container. `user` is looked up in the image's own files: name or uid, then :group or :gid."""

    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    working_directory: str = "/"
    user: str = ""
    capabilities: tuple[str, ...] = CAPABILITIES
    no_new_privileges: bool = False
    hostname: str = ""
    root: str = "rootfs"  # relative to the bundle
    read_only: bool = False
    mounts: tuple[Mount, ...] = MOUNTS
    namespaces: Namespace = NAMESPACES
    network_path: str = ""  # of a network namespace that is there, instead of a fresh one
    masked_paths: tuple[str, ...] = MASKED_PATHS
    readonly_paths: tuple[str, ...] = READONLY_PATHS
    cgroup: str = ""
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        if not self.args:
            raise Invalid("there is no command to run", hint="neither the image nor the request names one")
        if not self.working_directory.startswith("/"):
            raise Invalid(f"the working directory {self.working_directory!r} must begin with /")
        for text in (*self.args, *self.env, self.hostname, self.user):
            if "\0" in text:
                raise Invalid(f"{text!r} holds a zero byte, which no program can be given")
        if bad := [line for line in self.env if not line.partition("=")[1] or line.startswith("=")]:
            raise Invalid(f"the environment holds {bad[0]!r}, but a line of it is NAME=value")
        if len(self.hostname.encode()) > 64:
            raise Invalid(f"the hostname {self.hostname!r} is longer than the kernel's 64 bytes")

    @property
    def path(self) -> str:
        """The search path inside, as execvp(3) sees it."""
        values = [line.partition("=")[2] for line in self.env if line.startswith("PATH=")]
        return values[-1] if values else "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    def _namespaces(self) -> list[dict[str, str]]:
        found = [{"type": kind.oci} for kind in Namespace if kind in self.namespaces]
        if self.network_path:
            found = [one for one in found if one["type"] != Namespace.NETWORK.oci]
            found.append({"type": Namespace.NETWORK.oci, "path": self.network_path})
        return found

    def oci(self) -> dict[str, Any]:
        """The config.json of a bundle."""
        sets = {name: list(self.capabilities) for name in ("bounding", "effective", "permitted")}
        return {
            "ociVersion": OCI_VERSION,
            "process": {
                "terminal": False,
                "user": _numeric_user(self.user),
                "args": list(self.args),
                "env": list(self.env),
                "cwd": self.working_directory,
                "capabilities": sets,
                "noNewPrivileges": self.no_new_privileges,
            },
            "root": {"path": self.root, "readonly": self.read_only},
            "hostname": self.hostname,
            "mounts": [
                {"destination": m.destination, "type": m.kind, "source": m.source, "options": list(m.options)}
                for m in self.mounts
            ],
            "annotations": {"labkit.user": self.user} if self.user else {},
            "linux": {
                "cgroupsPath": "/" + self.cgroup,
                "namespaces": self._namespaces(),
                "maskedPaths": list(self.masked_paths),
                "readonlyPaths": list(self.readonly_paths),
                "resources": _resources(self.limits),
            },
        }


def _numeric_user(user: str) -> dict[str, int]:
    """Uid and gid where they are given as numbers; names are looked up inside (annotation labkit.user)."""
    uid, _, gid = user.partition(":")
    return {"uid": int(uid) if uid.isdigit() else 0, "gid": int(gid) if gid.isdigit() else 0}


def _resources(limits: Limits) -> dict[str, Any]:
    """Limits in the words of config-linux.md "Control groups", which are those of version 1."""
    values = {row.file: row.value for row in plan(limits, version=1)}
    found: dict[str, dict[str, Any]] = {"memory": {}, "cpu": {}, "pids": {}}
    for section, key, file in (
        ("memory", "limit", "memory.limit_in_bytes"),
        ("memory", "swap", "memory.memsw.limit_in_bytes"),
        ("memory", "reservation", "memory.soft_limit_in_bytes"),
        ("cpu", "quota", "cpu.cfs_quota_us"),
        ("cpu", "shares", "cpu.shares"),
        ("pids", "limit", "pids.max"),
    ):
        if file in values:
            found[section][key] = int(values[file])
    if "quota" in found["cpu"]:
        found["cpu"]["period"] = CPU_PERIOD_US
    for key, file in (("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")):
        if file in values:
            found["cpu"][key] = values[file]
    if limits.io:
        found["blockIO"] = _block_io(limits)
    return {section: content for section, content in found.items() if content}


def _block_io(limits: Limits) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, field in (
        ("throttleReadBpsDevice", "read_bytes_per_second"),
        ("throttleWriteBpsDevice", "write_bytes_per_second"),
        ("throttleReadIOPSDevice", "read_operations_per_second"),
        ("throttleWriteIOPSDevice", "write_operations_per_second"),
    ):
        rows = [(io.device.split(":"), getattr(io, field)) for io in limits.io]
        if given := [
            {"major": int(numbers[0]), "minor": int(numbers[1]), "rate": rate}
            for numbers, rate in rows
            if rate is not None
        ]:
            found[name] = given
    return found


def namespaces_of(config: Mapping[str, Any]) -> Namespace:
    """The kinds of which a config.json asks for fresh ones."""
    kinds = Namespace(0)
    for entry in config["linux"].get("namespaces", ()):
        if not entry.get("path"):
            kinds |= Namespace.named(entry["type"])
    return kinds


def namespaces_to_join(config: Mapping[str, Any]) -> dict[Namespace, str]:
    """Those that a config.json names by the path of their file."""
    return {
        Namespace.named(entry["type"]): entry["path"]
        for entry in config["linux"].get("namespaces", ())
        if entry.get("path")
    }
