"""preflight: what would keep the lab from being set up, found before anything is changed.

Runs with the system's own Python and nothing else. Each problem is named with
its remedy on stderr; exit code 2 where there is one.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST_KERNEL = (5, 12)  # clone3 is of 5.3, id-mapped mounts are of 5.12
OLDEST_PYTHON = (3, 11)
CHECKOUT_BYTES = 1500 * 1024**2  # .venv with the test extra takes 600 MB, its download as much for a while
ROOT_BYTES = 500 * 1024**2  # images, layers and a kernel


class Machine:
    """What the checks look at. Real facts by default, others for a test."""

    def __init__(self, **facts):
        self.system = os.uname().sysname
        self.release = os.uname().release
        self.root = os.geteuid() == 0
        self.sudo = shutil.which("sudo") is not None
        self.apt = shutil.which("apt-get") is not None
        self.python = sys.version_info[:2]
        self.overlay = facts["overlay"] if "overlay" in facts else has_overlay()
        self.checkout_free = self.root_free = None  # not looked at
        vars(self).update(facts)


def has_overlay(file="/proc/filesystems"):
    """Whether the kernel has OverlayFS, built in, loaded, or as a module that could be."""
    try:
        with open(file) as table:
            if re.search(r"\boverlay$", table.read(), re.MULTILINE):
                return True
    except OSError:
        return False
    modprobe = shutil.which("modprobe", path="/usr/sbin:/sbin:/usr/bin:/bin")
    dry = [modprobe, "--dry-run", "--quiet", "overlay"]  # looks for the module and does not load it
    return modprobe is not None and subprocess.run(dry, stderr=subprocess.DEVNULL).returncode == 0


def free_bytes(path):
    """The room on the file system that holds a path, or will."""
    place = Path(path).resolve()
    return shutil.disk_usage(next(there for there in (place, *place.parents) if there.exists())).free


def problems(machine):
    """Each problem with its remedy, as pairs; the first ones make the others pointless."""
    if machine.system != "Linux":
        return [
            (
                f"this is {machine.system}, and containers are a feature of the Linux kernel",
                "use a virtual machine with Debian 12 or Ubuntu 24.04",
            )
        ]
    return [pair for check in CHECKS for pair in check(machine)]


def check_rights(machine):
    if not machine.root and not machine.sudo:
        yield "you are not root, and there is no sudo", "become root (su -), or install and allow sudo"


def check_kernel(machine):
    numbers = tuple(int(number) for number in re.findall(r"\d+", machine.release)[:2])
    if numbers < OLDEST_KERNEL:
        wanted = ".".join(map(str, OLDEST_KERNEL))
        yield f"the kernel is {machine.release}, and the lab needs {wanted}", "use Debian 12 or Ubuntu 24.04"


def check_overlay(machine):
    if not machine.overlay:
        yield (
            "the kernel has no overlay file system, and no module for it",
            "use a distribution's own kernel, or one with CONFIG_OVERLAY_FS; in a container, use its host",
        )


def check_python(machine):
    if machine.python < OLDEST_PYTHON:
        have, wanted = (".".join(map(str, version)) for version in (machine.python, OLDEST_PYTHON))
        yield (
            f"{sys.executable} is Python {have}, and the lab needs {wanted}",
            "use Debian 12 or Ubuntu 24.04, or name another: LABKIT_PYTHON=/path/to/python3",
        )


def check_packages(machine):
    if not machine.apt:
        yield "there is no apt-get: this is not Debian or Ubuntu", "use Debian 12 or Ubuntu 24.04"


def check_disk(machine):
    for free, needed, what in (
        (machine.checkout_free, CHECKOUT_BYTES, "the Python packages, beside the project"),
        (machine.root_free, ROOT_BYTES, "images and layers, in LABKIT_ROOT"),
    ):
        if free is not None and free < needed:
            have, want = (f"{size / 1024**2:.0f} MB" for size in (free, needed))
            yield (
                f"{have} of disk are free for {what}, and {want} are needed",
                "make room, or move it to another disk",
            )


CHECKS = (check_rights, check_kernel, check_overlay, check_python, check_packages, check_disk)


def main():
    parser = argparse.ArgumentParser(description="Say what would keep the lab from being set up.")
    parser.add_argument("--checkout", metavar="DIR", help="look for room here, for .venv")
    parser.add_argument("--root", metavar="DIR", help="look for room here, for images")
    chosen = parser.parse_args()
    facts = {}
    if chosen.checkout:
        facts["checkout_free"] = free_bytes(chosen.checkout)
    if chosen.root:
        facts["root_free"] = free_bytes(chosen.root)
    found = problems(Machine(**facts))
    for problem, remedy in found:
        print(f"setup: {problem}\n  → {remedy}", file=sys.stderr)
    if found:
        print("Nothing was changed.", file=sys.stderr)
    return 2 if found else 0


if __name__ == "__main__":
    sys.exit(main())
