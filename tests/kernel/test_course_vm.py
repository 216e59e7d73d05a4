"""A virtual machine really boots, has a kernel of its own, obeys, fails in words, and dies with its owner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from labkit.course import vm

pytestmark = pytest.mark.requires("busybox", "qemu", "vm-kernel")
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def test_a_guest_has_its_own_kernel_obeys_and_switches_itself_off():
    with vm.Guest.start() as guest:
        assert guest.run(f"cat {BOOT_ID}") != Path(BOOT_ID).read_text()
        assert guest.run("uname -r").strip() == (vm.kernel().parent / "release").read_text().strip()
        assert guest.run("echo it\\'s; echo two >&2; cat") == "it's\ntwo\n"
        assert int(guest.run("grep -c . /proc/mounts")) >= 2
        command = Path(f"/proc/{guest.pid}/cmdline").read_bytes()
        assert command.startswith(b"qemu-system-")
        with pytest.raises(vm.MachineFailed):
            guest.run("poweroff -f")
        assert guest.wait() == 0
    assert not Path(f"/proc/{guest.pid}").exists()


def test_a_machine_that_fails_or_falls_silent_is_told_with_its_last_words():
    with vm.Guest.start(vm.initrd("#!/bin/busybox sh\necho last words; exec busybox sleep 60\n")) as guest:
        guest.read_until("last words\n")
        with pytest.raises(vm.MachineFailed, match=r"still on after 0.1 s.*last words"):
            guest.wait(0.1)
        with pytest.raises(vm.MachineFailed, match=r"no 'more' .*last words"):
            guest.read_until("more", 0.1)


def test_an_accelerator_is_one_that_was_seen_to_work():
    with vm.Guest.start(accelerator_name=vm.accelerator()) as guest:
        assert guest.run("echo up") == "up\n"


def test_a_machine_dies_with_the_process_that_started_it():
    code = (
        "from labkit.course import vm; import time\n"
        "g = vm.Guest.start(); print(g.pid, flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    watched = os.pidfd_open(pid)
    deadline = time.monotonic() + 5
    while not Path(f"/proc/{pid}/comm").read_text().startswith("qemu"):  # from then on it dies with its owner
        assert time.monotonic() < deadline
        time.sleep(0.01)
    try:
        signal.pidfd_send_signal(watched, 0)  # it is there

        owner.kill()
        owner.wait()

        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and is_there(watched):
            time.sleep(0.02)
        assert not is_there(watched)
    finally:
        owner.stdout.close()
        os.close(watched)


def is_there(pidfd: int) -> bool:
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return False
    return True
