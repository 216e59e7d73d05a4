"""ch08: the checks of the chapter on Dockerfiles: a parser, a shell, and real containers as witnesses."""

import hashlib
import json
import os
import random
import secrets
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from labkit.build import builder, context, dockerfile, variables
from labkit.build.builder import Built
from labkit.build.work import Options
from labkit.course import Facts, exercise
from labkit.engine.container import Container
from labkit.engine.engine import Engine
from labkit.errors import LabkitError
from labkit.images import base, blobs, store
from labkit.images.store import Image
from labkit.paths import Paths
from labkit.runtime.status import Status

ROUNDS = 12
GRACE_SECONDS = 2.0

# ------------------------------------------------------------------------- 1


def _gap(dice: random.Random) -> str:
    """What may stand between two lines and says nothing."""
    return dice.choice(("", "", "\n", "# a comment\n", "   # an indented one \\\n", " \t \n"))


def _instruction(dice: random.Random, nonce: str) -> str:
    """One instruction, over several lines where the dice want it so."""
    keyword = dice.choice(("RUN", "run", "Label", "CMD", "RUN", "ENV"))
    words = {
        "LABEL": lambda: [f"{nonce}.a=1", "b='#2'", 'c="three four"'],
        "ENV": lambda: [f"COLOUR=#{dice.randrange(16**6):06x}", f"A={nonce}", "B=b#b"],
    }.get(
        keyword.upper(), lambda: dice.sample(["echo", nonce, "#1", "a  b", "&&", "x\\\\y", "'# no'", "$V"], 5)
    )()
    text = dice.choice(("", "", "  ", "\t")) + keyword
    for word in words:
        text += dice.choice((" ", " ", "  ", " \\\n", " \\\n" + _gap(dice), " \\  \n    ")) + word
    return text + dice.choice(("", "  ", " \\\\" if keyword.upper() in ("RUN", "CMD") else ""))


def _dockerfile(dice: random.Random, nonce: str) -> str:
    lines = [_gap(dice) + "FROM lab/busybox"]
    lines += [_gap(dice) + _instruction(dice, f"{nonce}-{number}") for number in range(dice.randrange(2, 6))]
    return "\n".join([*lines, "CMD end"]) + dice.choice(("", "\n", "\n# the end\n"))


@exercise(
    "08.logical_lines",
    title="Lines",
    points=3,
    hint="keep the line on which the instruction began; what has no backslash at its end completes it",
)
def logical_lines(facts: Facts, answer: object) -> None:
    """The same instructions as labkit's parser reads, in Dockerfiles that nobody has seen before."""
    facts.is_function(answer)
    plain = f"FROM lab/busybox\nRUN echo {facts.nonce}\n"
    _lines_agree(facts, answer, plain, "one instruction on each line")
    comments = f"# first\n\nFROM lab/busybox\n  # {facts.nonce}\nENV COLOUR=#ff0000\n"
    _lines_agree(facts, answer, comments, "comments, and a # that is none")
    goes_on = f"FROM lab/busybox\nRUN echo one \\\n# not there\n\n  {facts.nonce} \\  \n&& true\nCMD x\n"
    _lines_agree(facts, answer, goes_on, "an instruction over lines, with a comment in it")
    double = f"FROM lab/busybox\nrun echo {facts.nonce} \\\\\nCMD x"
    _lines_agree(facts, answer, double, "two backslashes at the end")
    dice = random.Random(facts.nonce)
    for number in range(1, ROUNDS + 1):
        _lines_agree(facts, answer, _dockerfile(dice, facts.nonce), f"random file {number}")


def _lines_agree(facts: Facts, answer: object, text: str, said: str) -> None:
    wanted = []
    for one in dockerfile.parse(text).instructions:
        _, _, rest = one.original.replace("\t", " ").partition(" ")
        wanted.append([one.line, one.keyword, rest.strip()])
    found = facts.call(answer, text)  # type: ignore[arg-type]
    facts.is_a(found, list, tuple)
    rows = [list(row) for row in found]
    for row in rows:
        row[2:] = [text.replace("\t", " ") for text in row[2:]]
    facts.equal(f"{said}: labkit's parser reads the same in {text!r}", rows, wanted)


# ------------------------------------------------------------------------- 2


def _word(dice: random.Random, deep: int = 0) -> str:
    """A piece of text with variables in it, such as a shell takes between double quotes, too."""
    name = dice.choice(("FULL", "EMPTY", "MISSING", "n_2"))
    plain = dice.choice(("a", "x/y", "-", ".", "=", "_1 ", "ü", "\\$"))
    if deep > 2:
        return plain
    inner = "".join(_word(dice, deep + 1) for _ in range(dice.randrange(3)))
    how = dice.choice((":-", "-", ":+", "+"))
    return dice.choice((plain, plain, f"${name}/", f"${{{name}}}", f"${{{name}{how}{inner}}}"))


def _by_the_shell(text: str, values: Mapping[str, str]) -> str:
    """A second witness: what sh(1) makes of it between double quotes."""
    return subprocess.run(
        ["/bin/sh", "-c", f'printf %s "{text}"'],
        env=dict(values), capture_output=True, text=True, check=True, timeout=10,
    ).stdout  # fmt: skip


@exercise(
    "08.expand",
    title="Variables",
    points=3,
    hint="a word may hold variables, which may hold words: let a function read up to a `}`, and call itself",
)
def expand(facts: Facts, answer: object) -> None:
    """As labkit's builder and the shell fill them in, in texts that nobody has seen before."""
    facts.is_function(answer)
    values = {"FULL": facts.nonce, "EMPTY": "", "n_2": "two words"}
    texts = [
        "no variable", "$FULL", "in${FULL}side", "$MISSING.", "${MISSING:-word}", "${EMPTY:-word}",
        "${EMPTY-word}", "${MISSING-word}", "${FULL:+word}", "${EMPTY:+word}", "${EMPTY+word}",
        "${MISSING+word}", "\\$FULL and $FULL", "${MISSING:-a$FULL}", "${MISSING:-${EMPTY:-${n_2}}}!",
        "$FULL$n_2", "${FULL:-a}}", "${MISSING:-}", "${MISSING:-$FULL-${EMPTY-b}}c",
    ]  # fmt: skip
    dice = random.Random(facts.nonce)
    texts += ["".join(_word(dice) for _ in range(4)) for _ in range(ROUNDS * 2)]
    found = facts.call(_all_of(answer), texts, values)
    for text, made in zip(texts, found, strict=True):
        wanted = variables.expand(text, values)
        facts.equal(f"the shell and labkit agree on {text!r}", _by_the_shell(text, values), wanted)
        facts.equal(f"{text!r} is filled in", made, wanted)


def _all_of(answer: object) -> Callable[..., list[str]]:
    def filled(texts: list[str], values: dict[str, str]) -> list[str]:
        return [answer(text, dict(values)) for text in texts]  # type: ignore[operator]

    return filled


# ------------------------------------------------------------------------- 3


@contextmanager
def _engine(facts: Facts) -> Iterator[Engine]:
    """An engine whose containers go with the check."""
    engine = Engine(owner=facts.mark)
    try:
        yield engine
    finally:
        engine.close()


def _build(facts: Facts, engine: Engine, text: str, place: Path, **secrets_: Path) -> Built:
    """Build anew, since a secret is no part of a step's key, under a name that goes with the check, too."""
    options = Options(tags=(_name(facts),), network="none", secrets=secrets_, no_cache=True)
    with context.of_directory(place, text=text) as files:
        return builder.build(engine, files, options)


def _name(facts: Facts) -> str:
    return f"{facts.ledger.owner}/{facts.nonce}"


def _words_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]


Form = str | list[str] | None
"""Of CMD or ENTRYPOINT: the shell form, the exec form, or that there is none."""


def _line(keyword: str, form: Form) -> str:
    return "" if form is None else f"{keyword} {form if isinstance(form, str) else json.dumps(form)}\n"


@exercise(
    "08.process_one",
    title="The square, computed",
    points=2,
    hint="bring both into lists first. What takes the place of what when there are words?",
)
def process_one(facts: Facts, answer: object) -> None:
    """The same as the kernel says of process 1, for each pair of forms, with words and without."""
    facts.is_function(answer)
    program = ["usleep", "900000000"]  # it lives on, whatever words follow
    entrypoint, command = [*program, f"{facts.nonce} e"], [*program, f"{facts.nonce} c"]
    in_shell = [f"usleep 900000000 {facts.nonce}-{name} && true" for name in "ec"]
    cases = [
        (entry, cmd, words)
        for entry in (None, in_shell[0], entrypoint)
        for cmd in (None, in_shell[1], command)
        for words in ([], [*program, facts.nonce, "two words"])
        if entry or cmd or words
    ]
    cases += [(entrypoint, [], []), ([], command, []), (entrypoint, command, [""])]
    computed = facts.call(_each(answer), cases)
    place = facts.scratch("context")
    with _engine(facts) as engine:
        for (entry, cmd, words), found in zip(cases, computed, strict=True):
            text = "FROM lab/busybox\nCMD []\n" + _line("ENTRYPOINT", entry) + _line("CMD", cmd)
            _build(facts, engine, text, place)
            box = engine.create(_name(facts), words or None)
            box.start()
            wanted = _words_of(box.pid)
            box.remove(force=True)
            said = f"ENTRYPOINT {json.dumps(entry)}, CMD {json.dumps(cmd)}, words {json.dumps(words)}"
            facts.equal(f"{said}: the kernel says the same of process 1", found, wanted)


def _each(answer: object) -> Callable[..., list[list[str]]]:
    def computed(cases: list[tuple[Form, Form, list[str]]]) -> list[list[str]]:
        return [list(answer(*case)) for case in cases]  # type: ignore[operator]

    return computed


# ------------------------------------------------------------------------- 4

_SERVE = """#!/bin/sh
trap 'echo {nonce} leaves; exit 0' TERM
echo ready
while :; do sleep 0.05; done
"""


@exercise(
    "08.dockerfile",
    title="A Dockerfile to be proud of",
    points=4,
    hint="look at the order: what must root do before USER, and what is in a layer as soon as it was copied?",
)
def proud(facts: Facts, answer: object) -> None:
    """Built with a server and a token that nobody knows, asked of the kernel, and searched to the ground."""
    facts.is_a(answer, str)
    place, apart = facts.scratch("context"), facts.scratch("secret")
    token = f"TOKEN-{secrets.token_hex(16)}"
    for file in (place / "token", apart / "token"):
        file.write_text(token)
    (place / "serve").write_text(_SERVE.format(nonce=facts.nonce))
    (place / "serve").chmod(0o755)
    with _engine(facts) as engine:
        try:
            built = _build(facts, engine, answer, place, token=apart / "token")  # type: ignore[arg-type]
        except LabkitError as error:
            facts.equal("it can be built", str(error), "")
            raise
        ground = base.get(engine.paths, base.BUSYBOX).layers
        facts.equal("it is built on lab/busybox", built.image.layers[: len(ground)], ground)
        title = built.config.run.labels.get("org.opencontainers.image.title")
        facts.equal("the label has the title", title, "serve")
        _serves(facts, engine, token)
        _takes_words(facts, engine)
        facts.equal("no layer and no JSON holds the token", _holders(engine.paths, built.image, token), [])


def _serves(facts: Facts, engine: Engine, token: str) -> None:
    box = _started(facts, engine, None)
    process = Path(f"/proc/{box.pid}")
    facts.equal("the words of process 1 end as asked for", _words_of(box.pid)[-2:], ["--port", "8080"])
    uid = process.joinpath("status").read_text().split("Uid:")[1].split()[0]
    facts.equal("the kernel says that it is the user 4242", uid, "4242")
    facts.equal("in the image's passwd that is app", box.exec(["id", "-un"]).stdout.strip(), "app")
    facts.equal("its working directory is /srv/app", os.readlink(process / "cwd"), "/srv/app")  # noqa: PTH115
    variables_ = process.joinpath("environ").read_text().split("\0")
    facts.contains("MODE is in its environment", variables_, "MODE=production")
    made = box.exec(["sh", "-c", f"echo {facts.nonce} > made-by-check && stat -c %u made-by-check"])
    facts.equal("app can make a file in the working directory", str(made).strip(), "4242")
    summed = box.exec(["cat", "/srv/app/token.sha256"])
    wanted = hashlib.sha256(token.encode()).hexdigest()
    facts.equal("token.sha256 has the sum of the token", str(summed).split(), [wanted, "-"])
    code, log = box.stop(GRACE_SECONDS), box.logs()
    facts.contains("the server hears SIGTERM and takes its leave", log, f"{facts.nonce} leaves")
    facts.equal("and process 1 ends with 0", code, 0)
    box.remove(force=True, volumes=True)


def _takes_words(facts: Facts, engine: Engine) -> None:
    words = ["--port", "9090", facts.nonce]
    box = _started(facts, engine, words)
    found = _words_of(box.pid)
    serve = [number for number, word in enumerate(found) if word.endswith("serve")]
    facts.true("the server's own words are in process 1", len(serve) == 1, found, "one word that is its path")
    facts.equal("the words of run take the place of the default", found[serve[0] + 1 :], words)
    box.remove(force=True, volumes=True)


def _started(facts: Facts, engine: Engine, words: list[str] | None) -> Container:
    """A container of it in which the server has said that it is ready."""
    box = engine.create(_name(facts), words)
    try:
        box.start()
    except LabkitError as error:
        facts.equal("a container of it starts", str(error), "")
        raise
    deadline = time.monotonic() + 5
    while "ready" not in box.logs() and box.status is Status.RUNNING and time.monotonic() < deadline:
        time.sleep(0.005)
    said = f"{box.status}, after {box.logs()!r}"
    facts.true("the server runs and says that it is ready", "ready" in box.logs(), said)
    return box


def _holders(paths: Paths, image: Image, token: str) -> list[str]:
    """Where the token is: a blob of JSON, or a file of a layer, in its name or its content."""
    wanted = token.encode()
    found = [kind for kind, digest in (("config", image.id), ("manifest", image.manifest))
             if wanted in blobs.read(paths, digest)]  # fmt: skip
    for number, layer in enumerate(image.layers):
        top = store.layer_directory(paths, layer)
        for file in store.walk(top):
            status = file.lstat()
            content = file.read_bytes() if stat.S_ISREG(status.st_mode) else b""
            if wanted in content or token in str(file.relative_to(top)):
                found.append(f"layer {number}: /{file.relative_to(top)}")
    return found
