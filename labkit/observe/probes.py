"""probes: really try what a kernel may refuse, each in a process and in namespaces of its own.

`python -m labkit.observe.probes overlay veth …` prints, as JSON, what each was
refused with, and nothing for what worked. Whatever a probe makes goes with
its namespaces. It runs as a program because the process that asks (a notebook,
a test) has threads and must not fork. unshare(2), mount(2), ip-link(8), nft(8).
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from labkit.kernel import idmap, mounts, namespaces
from labkit.kernel.idmap import IdMap
from labkit.kernel.mounts import MountFlag
from labkit.kernel.namespaces import Namespace
from labkit.paths import Paths

NOBODY = 65534

RULESET = """\
table inet labkit_probe {
  chain nat { type nat hook prerouting priority dstnat; tcp dport 80 dnat ip to 10.0.0.2:80; }
  chain count { type filter hook forward priority 0; counter; ct state established accept; }
}
"""
"""What publishing a port needs: NAT, counters and the state of connections."""


def _overlay() -> None:
    with _private_directory() as base:
        for name in ("lower", "upper", "work", "merged"):
            (base / name).mkdir()
        (base / "lower/file").write_text("below")
        options = ",".join(
            f"{key}={mounts.escape_option(base / value, in_list=key == 'lowerdir')}"
            for key, value in (("lowerdir", "lower"), ("upperdir", "upper"), ("workdir", "work"))
        )
        mounts.mount("overlay", base / "merged", "overlay", options=options)
        try:
            (base / "merged/file").write_text("above")
            if not (base / "upper/file").exists():
                raise OSError("a file changed in the merged directory did not appear in the upper one")
        finally:
            mounts.unmount(base / "merged")


def _idmap() -> None:
    table = [IdMap(0, 100_000, 1)]
    with _private_directory() as base, idmap.user_namespace(table, table) as owner:
        for name in ("plain", "mapped"):
            (base / name).mkdir()
        mounts.bind_idmapped(base / "plain", base / "mapped", owner)
        try:
            if (base / "mapped").stat().st_uid != 100_000:
                raise OSError("the owner was not translated")
        finally:
            mounts.unmount(base / "mapped")


@contextmanager
def _private_directory() -> Iterator[Path]:
    """A directory on the file system that holds labkit's layers, with mounts that nobody else sees."""
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate("/", MountFlag.PRIVATE)
    root = Paths.from_environment().root
    with tempfile.TemporaryDirectory(
        prefix=".probe-", dir=root if os.access(root, os.W_OK) else None
    ) as base:
        yield Path(base)


def _unprivileged_user() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    namespaces.unshare(Namespace.USER)
    namespaces.unshare(Namespace.UTS)  # some distributions grant the namespace and no rights within


def _in_own_network(*commands: str, text: str = "") -> Callable[[], None]:
    def run() -> None:
        namespaces.unshare(Namespace.NETWORK)
        for command in commands:
            done = subprocess.run(command.split(), input=text, text=True, capture_output=True)
            if done.returncode:
                raise OSError((done.stderr.strip().splitlines() or [f"{command} failed"])[0])

    return run


def _unshare(kind: Namespace) -> Callable[[], None]:
    return lambda: namespaces.unshare(kind)


PROBES: dict[str, Callable[[], None]] = {
    **{f"namespace.{kind.oci}": _unshare(kind) for kind in Namespace},
    "namespace.user-unprivileged": _unprivileged_user,
    "overlay": _overlay,
    "idmap": _idmap,
    "nft": _in_own_network("nft --file -", text=RULESET),
    "tc": _in_own_network("tc qdisc add dev lo root tbf rate 1mbit burst 16kbit latency 50ms"),
    "veth": _in_own_network("ip link add probe0 type veth peer name probe1"),
    "bridge": _in_own_network("ip link add probe0 type bridge"),
    "vxlan": _in_own_network("ip link add probe0 type vxlan id 7 dstport 4789"),
    "macvlan": _in_own_network(
        "ip link add probe0 type veth peer name probe1",
        "ip link add probe2 link probe0 type macvlan mode bridge",
    ),
}


def attempt(probe: Callable[[], None]) -> str:
    """Run a probe in a forked child; what it was refused with, in words, or nothing."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            probe()
        except FileNotFoundError as error:
            os.write(writer, f"{error.filename} is not there".encode())
        except BaseException as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            os.write(writer, (words or repr(error)).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as said:
        refusal = said.read()
    os.waitpid(pid, 0)
    return refusal


def main() -> None:
    """Try the features that are named and print what each was refused with."""
    os.environ["PATH"] = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    print(json.dumps({name: attempt(PROBES[name]) for name in sys.argv[1:]}))


if __name__ == "__main__":
    main()
