"""machine: what this machine offers, feature by feature, and what each missing one costs.

`has("overlay")` and `why_not("overlay")` answer tests and chapters, `rows()`
is the table of `labkit doctor`. A feature is looked at when it is asked for,
once; what can only be known by trying is tried by observe.probes.
"""

import fcntl
import functools
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from labkit.errors import Invalid, LabkitError
from labkit.kernel import capabilities as kernel_capabilities
from labkit.kernel import cgroups
from labkit.kernel.namespaces import Namespace
from labkit.observe import forwarding
from labkit.paths import Paths

OLDEST_KERNEL = (5, 12)  # clone3 is of 5.3, id-mapped mounts are of 5.12
LITTLE_DISK_BYTES = 1 << 30
KVM_GET_API_VERSION = 0xAE00  # linux/kvm.h
ADMIN_DIRECTORIES = "/usr/sbin:/sbin"


class Status(StrEnum):
    """How much of a feature is there."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What looking at a feature showed; `cost` where a limited one costs less than a missing one."""

    value: str
    status: Status = Status.OK
    remedy: str = ""
    cost: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the doctor's table; `cost` is empty where nothing is lost."""

    name: str
    value: str
    status: Status
    cost: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Feature:
    """A name that tests and chapters use, how to look at it, and what its lack costs."""

    name: str
    look: Callable[[str], Finding]
    cost: str


def _missing(value: str, remedy: str = "") -> Finding:
    return Finding(value, Status.MISSING, remedy)


def _kernel(_: str) -> Finding:
    release = platform.release()
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    if numbers < OLDEST_KERNEL:
        return _missing(release, "Linux 5.12 or later: Debian 12 or Ubuntu 24.04")
    return Finding(f"Linux {release}")


def _architecture(_: str) -> Finding:
    machine = platform.machine()
    known = machine in ("x86_64", "aarch64")
    return Finding(machine, Status.OK if known else Status.LIMITED)


def _python(_: str) -> Finding:
    return Finding(f"{platform.python_version()} at {sys.executable}")


def _root(_: str) -> Finding:
    if os.geteuid() != 0:
        return _missing(f"no, user {os.geteuid()}", "start it with sudo")
    held = kernel_capabilities.of_process()["CapEff"]
    lacking = [name for name in kernel_capabilities.names(~held) if _known(name)]
    if "CAP_SYS_ADMIN" in lacking or "CAP_NET_ADMIN" in lacking:
        return _missing(
            f"in name only, without {' '.join(lacking)}", "use a machine or a virtual machine, no container"
        )
    if lacking:
        return Finding(
            f"yes, without {' '.join(lacking)}", Status.LIMITED, cost="what needs those rights fails"
        )
    return Finding("yes")


def _known(capability: str) -> bool:
    return kernel_capabilities.number(capability) <= kernel_capabilities.last()


def _tried(name: str) -> Finding:
    if os.geteuid() != 0:
        return _missing("not tried: only root may", "start it with sudo")
    refusal = _refusals((name,))[name]
    return _missing(refusal, _tool_remedy(refusal)) if refusal else Finding("tried, works")


_REFUSALS: dict[str, str] = {}


def _refusals(names: Iterable[str]) -> dict[str, str]:
    """What each feature was refused with; those not tried yet are tried in one child."""
    new = [name for name in names if name not in _REFUSALS]
    if new:
        command = (sys.executable, "-P", "-m", "labkit.observe.probes", *new)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        _REFUSALS.update(json.loads(done.stdout))
    return _REFUSALS


PACKAGES = {
    "nft": "nftables", "ip": "iproute2", "tc": "iproute2", "busybox": "busybox-static", "docker": "docker.io",
    "dockerd": "docker.io", "etcd": "etcd-server",
}  # fmt: skip
"""Debian's packages, where they are not called as the program."""


def _tool_remedy(refusal: str) -> str:
    program = refusal.removesuffix(" is not there")
    return f"apt-get install {PACKAGES.get(program, program)}" if program != refusal else ""


def _which(*names: str) -> str | None:
    search = f"{os.environ.get('PATH', '')}:{ADMIN_DIRECTORIES}"
    return next((found for name in names if (found := shutil.which(name, path=search))), None)


def _program(name: str) -> Finding:
    found = _which(name)
    return (
        Finding(found) if found else _missing("not installed", f"apt-get install {PACKAGES.get(name, name)}")
    )


def _chromium(_: str) -> Finding:
    found = _which("chromium", "chromium-browser", "google-chrome")
    return Finding(found) if found else _missing("not installed", "apt-get install chromium")


def _qemu(_: str) -> Finding:
    machine = platform.machine()
    found = _which(f"qemu-system-{machine}")
    package = "qemu-system-arm" if machine == "aarch64" else "qemu-system-x86"
    return Finding(found) if found else _missing("not installed", f"apt-get install {package}")


def _kvm(_: str) -> Finding:
    try:
        with open("/dev/kvm", "rb+", buffering=0) as device:
            version = fcntl.ioctl(device, KVM_GET_API_VERSION)
            return Finding(f"/dev/kvm answers, version {version}; chapter 01 tries whether a guest runs")
    except OSError as error:
        return _missing(f"/dev/kvm: {error.strerror}")


def _vm_kernel(_: str) -> Finding:
    file = Paths.from_environment().cache / "kernel/vmlinuz"
    return Finding(str(file)) if os.access(file, os.R_OK) else _missing(f"no {file}", "scripts/fetch-kernel")


def _gcc_image(_: str) -> Finding:
    file = Paths.from_environment().cache / "images/lab-gcc.tar"  # as labkit.images.base keeps it
    if os.access(file, os.R_OK):
        return Finding(str(file))
    return _missing(f"no {file}", "labkit image make lab/gcc")


def _cgroups(_: str) -> Finding:
    found = cgroups.hierarchies()
    layout = cgroups.layout(found)
    if layout == "none":
        return _missing("no cgroup file system is mounted", "mount -t cgroup2 none /sys/fs/cgroup")
    fixed = [str(h.mount_point) for h in found if not os.access(h.mount_point, os.W_OK)]
    if len(fixed) == len(found):
        return _missing(f"version {layout}, but not ours to write", "start it with sudo, outside a container")
    if layout == "hybrid":
        cost = "nothing, but the controllers are where version 1 keeps them"
        return Finding("versions 1 and 2 (hybrid)", Status.LIMITED, cost=cost)
    return Finding(f"version {layout}")


def _cgroup2(_: str) -> Finding:
    for found in cgroups.hierarchies():
        if found.version == 2:
            return Finding(f"{found.mount_point}: {' '.join(sorted(found.controllers)) or 'no controllers'}")
    return _missing("not mounted", "systemd.unified_cgroup_hierarchy=1 as a kernel parameter")


def _unified(_: str) -> Finding:
    found = [
        h for h in cgroups.hierarchies() if h.version == 2 and {"cpu", "memory", "pids"} <= h.controllers
    ]
    if found:
        return Finding(f"at {found[0].mount_point}")
    return _missing(
        "version 1 has the controllers", "systemd.unified_cgroup_hierarchy=1 as a kernel parameter"
    )


V2_NAMES = {"io": "io", "cpuacct": "cpu", "freezer": "", "devices": ""}
"""Where version 2 keeps a controller; the empty ones are part of every group there."""


def _controller(name: str) -> Finding:
    wanted = name.removeprefix("cgroup.")
    for found in cgroups.hierarchies():
        there = {"io": "blkio"}.get(wanted, wanted) if found.version == 1 else V2_NAMES.get(wanted, wanted)
        writable = os.access(found.mount_point, os.W_OK)
        if found.has(there) or (found.version == 2 and not there and _is_whole(found)):
            at = f"version {found.version} at {found.mount_point}"
            return Finding(at) if writable else _missing(f"{at}, not ours to write", "start it with sudo")
    return _missing(
        "no hierarchy has it", f"cgroup_enable={wanted} as a kernel parameter, where it was disabled"
    )


def _is_whole(hierarchy: cgroups.Hierarchy) -> bool:
    """Whether version 2 is where groups live, and not only beside version 1."""
    return {"cpu", "memory", "pids"} <= hierarchy.controllers


def _psi(_: str) -> Finding:
    try:
        return Finding(Path("/proc/pressure/memory").read_text().splitlines()[0])
    except OSError as error:
        return _missing(error.strerror or "unreadable", "psi=1 as a kernel parameter")


def _namespaces(_: str) -> Finding:
    lacking = [kind.oci for kind in Namespace if not Path(f"/proc/self/ns/{kind.link}").exists()]
    if lacking:
        return _missing(f"all but {' '.join(lacking)}", "a distribution's own kernel has all eight")
    return Finding("all eight")


def _forwarding(_: str) -> Finding:
    if os.geteuid() != 0:
        return _missing("not looked at: only root may", "start it with sudo")
    try:
        found = forwarding.obstacles()
    except (OSError, LabkitError) as refused:
        return _missing(str(refused), "apt-get install nftables")
    if not found:
        return Finding("nobody else drops packets between interfaces")
    names = ", ".join(map(str, found))
    remedy = " && ".join(one.remedy for one in found)
    return Finding(f"dropped by the policy of {names}", Status.LIMITED, remedy)


def _seccomp(_: str) -> Finding:
    try:
        return Finding(Path("/proc/sys/kernel/seccomp/actions_avail").read_text().strip())
    except OSError:
        return _missing("not in this kernel", "a distribution's own kernel has it")


def _disk(_: str) -> Finding:
    root = Paths.from_environment().root
    there = next(place for place in (root, *root.parents) if place.exists())
    free = shutil.disk_usage(there).free
    value = f"{free / (1 << 30):.1f} GiB free for {root}"
    return Finding(value) if free >= LITTLE_DISK_BYTES else Finding(value, Status.LIMITED, "make room")


def _peers(_: str) -> Finding:
    if os.environ.get("PEERS") == "1":
        return Finding("PEERS=1")
    return _missing("not asked for", "make test PEERS=1")


FEATURES = (
    Feature("kernel", _kernel, "nothing of the lab can run"),
    Feature("architecture", _architecture, "images are made for x86_64 and aarch64"),
    Feature("python", _python, "nothing of the lab can run"),
    Feature("root", _root, "every chapter from 02 on"),
    Feature("disk", _disk, "layers and large files of chapter 05"),
    Feature("cgroups", _cgroups, "chapter 04 and all limits"),
    Feature("cgroup2", _cgroup2, "a container cannot be born into its group"),
    Feature("cgroup2.controllers", _unified, "chapter 04 shows version 1's files"),
    Feature("cgroup.memory", _controller, "memory limits and the OOM killer, chapter 04"),
    Feature("cgroup.cpu", _controller, "cpu quota and weight, chapter 04"),
    Feature("cgroup.cpuacct", _controller, "cpu time of a container"),
    Feature("cgroup.cpuset", _controller, "choosing a container's processors, chapter 04"),
    Feature("cgroup.pids", _controller, "holding a fork bomb, chapter 04"),
    Feature("cgroup.io", _controller, "limits for disks, chapter 04"),
    Feature("cgroup.freezer", _controller, "pausing a container, chapter 04"),
    Feature("cgroup.devices", _controller, "the list of devices a container may open"),
    Feature("cgroup.hugetlb", _controller, "limits for huge pages, which no chapter needs"),
    Feature("psi", _psi, "chapter 04's pressure cell is skipped"),
    Feature("namespaces", _namespaces, "the kinds that are not there, in chapter 02"),
    *(
        Feature(f"namespace.{kind.oci}", _tried, f"{kind.oci} isolation, chapter 02, and every container")
        for kind in Namespace
    ),
    Feature("namespace.user-unprivileged", _tried, "root that is not root, started by a user, chapter 02"),
    Feature("overlay", _tried, "chapter 05 and every container"),
    Feature("idmap", _tried, "images shared between containers with their own user ids"),
    Feature("seccomp", _seccomp, "filters for system calls"),
    Feature("nft", _tried, "publishing ports, and chapter 04's count of packets"),
    Feature("tc", _tried, "shaping traffic, chapter 04"),
    Feature("veth", _tried, "containers have no network"),
    Feature("bridge", _tried, "containers do not reach each other"),
    Feature("forwarding", _forwarding, "containers on a bridge reach nobody outside, and are not reached"),
    Feature("vxlan", _tried, "networks across machines"),
    Feature("macvlan", _tried, "containers with an address of the outer network"),
    Feature("kvm", _kvm, "chapter 01's machine is emulated, about ten times slower"),
    Feature("qemu", _qemu, "chapter 01's virtual machine is skipped"),
    Feature("vm-kernel", _vm_kernel, "chapter 01's virtual machine is skipped"),
    Feature("gcc-image", _gcc_image, "chapter 09, which compiles a program, is skipped"),
    Feature("busybox", _program, "the image lab/busybox cannot be made: no chapter runs"),
    Feature("etcd", _program, "chapter 13's hosts have nothing to agree by"),
    Feature("tcpdump", _program, "tests that listen on a wire are skipped"),
    Feature("chromium", _chromium, "the browser tests are skipped"),
    Feature("strace", _program, "tests that ask strace are skipped"),
    Feature("peers", _peers, "tests that ask other people's programs are skipped"),
    Feature("runc", _program, "tests and a comparison with runc are skipped"),
    Feature("crun", _program, "tests and a comparison with crun are skipped"),
    Feature("skopeo", _program, "chapter 07; tests that ask skopeo are skipped"),
    Feature("umoci", _program, "tests that ask umoci are skipped"),
    Feature("buildah", _program, "tests that ask buildah are skipped"),
    Feature("podman", _program, "tests that ask podman are skipped"),
    Feature("dockerd", _program, "tests that ask Docker are skipped"),
)
BY_NAME = {feature.name: feature for feature in FEATURES}
NEEDED = ("kernel", "root", "cgroups", "namespaces", "overlay")
"""Without these the lab does not run."""


@functools.cache
def look(name: str) -> Row:
    """Look at one feature, once; Invalid names the features there are."""
    feature = BY_NAME.get(name)
    if feature is None:
        raise Invalid(f"no feature is called {name!r}", hint=f"there are {', '.join(BY_NAME)}")
    found = feature.look(name)
    lost = "" if found.status is Status.OK else found.cost or feature.cost
    return Row(name, found.value, found.status, lost, found.remedy)


def has(name: str) -> bool:
    """Whether a feature is there, if only in part."""
    return look(name).status is not Status.MISSING


def why_not(name: str) -> str:
    """Why a feature is missing and what would help; nothing where it is there."""
    if has(name):
        return ""
    row = look(name)
    return f"no {name}: {row.value}" + (f" ({row.remedy})" if row.remedy else "")


def rows() -> list[Row]:
    """Every feature, in the order of the doctor's table."""
    if os.geteuid() == 0:
        _refusals(feature.name for feature in FEATURES if feature.look is _tried)  # all in one child
    return [look(feature.name) for feature in FEATURES]


def capabilities() -> dict[str, bool]:
    """Every feature's name and whether it is there."""
    return {row.name: row.status is not Status.MISSING for row in rows()}


def forget() -> None:
    """Look anew from now on: something was installed, or LABKIT_ROOT moved."""
    look.cache_clear()
    _REFUSALS.clear()
