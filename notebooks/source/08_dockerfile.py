# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 08 · The Dockerfile
#
# A Dockerfile looks like a shell script that is run once. It is not one. Some of its lines start a container
# and keep what that has written; the others change a piece of JSON, and nothing runs at all. Who reads it as a
# script wonders why `RUN cd` has no effect, why the container does not stop, and how the password got out.
#
# You write a small builder, and find out where it is too simple. Then you take the real one apart, an
# instruction at a time: what makes a layer, what process 1 gets as its arguments, who hears SIGTERM, and where
# a secret is left.
#
# **Needs:** root, namespaces, control groups, OverlayFS, busybox. **Takes:** an hour and a half, exercises
# included.

# %% tags=["parameters"]
grace_seconds = 1.0

# %%
import json
import os
import re
import secrets
import shutil
import tarfile
import time
from pathlib import Path

import labkit
from labkit import course
from labkit.paths import Paths

course.start("08")
paths = Paths.from_environment()

# %% [markdown]
# ## A builder by hand
#
# You have all the parts. A container is an overlay with a program in it (chapter 06); what the program writes
# lies in the upper directory (chapter 05); a directory with a digest is a layer, and layers with a config are an
# image (chapter 07). So a build is a loop:
#
# ```
#   FROM   begin with the layers of another image
#   RUN    a container on the layers so far; its upper directory is the next layer
#   COPY   no container: put files into an empty directory, which is the next layer
#   ENV    change the config           CMD    change the config
# ```
#
# `RUN` first. The layers below, an empty directory on top, a new root, and then become the shell. It runs in a
# child, as always.

# %%
from labkit.kernel import mounts


def run_step(lower, place, command, env):
    """One RUN: whatever the shell writes lands in `upper`."""
    directories = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work"
    mounts.mount("overlay", f"{place}/root", "overlay", options=directories)
    mounts.enter_root(f"{place}/root")
    os.execve("/bin/sh", ["/bin/sh", "-c", command], env)


# %% [markdown]
# `COPY` needs no container. It makes the directories on the way, and copies.


# %%
def copy_step(context, upper, source, target):
    """One COPY, of one file."""
    goal = upper / target.lstrip("/")
    goal.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(context / source, goal)


def fresh_place(name):
    """The directories for one step."""
    place = course.scratch(name)
    for part in ("upper", "work", "root"):
        (place / part).mkdir()
    return place


# %% [markdown]
# And the loop. `store.keep` computes a directory's diff id and gives it that name in labkit's store; `store.make`
# writes config and manifest.

# %%
from labkit.images import base, lock, manifests, store
from labkit.images.configs import History, ImageConfig, RunConfig


def steps(text, context):
    """Carry out each line: the layers, the variables, the command."""
    layers, env, command = [], {"PATH": "/bin:/sbin:/usr/bin:/usr/sbin"}, None
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()  # comments
        keyword, _, rest = line.partition(" ")
        place = fresh_place(f"step-{number}")
        if keyword == "FROM":
            layers = list(store.layers_of(paths, base.get(paths, rest)))
        elif keyword == "RUN":
            lower = ":".join(str(store.layer_directory(paths, one.name)) for one in reversed(layers))
            job = run_step, lower, place, rest, env
            course.child(*job, namespaces="mnt,pid,net,uts,ipc", check=True, quiet=True)
            layers.append(store.keep(paths, place / "upper"))
        elif keyword == "COPY":
            copy_step(context, place / "upper", *rest.split())
            layers.append(store.keep(paths, place / "upper"))
        elif keyword == "ENV":
            env |= [rest.split("=", 1)]
        elif keyword == "CMD":
            command = tuple(json.loads(rest))
        elif keyword:
            raise ValueError(f"line {number}: unknown instruction: {keyword}")
    return layers, env, command


# %%
def build_by_hand(text, context, name):
    """An image of a Dockerfile."""
    with lock.adding(paths):  # nobody shall clear away layers that no image names yet
        layers, env, command = steps(text, context)
        run = RunConfig(env=tuple(f"{key}={value}" for key, value in env.items()), command=command)
        config = ImageConfig(architecture=manifests.here().architecture)
        for layer in layers:
            config = config.with_step(History(created_by="by hand"), layer.diff_id, run)
        return store.make(paths, config, layers, [f"course-08/{name}"])


# %% [markdown]
# A Dockerfile of five lines, and the directory that it may copy from, the **context**.

# %%
context_place = course.scratch("context")
(context_place / "menu.txt").write_text("tea\ncake\nbread\n")
os.utime(context_place / "menu.txt", (10**9, 10**9))  # it was written in 2001
five_lines = """
FROM lab/busybox
ENV GREETING=welcome
COPY menu.txt /srv/menu.txt
RUN echo $GREETING > /srv/board && sort /srv/menu.txt >> /srv/board
CMD ["cat", "/srv/board"]
"""

# %% [markdown]
# **Before you run it:** how many layers lie on that of busybox? Which files are in each?


# %% tags=["nbval-check-output"]
def files_of(layer):
    """What lies in a layer, without the directories on the way."""
    top = store.layer_directory(paths, layer)
    return [str(path.relative_to(top)) for path in store.walk(top) if not path.is_dir()]


by_hand = build_by_hand(five_lines, context_place, "by-hand")
for layer in by_hand.layers[1:]:
    print("a layer with", files_of(layer))
print(labkit.run("course-08/by-hand").stdout.split())

# %% [markdown]
# Two layers for five lines. `FROM` took what was there; `ENV` and `CMD` did not make a file anywhere, they are
# words in the config. It is a real image: `labkit.run` started it.

# %% tags=["nbval-check-output"]
import inspect

written = (run_step, copy_step, fresh_place, steps, build_by_hand)
lines = sum(len(inspect.getsource(part).splitlines()) for part in written)
print("a builder in fewer than sixty lines:", lines < 60)

# %% [markdown]
# ## Where sixty lines are too few
#
# Now `labkit.build`, the whole thing. The chapter calls it through a short function; in a terminal it is
# `labkit build -t NAME DIRECTORY`.

# %%
from labkit.build import builder, context, progress
from labkit.build.work import Options
from labkit.engine.default import engine


def build(text, name="probe", listener=None, **options):
    """Build with labkit, without a network; the result knows the image, its config and what happened."""
    wanted = Options(tags=(f"course-08/{name}",), network="none", **options)
    with context.of_directory(context_place, text=text) as files:
        return builder.build(engine(), files, wanted, listener)


# %% [markdown]
# A builder tells what it does while it does it. Here are its events, a line for each.

# %%
show_line = progress.Plain(lambda line: print(line, end="")).show
five = build(five_lines, "five", show_line, no_cache=True)

# %% tags=["nbval-check-output"]
print(labkit.run("course-08/five").stdout.split())
copied, copied_by_hand = five.image.layers[1], by_hand.layers[1]
print("the same files:", files_of(copied) == files_of(copied_by_hand))
print("the same digest:", copied == copied_by_hand)

# %% [markdown]
# The same files in two layers that are not the same: `COPY` keeps the time of a file, as cp(1) does with `-p`, and
# your `copy_step` does not. The image's history knows which line made what.

# %% tags=["nbval-ignore-output"]
from labkit.widgets import LayerStack

LayerStack.of("course-08/five")

# %% [markdown]
# So what is the rest of `labkit.build` for? Six small Dockerfiles. Each is to leave something in `/out`.

# %%
harmless = {
    "a colour": 'ENV COLOUR=#d9661f\nRUN echo "$COLOUR" > /out',
    "a full name": 'ENV NAME="Ada Lovelace"\nRUN echo "$NAME" > /out',
    "a path in a variable": "ENV PLACE=/out\nCOPY menu.txt $PLACE",
    "small letters": "run echo small > /out",
    "a line that goes on": "RUN echo one \\\n# and more\n    two > /out",
    "a here-document": "RUN <<END\necho three > /out\nEND",
}

# %% [markdown]
# **Before you run it:** which of the six goes wrong in *your* builder? And, worse: which goes wrong without a
# word?


# %%
def outcome(make, lines):
    """What is in /out afterwards, or why there is nothing."""
    try:
        make("FROM lab/busybox\n" + lines)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    shown = labkit.run("course-08/probe", ["cat", "/out"])
    return repr(shown.stdout.rstrip()) if shown.exit_code == 0 else "there is no /out"


# %% tags=["nbval-check-output"]
print(f"{'':22}{'by hand':48}labkit")
for name, lines in harmless.items():
    mine = outcome(lambda text: build_by_hand(text, context_place, "probe"), lines)
    print(f"{name:22}{mine:48}{outcome(build, lines)}")

# %% [markdown]
# Three errors are a nuisance. The other three are dangerous: the build succeeds, and the image is wrong. A `#`
# is a comment at the beginning of a line only. Quotes are the builder's, and it takes them off. And variables
# are filled in by *two* readers: the builder does it in `COPY`, `ENV`, `WORKDIR` and the like; in `RUN` it does
# not touch them, the shell in the container does.
#
# The fifth hides a rule that nobody would guess: a comment may stand in the middle of a line that goes on, and is
# not there. You write that parser in exercise 1.
#
# ### Each RUN is another process
#
# And now a thing that *no* builder does. **Before you run it:** what does the last line find of the three above
# it?

# %% tags=["nbval-check-output"]
build(r"""
FROM lab/busybox
RUN cd /tmp
RUN export MOOD=good
RUN sleep 600 &
RUN echo "in $(pwd), mood '$MOOD', $(ps | grep -c '[s]leep 600') sleepers" > /out
""")
print(labkit.run("course-08/probe", ["cat", "/out"]).stdout, end="")

# %% [markdown]
# Nothing. A working directory, a variable and a running program belong to a *process*, and that is over at the
# end of its line, with all that it has started. Only files reach the next one. A server that is started with
# `RUN` runs during the build, for a moment, and never again. What shall last has an instruction of its own:
# `WORKDIR`, `ENV`, `CMD`.
#
# ## What each instruction leaves
#
# We ask them all, one by one: build without the line and with it, and compare.

# %%
(context_place / "serve").write_text("""#!/bin/ash
trap 'echo "$1 was asked to stop"; exit 0' TERM
echo ready
while :; do sleep 0.05; done
""")
(context_place / "serve").chmod(0o755)
with tarfile.open(context_place / "site.tar", "w") as tar:
    tar.add(context_place / "menu.txt", "menu.txt")

# %%
START = "FROM lab/busybox\nCOPY serve /serve\n"
every = [
    "RUN echo hi > /etc/hi", "RUN true", "COPY menu.txt /srv/", "ADD site.tar /srv/", "WORKDIR /srv/app",
    "WORKDIR /tmp", "ENV MODE=fast", "ARG LEVEL=3", "USER nobody", "LABEL owner=me", "EXPOSE 80",
    "VOLUME /data", 'CMD ["/serve"]', 'ENTRYPOINT ["/serve"]', 'SHELL ["/bin/ash", "-c"]',
    "STOPSIGNAL SIGUSR1", "HEALTHCHECK CMD true", "ONBUILD RUN true",
]  # fmt: skip

# %% [markdown]
# **Before you run it:** which of the eighteen make a layer? (Two pairs are tricky.)


# %%
def effect(line):
    """What a line adds to the layers, and what is another in the config."""
    before, after = build(START), build(START + line)
    new = [leaves(layer) or ["nothing"] for layer in after.image.layers[len(before.image.layers) :]]
    old, now = before.config.run.json(), after.config.run.json()
    return new, {key: now.get(key) for key in {**old, **now} if now.get(key) != old.get(key)}


def leaves(layer):
    """The ends of its branches: files, and directories with nothing in them."""
    top = store.layer_directory(paths, layer)
    found = {str(path.relative_to(top)): path for path in store.walk(top)}
    inner = {str(Path(name).parent) for name in found}
    return [name + "/" * path.is_dir() for name, path in found.items() if name not in inner]


# %% tags=["nbval-check-output"]
print(f"{'':26}{'a layer with':15}in the config")
for line in every:
    new, changed = effect(line)
    told = re.sub(r'"PATH=[^"]*", ', "…, ", json.dumps(changed)[1:-1])
    print(f"{line:26}{', '.join(new[0]) if new else '-':15}{told or '-'}")

# %% [markdown]
# `RUN`, `COPY` and `ADD` make layers, `RUN true` too, with nothing in it; and `WORKDIR` where its directory is
# not there yet. Everything else is JSON. `ARG` shows in neither column: remember that when we come to secrets.
#
# And look at `ENTRYPOINT`: it has taken `Cmd` away. The `sh` came with the base image, and would now be an
# argument of a program that it was not meant for. A `CMD` in the *same* Dockerfile stays.
#
# The config is a list of wishes. Who grants them?
#
# | field | who reads it |
# | --- | --- |
# | `Env` `User` `WorkingDir` `Volumes` `Entrypoint` `Cmd` | the engine, at each start |
# | `StopSignal` `Healthcheck` | the engine, while the container runs |
# | `Shell` `OnBuild` | the builder, in this build and in the next |
# | `ExposedPorts` `Labels` | people and tools; `EXPOSE` opens no port |
#
# ### Seen by the kernel
#
# All rows, in one Dockerfile. **Before you run it:** whose is the process, by number? May it write to its
# working directory? What is `LEVEL`? And who listens at port 80?

# %%
build(
    """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY --chown=app --chmod=500 serve serve
ENV MODE=fast LEVEL=$MODE
VOLUME /data
EXPOSE 80
HEALTHCHECK --interval=5s CMD kill -0 1
USER app
ENTRYPOINT ["./serve"]
CMD ["visitors"]
""",
    "wishes",
)
box = labkit.run("course-08/wishes", detach=True)

# %% tags=["nbval-check-output"]
process = Path(f"/proc/{box.pid}")
print("user:   ", process.joinpath("status").read_text().split("Uid:")[1].split()[0])
print("place:  ", os.readlink(process / "cwd"))
print("words:  ", process.joinpath("cmdline").read_text().split("\0")[:-1])
print("env:    ", re.findall("(?:MODE|LEVEL)=[^\0]*", process.joinpath("environ").read_text()))
print("mounts: ", [mount.mount_point for mount in mounts.mounts(box.pid) if mount.mount_point == "/data"])

# %% tags=["nbval-check-output"]
listening = [row for row in process.joinpath("net/tcp").read_text().splitlines()[1:] if " 0A " in row]
kind, test = store.get(paths, "course-08/wishes").healthcheck.test
print("touch:  ", box.exec(["touch", "here"]).stderr.strip())
print("sockets that listen:", len(listening))
print(f"healthcheck ({kind}):", box.exec(["/bin/sh", "-c", test]).exit_code)
box.remove(force=True, volumes=True)

# %% [markdown]
# `LEVEL` is empty: within one `ENV` line a variable has the value that it had *before* the line. The directory is
# root's, for `WORKDIR` made it before anybody spoke of a user, so `app` may not write there. `/data` is a volume
# that nobody asked for at `run`; chapter 10 knows what becomes of such volumes. Nobody listens: `EXPOSE` is a note
# to people. And a healthcheck is a command with an exit code, which somebody has to run: here you did, and an
# engine can do it every few seconds.
#
# ### For the next build
#
# **Before you run it:** `ONBUILD` has written a note. The second Dockerfile has one line. How many layers does
# it add? And the third, which is built on the second?

# %% tags=["nbval-check-output"]
first = build("FROM lab/busybox\nONBUILD COPY menu.txt /srv/\nONBUILD RUN wc -l < /srv/menu.txt > /out", "on")
second = build("FROM course-08/on", "child")
third = build("FROM course-08/child", "grandchild")
print("layers:", [len(built.image.layers) for built in (first, second, third)])
print("/out in the second:", labkit.run("course-08/child", ["cat", "/out"]).stdout.strip())

# %% [markdown]
# A trigger fires once, in the child, and is used up. It is invisible in the child's own Dockerfile, which is the
# best argument against it.
#
# `SHELL` decides what reads the lines after it. **Before you run it:** `false` fails in both. Which build fails?

# %% tags=["nbval-check-output"]
print(outcome(build, "RUN false; echo went on > /out"))
print(outcome(build, 'SHELL ["/bin/sh", "-e", "-c"]\nRUN false; echo went on > /out'))

# %% [markdown]
# A shell asks for the exit code of the *last* command, and so does the builder. `-e` makes it stop at the first
# that fails. Write it, or join with `&&`.
#
# With a here-document, many commands are one `RUN`, and a small file needs no place in the context. Whether
# variables are filled in depends on quotes, as in the shell.

# %% tags=["nbval-check-output"]
build("""
FROM lab/busybox
ENV PORT=8080
COPY <<settings <<'template' /etc/app/
port = $PORT
settings
port = $PORT
template
RUN <<END
set -e
cat /etc/app/settings /etc/app/template > /out
echo $PORT >> /out
END
""")
print(labkit.run("course-08/probe", ["cat", "/out"]).stdout, end="")

# %% [markdown]
# ## CMD against ENTRYPOINT
#
# Both say what runs. Each can be absent, in the **shell form** (`CMD serve now`) or in the **exec form**
# (`CMD ["serve", "now"]`). Three times three, and countless questions in forums. We do not ask a forum, we ask
# `/proc/1/cmdline`.
#
# `/serve` is the script from above: it says *ready*, and ends in peace at SIGTERM. The shell forms have something
# to do after it, as shell forms often do.

# %%
ENTRYPOINTS = {
    "no ENTRYPOINT": "",
    "shell form": "ENTRYPOINT /serve entry && echo over",
    "exec form": 'ENTRYPOINT ["/serve", "entry"]',
}
CMDS = {
    "no CMD": "",
    "shell form": "CMD /serve cmd && echo over",
    "exec form": 'CMD ["/serve", "cmd"]',
}


# %%
def live_and_die(text):
    """Start what it builds: the arguments of process 1, how it ended after a SIGTERM, and its log."""
    build(START + text)
    box = labkit.run("course-08/probe", detach=True)
    try:
        while "ready" not in box.logs() and box.status == "running":
            time.sleep(0.005)
        if box.status != "running":
            return list(box.record.args), "ended by itself", box.logs()
        asked = box.exec(["cat", "/proc/1/cmdline"]).stdout
        return asked.split("\0")[:-1], box.stop(grace_seconds), box.logs()
    finally:
        box.remove(force=True)


# %% [markdown]
# **Before you run it:** take a piece of paper, draw the square, and write into each of its fields what process 1
# will be. In which fields is the `CMD` of no use at all?

# %%
square = {
    (entry, cmd): live_and_die(f"{ENTRYPOINTS[entry]}\n{CMDS[cmd]}") for entry in ENTRYPOINTS for cmd in CMDS
}

# %% tags=["nbval-check-output"]
print(f"{'ENTRYPOINT':15}{'CMD':12}process 1")
for (entry, cmd), (words, _, _) in square.items():
    print(f"{entry.replace('no ENTRYPOINT', '-'):15}{cmd.replace('no CMD', '-'):12}{json.dumps(words)}")

# %% [markdown]
# (`/serve` is a script, so the kernel puts `/bin/ash` before it, as its first line says.)
#
# There is one rule behind all nine: **process 1 gets ENTRYPOINT's words and then CMD's words.** And the shell
# form is no special case: it *is* three words, `/bin/sh`, `-c` and the rest of the line.
#
# - No ENTRYPOINT: CMD is the program.
# - Exec form and exec form: CMD is the program's arguments. Here that makes `entry /serve cmd`, since each of
#   ours was written as a whole command.
# - ENTRYPOINT in the shell form: the words of CMD come after `sh -c TEXT`, where a shell has its `$0` and `$1`.
#   Nobody looks at them. **CMD is without effect, and so is whatever you write after `docker run IMAGE`.**
# - CMD in the shell form after an ENTRYPOINT in the exec form: the program gets `/bin/sh` as an argument.
#   That never makes sense.
# - Neither: the base image's own `sh` found nothing to read, and ended.
#
# The words after `docker run IMAGE` take the place of CMD. **Before you run it:** what does each line print?

# %% tags=["nbval-check-output"]
build('FROM lab/busybox\nENTRYPOINT ["echo", "entry"]\nCMD ["cmd"]', "exec-form")
build('FROM lab/busybox\nENTRYPOINT echo entry\nCMD ["cmd"]', "shell-form")
for name in ("exec-form", "shell-form"):
    said = [labkit.run(f"course-08/{name}", words).stdout.strip() for words in (None, ["my", "words"])]
    print(f"{name:12}{said}")

# %% [markdown]
# ### Who hears SIGTERM
#
# The nine have also been stopped. `/serve` handles the signal. **Before you run it:** in which fields does it get
# one?

# %% tags=["nbval-check-output"]
for (entry, cmd), (_, code, log) in square.items():
    heard = log.splitlines()[1:] or ["nobody heard it"]
    print(f"{entry.replace('no ENTRYPOINT', '-'):15}{cmd.replace('no CMD', '-'):12}{code!s:17}{heard[0]}")

# %%
import shlex
import textwrap

from labkit.course import figures

plot = figures.axes("process 1, and what SIGTERM did to it", width=9.2, height=3.6)
plot.set_xticks(range(3), ["no CMD", "CMD\nshell form", "CMD\nexec form"])
plot.set_yticks(range(3), ["no ENTRYPOINT", "ENTRYPOINT\nshell form", "ENTRYPOINT\nexec form"])
plot.set(xlim=(-0.5, 2.5), ylim=(2.5, -0.5))
plot.grid(False)
shades = {0: figures.BLUE, 137: figures.ORANGE}
for field, (words, code, _) in enumerate(square.values()):
    row, column = divmod(field, 3)
    tile, shade = [column - 0.48, column + 0.48], shades.get(code, figures.GREY)
    plot.fill_between(tile, row - 0.46, row + 0.46, color=shade, alpha=0.16)
    told = {0: "heard it", 137: "was killed"}.get(code, code)
    lines = [*textwrap.wrap(shlex.join(words), 29), f"— {told}"]
    plot.text(column, row, "\n".join(lines), ha="center", va="center", color=figures.GREY, family="monospace")

# %% [markdown]
# Blue is what you want. In the orange fields `sh` is process 1 and `/serve` its child. The engine signals process
# 1 alone; a shell has no handler for SIGTERM, and from chapter 06 you know what the kernel does with a signal
# for a process 1 that has none. After the grace period everybody is killed, and the database has had no time to
# put its things away.
#
# ### Is it always so?
#
# "In the shell form, the shell is process 1." That sentence stands in many books. **Before you run it:** is it
# true of all four?

# %% tags=["nbval-check-output"]
for text in ("CMD /serve cmd", "CMD cd /srv; /serve cmd", "CMD /serve cmd; true", "CMD /serve cmd | cat"):
    words, code, _ = live_and_die(text)
    print(f"{text:26}{json.dumps(words):40}exit code {code}")

# %% [markdown]
# It is not. When this shell comes to the last command of its text and has nothing to do afterwards, it saves the
# fork and *becomes* the command. Is it the only one? We ask the shells of this machine what they are while they
# run `sleep 60`.

# %%
import signal
import subprocess

for shell in filter(shutil.which, ("dash", "bash", "ksh", "zsh")):
    with subprocess.Popen([shell, "-c", "sleep 60"], start_new_session=True) as running:
        time.sleep(0.2)
        now = Path(f"/proc/{running.pid}/cmdline").read_text().split("\0")[:-1]
        os.killpg(running.pid, signal.SIGKILL)  # the shell, and what it has started
    print(f"{shell:6}{'has become' if now[0] == 'sleep' else 'is still there, beside'} sleep")

# %% [markdown]
# On Debian 12, bash becomes sleep, and dash does not; and dash is the `/bin/sh` of Debian's images. So the same line
# of a Dockerfile stops at once on one base image, and takes the whole ten seconds on another. Nobody should have
# to know that. Say it: the exec form, or the shell's own word for stepping aside, `exec`.
#
# **Before you run it:** this entrypoint has a shell, for what must be prepared. Who is process 1, and does the
# `CMD` arrive?

# %% tags=["nbval-check-output"]
words, code, _ = live_and_die(r"""
ENTRYPOINT ["/bin/sh", "-c", "echo preparing; exec /serve \"$@\"; echo never", "sh"]
CMD ["cmd"]
""")
print(words, "→", code)

# %% [markdown]
# The `sh` at the end of the list is the shell's `$0`, and what follows is `"$@"`. Many images have just that in a
# script of their own, whose last line is `exec "$@"`.
#
# **Before you run it:** the signal need not be SIGTERM. Which one does this image ask for?

# %% tags=["nbval-check-output"]
(context_place / "reload").write_text(
    "#!/bin/ash\ntrap 'echo leaving; exit 0' USR1\necho ready\nsleep 60 & wait\n"
)
(context_place / "reload").chmod(0o755)
build('FROM lab/busybox\nCOPY reload /\nSTOPSIGNAL SIGUSR1\nCMD ["/reload"]')
wanted = store.get(paths, "course-08/probe").stop_signal
box = labkit.run("course-08/probe", detach=True)
while "ready" not in box.logs():
    time.sleep(0.005)
box.kill(wanted)
print(wanted, "→ exit code", box.wait(), "and the last word:", box.logs().split()[-1])
box.remove()

# %% [markdown]
# ## COPY against ADD
#
# `ADD` is the older of the two, and tries to be helpful. Four things to add: an archive; a picture that is none,
# but the same archive, compressed; a text in gzip; and the archive again, from a server. The server is this
# notebook, on 127.0.0.1.

# %%
import functools
import gzip
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """Say nothing in the notebook."""


site = (context_place / "site.tar").read_bytes()
(context_place / "photo.jpg").write_bytes(gzip.compress(site, mtime=0))
(context_place / "notes.gz").write_bytes(gzip.compress(b"plain text\n", mtime=0))
server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Silent, directory=context_place))
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"

# %% [markdown]
# **Before you run it:** in which of the eight fields will you find `menu.txt`, the file that is *in* the archive?


# %%
def lands(instruction, source):
    """What lies in /x afterwards, with its mode; or what went wrong."""
    try:
        built = build(f"FROM lab/busybox\n{instruction} {source} /x/")
    except Exception as error:
        return "there is no such file" if "not found in build context" in str(error) else str(error)
    top = store.layer_directory(paths, built.image.layers[-1])
    return ", ".join(f"{file.name} ({file.stat().st_mode & 0o777:o})" for file in (top / "x").iterdir())


# %% tags=["nbval-check-output"]
print(f"{'':24}{'COPY':34}ADD")
for source in ("site.tar", "photo.jpg", "notes.gz", f"{url}/site.tar"):
    shown = source.replace(url, "http://…")
    print(f"{shown:24}{lands('COPY', source):34}{lands('ADD', source)}")

# %% [markdown]
# `ADD` unpacks what *is* an archive, whatever it is called; so a picture may turn into files that overwrite
# others. It leaves alone what is only compressed. And it does not unpack what it has fetched, which then has the
# mode 600, so that a server under `USER app` cannot read it. Each of these is documented, and each has cost
# somebody an afternoon. **Write `COPY`, unless you want just one of these.**
#
# ### What a URL is worth
#
# The file behind a URL can be another one tomorrow. We play tomorrow. **Before you run it:** a program is
# fetched, then somebody changes a letter of it on the server. Which of the last two builds notices?

# %%
import hashlib

tool = context_place / "tool"
tool.write_text("#!/bin/sh\necho an honest tool\n")
digest = "sha256:" + hashlib.sha256(tool.read_bytes()).hexdigest()
checked = f"FROM lab/busybox\nADD --checksum={digest} --chmod=755 {url}/tool /bin/tool\nCMD tool"
trusting = checked.replace(f"--checksum={digest} ", "")


def of_the_day(text):
    """What the tool says, or what the builder says of it."""
    try:
        build(text)
    except Exception as error:
        return re.sub("[0-9a-f]{64}", "…", str(error).rpartition(f"{url}/tool /bin/tool: ")[2])
    return labkit.run("course-08/probe").stdout.strip()


# %% tags=["nbval-check-output"]
print("today, with the checksum:   ", of_the_day(checked))
tool.write_text("#!/bin/sh\necho an honest fool\n")
print("tomorrow, with the checksum:", of_the_day(checked))
print("tomorrow, without:          ", of_the_day(trusting))
server.shutdown()
server.server_close()

# %% [markdown]
# The digest in the Dockerfile is the end of a Merkle tree's branch again: who has it can fetch from anywhere.
# Without one, an image is what some server said on some day.
#
# ## ENV against ARG
#
# Two kinds of variables. `ENV` is part of the config; `ARG` is a parameter of the build, given with
# `--build-arg`. **Before you run it:** which of the three does the *running* container see? And what is `C`, which
# is both?

# %% tags=["nbval-check-output"]
two_kinds = """
FROM lab/busybox
ENV A=env
ARG B=default
ENV C=env
ARG C=default
RUN echo "in the build: A=$A B=$B C=$C" > /out
CMD cat /out; echo "in a container: A=$A B=$B C=$C"
"""
build(two_kinds, build_args={"B": "given", "C": "given"})
print(labkit.run("course-08/probe").stdout, end="")

# %% [markdown]
# An ARG lives from its line to the end of its stage, and is gone with the build; an ENV of the same name always
# wins. To keep a parameter, hand it over: `ARG VERSION` and then `ENV VERSION=$VERSION`. In either, a value may
# be missing:

# %% tags=["nbval-check-output"]
build("""
FROM lab/busybox
ARG EMPTY=
ENV ONE=${MISSING:-default} TWO=${EMPTY:-default} THREE=${EMPTY-default} FOUR=${ONE:+set} FIVE=\\$PATH
""")
print(store.get(paths, "course-08/probe").env[1:])

# %% [markdown]
# With a colon, empty counts as missing. `FOUR` is empty, as `ONE` was not set before the line began. You write
# this, too, in an exercise.
#
# ### Where a secret is left
#
# The build needs a token, to fetch something private, say. "ARG is gone with the build", we have just seen. So is
# it good for secrets? Six ways to bring it in; each uses it once, to write its SHA-256 into `/proof`.

# %%
token = f"TOKEN-{secrets.token_hex(12)}"
(context_place / "token").write_text(token)
of_file, of_variable = "sha256sum > /proof <", 'printf %s "$TOKEN" | sha256sum > /proof'
mounted = "--mount=type=secret,id=token"
ways = {
    "ENV": f"ENV TOKEN={token}\nRUN {of_variable}",
    "ARG": f"ARG TOKEN\nRUN {of_variable}",
    "COPY, and rm": f"COPY token /token\nRUN {of_file} /token && rm /token",
    "secret, a file": f"RUN {mounted} {of_file} /run/secrets/token",
    "secret, a variable": f"RUN {mounted},env=TOKEN {of_variable}",
    "secret, and cp": f"RUN {mounted} {of_file} /run/secrets/token && cp /run/secrets/token /root/.netrc",
}

# %% [markdown]
# **Before you run it:** where in the image is the token afterwards? Look in a container, in the config's `Env`, in
# its history, and in each layer.


# %%
def find_everywhere(image, secret):
    """All places of an image that hold these bytes."""
    config = store.config(paths, image)
    found = ["Env"] * any(secret in line for line in config.run.env)
    found += ["history"] * any(secret in step.created_by for step in config.history)
    found += ["config"] * (not found and secret.encode() in config.encode())
    for layer in image.layers:
        top = store.layer_directory(paths, layer)
        for file in store.walk(top):
            if file.is_file() and not file.is_symlink() and secret.encode() in file.read_bytes():
                found.append(f"layer: {file.relative_to(top)}")
    return found


def seen_inside(name):
    """Whether a container of it shows the token, to env(1) or in a file outside of /proc."""
    said = labkit.run(name, ["sh", "-c", "env; cat /token /root/.netrc"]).stdout
    return token in said


# %%
at_hand = {"token": context_place / "token"}


def proof():
    """Whose SHA-256 the image has."""
    return labkit.run("course-08/hidden", ["cat", "/proof"]).stdout.split()[0]


hidden = {}
for way, lines in ways.items():
    args = {"TOKEN": token} if way == "ARG" else {}
    built = build(f"FROM lab/busybox\n{lines}", "hidden", build_args=args, secrets=at_hand, no_cache=True)
    assert proof() == hashlib.sha256(token.encode()).hexdigest(), f"{way} did not have the token"
    hidden[way] = seen_inside("course-08/hidden"), find_everywhere(built.image, token)

# %% tags=["nbval-check-output"]
print(f"{'':20}{'a container shows it':24}the image holds it in")
for way, (inside, places) in hidden.items():
    print(f"{way:20}{'yes' if inside else 'no':24}{', '.join(places) or '-'}")

# %% [markdown]
# The second row and the third are the nasty ones: no container shows it, and the image has it. The builder
# writes into the **history** which values a `RUN` was given, since its result depends on them:

# %% tags=["nbval-check-output"]
built = build(f"FROM lab/busybox\n{ways['ARG']}", "hidden", build_args={"TOKEN": token})
print(built.config.history[-1].created_by.replace(token, "TOKEN-…and here it is"))

# %% [markdown]
# `docker history IMAGE` shows that to everybody who can pull. And `COPY` with `rm` you know from chapter 07.
#
# A **secret mount** is there for the one `RUN`. It lies in memory, and is mounted over the container's root, so it
# is never in the upper directory. No mount helps against a command that copies it, as the last row shows: the
# builder leaves nothing, the rest is up to you.
#
# There is a price. **Before you run it:** the token is renewed, and we build the same Dockerfile twice. Whose
# SHA-256 is in `/proof` after each?

# %% tags=["nbval-check-output"]
new = f"TOKEN-{secrets.token_hex(12)}"
careful = f"FROM lab/busybox\n{ways['secret, a file']}"
whose = {hashlib.sha256(value.encode()).hexdigest(): name for name, value in (("old", token), ("new", new))}
for value in (token, new):
    (context_place / "token").write_text(value)
    built = build(careful, "hidden", secrets=at_hand, no_cache=value == token)
    print(f"steps done: {built.done}, proof of the {whose[proof()]} token")

# %% [markdown]
# The second build has done nothing. A builder recognises a step by its words and its files, the next chapter is
# about that, and a secret's content is on purpose not among them: nobody shall be able to guess at it by a digest.
# So a new secret changes nothing, until something else does.
#
# ## When it goes wrong
#
# A message of a builder should say three things: the file with the line, the instruction, the reason. **Before
# you run it:** each of the four has a step that is right, and then a mistake. Which mistake is found before the
# first step has run?

# %% tags=["nbval-check-output"]
from labkit.errors import LabkitError

mistakes = (
    "COPPY menu.txt /srv/",
    "RUN --mount=type=secrets,id=token true",
    "COPY menu.text /srv/",
    "RUN echo preparing && \\\n    wc -l /srv/menu.txt",
)
for line in mistakes:
    told = []
    with course.expected_failure(LabkitError):
        build("FROM lab/busybox\nRUN true\n\n" + line, listener=told.append)
    print("steps that were through by then:", sum(event.kind in ("done", "cached") for event in told))

# %% [markdown]
# The first: the whole file is parsed before anything runs, so nobody waits for a typing error on line 90. The
# others come when their step's turn comes. Of a `RUN` you also get its exit code, and the last lines that it has
# said.
#
# # Exercises
#
# The functions run in a fresh process each. The checks compare with labkit's parser, with a shell, and with what
# the kernel shows of real containers.
#
# ## 1. Lines
#
# The parser's first half. Give each instruction of a Dockerfile as a tuple: the number of the line on which it
# begins, its keyword in capitals, and the rest in one line, without spaces at either end. Here-documents do not
# occur. The rules:
#
# - A line whose first character (after spaces) is `#` is a comment, an empty line is nothing. Both are as if they
#   were not there, also in the middle of an instruction.
# - A line that ends with a single `\`, spaces after it left aside, goes on in the next. The `\` and what follows
#   it go; nothing comes in their place. Two of them, `\\`, are not such an end.


# %%
def logical_lines(text):
    """[(1, "FROM", "lab/busybox"), …]"""
    ### BEGIN SOLUTION
    found, begun, whole = [], 0, ""
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        begun = begun or number
        bare = line.rstrip()
        goes_on = bare.endswith("\\") and not bare.endswith("\\\\")
        whole += bare[:-1] if goes_on else line
        if not goes_on:
            keyword, *rest = whole.split(None, 1)
            found.append((begun, keyword.upper(), rest[0].strip() if rest else ""))
            begun, whole = 0, ""
    return found
    ### END SOLUTION


# %%
course.check("08.logical_lines", logical_lines)

# %% [markdown]
# ## 2. Variables
#
# Fill in the variables of `text`: `$NAME`, `${NAME}`, and the four forms `${NAME:-word}`, `${NAME-word}`,
# `${NAME:+word}` and `${NAME+word}`. A word can hold variables itself. What is not set is empty; `\$` is a dollar
# sign. There are no quotes, and names are made of letters, digits and `_`.


# %%
def expand(text, values):
    """The text with its variables filled in; `values` is a dict."""

    ### BEGIN SOLUTION
    def read(at, stop):
        made = ""
        while at < len(text) and text[at] != stop:
            if text[at] == "\\":
                made, at = made + text[at + 1 : at + 2], at + 2
            elif text[at] != "$":
                made, at = made + text[at], at + 1
            else:
                value, at = variable(at + 1)
                made += value
        return made, at + 1

    def variable(at):
        braces = text[at] == "{"
        name = re.match(r"\w+", text[at + braces :]).group()
        at += braces + len(name)
        value = values.get(name)
        if not braces:
            return value or "", at
        colon = text[at] == ":"
        there = bool(value) if colon else value is not None
        at += colon
        how = text[at]
        if how == "}":
            return value or "", at + 1
        word, at = read(at + 1, "}")
        if how == "-":
            return value if there else word, at
        return word if there else "", at

    return read(0, "")[0]
    ### END SOLUTION


# %%
course.check("08.expand", expand)

# %% [markdown]
# ## 3. The square, computed
#
# What are the arguments of process 1? `entrypoint` and `command` are what the Dockerfile says: None where the
# instruction is absent, a string for the shell form, a list for the exec form. `words` is the list that stands
# after the image's name in `docker run`, empty where there is none. The base image has neither of the two. The
# check starts a container for each case, and reads what the kernel says of process 1.


# %%
def process_one(entrypoint, command, words):
    """The list that execve(2) gets."""

    ### BEGIN SOLUTION
    def listed(form):
        return ["/bin/sh", "-c", form] if isinstance(form, str) else list(form or [])

    return listed(entrypoint) + (words or listed(command))
    ### END SOLUTION


# %%
course.check("08.process_one", process_one)

# %% [markdown]
# ## 4. A Dockerfile to be proud of
#
# The context has a server, the script `serve`, which any user may execute, and a file `token`. The build is also
# given the secret `token`. Write a Dockerfile for an image with these properties:
#
# - It is built on `lab/busybox`. The server is `/srv/app/serve`, and that directory is the working directory.
# - It runs as the user `app`, which has the number 4242 and a line in `/etc/passwd`. `app` can make files in
#   the working directory.
# - `MODE` is `production` in the environment. The label `org.opencontainers.image.title` is `serve`.
# - Without words the server gets `--port 8080`; the words of `docker run IMAGE --port 9090` take the place of
#   these two. The server is process 1, and hears SIGTERM.
# - `/srv/app/token.sha256` has the token's SHA-256 as `sha256sum` prints it for standard input. The token itself
#   is nowhere in the image.

# %%
dockerfile_text = ...
### BEGIN SOLUTION
dockerfile_text = """
FROM lab/busybox
RUN echo 'app:x:4242:4242::/srv/app:/bin/sh' >> /etc/passwd
WORKDIR /srv/app
COPY serve .
RUN --mount=type=secret,id=token sha256sum < /run/secrets/token > token.sha256 && chown app .
ENV MODE=production
LABEL org.opencontainers.image.title=serve
USER app
ENTRYPOINT ["/srv/app/serve"]
CMD ["--port", "8080"]
"""
### END SOLUTION

# %%
course.check("08.dockerfile", dockerfile_text)

# %% [markdown]
# # What you have built
#
# Your `logical_lines` is the first half of this file of the engine; the second half knows the forms in which each
# instruction takes its arguments. Look for the place where a comment in the middle of a line disappears. Your
# `expand` is `labkit/build/variables.py`, your `run_step` is `labkit/build/running.py`, and the table of what
# each instruction changes is `labkit/build/configuration.py`.

# %%
from labkit.build import dockerfile

course.show(dockerfile)

# %% [markdown]
# ## In short
#
# - `RUN`, `COPY`, `ADD`, and a `WORKDIR` that is new, make layers. The rest is a piece of JSON, and others act on
#   it.
# - Each `RUN` is a container of its own. Files stay; directories one is in, variables and processes do not.
# - Process 1 gets ENTRYPOINT's words, then CMD's. The shell form is `/bin/sh -c` and the line, nothing else.
# - Use the exec form for what runs, or a shell that ends with `exec`: only process 1 is asked to stop.
# - `COPY`, unless you want an archive unpacked; a URL only with its checksum.
# - What a build was told is in its history. A secret comes by a mount, or it is public.
#
# ## Questions
#
# 1. `RUN service nginx start` is in a Dockerfile that somebody shows you. What does it do, and what of it is in the
#    image?
# 2. Two Dockerfiles differ by a `LABEL`. Which digests of the two images are the same?
#    <details><summary>An answer</summary>Those of all layers, so both share them on the disk. The configs differ,
#    and with them the image ids and the manifests.</details>
# 3. Why is `ENV PATH=$PATH:/opt/bin` filled in by the builder, and `RUN echo $PATH` by the shell? Name a case in
#    which the two find different values.
# 4. An image has `ENTRYPOINT ["git"]` and `CMD ["--help"]`. What does `docker run IMAGE log` run? How do you get a
#    shell in it?
# 5. `CMD ["echo", "$HOME"]` prints `$HOME`. Why, and what are the two ways to have it filled in?
# 6. A colleague has `ENTRYPOINT exec /serve` in the shell form. Which of the two troubles of the shell form does that
#    cure, and which not?
#    <details><summary>An answer</summary>The server becomes process 1 and hears signals. But the words of CMD and of
#    docker run are still the shell's $0 and $1, and lost.</details>
# 7. The config says `EXPOSE 80`. Which system call has been made because of it?
# 8. `USER app` stands above `RUN apt-get install`. What happens, and why is it at the end of most Dockerfiles?
# 9. The token was an ARG of an *earlier stage* of a multi-stage build, from which one file is copied. Is it in the
#    final image's history? Where else may it be?
#    <details><summary>An answer</summary>Not in the final image: its history is that of the last stage. But it is in
#    the builder's cache, and in every image of that stage that somebody has tagged or pushed as a cache.</details>
# 10. The token was in a layer, and the image has been pushed. What do you do first?
#
# ## Further
#
# - Dockerfile(5), and docs.docker.com/reference/dockerfile: which instructions have a `--link`, a `--parents`, an
#   `--exclude`? Find out by the method of this chapter what each of them does to the layer.
# - pid_namespaces(7), "The namespace init process", and execve(2), "Interpreter scripts": the two rules that made
#   the square look as it does.
# - sh(1p), `-c` and `exec`; dash(1), bash(1): where does each promise, or not promise, to become its last command?

# %%
course.finish()
