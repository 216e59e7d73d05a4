"""The archive that a kernel boots from, read back by another program, and what a console's bytes mean."""

import stat
import subprocess

import pytest

from labkit.course import vm
from labkit.errors import Invalid, NotFound

pytestmark = pytest.mark.requires("busybox")


def unpacked(archive, folder):
    folder.mkdir()
    subprocess.run(
        ["busybox", "cpio", "-i", "-d"], cwd=folder, input=archive, check=True, capture_output=True
    )
    return folder


@pytest.mark.parametrize("length", range(1, 9))
def test_cpio_reads_back_files_of_every_length(tmp_path, length):
    names = ["n" * length, "m" * (length + 1)]
    archive = b"".join(vm.entry(name, stat.S_IFREG | 0o640, name.encode()) for name in names)

    place = unpacked(archive + vm.entry("TRAILER!!!", 0), tmp_path / "out")

    assert {file.name: file.read_text() for file in place.iterdir()} == {name: name for name in names}
    assert {stat.S_IMODE(file.stat().st_mode) for file in place.iterdir()} == {0o640}


def test_an_initrd_has_an_init_that_may_be_executed_a_busybox_and_what_was_given(tmp_path):
    listed = subprocess.run(
        ["busybox", "cpio", "-t", "-v"], input=vm.initrd("#!/bin/busybox sh\n", {"extra": b"more"}),
        check=True, capture_output=True, text=False,
    ).stdout.decode()  # fmt: skip
    modes = {line.split()[-1]: line.split()[0] for line in listed.splitlines()}

    assert modes["init"] == modes["bin/busybox"] == modes["extra"] == "-rwxr-xr-x"
    assert modes["dev/console"] == "crw-------"


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("plain\r\n", "plain\n"),
        ("ROM..\x1bc\x1b[?7l\x1b[2Jhello", "ROM..\nhello"),
        ("\x1b[0mcolour\x1b[1;31m", "colour"),
    ],
)
def test_a_console_is_read_without_what_is_meant_for_a_terminal(said, read):
    assert vm.readable(said) == read


def test_without_a_kernel_the_remedy_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_ROOT", str(tmp_path))

    with pytest.raises(NotFound, match="scripts/fetch-kernel"):
        vm.kernel()


@pytest.mark.parametrize(
    ("machine", "program", "console"),
    [("x86_64", "qemu-system-x86_64", "ttyS0"), ("aarch64", "qemu-system-aarch64", "ttyAMA0")],
)
def test_each_architecture_has_its_program_and_its_console(tmp_path, monkeypatch, machine, program, console):
    (tmp_path / "cache/kernel").mkdir(parents=True)
    (tmp_path / "cache/kernel/vmlinuz").write_bytes(b"a kernel")
    monkeypatch.setenv("LABKIT_ROOT", str(tmp_path))
    monkeypatch.setattr(vm.platform, "machine", lambda: machine)

    command = vm.command("initrd", "secret=x", memory_mib=64)

    assert command[0] == program
    assert command[-1] == f"console={console} quiet panic=-1 secret=x"
    assert command[command.index("-m") + 1] == "64M"


def test_a_guest_is_told_one_line_at_a_time():
    guest = vm.Guest(process=None, began=0.0)

    with pytest.raises(Invalid, match="one line"):
        guest.run("a\nb")
