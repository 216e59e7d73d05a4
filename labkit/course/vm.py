"""vm: boot a kernel with a few files in a virtual machine, and talk with it over its console.

Chapter 1. qemu-system(1), the archive of docs.kernel.org/driver-api/early-userspace/buffer-format.html,
and the kernel's own parameters, bootparam(7).
"""

import contextlib
import functools
import os
import platform
import re
import secrets
import selectors
import shlex
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from labkit.errors import Invalid, LabkitError, NotFound
from labkit.observe import machine
from labkit.paths import Paths

MEMORY_MIB = 128
TRIAL_SECONDS = 5.0
CONTROL = re.compile(r"(?:\x1b(?:\[[0-9;?]*[A-Za-z]|[A-Za-z])|\r)+")

LISTENS = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc none /proc
mount -t devtmpfs none /dev
stty -echo -onlcr
echo ready
while read -r line; do eval "$line"; done
poweroff -f
"""
"""The first process of a guest that does what its console tells it."""


def readable(console: str) -> str:
    """A console's words without what is meant for a terminal; a cleared screen is a new line."""
    return CONTROL.sub(lambda codes: "\n" if "[2J" in codes[0] else "", console)


class MachineFailed(LabkitError):
    """A virtual machine ended, or fell silent, before it said what was waited for."""


# ----------------------------------------------------------- what it boots


def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0), inode: int = 0) -> bytes:
    """One file of a "newc" archive: thirteen numbers in hexadecimal, the name, the content."""
    path = name.encode() + b"\0"
    numbers = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    return _filled(head) + _filled(data)


def _filled(part: bytes) -> bytes:
    """Padded with zeros to a multiple of four."""
    return part + bytes(-len(part) % 4)


def initrd(init: str, files: Mapping[str, bytes] | None = None) -> bytes:
    """A first root in memory: busybox, a console, `init` as the first program, and files that can be run."""
    parts = [entry(name, stat.S_IFDIR | 0o755, inode=n) for n, name in enumerate(("bin", "dev", "proc"), 1)]
    parts.append(entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1), inode=4))
    programs = {"bin/busybox": Path("/bin/busybox").read_bytes(), "init": init.encode(), **(files or {})}
    for number, (name, data) in enumerate(programs.items(), 5):
        parts.append(entry(name, stat.S_IFREG | 0o755, data, inode=number))
    return b"".join(parts) + entry("TRAILER!!!", 0)


def kernel() -> Path:
    """The distribution's kernel, as scripts/fetch-kernel has unpacked it."""
    file = Paths.from_environment().cache / "kernel/vmlinuz"
    if not file.exists():
        raise NotFound(f"no kernel at {file}", hint="scripts/fetch-kernel downloads one")
    return file


def command(
    initrd_file: str | Path, words: str = "", *, memory_mib: int = MEMORY_MIB, accelerator: str = "tcg"
) -> list[str]:
    """The command that boots it: no disk, no screen, no network; `words` end the kernel's command line."""
    architecture = platform.machine()
    board, console = ("virt", "ttyAMA0") if architecture == "aarch64" else ("pc", "ttyS0")
    processor = "host" if accelerator == "kvm" else "max"
    return [
        f"qemu-system-{architecture}", "-machine", board, "-accel", accelerator, "-cpu", processor,
        "-m", f"{memory_mib}M", "-no-user-config", "-nodefaults", "-nographic", "-serial", "stdio",
        "-no-reboot",
        "-kernel", str(kernel()), "-initrd", str(initrd_file),
        "-append", f"console={console} quiet panic=-1 {words}".rstrip(),
    ]  # fmt: skip


@functools.cache
def accelerator() -> str:
    """ "kvm" where it really runs a guest, else "tcg". A device file alone proves nothing: it is tried."""
    if machine.has("kvm"):
        with contextlib.suppress(MachineFailed), Guest.start(accelerator_name="kvm") as guest:
            guest.read_until("ready\n", TRIAL_SECONDS)
            return "kvm"
    return "tcg"


# ------------------------------------------------------------- a running one


@dataclass(slots=True, eq=False)
class Guest:
    """A virtual machine that runs. As a context manager it is switched off with the block."""

    process: "subprocess.Popen[bytes]"
    began: float
    console: str = ""  # all that it has said so far
    _read: int = 0
    _raw: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(
        cls, image: bytes = b"", words: str = "", *, memory_mib: int = MEMORY_MIB, accelerator_name: str = ""
    ) -> "Guest":
        """Switch it on. Without an image it is one that listens, for `run`."""
        chosen = accelerator_name or accelerator()
        with _in_memory(image or initrd(LISTENS)) as file:
            argv = command(f"/proc/self/fd/{file}", words, memory_mib=memory_mib, accelerator=chosen)
            began = time.monotonic()
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv], bufsize=0, pass_fds=(file,),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        return cls(process, began)

    def __enter__(self) -> "Guest":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<guest, {'running' if self.process.poll() is None else 'off'}>"

    @property
    def pid(self) -> int:
        """The one process of it that the host has: QEMU's."""
        return self.process.pid

    @property
    def age_seconds(self) -> float:
        """Since it was switched on."""
        return time.monotonic() - self.began

    def read_until(self, end: str, timeout_seconds: float = 30.0) -> str:
        """What it says up to and with `end`, since the last that was read."""
        deadline = time.monotonic() + timeout_seconds
        while (found := self.console.find(end, self._read)) < 0:
            if not self._more(deadline):
                raise MachineFailed(f"no {end!r} from the virtual machine, its last words: {self._last()}")
        said = self.console[self._read : found + len(end)]
        self._read = found + len(end)
        return said

    def run(self, line: str, timeout_seconds: float = 20.0) -> str:
        """What a line of shell prints in there."""
        if "\n" in line:
            raise Invalid("a guest is told one line at a time")
        if "ready\n" not in self.console[: self._read]:
            self.read_until("ready\n")
        mark = secrets.token_hex(8)
        assert self.process.stdin is not None
        self.process.stdin.write(f"eval {shlex.quote(line)} </dev/null 2>&1; echo {mark}\n".encode())
        return self.read_until(f"{mark}\n", timeout_seconds).removesuffix(f"{mark}\n")

    def wait(self, timeout_seconds: float = 30.0) -> int:
        """Until it switches itself off; QEMU's exit code."""
        deadline = time.monotonic() + timeout_seconds
        while self._more(deadline):
            pass
        try:
            return self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise MachineFailed(
                f"the virtual machine is still on after {timeout_seconds:g} s, its last words: {self._last()}"
            ) from None

    def close(self) -> None:
        """Pull the plug, if it is still on."""
        self.process.kill()
        self.process.wait()
        for end in (self.process.stdin, self.process.stdout):
            if end is not None:
                end.close()

    def _more(self, deadline: float) -> bool:
        """Take in what it says next; False when it has ended, or the time is over."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as waiting:
            waiting.register(self.process.stdout, selectors.EVENT_READ)
            if not waiting.select(max(0.0, deadline - time.monotonic())):
                return False
        news = os.read(self.process.stdout.fileno(), 65536)
        self._raw += news
        self.console = readable(self._raw.decode(errors="replace"))
        return bool(news)

    def _last(self) -> str:
        return " / ".join(self.console.strip().splitlines()[-3:]) or "none"


@contextlib.contextmanager
def _in_memory(data: bytes) -> Iterator[int]:
    """A file without a name, for QEMU to read."""
    file = os.memfd_create("initrd")
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(file, view) :]
        yield file
    finally:
        os.close(file)
