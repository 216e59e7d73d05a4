"""ch09: the checks of the chapter on builds: keys of real trees, and images that are built again and run."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from labkit.build import builder, context
from labkit.build.builder import Built
from labkit.build.work import Options
from labkit.course import Facts, exercise
from labkit.engine.default import engine
from labkit.errors import LabkitError
from labkit.images import store
from labkit.paths import Paths

MOST_BYTES = 1_000_000


def _build(facts: Facts, directory: Path, text: str, said: str, **options: Any) -> Built:
    """An image of this Dockerfile; that it can be built is a fact."""
    wanted = Options(tags=(f"{facts.ledger.owner}/{facts.nonce}",), **options)
    failure = ""
    try:
        with context.of_directory(directory, text=text) as files:
            return builder.build(engine(), files, wanted)
    except LabkitError as error:
        failure = str(error)
    facts.equal(f"{said}: it can be built", failure, "")
    raise AssertionError(failure)


def _run(name: str) -> dict[str, Any]:
    import labkit
    from labkit.errors import StartFailed

    try:
        done = labkit.run(name)
    except StartFailed as error:
        return {"stdout": "", "stderr": str(error), "exit_code": error.exit_code}
    return {"stdout": done.stdout, "stderr": done.stderr, "exit_code": done.exit_code}


def _says(facts: Facts, built: Built) -> list[str]:
    """The lines that an image says when it is run, stderr where there are none."""
    done = facts.call(_run, built.image.name or built.image_id)
    said: str = done["stdout"] or done["stderr"]
    return said.splitlines()


# ------------------------------------------------------------------------- 1


def _tree(directory: Path, nonce: str) -> None:
    """What is copied: files, directories, an empty one, links."""
    for name in ("bin", "etc/deep", "empty"):
        (directory / name).mkdir(parents=True)
    for name, text in {
        "bin/run": "#!/bin/sh\n",
        "etc/a": nonce,
        "etc/deep/b": f"{nonce} b",
        "etc/c": "",
    }.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)
    (directory / "bin/run").chmod(0o755)
    (directory / "etc/link").symlink_to("a")


def _relink(directory: Path) -> None:
    (directory / "etc/link").unlink()
    (directory / "etc/link").symlink_to("c")


def _swap(directory: Path) -> None:
    """Two files change places: the same contents, the same names."""
    one, two = directory / "etc/a", directory / "etc/deep/b"
    first, second = one.read_text(), two.read_text()
    one.write_text(second)
    two.write_text(first)


def _shift(directory: Path) -> None:
    """The last letter of one file goes to the beginning of the next."""
    one, two = directory / "etc/a", directory / "etc/c"
    text = one.read_text()
    one.write_text(text[:-1])
    two.write_text(text[-1])


def _unlink(directory: Path) -> None:
    """A file that says what the link led to."""
    (directory / "etc/link").unlink()
    (directory / "etc/link").write_text("a")


def _same_time(directory: Path) -> None:
    """Another content of the same length, at the old time."""
    file = directory / "etc/a"
    status = file.stat()
    file.write_text(file.read_text()[::-1])
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def _age(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        os.utime(path, (10**9, 10**9), follow_symlinks=False)


def _follow(directory: Path) -> None:
    """What a link leads to lies outside and changes; a copy takes the link."""
    (directory.parent / "outside").write_text(secrets.token_hex(4))


MISSES: Mapping[str, Callable[[Path], object]] = {
    "one more byte": lambda top: (top / "etc/a").write_text((top / "etc/a").read_text() + "!"),
    "other bytes of the same number, at the old time": _same_time,
    "a file that can be executed": lambda top: (top / "etc/a").chmod(0o755),
    "a directory with another mode": lambda top: (top / "etc").chmod(0o700),
    "a file with another name": lambda top: (top / "etc/a").rename(top / "etc/z"),
    "a file in another directory": lambda top: (top / "etc/a").rename(top / "bin/a"),
    "two files that have changed places": _swap,
    "a letter that went over into the next file": _shift,
    "a link to somewhere else": _relink,
    "a file in place of a link": _unlink,
    "an empty file more": lambda top: (top / "etc/new").touch(),
    "an empty directory less": lambda top: (top / "empty").rmdir(),
}  # fmt: skip
HITS: Mapping[str, Callable[[Path], object]] = {
    "a touch(1) of everything": _age,
    "another file beside the directory, to which a link leads": _follow,
}


@contextmanager
def _copied(facts: Facts, top: Path) -> Iterator[Path]:
    """The same tree at another place."""
    place = facts.scratch("copy") / "there"
    shutil.copytree(top, place, symlinks=True)
    yield place


@exercise(
    "09.copy_key",
    title="The key",
    points=3,
    hint="write down one line for each thing that a copy would show; then change one, and compare the lines",
)
def copy_key(facts: Facts, answer: object) -> None:
    """Equal for equal copies, another for each change that a copy would show."""
    facts.is_function(answer)
    top = facts.scratch("tree") / "top"
    top.mkdir()
    _tree(top, facts.nonce)
    (top.parent / "outside").write_text("outside")
    (top / "out").symlink_to("../outside")

    def key(directory: Path, parent: str = "p1", words: str = "COPY . /there") -> Any:
        return facts.call(answer, parent, words, str(directory))  # type: ignore[arg-type]

    first = key(top)
    facts.is_a(first, str)
    facts.true("the key is text, and not empty", bool(first), "an empty text")
    facts.equal("the same tree has the same key", key(top), first)
    with _copied(facts, top) as copy:
        facts.equal("a copy at another place has the same key", key(copy), first)
    for what, happen in HITS.items():
        with _copied(facts, top) as copy:
            happen(copy)
            facts.equal(f"{what}: the same key", key(copy), first)
    for what, happen in MISSES.items():
        with _copied(facts, top) as copy:
            happen(copy)
            facts.differs(f"{what}: another key", key(copy), first)
    facts.differs("on another ground: another key", key(top, parent="p2"), first)
    facts.differs("with other words: another key", key(top, words="COPY . /elsewhere"), first)
    facts.differs("a letter of the ground in the words: another key", key(top, "p", "1COPY . /there"), first)


# ------------------------------------------------------------------------- 2

INSTALL = """\
set -e
mkdir -p "$(dirname "$2")"
{ cat "$1"; head -c 8 /dev/urandom | od -An -tx1; } | tr -d ' \\n' > "$2"
echo >> "$2"
"""
ASSEMBLE = """\
set -e
{ cat "$1"/*; head -c 8 /dev/urandom | od -An -tx1; } | tr -d ' \\n' > "$2"
echo >> "$2"
"""


def _repository(facts: Facts) -> Path:
    place = facts.scratch("repository")
    (place / "tools").mkdir()
    (place / "src").mkdir()
    (place / "tools/install").write_text(INSTALL)
    (place / "tools/assemble").write_text(ASSEMBLE)
    (place / "requirements").write_text(f"req-{facts.nonce}")
    (place / "src/main").write_text(f"src-{facts.nonce}")
    (place / "README").write_text("read me\n")
    return place


def _append(file: Path, text: str) -> None:
    file.write_text(file.read_text() + text)


@exercise(
    "09.order",
    title="Another order",
    points=3,
    hint="for each RUN: which files does it read? COPY these just before it, no others; and where is ARG?",
    timeout_seconds=120,
)
def order(facts: Facts, answer: object) -> None:
    """Each run of a tool draws a number into the image: who has the old one has not run again."""
    facts.is_a(answer, str)
    place = _repository(facts)

    def lines(said: str, version: str = "1") -> list[str]:
        built = _build(facts, place, answer, said, build_args={"VERSION": version})  # type: ignore[arg-type]
        found = _says(facts, built)
        facts.equal(f"{said}: the image says three lines", len(found), 3)
        return found

    installed, assembled, version = lines("at first")
    facts.true("the requirements are installed", f"req-{facts.nonce}" in installed, installed)
    facts.true("the sources are assembled", f"src-{facts.nonce}" in assembled, assembled)
    facts.equal("the version is that of the build argument", version, "1")
    before, both = [installed, assembled], ("install", "assemble")
    for said, happen, now, again in (
        ("a new version", lambda: None, "2", ()),
        ("another README", lambda: _append(place / "README", "more\n"), "2", ()),
        ("a touch(1) of everything", lambda: _age(place), "2", ()),
        ("another source", lambda: _append(place / "src/main", "-changed"), "2", ("assemble",)),
        ("one source more", lambda: (place / "src/more").write_text("-more"), "2", ("assemble",)),
        ("another tools/assemble", lambda: _append(place / "tools/assemble", "# 2\n"), "2", ("assemble",)),
        ("another tools/install", lambda: _append(place / "tools/install", "# 2\n"), "2", both),
        ("other requirements", lambda: _append(place / "requirements", "-new"), "2", both),
    ):  # fmt: skip
        happen()
        *found, version = lines(said, now)
        for tool, old, new in zip(both, before, found, strict=True):
            if tool in again:
                facts.true(f"{said}: tools/{tool} has run again", old != new, "its old result is there")
            else:
                facts.true(f"{said}: tools/{tool} has not run again", old == new, "it has run again")
        facts.equal(f"{said}: the version is the one asked for", version, now)
        before = found
    facts.true("the new requirements are installed", "-new" in before[0], before[0])
    facts.true("the changed sources are assembled", "-changed-more" in before[1], before[1])


# ------------------------------------------------------------------------- 3


@exercise(
    "09.ignore",
    title="What stays at home",
    points=2,
    hint="a pattern begins at the root; ** is any number of directories, also none; the last rule decides",
)
def ignore(facts: Facts, answer: object) -> None:
    """What a COPY of everything has brought into a layer."""
    facts.is_a(answer, str)
    place = facts.scratch("repository")
    one, two = (f"{name}-{secrets.token_hex(3)}" for name in ("shop", "mail"))
    stays = [
        ".git/HEAD", ".git/objects/ab/cdef", "node_modules/x/index.js", f"{one}/node_modules/y/package.json",
        f"{one}/web/node_modules/z.js", ".env", ".env.local", f"{one}/.env", f"{one}/web/.env.production",
        f"data/{one}.csv", "data/deep/dump.sql", "data/deep/schema.sql", f"{two}/.env.test",
    ]  # fmt: skip
    comes = [
        "Dockerfile.txt", f"{one}/main.js", f"{one}/web/index.html", ".env.example", f"{one}/.env.example",
        f"{one}/web/.env.example", "data/schema.sql", f"{two}/data/table.csv", f"{two}/.git/HEAD",
        ".gitignore", f"{one}/environment", f"{one}/.envrc", f"{two}/node_modules.md", f"{two}/my.env",
        f"{two}/{facts.nonce}",
    ]  # fmt: skip
    for name in (*stays, *comes):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(name)
    (place / ".dockerignore").write_text(answer)  # type: ignore[arg-type]
    built = _build(facts, place, "FROM scratch\nCOPY . /\n", "with this .dockerignore")
    (layer,) = built.image.layers
    top = store.layer_directory(Paths.from_environment(), layer)
    found = {str(path.relative_to(top)) for path in top.rglob("*") if path.is_file()}
    for name in comes:
        facts.true(f"{name} comes along", name in found, "it is not in the layer")
    for name in stays:
        facts.true(f"{name} stays at home", name not in found, "it is in the layer")


# ------------------------------------------------------------------------- 4

MAIN = """\
#include <stdio.h>
#include "word.h"
int main(void) { puts(WORD); return 0; }
"""


@exercise(
    "09.smallest",
    title="Nothing but the program",
    points=3,
    hint="two stages; and what does a program need that stands alone in its root? COPY can name one file",
)
def smallest(facts: Facts, answer: object) -> None:
    """It runs and says the word; its layers hold one file, which the kernel starts without an interpreter."""
    facts.is_a(answer, str)
    place = facts.scratch("program")
    paths = Paths.from_environment()
    for turn in ("at first", "with another word"):
        word = f"{facts.nonce}-{secrets.token_hex(4)}"
        (place / "main.c").write_text(MAIN)
        (place / "word.h").write_text(f'#define WORD "{word}"\n')
        built = _build(facts, place, answer, turn)  # type: ignore[arg-type]
        facts.equal(f"{turn}: it says the word", _says(facts, built), [word])
    tops = [store.layer_directory(paths, layer) for layer in built.image.layers]
    size = sum(path.lstat().st_size for top in tops for path in top.rglob("*") if not path.is_dir())
    facts.between("all of its layers have so many bytes", size, 1, MOST_BYTES)
    files = [f"/{path.relative_to(top)}" for top in tops for path in top.rglob("*") if not path.is_dir()]
    facts.equal("there is one file in its layers", len(files), 1)
    (program,) = (path for top in tops for path in top.rglob("*") if not path.is_dir())
    facts.equal("and it is a program", program.read_bytes()[:4], b"\x7fELF")
