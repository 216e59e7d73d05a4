"""guest: a small system for a virtual machine, with this machine's own Python, labkit and its tests.

What a development machine cannot show, such as a kernel whose control groups
are all of version 2, is shown in there. A disk holds the system, a second one
brings the answer home: nothing that a console adds comes between.
qemu-system(1), mke2fs(8) with -d, initrd(4), switch_root(8).
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from labkit.course import vm
from labkit.errors import NotFound

PROJECT = Path(__file__).parents[1]
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

PROGRAMS = "sh sleep true timeout hostname findmnt lsns nsenter ip".split()
"""What the tests start beside busybox, whose own `timeout` and `ip` know less."""
WITNESSES = ("strace",)  # taken along where the machine has them
PACKAGES = "_pytest pytest py.py iniconfig packaging pluggy pygments pytest_timeout.py".split()
DISTRIBUTIONS = "pytest pytest_timeout pluggy iniconfig".split()  # by which pytest finds its plugin
NOT_NEEDED = shutil.ignore_patterns(
    "test", "idlelib", "ensurepip", "lib2to3", "pydoc_data", "distutils", "turtledemo",
    "config-3*", "tkinter", "site-packages", "dist-packages", "_tkinter*",
)  # fmt: skip
"""Of the standard library. What it was compiled to is kept: an emulated machine is slow at it."""

FIRST = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t devtmpfs none /dev
for module in {modules}; do insmod /$module; done
mkdir /new
mount -o noatime /dev/vda /new
exec switch_root /new /sbin/init
"""
"""In the initrd, only until the disk is there: pivot_root(2) could never leave the initrd's own root."""

SECOND = """\
#!/bin/sh
/usr/bin/busybox --install -s /usr/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
export HOME=/root PATH=/usr/sbin:/usr/bin PYTHONPATH=/srv/packages:/srv/labkit
cd /srv/labkit
{{ {script}
}} </dev/null >/dev/vdb
sync
poweroff -f
"""
"""On the disk: the mounts that systemd would make, then the script, whose output is the answer."""


def run(script: str, timeout_seconds: float) -> tuple[str, str]:
    """Boot, run a shell script as root, switch off. What it printed, and what it said on stderr."""
    with tempfile.TemporaryDirectory(prefix="labkit-guest-") as name:
        work = Path(name)
        plant(work / "tree", script)
        disk, answer = work / "disk", work / "answer"
        subprocess.run(
            ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", work / "tree", disk, "768M"],
            env=os.environ | {"PATH": SEARCH}, stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip
        answer.touch(mode=0o600)
        os.truncate(answer, 8 << 20)
        console = boot(work, (disk, answer), timeout_seconds)
        return answer.read_bytes().rstrip(b"\0").decode(), console


def boot(work: Path, disks: Iterable[Path], timeout_seconds: float) -> str:
    """Switch it on with these disks, wait until it is off; what the console said."""
    modules = vm.kernel().parent / "modules"
    if not (modules / "order").exists():
        raise NotFound(
            f"no kernel modules in {modules}", hint="scripts/fetch-kernel keeps those that are needed"
        )
    order = (modules / "order").read_text().split()
    first = work / "initrd"
    files = {name: (modules / name).read_bytes() for name in order}
    first.write_bytes(vm.initrd(FIRST.format(modules=" ".join(order)), files))
    # Guards against a processor's leaks cost an emulated one a third of its speed, and guard nothing.
    argv = vm.command(first, "loglevel=1 mitigations=off", memory_mib=1024, accelerator=vm.accelerator())
    argv += ["-smp", "2"]
    for number, file in enumerate(disks):
        argv += ["-drive", f"file={file},if=none,format=raw,cache=unsafe,id=disk{number}"]
        argv += ["-device", f"virtio-blk-pci,drive=disk{number}"]
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *argv], bufsize=0,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    with vm.Guest(process, time.monotonic()) as guest:
        guest.wait(timeout_seconds)
        return guest.console


def plant(tree: Path, script: str) -> None:
    """The root file system: merged as this machine's is, with what the script may need."""
    for name in "usr/bin usr/sbin usr/lib usr/lib64 etc root proc sys dev run tmp srv/packages".split():
        (tree / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / name).symlink_to(f"usr/{name}")
    (tree / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (tree / "etc/group").write_text("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")
    init = tree / "usr/sbin/init"
    init.write_text(SECOND.format(script=script))
    init.chmod(0o755)
    _plant_programs(tree)
    _plant_project(tree)


def _plant_programs(tree: Path) -> None:
    """The interpreter with its library, the programs, and every shared library of theirs."""
    found = {name: shutil.which(name, path=SEARCH) for name in (*PROGRAMS, *WITNESSES)}
    if lacking := [name for name in PROGRAMS if found[name] is None]:
        raise NotFound(
            f"the tests in a virtual machine start {' '.join(lacking)}, which this machine has not"
        )
    programs = {name: Path(file) for name, file in found.items() if file is not None}
    for name, file in programs.items():
        take(file, tree, Path("/usr/bin", name))
    take(Path("/bin/busybox"), tree)
    python, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    take(python, tree)
    (tree / "usr/bin/python3").symlink_to(python)
    shutil.copytree(library, tree / library.relative_to("/"), ignore=NOT_NEEDED)
    modules = (tree / library.relative_to("/")).glob("lib-dynload/*.so")
    for file in libraries([python, *modules, *programs.values()]):
        take(file, tree)


def _plant_project(tree: Path) -> None:
    """pytest, labkit and its tests."""
    packages, project = tree / "srv/packages", tree / "srv/labkit"
    installed = Path(sysconfig.get_path("purelib"))
    distributions = [found for name in DISTRIBUTIONS for found in installed.glob(f"{name}-*.dist-info")]
    for found in (*(installed / name for name in PACKAGES), *distributions):
        if found.is_dir():
            shutil.copytree(found, packages / found.name)
        else:
            shutil.copy2(found, packages)
    for name in ("labkit", "tests"):
        shutil.copytree(PROJECT / name, project / name, symlinks=True)  # some lead nowhere, on purpose
    shutil.copy2(PROJECT / "pyproject.toml", project)


def take(file: Path, tree: Path, place: Path | None = None) -> None:
    """Copy a file to where it is on this machine, or to `place`; a link as what it leads to."""
    target = tree / (place or file).relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, target)


def libraries(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that programs and modules are loaded with, ldd(1)."""
    listed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    return {Path(found) for found in re.findall(r"^\s+(?:\S+ => )?(/\S+) \(0x", listed, re.MULTILINE)}
