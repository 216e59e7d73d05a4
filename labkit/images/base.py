"""base: the images that the lab makes itself, without a hub.

Chapters 5, 6 and 9. busybox(1) from Debian's busybox-static, mmdebstrap(1), and gcc(1) from packages.
"""

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from labkit.errors import NotFound, Unsupported
from labkit.images import configs, manifests, store
from labkit.images.configs import History, ImageConfig, RunConfig
from labkit.images.store import Image
from labkit.paths import Paths

BUSYBOX = "lab/busybox"
DEBIAN = "lab/debian"
GCC = "lab/gcc"
_GCC_PACKAGES = ("base-files", "coreutils", "dash", "gcc", "libc6-dev")

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "etc/hostname": "",
    "etc/hosts": "",
    "etc/resolv.conf": "",
}
_PLACES = {
    "dev": 0o755,
    "etc": 0o755,
    "home": 0o755,
    "proc": 0o755,
    "root": 0o700,
    "sys": 0o755,
    "tmp": 0o1777,
    "var": 0o755,
}


def build_busybox(paths: Paths, program: Path | None = None) -> Image:
    """lab/busybox from the machine's static busybox, with a link for every applet; some milliseconds."""
    program = program or _find_busybox()
    with store.new_layer(paths) as draft:
        for name, mode in _PLACES.items():
            (draft / name).mkdir()
            (draft / name).chmod(mode)
        for name, text in _FILES.items():
            (draft / name).write_text(text)
            (draft / name).chmod(0o644)
        (draft / "bin").mkdir()
        shutil.copyfile(program, draft / "bin/busybox")
        (draft / "bin/busybox").chmod(0o755)
        _link_applets(draft, program)
        made_at = program.stat().st_mtime  # as old as the program: the same program gives the same image
        for path in (*store.walk(draft), draft):
            os.utime(path, (made_at, made_at), follow_symlinks=False)
        return _keep(paths, BUSYBOX, draft, made_at, f"the applets of {program}", command="sh")


def _keep(paths: Paths, name: str, draft: Path, made_at: float, said: str, *, command: str) -> Image:
    """An image of one layer."""
    layer = store.keep(paths, draft)
    here = manifests.here()
    config = ImageConfig(
        architecture=here.architecture,
        variant=here.variant,
        run=RunConfig(env=(store.DEFAULT_PATH,), command=(command,)),
    ).with_step(History(created=configs.timestamp(made_at), created_by=said), layer.diff_id)
    return store.make(paths, config, [layer], [name])


def _link_applets(draft: Path, program: Path) -> None:
    listed = subprocess.run(
        [program, "--list-full"], capture_output=True, text=True, check=True
    ).stdout.split()
    for applet in listed:
        link = draft / applet
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():  # bin/busybox lists itself
            link.symlink_to("/bin/busybox")


def _find_busybox() -> Path:
    """The machine's busybox, if it needs no shared library: a container has none to offer."""
    for place in ("/bin/busybox", "/usr/bin/busybox"):
        if Path(place).exists() and not _wants_interpreter(Path(place)):
            return Path(place)
    raise Unsupported("there is no static busybox on this machine", hint="apt-get install busybox-static")


def _wants_interpreter(program: Path) -> bool:
    """Whether an ELF file has a PT_INTERP header, elf(5)."""
    header = program.read_bytes()[:4096]
    if header[:4] != b"\x7fELF" or header[4] != 2:
        return False
    offset, size, count = (int.from_bytes(header[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    kinds = (
        int.from_bytes(header[offset + i * size : offset + i * size + 4], "little") for i in range(count)
    )
    return 3 in kinds  # PT_INTERP


def build_debian(paths: Paths, suite: str = "", report: Callable[[str], None] = print) -> Image:
    """lab/debian from Debian's own packages; 20 to 60 s.

    Where nothing else is asked for, a Debian machine's own release by its own mirrors.
    """
    suite = suite or _suite()
    if not shutil.which("mmdebstrap"):
        raise Unsupported("mmdebstrap is not on this machine", hint="apt-get install mmdebstrap")
    with store.new_layer(paths) as draft:
        command = ["mmdebstrap", "--variant=minbase", "--mode=root", suite, str(draft)]
        said = []
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as run:
            assert run.stdout is not None
            for line in run.stdout:
                said.append(line.rstrip())
                report(said[-1])
        if run.returncode:
            cause = next((line for line in said if line.startswith("E:")), said[-1] if said else "no word")
            raise Unsupported(f"mmdebstrap failed: {cause}", hint="does apt-get update work here?")
        made_by = f"mmdebstrap --variant=minbase {suite}"
        return _keep(paths, DEBIAN, draft, time.time(), made_by, command="bash")


def _suite(release: Path = Path("/etc/os-release")) -> str:
    """This machine's release of Debian, os-release(5); `stable` elsewhere."""
    fields = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line)
    return fields.get("VERSION_CODENAME", "stable") if fields.get("ID") == "debian" else "stable"


def build_gcc(paths: Paths, report: Callable[[str], None] = print) -> Image:
    """lab/gcc, a C compiler with a shell, from this machine's mirrors; 10 s, and 60 MB of packages.

    A copy is kept with what can be made again, so that other stores need no network.
    """
    from labkit.images import packages, saving  # loaded where they are needed: every run asks for an image

    with store.new_layer(paths) as draft:
        packages.unpack(_GCC_PACKAGES, draft, report)
        for name, mode in _PLACES.items():
            (draft / name).mkdir(exist_ok=True)
            (draft / name).chmod(mode)
        for name, text in _FILES.items():
            (draft / name).write_text(text)
        for link, program in (("sh", "dash"), ("cc", "gcc")):  # as scripts of the packages make them
            if not (draft / "usr/bin" / link).is_symlink():
                (draft / "usr/bin" / link).symlink_to(program)
        made_by = f"packages {' '.join(_GCC_PACKAGES)}"
        image = _keep(paths, GCC, draft, time.time(), made_by, command="sh")
    file = kept(paths, GCC)
    file.parent.mkdir(mode=0o700, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(prefix=".draft-", dir=file.parent)
    with open(descriptor, "wb") as writer:
        saving.save(paths, [GCC], writer.write, compress="gzip")
    Path(fresh).rename(file)
    return image


def kept(paths: Paths, name: str) -> Path:
    """Where the archive of an image is that takes a network to make."""
    return paths.cache / "images" / f"{name.replace('/', '-')}.tar"


MAKERS: dict[str, Callable[[Paths], Image]] = {BUSYBOX: build_busybox, DEBIAN: build_debian, GCC: build_gcc}
"""Every embedded image, by name."""

_MAKING = threading.Lock()


def _made_once(paths: Paths, name: str, make: Callable[[], object]) -> Image:
    """Of many threads that find no image, the first makes it and the others wait."""
    with _MAKING:
        try:
            return store.get(paths, name)
        except NotFound:
            make()
            return store.get(paths, name)


def get(paths: Paths, name: str) -> Image:
    """An image by its name; lab/busybox is made at its first use, the others of the lab on request alone."""
    try:
        return store.get(paths, name)
    except NotFound:
        plain = store.normal_name(name)
        if plain == BUSYBOX:
            return _made_once(paths, plain, lambda: build_busybox(paths))
        if plain in MAKERS and kept(paths, plain).is_file():
            from labkit.images import archive

            return _made_once(paths, plain, lambda: archive.load(paths, kept(paths, plain)))
        if plain in MAKERS:
            raise NotFound(f"No such image: {plain}:latest", hint=f"labkit image make {plain}") from None
        raise
