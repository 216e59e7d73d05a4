# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 09 · The cache and small images
#
# Chapter 08 made an image from a Dockerfile. This one makes it again, and again, since that is what you do all
# day: change a line, build, look. Whether that takes a second or ten minutes is decided by one question, which
# the builder asks before each step: *have I done exactly this before?*
#
# You write the function that answers it, and get it wrong in three ways. Then you put a Dockerfile in an order
# that makes the answer "yes" more often, find two secrets in images that look clean, and throw away nearly all
# of an image without losing what it does.
#
# **Needs:** root, namespaces, control groups, OverlayFS, busybox, and `lab/gcc`, an image with a C compiler that
# the set-up has made. **Takes:** an hour and a quarter, exercises included.

# %% tags=["parameters"]
parts = 8
functions = 60
history_mib = 48

# %%
import contextlib
import hashlib
import os
import secrets
import subprocess
import textwrap
import time
from pathlib import Path

import labkit
from labkit import course

course.start("09")

# %% [markdown]
# ## Have I done exactly this before?
#
# A builder, as small as it can be. `COPY` takes a file of a directory. `RUN` hands all files to a shell command,
# and what that says becomes a file, too. An image is nothing but the files.

# %%
source = course.scratch("story")
(source / "story").write_text("once upon a time\n")
STEPS = ["COPY story", "RUN wc -w"]


def carry_out(step, files):
    """The files that a step adds to those that are there."""
    verb, what = step.split(maxsplit=1)
    if verb == "COPY":
        return {what: (source / what).read_bytes()}
    done = subprocess.run(what, shell=True, input=b"".join(files.values()), capture_output=True, check=True)
    return {"output": done.stdout}


# %% [markdown]
# And its cache: a dict. Every step gets a **key**; what the key leads to is taken, and nothing is done. The only
# thing still open is how the key is made.


# %%
def sha256(*parts):
    """A short name for these values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def make(steps, key_of, cache, tell=print):
    """Carry out the steps that the cache does not have; what the last one says."""
    files, parent = {}, "nothing"
    for step in steps:
        key = key_of(parent, step)
        tell(f"{'hit ' if key in cache else 'miss'}  {step}")
        if key not in cache:
            cache[key] = carry_out(step, files)
        files, parent = files | cache[key], key
    return files["output"].decode().strip()


# %% [markdown]
# A first try: the same words on the same ground are the same step. The ground counts because `wc -w` says
# something else on other files, so each key holds the key before it.


# %% tags=["nbval-check-output"]
def by_words(parent, step):
    return sha256(parent, step)


cache = {}
print("words:", make(STEPS, by_words, cache))
print("words:", make(STEPS, by_words, cache))

# %% [markdown]
# The second time nothing was done. **Before you run it:** the story goes on. What does the builder count?

# %% tags=["nbval-check-output"]
(source / "story").write_text("once upon a time there was a kernel\n")
with course.expected_failure(AssertionError):
    assert make(STEPS, by_words, cache) == "8", "the image is made of a story that is gone"

# %% [markdown]
# `COPY story` is the same word for word, and what it copies is not. A wrong hit is the worst that a cache can
# do: nobody notices, and you look for the mistake in your program. For a COPY, then, the key must know the file.
# make(1) knows it by the time of its last change, so let us try that, and the content beside it.


# %%
def by_time(parent, step):
    verb, what = step.split(maxsplit=1)
    return sha256(parent, step, (source / what).stat().st_mtime_ns if verb == "COPY" else "")


def by_content(parent, step):
    verb, what = step.split(maxsplit=1)
    return sha256(parent, step, (source / what).read_bytes() if verb == "COPY" else "")


# %% [markdown]
# Three things happen to a story in daily life. Somebody clones the repository, so every file is *new* and none
# is different. Somebody writes. And somebody unpacks another version with `tar` or `rsync`, which set the time
# that the file had elsewhere; here it happens to be the same one.


# %%
def write(text, time_ns):
    (source / "story").write_text(text)
    os.utime(source / "story", ns=(time_ns, time_ns))


now = time.time_ns()
HAPPENS = {
    "nothing": ("once upon a time\n", now),
    "a clone: same text, later": ("once upon a time\n", now + 10**9),
    "a change": ("once upon a time there was\n", now + 2 * 10**9),
    "another text, the same time": ("there was a kernel\n", now + 2 * 10**9),
}

# %% [markdown]
# **Before you run it:** which cells of the table will be a waste of work, and which a wrong image?

# %% tags=["nbval-check-output"]
caches = {key_of: {} for key_of in (by_words, by_time, by_content)}
write("once upon a time\n", now)
for key_of, cache in caches.items():
    make(STEPS, key_of, cache, tell=lambda _: None)
print(f"{'what happens':30}" + "".join(f"{key_of.__name__:14}" for key_of in caches))
for what, (text, when) in HAPPENS.items():
    write(text, when)
    row = []
    for key_of, cache in caches.items():
        told = []
        right = make(STEPS, key_of, cache, tell=told.append) == str(len(text.split()))
        row.append(told[0][:4] if right else f"{told[0][:4].strip()}, WRONG")
    print(f"{what:30}" + "".join(f"{cell:14}" for cell in row))

# %% [markdown]
# The time misses without need and hits without right. The content does neither, and it costs reading the file.
# That is the whole idea, and Docker's builder and labkit's do the same:
#
# > **key of a step** = SHA-256 of *the step before it*, *its own words*, and *the sums of the files it takes*.
#
# It is the Merkle tree of chapter 07, written along a line: one file that is different at the top, and every key
# below is another. So **after a miss, everything misses.** Keep that sentence, the rest of the chapter follows
# from it.
#
# And see what the key does *not* hold. `RUN` has no files of its own to look at: a command is taken to depend on
# its words and its ground, and on nothing else. Not on the clock, not on the network.
#
# ## The same in the engine
#
# A project, as there are many: a little program of your own, and the library that it stands on, which somebody
# else wrote and you hardly ever touch.

# %%
project = course.scratch("project")
(project / "vendor").mkdir()
salt = secrets.token_hex(8)  # nobody has built this before


def write_part(number, remark=""):
    """One file of the library: enough to keep a compiler busy."""
    lines = [f"// {salt} {remark}"]
    for which in range(functions):
        loop = f"for (int i = 0; i < {which + 3}; i++) s += (x ^ i) * {which * 7 + number} % (i + 2);"
        lines.append(f"int step_{number}_{which}(int x) {{ int s = 0; {loop} return s; }}")
    lines.append(f"int part_{number}(int x) {{ return step_{number}_0(x); }}")
    (project / f"vendor/part_{number}.c").write_text("\n".join(lines) + "\n")


for number in range(parts):
    write_part(number)


# %%
def write_main(greeting, remark=""):
    """The program: it says hello, and calls every part of the library."""
    declared = "".join(f"int part_{n}(int);\n" for n in range(parts))
    called = " + ".join(f"part_{n}(1)" for n in range(parts))
    body = f'int main(void) {{ puts("{greeting}"); return ({called}) < 0; }}\n'
    (project / "main.c").write_text(f"// {salt} {remark}\n#include <stdio.h>\n{declared}{body}")


write_main("hello")

# %% [markdown]
# `build` is what `labkit build` does, and shows the build below the cell while it goes on: a card for each step,
# with its time, and the size of the layer that it made.

# %%
from labkit.build import builder, context
from labkit.build.events import Kind
from labkit.build.work import Options
from labkit.engine.default import engine
from labkit.widgets.build_progress import Notebook


def build(directory, tag, text, listener=None, **options):
    """Build this Dockerfile in a directory; a picture shows how it goes on, where nobody else listens."""
    asked = Options(tags=(f"course-09/{tag}",), **options)
    with context.of_directory(directory, text=textwrap.dedent(text)) as files:
        shown = contextlib.nullcontext(listener) if listener else Notebook(builder.plan(files, asked))
        with shown as hear:
            return builder.build(engine(), files, asked, hear)


def quietly(event):
    """A listener that shows nothing."""


# %% [markdown]
# The first Dockerfile of many a project: take everything, then work.

# %% tags=["nbval-ignore-output"]
as_it_comes = """\
    FROM lab/gcc
    WORKDIR /src
    COPY . .
    RUN gcc -O1 -c vendor/*.c
    RUN gcc -static -s -o hello main.c *.o
    CMD ["/src/hello"]
"""
first = build(project, "hello", as_it_comes, no_cache=True)

# %% [markdown]
# Nearly all of the time is the library's. **Before you run it:** and once more, with nothing changed?

# %% tags=["nbval-ignore-output"]
again = build(project, "hello", as_it_comes)

# %% tags=["nbval-check-output"]
print("steps made at first:", first.done, " and again:", again.done)
print("the very same image:", first.image_id == again.image_id)
print(labkit.run("course-09/hello").stdout.strip())

# %% [markdown]
# All green, in milliseconds; and the id is the same, since the same layers and the same config make the same
# digests.
#
# **Before you run it:** we change the greeting, one word in `main.c`. Which of the five steps are made anew?

# %% tags=["nbval-ignore-output"]
write_main("hullo")
changed = build(project, "hello", as_it_comes)

# %% [markdown]
# The whole library was compiled again, for one word that it does not know of. The compiler did not ask for that:
# the *order* did. `COPY . .` takes `main.c` and the library together, its sum is another one, and after a miss,
# everything misses.
#
# ## What changes least comes first
#
# The same steps, in another order. What `gcc -c vendor/*.c` needs is `vendor`, so it gets that and no more. The
# files that you edit all day come as late as can be.

# %% tags=["nbval-ignore-output"]
in_order = """\
    FROM lab/gcc
    WORKDIR /src
    COPY vendor vendor
    RUN gcc -O1 -c vendor/*.c
    COPY main.c .
    RUN gcc -static -s -o hello main.c *.o
    CMD ["/src/hello"]
"""
first_in_order = build(project, "in-order", in_order, no_cache=True)

# %% [markdown]
# **Before you run it:** the same kind of change. How much of it is green now?

# %% tags=["nbval-ignore-output"]
write_main("good morning")
changed_in_order = build(project, "in-order", in_order)


# %% tags=["nbval-check-output"]
again_in_order = build(project, "in-order", in_order, quietly)


def made(built):
    """The steps that the cache did not have, by their instructions."""
    return [event.step.text.split()[0] for event in built.events if event.kind is Kind.DONE]


print("after a change, as it comes:", made(changed))
print("after a change, in order:   ", made(changed_in_order))
print(labkit.run("course-09/in-order").stdout.strip())

# %%
from labkit.course import figures

plot = figures.axes("one word changed in main.c", "seconds", height=2.6)
rows = ["first build", "nothing changed", "one word changed"]
builds = {
    "COPY . . first": (first, again, changed),
    "what changes least first": (first_in_order, again_in_order, changed_in_order),
}
for number, (told, three) in enumerate(builds.items()):
    places, times = [row + 0.36 * number for row in range(3)], [built.seconds for built in three]
    plot.barh(places, times, height=0.33, label=told)
plot.set_yticks([0.18, 1.18, 2.18], rows)
plot.invert_yaxis()
figures.legend(plot, loc="center right")
assert changed_in_order.seconds < changed.seconds / 2

# %%
ratio = changed.seconds / changed_in_order.seconds
print(f"after a change: {changed.seconds:.2f} s as it comes, {changed_in_order.seconds:.2f} s in order")
print(f"the same work, {ratio:.0f} times as fast")

# %% [markdown]
# Nothing was optimised but an order. In real life the slow step is called `npm ci`, `pip install -r
# requirements.txt` or `go mod download`, and it is the same move: first the list of what you depend on, then
# the installation, then your own files.
#
# ## What counts, and what does not
#
# A small image to try things on. Its third step draws a random number. **Before you run it:** is that step
# carried out each time, since its result is another each time?

# %%
trial = course.scratch("trial")
(trial / "main.c").write_text(f"// {salt}\n")
(trial / "notes").write_text("not copied\n")
draws = """\
    FROM lab/busybox
    COPY main.c /
    RUN head -c 4 /dev/urandom | od -An -tx1 > /drawn
    ARG VERSION=1
    RUN echo $VERSION > /version
"""

# %% tags=["nbval-check-output"]
drawn = set()
for _ in range(3):
    build(trial, "trial", draws, quietly)
    drawn.add(labkit.run("course-09/trial", ["cat", "/drawn"]).stdout)
print("three builds, numbers drawn:", len(drawn))

# %% [markdown]
# One. The command has the same words and stands on the same ground, so it is the same step, and its old result
# is taken, be it a year old. With `RUN apt-get update` that happens to people: they install from last year's
# list of packages. `--no-cache` asks for everything anew.
#
# **Before you run it:** seven things that may happen between two builds. After which of them is a step made
# again, and from which one on?

# %%
remark = draws.replace("    FROM", "    # small and good\n    FROM")
blanks = draws.replace("COPY ", "COPY   ")
MAY_HAPPEN = {
    "touch main.c": (lambda: (trial / "main.c").touch(), draws),
    "a file that is not copied": (lambda: (trial / "notes").write_text("other\n"), draws),
    "a comment in the Dockerfile": (lambda: None, remark),
    "blanks after COPY": (lambda: None, blanks),
    "chmod +x main.c": (lambda: (trial / "main.c").chmod(0o755), draws),
    "one more byte in main.c": (lambda: (trial / "main.c").write_text(f"// {salt}\n\n"), draws),
    "--build-arg VERSION=2": (lambda: None, draws),
}

# %% tags=["nbval-check-output"]
for what, (happen, text) in MAY_HAPPEN.items():
    happen()
    given = {"VERSION": "2"} if "build-arg" in what else {}
    built = build(trial, "trial", text, quietly, build_args=given)
    print(f"{what:30}{' '.join(made(built)) or '·'}")

# %% [markdown]
# Times, neighbours, comments and blanks do not count: nobody could see them in the image. A mode does. And a
# build argument counts **from its ARG on**: an `ARG VERSION` at the top of the file, with the number of the day
# in it, spoils the cache of everything below. So it belongs where `COPY main.c` belongs, late.
#
# ## What goes along: .dockerignore
#
# `COPY . .` means what it says. Our project is a git repository, so it has a `.git` with all of its past, and a
# file `.env` with a key in it, which git ignores. We make both (the past is noise here).

# %%
key = f"KEY-{secrets.token_hex(8)}"
(project / ".git").mkdir()
(project / ".git/pack").write_bytes(os.urandom(1 << 20) * history_mib)
(project / ".env").write_text(f"TOKEN={key}\n")


def weigh(directory):
    """What a COPY of everything takes: files and bytes."""
    with context.of_directory(directory, text="FROM scratch\n") as files:
        sizes = [entry.status.st_size for entry in files.files() if not entry.is_directory]
    return len(sizes), sum(sizes)


# %%
take_all = """\
    FROM lab/busybox
    COPY . /src
    RUN rm -rf /src/.env /src/.git
"""
before = weigh(project)
took_all = build(project, "all", take_all, no_cache=True)

# %% [markdown]
# Somebody has thought of it, and taken both away in the next step. **Before you run it:** is the key in a
# container? Is it in the image?


# %% tags=["nbval-check-output"]
from labkit.images import store
from labkit.paths import Paths

paths = Paths.from_environment()


def where_is(wanted, tag):
    """Where in an image a text is: in a file of a layer, or in the config, which has the history."""
    image = store.get(paths, f"course-09/{tag}")
    places = ["the config"] if wanted in str(store.config(paths, image)) else []
    for layer in image.layers:
        top = store.layer_directory(paths, layer)
        files = (path for path in top.rglob("*") if path.is_file() and not path.is_symlink())
        places += [f"/{path.relative_to(top)}" for path in files if wanted.encode() in path.read_bytes()]
    return places


seen = labkit.run("course-09/all", ["ls", "-A", "/src"]).stdout.split()
print("in a container:", seen)
print("the key is in: ", where_is(key, "all"))

# %% tags=["nbval-ignore-output"]
from labkit.widgets import LayerStack

LayerStack.of("course-09/all")

# %% [markdown]
# Chapter 07 again: a later layer hides and never removes. And the dashed part is the whole past of the project,
# which every user would download.
#
# What is not in the context cannot get into an image. A `.dockerignore` says what stays at home: a pattern a
# line, the last one that fits decides, and `!` lets in again. (Its patterns begin at the context's root, other
# than those of `.gitignore`: `*.o` is the root's alone, `**/*.o` is everywhere.)

# %% tags=["nbval-check-output"]
(project / ".dockerignore").write_text("""\
.git
**/.env*
!**/.env.example
*.md
""")
(project / ".env.example").write_text("TOKEN=put yours here\n")
with context.of_directory(project, text="FROM scratch\n") as files:
    print(sorted(entry.path for entry in files.files() if entry.path.startswith(".")))

# %%
took_little = build(project, "little", take_all, no_cache=True)
after = weigh(project)
print(f"context: {before[1] / 1e6:.1f} MB before, {after[1] / 1e6:.2f} MB after")
print(f"build:   {took_all.seconds:.2f} s before, {took_little.seconds:.2f} s after")
print("the key is in:", where_is(key, "little") or "no file and no word of it")
assert not where_is(key, "little")

# %% [markdown]
# There is a third gain, which nobody sees. **Before you run it:** a commit, that is, a change in `.git` and
# nowhere else. What does the next build make, with a `.dockerignore` and without?

# %% tags=["nbval-check-output"]
rules = (project / ".dockerignore").read_text()
for kind, text in {"with": rules, "without": ""}.items():
    (project / ".dockerignore").write_text(text)
    build(project, "little", take_all, quietly)
    (project / ".git/HEAD").write_text(secrets.token_hex(20))
    print(f"{kind:8} made after a commit:", made(build(project, "little", take_all, quietly)))

# %% [markdown]
# Every commit and every `git fetch` used to be a miss.
#
# ### A secret that the build needs
#
# Sometimes a build really needs a key, for a private server of packages, say. Three ways to hand it over. The
# first takes a build argument, which is in no file. **Before you run it:** which of the three leave it behind?

# %%
by_argument = """\
    FROM lab/busybox
    ARG TOKEN
    RUN test -n "$TOKEN"
"""
by_file = """\
    FROM lab/busybox
    COPY .env /tmp/
    RUN grep -q KEY /tmp/.env && rm /tmp/.env
"""
by_mount = """\
    FROM lab/busybox
    RUN --mount=type=secret,id=env,required=true grep -q KEY /run/secrets/env
"""

# %%
(project / ".dockerignore").unlink()  # or the second could not do it at all
build(project, "by-argument", by_argument, quietly, no_cache=True, build_args={"TOKEN": key})
build(project, "by-file", by_file, quietly, no_cache=True)
mounted = build(project, "by-mount", by_mount, no_cache=True, secrets={"env": project / ".env"})

# %% tags=["nbval-check-output"]
for way in ("by-argument", "by-file", "by-mount"):
    print(f"{way:12} leaves it in: {', '.join(where_is(key, way)) or 'nothing'}")

# %% [markdown]
# A build argument counts for the key of a step, so it is written into the history, for everybody who types
# `docker history`. The mount is there while the command runs, in memory, and is no part of the layer. It is no
# part of the cache key either: another key does not make the step run again.
#
# ## A second stage
#
# Our image has a compiler in it, a library's sources and a shell. What it is *for* is one program.

# %%
image = store.get(paths, "course-09/in-order")
with_compiler = image.size_bytes
program = labkit.run("course-09/in-order", ["wc", "-c", "/src/hello"]).stdout.split()[0]
print(f"the image {with_compiler / 1e6:.0f} MB, the program {int(program) / 1e6:.2f} MB")

# %% [markdown]
# A `RUN rm -rf /usr/lib/gcc` would make it larger by a few whiteouts. But a file may have any number of FROMs.
# Each begins a new **stage**, with a new root, and `COPY --from` takes files out of another one. Only the last
# stage becomes the image. And `FROM scratch` is the smallest beginning: nothing at all.
#
# **Before you run it:** this is an ordinary program, as gcc makes it when nothing is said. Its file gets copied
# into nothing. Will it run?

# %% tags=["nbval-ignore-output"]
compile_stage = """\
    FROM lab/gcc AS compile
    WORKDIR /src
    COPY vendor vendor
    RUN gcc -O1 -c vendor/*.c
    COPY main.c .
    RUN gcc{how} -s -o hello main.c *.o
    {more}
    FROM scratch
    COPY --from=compile /src/hello /hello
    {copies}
    CMD ["/hello"]
"""
dynamic = build(project, "dynamic", compile_stage.format(how="", more="", copies=""))

# %% tags=["nbval-check-output"]
with course.expected_failure(labkit.errors.StartFailed):
    labkit.run("course-09/dynamic")

# %% [markdown]
# *No such file*, and it lies there before your eyes. The file that is missing is another one. An ordinary
# program names an interpreter, which loads the libraries that it needs; execve(2) starts *that*, and with
# scratch there is none. With the variable `LD_TRACE_LOADED_OBJECTS` the interpreter says what it would load.
# That is all ldd(1) does.

# %%
script = "gcc -o /tmp/hello /src/main.c /src/*.o && LD_TRACE_LOADED_OBJECTS=1 /tmp/hello"
print(labkit.run("course-09/in-order", ["sh", "-c", script]).stdout)

# %% [markdown]
# So either these files come along, or the program does without them. We do both. The list goes into a script, and
# a RUN can have one in a **here-document**, without backslashes at the ends of its lines.

# %% tags=["nbval-ignore-output"]
gather = """\
RUN <<END
    set -e
    mkdir /needed
    for word in $(LD_TRACE_LOADED_OBJECTS=1 ./hello); do
      case $word in /*) cp -L --parents $word /needed ;; esac
    done
    END"""
with_libraries = build(
    project, "libraries", compile_stage.format(how="", more=gather, copies="COPY --from=compile /needed /")
)

# %% tags=["nbval-ignore-output"]
static = build(project, "static", compile_stage.format(how=" -static", more="", copies=""))

# %% [markdown]
# See where the two graphs are green: the library was compiled once, whatever stage of whatever image has asked.
#
# **Before you run it:** how many files has the last image, and how much smaller is it than the first? A guess, as
# a factor.

# %% tags=["nbval-check-output"]
(layer,) = static.image.layers
print("files:", [path.name for path in store.layer_directory(paths, layer).rglob("*")])
print("libraries:", labkit.run("course-09/libraries").stdout.strip())
print("static:   ", labkit.run("course-09/static").stdout.strip())
with course.expected_failure(labkit.errors.StartFailed):
    labkit.run("course-09/static", ["sh"])

# %%
sizes_mb = {
    "with the compiler": with_compiler / 1e6,
    "on busybox": (static.image.size_bytes + store.get(paths, "lab/busybox").size_bytes) / 1e6,
    "scratch, with libraries": with_libraries.image.size_bytes / 1e6,
    "scratch, static": static.image.size_bytes / 1e6,
}
plot = figures.axes("four images that say good morning", "MB", height=2.4)
bars = plot.barh(list(sizes_mb), list(sizes_mb.values()), color=[figures.ORANGE] + 3 * [figures.BLUE])
plot.bar_label(bars, [f" {size:.1f}" for size in sizes_mb.values()], color=figures.GREY)
plot.margins(x=0.12)
plot.invert_yaxis()

# %%
smaller = sizes_mb["with the compiler"] / sizes_mb["scratch, static"]
print(f"{smaller:.0f} times smaller")
assert smaller > 100

# %% [markdown]
# Two orders of magnitude, for one word, `-static`, and a second FROM. What else is gone: the shell in which a
# burglar would look around, and everything that a scanner of vulnerabilities would report. What is gone, too:
# the shell in which *you* would look around, `/tmp`, the users' names, the certificates for TLS. Some programs
# need some of these; then COPY them, one by one, and you know what your program needs.
#
# ### Where a miss ends
#
# *After a miss, everything misses.* There is one door in that wall, and the stages have opened it. **Before you
# run it:** somebody writes a remark into `main.c`, which the compiler skips. How far does the miss go?

# %% tags=["nbval-ignore-output"]
write_main("good morning", remark="and good luck")
remarked = build(project, "static", compile_stage.format(how=" -static", more="", copies=""))

# %% tags=["nbval-check-output"]
print("made:", made(remarked))
print("the very same image:", remarked.image_id == static.image_id)

# %% [markdown]
# The program was compiled again, and came out the same, byte for byte. `COPY --from` asks for the sum of a *file*,
# not for the way on which it came about, so it hits, and nobody has to pull a new image for a remark.
#
# ## Stages run side by side
#
# Stages form a graph, and the builder has read it before the first step. **Before you run it:** two stages
# compile one half of the library each, and a third one fails for certain. What comes of the build, and how long
# does it take, compared with the two halves?

# %%
side_by_side = """\
    FROM lab/gcc AS even
    COPY vendor /src
    RUN cd /src && gcc -O1 -c part_*[02468].c

    FROM lab/gcc AS odd
    COPY vendor /src
    RUN cd /src && gcc -O1 -c part_*[13579].c

    FROM lab/gcc AS broken
    RUN false

    FROM lab/gcc
    WORKDIR /src
    COPY --from=even /src/*.o ./
    COPY --from=odd /src/*.o ./
    COPY main.c ./
    RUN gcc -static -s -o hello main.c *.o
"""

# %% tags=["nbval-ignore-output"]
parallel = build(project, "parallel", side_by_side, no_cache=True)

# %% [markdown]
# Nobody needs the broken stage, so nobody builds it, and nobody learns that it is broken. It has to be asked for;
# that is where many projects keep their tests.

# %% tags=["nbval-check-output"]
from labkit.build.work import BuildFailed

with course.expected_failure(BuildFailed):
    build(project, "broken", side_by_side, quietly, target="broken")

# %% [markdown]
# And the two halves, on a clock? A listener hears every event. One that writes down when is all we need.

# %%
spans, began = [], time.monotonic()


def on_a_clock(event):
    if event.kind is Kind.DONE:
        now = time.monotonic() - began
        spans.append((event.step.stage, now - event.seconds, now))


timed = build(project, "parallel", side_by_side, on_a_clock, no_cache=True)

# %%
plot = figures.axes("which stage is at work", "seconds", height=2.0)
whole = {}
for row, (stage, colour) in enumerate(
    {"even": figures.BLUE, "odd": figures.ORANGE, "stage-3": figures.GREEN}.items()
):
    pieces = [(start, end - start) for name, start, end in spans if name == stage]
    whole[stage] = min(start for start, _ in pieces), max(start + length for start, length in pieces)
    plot.broken_barh(pieces, (row - 0.35, 0.7), color=colour)
plot.set_yticks(range(3), ["even", "odd", "the last"])
plot.invert_yaxis()

# %%
print(f"all steps one after the other: {sum(end - start for _, start, end in spans):.2f} s")
print(f"from the beginning to the end: {timed.seconds:.2f} s")
assert whole["even"][0] < whole["odd"][1] and whole["odd"][0] < whole["even"][1]  # both at once

# %% [markdown]
# Both halves were at work at the same time; how much that saves is up to the machine's processors. The last stage
# waits for both, for it copies from both. (Look closely: it began before, since `WORKDIR` needs nobody, and it took
# each half as soon as that was there.)
#
# ## A cache inside a step
#
# One change is still expensive: one file of the *library*. Then `COPY vendor` misses, and all of it is compiled.
# The layers cannot help, for a step is done or not done. But the compiler's results could be kept in a directory
# that outlives the build. `RUN --mount=type=cache` gives a command such a directory; it is no part of any layer,
# and of no key. What it holds may be gone tomorrow, so it must only ever save time.
#
# Our script names each object by the sum of its source. You know that move by now.

# %%
kept_objects = """\
    FROM lab/gcc
    WORKDIR /src
    COPY vendor vendor
    COPY main.c .
    RUN --mount=type=cache,target=/objects <<END
    set -e
    for file in vendor/*.c main.c; do
      sum=$(sha256sum $file)
      object=/objects/${sum%% *}.o
      if [ ! -e $object ]; then gcc -O1 -c $file -o $object; echo compiled $file; fi
      set -- "$@" $object
    done
    gcc -static -s -o hello "$@"
    END
    CMD ["/src/hello"]
"""


# %%
def compiled(text):
    """Which files a build compiles, by what its RUN says; and how long it takes."""
    said = []

    def listen(event):
        if event.kind is Kind.OUTPUT:
            said.append(event.data)

    built = build(project, "kept", text, listen)
    return b"".join(said).decode().split()[1::2], built.seconds


# %% [markdown]
# **Before you run it:** a file of the library changes between the two builds. How many files are compiled each
# time?

# %% tags=["nbval-check-output"]
all_files, cold_seconds = compiled(kept_objects)
write_part(3, "with a remark")
one_file, warm_seconds = compiled(kept_objects)
print(f"at first {len(all_files)} files, after the change {one_file}")
print(labkit.run("course-09/kept").stdout.strip())

# %%
inside = labkit.run("course-09/kept", ["ls", "/objects"])
print(f"{cold_seconds:.2f} s at first, {warm_seconds:.2f} s after the change")
print("and in the image, below /objects:", inside.stdout.split() or inside.stderr.strip())
assert warm_seconds < cold_seconds

# %% [markdown]
# The step was a miss, and was quick all the same. `apt`, `pip`, `go` and `cargo` have such directories of their
# own; mount a cache there, and a new dependency does not cost the download of all the others.
#
# # Exercises
#
# ## 1. The key
#
# The key of a `COPY directory /there`: `parent` is the key of the step before, `words` the instruction, and
# `directory` the path of what it copies, with files, directories and symbolic links in it. Two keys must be equal
# if and only if the two copies would be the same: names, modes, what links lead to, content. Owners and times do
# not count, and neither does the place of the directory.


# %%
def copy_key(parent, words, directory):
    """A key as text."""
    ### BEGIN SOLUTION
    facts = [parent, words]
    for path in sorted(Path(directory).rglob("*")):
        status = path.lstat()
        content = ""
        if path.is_symlink():
            content = os.readlink(path)
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        facts.append((str(path.relative_to(directory)), status.st_mode, content))
    return hashlib.sha256(repr(facts).encode()).hexdigest()
    ### END SOLUTION


# %%
course.check("09.copy_key", copy_key)

# %% [markdown]
# ## 2. Another order
#
# Here is a Dockerfile that works, and makes everybody wait. `tools/install` takes its time, and reads the file
# `requirements` and nothing else of the context; `tools/assemble` is quick, and reads `src`. The version is a
# build argument, another one for each build.
#
# ```dockerfile
# FROM lab/busybox
# ARG VERSION=0
# WORKDIR /app
# COPY . .
# RUN sh tools/install requirements /opt/installed
# RUN sh tools/assemble src /app/assembled
# RUN echo "$VERSION" > /app/version
# CMD ["cat", "/opt/installed", "/app/assembled", "/app/version"]
# ```
#
# Write it anew, so that `tools/install` runs when `requirements` or itself has changed, and *only* then;
# `tools/assemble` when `src` or itself has changed, or the installation; and a new version alone runs neither.

# %%
ordered = ...
### BEGIN SOLUTION
ordered = """\
FROM lab/busybox
WORKDIR /app
COPY tools/install tools/
COPY requirements ./
RUN sh tools/install requirements /opt/installed
COPY tools/assemble tools/
COPY src src
RUN sh tools/assemble src /app/assembled
ARG VERSION=0
RUN echo "$VERSION" > /app/version
CMD ["cat", "/opt/installed", "/app/assembled", "/app/version"]
"""
### END SOLUTION

# %%
course.check("09.order", ordered)

# %% [markdown]
# ## 3. What stays at home
#
# Write a `.dockerignore` for a repository of several services, each in a directory of its own, with others below
# it. At home stay: the directory `.git` of the root; every directory `node_modules`, wherever it is; every file
# that is called `.env` or begins with `.env.`, wherever it is, but `.env.example` comes along; and all of `data`
# at the root but `data/schema.sql`. All else comes along.

# %%
ignored = ...
### BEGIN SOLUTION
ignored = """\
.git
**/node_modules
**/.env
**/.env.*
!**/.env.example
data
!data/schema.sql
"""
### END SOLUTION

# %%
course.check("09.ignore", ignored)

# %% [markdown]
# ## 4. Nothing but the program
#
# The context has `main.c`, which includes `word.h`; it prints a word. Write a Dockerfile for an image of less
# than 1 MB that says the word when it is run. Nothing is in the image but that program: no source, no object
# file, no shell, in no layer.

# %%
smallest = ...
### BEGIN SOLUTION
smallest = """\
FROM lab/gcc AS compile
WORKDIR /src
COPY main.c word.h ./
RUN gcc -Os -static -s -o program main.c

FROM scratch
COPY --from=compile /src/program /program
CMD ["/program"]
"""
### END SOLUTION

# %%
course.check("09.smallest", smallest)

# %% [markdown]
# # What you have built
#
# Your `make` is `labkit/build/stage.py`, your sums are `labkit/build/sources.py`, and this is the dict: a small
# file for each key. One thing is different. A step that is really carried out gets a new, random id, and the
# next key is made of *that*, not of the key. Think of `RUN head -c 4 /dev/urandom` and of `--no-cache`, and you
# know why.

# %%
from labkit.build import cache

course.show(cache)

# %% [markdown]
# ## In short
#
# - A step's key is made of the step before, its words, and the sums of its files. After a miss, everything misses.
# - So what changes least comes first, and a COPY takes no more than the next step needs.
# - A RUN is taken to depend on nothing but its words and its ground. That is a promise which *you* make.
# - What is not in the context gets into no layer; what was in a layer stays there. A secret is mounted.
# - Build in one stage, ship another. Small is fast to pull, and has little in it to be broken into.
#
# ## Questions
#
# 1. Why does the key of a RUN need no list of the files that the command reads?
# 2. `RUN apt-get update` and `RUN apt-get install nginx` are two steps. In March somebody adds `curl` to the
#    second. Why may that fail, and why is one RUN for both the cure?
#    <details><summary>An answer</summary>The first step hits, and its list of packages is that of the first
#    build. Meanwhile the mirror has newer packages only. In one RUN, new words make both run.</details>
# 3. Two colleagues clone the repository. Under which conditions does a cache that both share hit for both?
# 4. `COPY package.json .` comes before `COPY . .`, and `npm ci` in between. Somebody raises the version number in
#    `package.json`. What is the consequence, and what could be done?
# 5. One Dockerfile copies 300 MB with `COPY --chown=app`. Another copies them as they are, and then says
#    `RUN chown -R app`. Which image is larger, and by how much?
# 6. After `--no-cache` the layers may be the same, byte for byte. Which of the keys are, and what follows for the
#    steps behind?
# 7. A build argument `TOKEN` is used in the first stage alone. Is it in the final image's history?
#    <details><summary>An answer</summary>No: a stage that only gives files has no part in the history of the last
#    one. But it is in the cache of the machine that has built it, and in every image that is made of that
#    stage.</details>
# 8. Why must nothing that counts lie in a cache mount alone?
# 9. An image from scratch says `x509: certificate signed by unknown authority`. What is missing, and where could
#    it be copied from?
# 10. Who could poison a build's cache, and what would the victims see?
#
# ## Further
#
# - docs.docker.com/build/cache: invalidation. Compare its rules with your table under "What counts".
# - ld.so(8): what else does the interpreter read from the environment, and why is `-static` not always the answer?
#   (Look for `getaddrinfo` and for `dlopen`.)
# - make(1) and ccache(1): one goes by times, one by content. Where does each of them still earn its place?

# %%
course.finish()
