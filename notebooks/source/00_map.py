# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 00 · The map
#
# You type `docker run`, and a moment later a program runs that seems to have a machine to itself. This course takes that moment apart. Then it puts it together again, piece by piece and in Python, until you have a container engine of your own making and the word "Docker" hides nothing from you any more.
#
# This chapter is the map. You start a first container, look at it from both sides, follow the chain from the command down to the kernel, and watch every single thing that the kernel is asked for. You need not understand it all yet: each of those things has a chapter, and the map says which.
#
# **Needs** root, namespaces, cgroups and overlay, as every container does (`labkit doctor` tells). **Takes** about 25 minutes, exercises included.

# %% tags=["parameters"]
image_name = "lab/busybox"

# %%
import os
import re
from collections import Counter
from pathlib import Path

import labkit
from labkit import course

course.start("00")

# %% [markdown]
# ## There is no container
#
# Everything that a program wants from the kernel it asks for by a system call, and the kernel keeps a list of its own functions in `/proc/kallsyms`. If it knew containers, there would be a call to make one. **Before you run it:** how many of some four hundred system calls have "container" in their name?

# %% tags=["nbval-check-output"]
symbols = Path("/proc/kallsyms").read_text()
calls = set(re.findall(r" __(?:x64|arm64)_sys_(\w+)$", symbols, re.MULTILINE))

known = ("clone3", "unshare", "setns", "pivot_root", "mount")
print("with 'container' in the name:", [call for call in calls if "container" in call] or "none")
print("but there are:", *[call for call in known if call in calls])

# %% [markdown]
# Not one. The kernel has never heard of containers. What it has is a handful of features, made by different people over twenty years for different ends, each of which changes one thing about an ordinary process. A *container* is our word for a process that has them all at once:
#
# | what | changes | chapter |
# | --- | --- | --- |
# | namespaces | what the process can see: names, processes, networks, users | 02 |
# | a root of its own | which files there are for it | 03 |
# | control groups | how much it may use: memory, processors, processes | 04 |
# | layers | how a thousand of them can share the same files, and each write its own | 05 |
# | capabilities and filters | what it may ask of the kernel | 15 |
#
# A *virtual machine* is another matter: it brings a kernel of its own. Chapter 01 measures what that costs and what it buys.
#
# ## A first container, from outside
#
# The lab's engine is a Python package. One call starts a container; `detach=True` leaves it running and gives us a handle. **Before you run it:** `sleep` is now running "in a container". Will the list of *this machine's* processes show it?

# %%
box = labkit.run(image_name, ["sleep", "600"], detach=True, name="first-box", hostname="box")

# %% tags=["nbval-check-output"]
from labkit.observe import processes

seen = processes.row(box.pid)
print("command:", seen.command)
print("user:   ", seen.user)
print("its pid in the container:", seen.ns_pids[-1])

# %% [markdown]
# It does, under its plain name and as root. Nothing was hidden from us: a container is a process like any other, and whoever is outside sees right in. Only it has two numbers: inside it is process 1.
#
# Now from inside. `exec` starts one more process with the same view. **Before you run it:** which of the four answers will be the same as on your machine?

# %% tags=["nbval-check-output"]
inside = box.exec(["sh", "-c", "hostname; id -un; ls /proc | grep -c '^[0-9]'; uname -r"]).stdout.split()
print("hostname: ", inside[0])
print("user:     ", inside[1])
print("processes:", "a handful" if int(inside[2]) < 10 else "as many as outside")
print("kernel:   ", "the same as ours" if inside[3] == os.uname().release else "another one")

# %% [markdown]
# The name and the processes are its own, and the kernel is ours: there is only one. That is the whole difference to a virtual machine in a line, with all that follows from it, good and bad.
#
# Who shares what with whom can be drawn. Every process points to eight *namespaces*, one of each kind, and the map shows for two processes which are the same. **Before you run it:** does the container share anything with us?

# %% tags=["nbval-ignore-output"]
from labkit.widgets import NamespaceMap

NamespaceMap([os.getpid(), box.pid], names={box.pid: "first-box"})

# %% tags=["nbval-check-output"]
from labkit.kernel.namespaces import Namespace, identity

shared = [kind.oci for kind in Namespace if identity(box.pid, kind) == identity("self", kind)]
print("shared with this notebook:", ", ".join(shared))

# %% [markdown]
# Two of eight: the clocks, and the users. The second is a surprise to many and worth remembering: by default root in a container *is* root. We come back to it below.
#
# **Your turn.** You get a list of pids, some of processes in containers and some not. Which are which? Names and commands prove nothing, since anybody can take any name. The kernel's links in `/proc/PID/ns` do: a process is in a container, we shall say here, if its `pid` link differs from the one of the process that looks (`/proc/self/ns/pid`).


# %%
def contained(pids):
    """Those of `pids` that live in a pid namespace other than ours, as a list."""
    ### BEGIN SOLUTION
    ours = os.readlink("/proc/self/ns/pid")
    return [pid for pid in pids if os.readlink(f"/proc/{pid}/ns/pid") != ours]
    ### END SOLUTION


# %%
course.check("00.find", contained)

# %% [markdown]
# ## The chain
#
# Between your command and the kernel stand more programs than one would think, and each is there for a reason. `docker` only talks: it sends your wish over a socket to a **daemon**, which knows names, images and networks. The daemon must be free to restart without all containers dying, so each of them gets a **monitor** of its own, which holds its output and waits for its end. And a **runtime** does the actual work, once, and then turns into your program.
#
# The lab is built the same way. Our daemon is the engine in this notebook; a **launcher** beside it is small and quick to fork. Let us look for the others, from the container's process upwards. **Before you run it:** the monitor works for this notebook. Is it the notebook's child?

# %% tags=["nbval-check-output"]
monitor = processes.row(seen.parent_pid)
print("the parent of sleep is a monitor:     ", monitor.name.startswith("labkit:[mon"))
print("the monitor's parent is this notebook:", monitor.parent_pid == os.getpid())

# %% [markdown]
# It is not. It cut itself loose and was adopted by the process that adopts all orphans here, as a rule process 1. If you restarted this notebook now, `sleep` would go on, and a later engine would find it. Docker's monitors do the same. Here are both chains, ours with the numbers of this very moment.

# %% tags=["nbval-ignore-output"]
from labkit.course import diagrams

children = [row for row in processes.rows() if row.parent_pid == os.getpid()]
launcher = next(row.pid for row in children if row.name == "labkit:launch")
pids = [f"pid {pid}" for pid in (os.getpid(), launcher, monitor.pid, seen.pid)]

said = "docker:asks dockerd:knows containerd:starts shim:watches runc:builds sleep:runs"
docker = dict(word.split(":") for word in said.split())
names = ["cell", "engine", "launcher", "monitor", "init", "sleep"]
ours = dict(zip(names, ["asks", *pids, f"still {pids[-1]}"], strict=True))
below = ("the kernel", "namespaces · mounts · control groups · overlay · capabilities")
diagrams.chain("From a command to the kernel", {"Docker": docker, "labkit": ours}, below)

# %% [markdown]
# The runtime cannot be seen any more, neither here nor at Docker's: it *was* the process that is now `sleep`. It prepared everything, and its last act was to become your program. That moment is the subject of chapter 06.
#
# **Your turn.** Follow such a chain yourself, up to process 1, with nothing but `/proc`. The line `PPid:` in `/proc/PID/status` names the parent. (There is a shorter way through `/proc/PID/stat`, and it has a trap that the check knows.)


# %%
def ancestors(pid):
    """The pids from `pid` up: itself first, then its parent, and so on to process 1."""
    ### BEGIN SOLUTION
    found = [pid]
    while found[-1] != 1:
        status = Path(f"/proc/{found[-1]}/status").read_text()
        found.append(int(re.search(r"^PPid:\s*(\d+)$", status, re.MULTILINE)[1]))
    return found
    ### END SOLUTION


# %%
course.check("00.chain", ancestors)

# %% [markdown]
# ## What the kernel is asked for
#
# All of labkit's requests to the kernel go through one place, and that place can be watched. `labkit.trace()` collects them from every process of the chain. **Before you run it:** the container only runs `true`, which does nothing. How many requests does it take to start it and to clean up afterwards: five, twenty, more than fifty?

# %%
with labkit.trace() as recorded:
    labkit.run(image_name, ["true"])

# %% tags=["nbval-ignore-output"]
from labkit.widgets import SyscallTimeline

SyscallTimeline(recorded)

# %% tags=["nbval-check-output"]
print("more than fifty:", len(recorded) > 50)
for call in ("cgroup.mkdir", "pivot_root", "sethostname", "execve", "cgroup.rmdir"):
    print(f"{call:13} by", *sorted({operation.process for operation in recorded if operation.call == call}))

# %% [markdown]
# Read the lanes from left to right. A container that we wait for needs no monitor of its own, so the *launcher* plays that part: it makes what belongs to the machine, such as a control group, and sends *init* on its way, a process that it has kept ready in fresh namespaces. Init furnishes its world from inside: mounts, a new root, a hostname. It gives up what it may do and becomes `true`. When that has ended, the launcher cleans up. Click on any bar: it says what was asked, and which chapter explains it.
#
# So the trace is a table of contents. **Before you run it:** which chapter has the most to explain?

# %% tags=["nbval-ignore-output"]
from labkit.course import figures
from labkit.widgets.syscall_timeline import FAMILIES

count = Counter(operation.chapter for operation in recorded if operation.chapter)
names = sorted(count, reverse=True)
plot = figures.axes(
    "One start of a container, by the chapter that explains it", across="requests to the kernel"
)
bars = plot.barh([f"{FAMILIES[name]}  {name}" for name in names], [count[name] for name in names])

# %% [markdown]
# **Your turn.** Read a trace. Each entry has a `process`, a `call` and a few words about it in `said`; you have just seen it used.


# %%
def who_asked(operations, call):
    """The names of all processes that made this call, each once, in the order of their first request."""
    ### BEGIN SOLUTION
    return list(dict.fromkeys(operation.process for operation in operations if operation.call == call))
    ### END SOLUTION


# %%
course.check("00.trace", who_asked)

# %% [markdown]
# ## Who is root here, and why
#
# This notebook runs as root. Let us see whether it must. **Before you run it:** the child gives up root for the user `nobody` and then asks for a hostname of its own. That harms no one. Is it allowed?

# %% tags=["nbval-check-output"]
course.fails(
    """
    os.setresuid(65534, 65534, 65534)
    namespaces.unshare(Namespace.UTS)
    """
)

# %% [markdown]
# It is not. Nearly every request in the timeline needs a privilege, and somebody has to have it. At Docker this is the daemon, which is why access to its socket is access to the machine: whoever may say "mount `/` for me" need not be root any more. (Chapter 02 shows the one kind of namespace that changes the rule, and with it containers without root.)
#
# And inside? We saw that root there is root here. But root is not one power; it is some forty of them, called *capabilities*, and a container's root gets a handful. **Before you run it:** root inside tries to mount something. What will it be told?

# %% tags=["nbval-check-output"]
print("uid inside: ", box.exec(["id", "-u"]).stdout.strip())
print("uid outside:", os.stat(f"/proc/{box.pid}").st_uid)
print(box.exec(["mount", "-t", "tmpfs", "none", "/tmp"]).stderr.strip())

# %% [markdown]
# "Are you root?" It is, and it may not. Here are the powers it was left with; compare them with the line about your own.

# %% tags=["nbval-ignore-output"]
from labkit.kernel import capabilities

for whose, pid in (("this notebook", "self"), ("the container", box.pid)):
    held = capabilities.names(capabilities.of_process(pid)["CapEff"])
    print(f"{whose} has {len(held)}")
print("\n".join(held))

# %% [markdown]
# A course that works as root should be worked through on a machine that you could lose: the lab's virtual machine, or one in the cloud. Still it treads lightly. Whatever it makes in the kernel (mounts, groups, links) bears its name and is written in a ledger before it is made, so that `labkit reset` can undo it after any accident. It never touches what it has not made.
#
# Our container has done its duty. **Before you run it:** what will be left of it?

# %% tags=["nbval-check-output"]
pid = box.pid
box.remove(force=True)
print("its process is", "still there" if Path(f"/proc/{pid}").exists() else "gone")

# %% [markdown]
# ## What this machine can do
#
# Kernels differ, and so do distributions. `labkit doctor` in a terminal tries everything that the course uses and says what each missing thing would cost you. The lab cannot do without five of them; of the rest, only what is limited or missing is shown here.

# %% tags=["nbval-ignore-output"]
from IPython.display import Markdown
from labkit.observe import machine

signs = {"ok": "✓", "limited": "~", "missing": "✗"}
rows = [row for row in machine.rows() if row.name in machine.NEEDED or row.status != "ok"]
lines = [f"| {signs[row.status]} | {row.name} | {row.value} | {row.cost} |" for row in rows]
Markdown("\n".join(["| | feature | what is there | what its lack costs |", "|---|---|---|---|", *lines]))

# %% [markdown]
# ## How the course works
#
# Every claim in this course is a cell that you can run and change. Three helpers you will meet on every page. **`course.child`** runs lines in a fresh process, because a notebook that locked itself into a container could not get out. Nothing but what you hand over is known there.

# %% tags=["nbval-check-output"]
course.child("print('another process:', os.getpid() != here)", here=os.getpid())

# %% [markdown]
# **`course.fails`** is for what is meant to fail. Failures are half of what there is to learn, so they stay in the text, in red, with the line that caused them.

# %% tags=["nbval-check-output"]
course.fails("print(here)")

# %% [markdown]
# **`course.check`** you know already. It never looks at what you print: it runs your function in a child and asks the kernel what has become of it. When a check fails, it names the fact that did not hold, what it found instead, and a hint. Try again as often as you like; the cell can be run at any time, and the chapter too, from the top.
#
# One more, and it is a real one. So far the container was mine.


# %%
def start_box(hostname):
    """Start a container of lab/busybox by this hostname that sleeps for a minute and goes on by itself.

    Return two things: the container, and the pid of its first process as this machine sees it.
    """
    ### BEGIN SOLUTION
    container = labkit.run("lab/busybox", ["sleep", "60"], detach=True, hostname=hostname)
    return container, container.pid
    ### END SOLUTION


# %%
course.check("00.start", start_box)

# %% [markdown]
# This is how far you have come. Your answers are kept, and later chapters can use them: what you write in chapter 03 carries the container of chapter 06.

# %% tags=["nbval-ignore-output"]
course.progress()

# %% [markdown]
# ## In labkit
#
# Each chapter ends with the file in which its subject stands finished. Here it is the seam through which all was seen: the kernel's requests of one stretch of work, and the table that knows which chapter explains them.

# %%
from labkit.kernel import trace

course.show(trace)

# %% [markdown]
# ## What you know now
#
# A container is a process that the kernel shows less and allows less than others; the kernel itself has no such word. It has two pids and one kernel, yours. Between `docker` and the kernel stand a daemon that knows, a monitor that watches, and a runtime that builds and then becomes your program. All of it takes some dozens of requests and a few milliseconds, and there is nothing among them that you could not make yourself.
#
# ## Ten questions
#
# 1. Somebody says: "a container is a light virtual machine". Which of today's cells would you show them?
# 2. You see a process called `nginx` in the host's list. How do you find out whether it is in a container, if its name and its command may lie?
# 3. Why does a container appear in the host's process list, while the host's processes do not appear in the container's?
# 4. The daemon crashes. Which processes of the chain must survive it, and what do they hold that would be lost otherwise?
# 5. Why is the runtime no longer there when your program runs? What would be the price if it stayed?
# 6. A colleague is not in the group `docker` and asks for it, "only to run containers". What are you giving them?
# 7. Root inside the container has uid 0 outside. Name one thing that it may still do on a file of the host if such a file is mounted into it, and one that it may not do although it is root.
# 8. In the timeline, why is the control group made from outside, and not by init?
# 9. Two containers run on one machine, and one of them finds a hole in the kernel. What of the other's is safe? What if both were virtual machines?
# 10. Which of the kernel's requests in the timeline would you expect to be the slowest, and how would you find out with `recorded`?
#
# <details><summary>A word on 6 and 8</summary>
#
# 6: Root on the machine, in one line: `docker run -v /:/host …`. 8: Init is to be counted from its first page on, and it must not be able to lift its own limits: the group belongs to the machine.
#
# </details>
#
# ## Further
#
# - `strace -f` on any `runc run` or `crun run`, beside the trace above: which requests are the same, and in which order do they come?
# - `namespaces(7)`, `cgroups(7)`, `capabilities(7)`: skim the first page of each. These three are the course's library.
# - `proc(5)`: the window that you looked through all the time. Find three more files in `/proc/PID` that tell a container's process from another.

# %%
course.finish()
