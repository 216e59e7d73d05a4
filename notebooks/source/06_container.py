# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 06 · A container
#
# Namespaces, a root of its own, control groups, layers: you have held each part in your hand. Now you put
# them together, and what comes out is a container. There is no further ingredient.
#
# First by hand, in five steps. Then with `labkit.run`, which takes the same steps, and with the verbs that
# engines have for what comes after the start: stop, exec, logs, pause, remove. At the end you know what a
# container loses when it goes, and why that is a promise and not a defect.
#
# **Needs:** root, namespaces, control groups, OverlayFS. **Takes:** about an hour, exercises included.

# %% tags=["parameters"]
grace_seconds = 1.0

# %%
import os
import signal
import socket
import time
from pathlib import Path

import labkit
import labkit.errors
from labkit import Limits, MiB, course

course.start("06")

# %% [markdown]
# ## Five steps
#
# ```
#  1  leave the host     its groups, then its namespaces; be born again as process 1
#  2  build a root       the image below, a writable directory above, /proc and /dev
#  3  move in            the new root becomes /, the old one goes; a name of one's own
#  4  give up power      of root's capabilities keep the few that programs need
#  5  become the program execve(2): whatever runs now knows only what is left
# ```
#
# Each step is a short function. They run in a fresh child, never in the notebook.
#
# **Step 1.** A new pid namespace begins with the next child, so this step ends with a fork: the parent stays
# outside and passes on how the child ended.

# %%
from labkit.kernel import capabilities, devices, mounts, namespaces, process
from labkit.kernel.mounts import MountFlag
from labkit.kernel.namespaces import Namespace

ISOLATED = "mount uts ipc pid network cgroup".split()


def leave_the_host(group):
    group.join()  # while the host's tree of groups is still in reach
    for kind in ISOLATED:
        namespaces.unshare(Namespace.named(kind))
    if born := os.fork():
        code = os.waitstatus_to_exitcode(os.waitpid(born, 0)[1])
        os._exit(code if code >= 0 else 128 - code)
    process.die_with_parent()


# %% [markdown]
# **Step 2.** `PRIVATE` first: what is mounted from here on must not travel to the host. Then the overlay of
# chapter 05, with the two file systems that every program expects.


# %%
def build_a_root(layer, place):
    mounts.propagate("/", MountFlag.PRIVATE)
    root = place / "merged"
    directories = f"lowerdir={layer},upperdir={place}/upper,workdir={place}/work"
    mounts.mount("overlay", root, "overlay", options=directories)
    mounts.mount("proc", root / "proc", "proc", MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC)
    mounts.mount("tmpfs", root / "dev", "tmpfs", MountFlag.NOSUID, "mode=755,size=64k")
    for device in devices.DEFAULT:
        devices.make(device, root / "dev")
    return root


# %% [markdown]
# **Steps 3, 4 and 5.** `enter_root` is chapter 03's pivot_root(2) with the old root let go. Of the forty-one
# capabilities of root we keep those that an ordinary program may need, and none that reaches the kernel.


# %%
def move_in(root, hostname):
    mounts.enter_root(root)
    socket.sethostname(hostname)


def give_up_power():
    keep = "CHOWN DAC_OVERRIDE FOWNER KILL SETGID SETUID NET_BIND_SERVICE".split()
    capabilities.drop_bounding(keep)  # nothing that is executed from here on can get more
    capabilities.set_own(capabilities.mask(keep), capabilities.mask(keep), 0)


def become(argv):
    os.execvpe(argv[0], argv, {"PATH": "/bin:/sbin:/usr/bin:/usr/sbin", "HOME": "/root"})


# %% [markdown]
# And all of it in the order of the list:


# %%
def container(layer, place, group, hostname, argv):
    leave_the_host(group)
    root = build_a_root(layer, place)
    move_in(root, hostname)
    give_up_power()
    become(argv)


def fresh_place(name):
    """The directories of one container: what it writes, the kernel's scratch pad, and where it is mounted."""
    place = course.scratch(name)
    for part in ("upper", "work", "merged"):
        (place / part).mkdir()
    return place


# %% [markdown]
# What it needs from outside: an image's layer, a place, and a group with limits.

# %%
from labkit.images import base, store
from labkit.paths import Paths

paths = Paths.from_environment()
layer = store.layer_directory(paths, base.get(paths, "lab/busybox").layers[0])
place = fresh_place("by-hand")
group = course.cgroup("by-hand", Limits(memory_bytes=64 * MiB, processes=50))

# %% [markdown]
# **Before you run it:** how many processes will `ps` list? Whose name does `hostname` print? May root, inside,
# mount something?

# %% tags=["nbval-check-output"]
script = """
echo "I am process $$ of $(hostname)"; ps -o pid,comm; echo /*
mount -t tmpfs none /tmp || echo "so root may not mount"
"""
course.child(container, layer, place, group, "by-hand", ["sh", "-c", script])

# %% [markdown]
# That is a container. It has its own processes, its own name, its own files, a budget, and a root user who is
# not master of the machine. No daemon was needed, and nothing but calls that you have made before.

# %% tags=["nbval-check-output"]
import inspect

steps = (leave_the_host, build_a_root, move_in, give_up_power, become, container)
lines = sum(len(inspect.getsource(step).splitlines()) for step in steps)
print("a container in fewer than sixty lines:", lines < 60)

# %% [markdown]
# ## The order is the lesson
#
# Each step takes away what an earlier one still needed. **Before you run it:** what happens if power is given
# up first, to be on the safe side?


# %% tags=["nbval-check-output"]
def too_careful(layer, place, group):
    leave_the_host(group)
    give_up_power()
    try:
        build_a_root(layer, place)
    except OSError as error:
        print(f"{type(error).__name__}: {error}")
        os._exit(0)


course.child(too_careful, layer, fresh_place("careful"), group)

# %% [markdown]
# `Operation not permitted`: a mount needs `CAP_SYS_ADMIN`, which is gone, and it cannot be had back. The other
# way about would be as bad: enter the root first, and the layers are out of reach; join the group last, and
# the cgroup file system is. So a runtime is, more than anything else, an **order**.
#
# ## The same in one call
#
# `labkit.run` takes an image's name and a command, and returns how it ended.

# %% tags=["nbval-check-output"]
result = labkit.run(
    "lab/busybox",
    ["sh", "-c", 'echo "I am process $$ of $(hostname)"; ps | wc -l'],
    hostname="one-call",
    limits=Limits(memory_bytes=64 * MiB, processes=50),
)
print(result)

# %% [markdown]
# The same script would print the same list. Is it also the same **inside**? We start one of each kind that
# lives on, and ask the kernel which namespaces they have of their own.

# %%
by_hand = course.child.start(container, layer, fresh_place("second"), group, "by-hand", ["sleep", "60"])
theirs = labkit.run("lab/busybox", ["sleep", "60"], detach=True)


def process_one(group):
    """The process of a group that is number 1 in its own pid namespace."""
    for pid in group.processes():
        status = Path(f"/proc/{pid}/status").read_text()
        inside = status.split("NSpid:")[1].splitlines()[0].split()[-1]
        if status.startswith("Name:\tsleep\n") and inside == "1":
            return pid
    return None


while not (hand_made := process_one(group)):  # until it has become sleep(1)
    time.sleep(0.01)

# %% tags=["nbval-check-output"]
for name, pid in (("by hand", hand_made), ("labkit", theirs.pid)):
    own = [k.oci for k in Namespace if namespaces.identity(pid, k) != namespaces.identity("self", k)]
    print(f"{name:8} has of its own: {' '.join(own)}")

# %% tags=["nbval-ignore-output"]
from labkit.widgets import NamespaceMap

NamespaceMap([os.getpid(), hand_made, theirs.pid], names={hand_made: "by hand", theirs.pid: "labkit"})

# %% [markdown]
# Six namespaces each, none of them shared between the two; user and time are the host's. (Containers with a
# user namespace come in a later chapter.) What the engine does *beyond* your five steps shows in the mounts:
# it also hides the parts of `/proc` and `/sys` that speak of the host.

# %%
for name, pid in (("by hand", hand_made), ("labkit", theirs.pid)):
    points = [mount.mount_point for mount in mounts.mounts(pid)]
    print(f"{name:8} {len(points):2} mounts: {' '.join(points)}")
by_hand.kill()
theirs.remove(force=True)

# %% [markdown]
# ## Watching a start
#
# Everything that labkit asks of the kernel can be recorded: in the **engine**, in the helpers that start a
# container and stay with it (launcher and monitor), and in **init**, the process that becomes your program.
#
# **Before you run it:** which of your steps will you find in the list?

# %%
with labkit.trace() as recorded:
    labkit.run("lab/busybox", ["true"])
print(f"{len(recorded)} operations by {', '.join(dict.fromkeys(one.process for one in recorded))}")

# %% tags=["nbval-check-output"]
calls = {one.call for one in recorded}
for step in ("cgroup.mkdir", "clone3", "mount", "pivot_root", "sethostname", "capset", "execve"):
    print(f"{step:12} {'found' if step in calls else 'not found'}")

# %% tags=["nbval-ignore-output"]
from labkit.widgets import SyscallTimeline

SyscallTimeline(recorded)

# %% [markdown]
# Click a bar for what it says. One difference to your version: `clone3` makes the child and its namespaces in
# one call, where you needed unshare(2) and fork(2).
#
# ## A life
#
# A container is more than its process: it has a name, a record, and a writable directory, and these are there
# before the process starts and after it has ended.
#
# ```
#             start             pause
#   created ────────►  running ───────►  paused
#                      │  ▲    ◄───────
#     the process ends │  │ start  unpause
#      or is stopped   ▼  │
#                     exited ────► removed: record, log and files are gone
# ```

# %% tags=["nbval-check-output"]
program = """
trap 'echo "asked to stop, putting things away"; exit 0' TERM
n=0; while :; do echo tick $n; n=$((n+1)); sleep 0.1; done
"""
clock = labkit.create("lab/busybox", ["sh", "-c", program], name="chapter-06-clock")
print(clock.status)
clock.start()
print(clock.status)

# %% [markdown]
# **exec** starts one more process in all of the container's namespaces, and in its group. **Before you run
# it:** which process number does `ps` see for the shell that we started, and which for itself?

# %%
print(clock.exec(["ps", "-o", "pid,comm"]))
print("as the host counts, its first process is", clock.pid)

# %% [markdown]
# Process 1 is ours, and `ps` came in beside it with a number of its own: it is no child of process 1. This is
# also how a debugging shell gets in, `docker exec -it NAME sh`: the door is setns(2), not a login.
#
# **pause** freezes the group. **Before you run it:** does the log of a paused container grow?

# %% tags=["nbval-check-output"]
clock.pause()
print(clock.status)
before = clock.logs()
time.sleep(0.4)
print("the log has grown:", clock.logs() != before)
clock.unpause()
while clock.logs() == before:
    time.sleep(0.01)
print(clock.status, "and ticking again")

# %% [markdown]
# **stop** asks first: SIGTERM, and then the process may put its things away. Afterwards the container is
# `exited`, and everything but the process is still there.

# %% tags=["nbval-check-output"]
print("exit code:", clock.stop())
print(clock.status, "with a log from", clock.logs().splitlines()[0], "to", clock.logs().splitlines()[-1])
clock.remove()
with course.expected_failure():
    labkit.get("chapter-06-clock")

# %% [markdown]
# ## Why some containers take ten seconds to stop
#
# Now one whose program has never heard of SIGTERM: sleep(1), which does not handle it. Everywhere else that
# means the signal kills it.
#
# **Before you run it:** the grace period here is one second (Docker's is ten). When is it over, and with which
# exit code?

# %%
sleeper = labkit.run("lab/busybox", ["sleep", "60"], detach=True)
status = Path(f"/proc/{sleeper.pid}/status").read_text()
caught = int(status.split("SigCgt:")[1].split()[0], 16)  # a bit for each signal that has a handler
print("its program has a handler for SIGTERM:", bool(caught >> (signal.SIGTERM - 1) & 1))
began = time.monotonic()
code = sleeper.stop(timeout_seconds=grace_seconds)
without_handler = time.monotonic() - began
print(f"exit code {code} after {without_handler:.2f} s")
sleeper.remove()
assert code == 137 and without_handler >= grace_seconds

# %% [markdown]
# The whole grace period, and then SIGKILL: 137 is 128 + 9. The kernel protects process 1 of a pid namespace
# as it protects the machine's own init: a signal for which it has **no handler** is thrown away, also one
# from the host. Only SIGKILL and SIGSTOP from *outside* get through.
#
# And from inside? **Before you run it:** process 1 sends SIGKILL to itself. What is its exit code?

# %% tags=["nbval-check-output"]
print(labkit.run("lab/busybox", ["sh", "-c", 'kill -9 $$; echo "still here"']))

# %% [markdown]
# Not even that. So a program that is to be process 1 must handle SIGTERM, as our clock did, or leave the place
# to a small init that passes signals on (`docker run --init`). You will write that one yourself.

# %%
script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
polite = labkit.run("lab/busybox", ["sh", "-c", script], detach=True)
while not polite.logs():  # until the trap is set
    time.sleep(0.01)
began = time.monotonic()
polite.stop(timeout_seconds=grace_seconds)
with_handler = time.monotonic() - began
polite.remove()

# %%
from labkit.course import figures

plot = figures.axes("from stop to exited", "seconds", height=1.7)
plot.barh(["no handler", "handler"], [without_handler, with_handler], color=[figures.ORANGE, figures.BLUE])
plot.axvline(grace_seconds, color=figures.GREY, linestyle="--", label="grace period")
plot.invert_yaxis()
figures.legend(plot)
assert with_handler < without_handler

# %% [markdown]
# ## How it ended
#
# An exit code is one byte, and engines put much into it. **Before you run it:** guess all five. Two of the
# programs never ran at all.


# %%
def exit_code(*argv, **options):
    try:
        return labkit.run("lab/busybox", argv, **options).exit_code
    except labkit.errors.StartFailed as failure:
        print(f"     {failure}")
        return failure.exit_code


# %% tags=["nbval-check-output"]
print(exit_code("true"), "a program that is content")
print(exit_code("sh", "-c", "exit 3"), "one that says 3")
print(exit_code("/etc/passwd"), "a file that is no program")
print(exit_code("no-such-program"), "no file at all")
print(exit_code("sh", "-c", "sh -c 'kill -9 $$'; exit $?"), "a shell whose child was killed")

# %% [markdown]
# **126** and **127** are the shell's own old codes for *not executable* and *not found*, and **128 + n** means
# signal n. Everything else is what the program said. `docker run` speaks the same language, with 125 for *the
# engine itself failed*.
#
# One code has two meanings. **Before you run it:** both of these end with 137. Can you tell them apart?

# %% tags=["nbval-check-output"]
greedy = labkit.run("lab/busybox", ["tail", "/dev/zero"], limits=Limits(memory_bytes=16 * MiB))
victim = labkit.run("lab/busybox", ["sleep", "60"], detach=True)
victim.kill("KILL")
victim.wait()
print("greedy:", greedy.exit_code, "out of memory:", greedy.oom_killed)
print("victim:", victim.state.exit_code, "out of memory:", victim.state.oom_killed)
victim.remove()

# %% [markdown]
# The code cannot say it, the group's counter can. The engine reads it before the group goes.
#
# ## What is lost, and why
#
# A container writes to three kinds of places: files of its root, files in memory (`/dev/shm` and other
# tmpfs), and the memory of its processes. We write to each, and delete a file of the image.
#
# **Before you run it:** which of the four is still so after a stop and a start? And in a new container of the
# same image?

# %%
marks = {
    "a file in /root": "test -e /root/notes",
    "a file in /dev/shm": "test -e /dev/shm/cache",
    "a process of ours": "ps | grep -q '[s]leep 77'",
    "the deletion of /etc/group": "test ! -e /etc/group",
}


def look(container):
    return [not container.exec(["sh", "-c", test]).exit_code for test in marks.values()]


diary = labkit.run("lab/busybox", ["sleep", "600"], detach=True)
diary.exec(["sh", "-c", "echo draft > /root/notes; echo warm > /dev/shm/cache; rm /etc/group; sleep 77 &"])
found = {"now": look(diary)}

# %% [markdown]
# The host can see where it went: the upper directory of chapter 05, which is the container's and nobody's else.

# %% tags=["nbval-check-output"]
upper = paths.containers / diary.id / "upper"
for path in sorted(upper.rglob("*")):
    kind = "whiteout" if path.is_char_device() else "directory" if path.is_dir() else "file"
    if path.parts[len(upper.parts)] in ("root", "etc"):
        print(f"{path.relative_to(upper)!s:12} {kind}")

# %%
diary.stop(timeout_seconds=0.1)
diary.start()
found["after stop and start"] = look(diary)
diary.remove(force=True)
newcomer = labkit.run("lab/busybox", ["sleep", "600"], detach=True)
found["in a new container"] = look(newcomer)
newcomer.remove(force=True)
print("upper is gone:", not upper.exists())

# %% tags=["nbval-check-output"]
print(f"{'':28}", *(f"{when:22}" for when in found))
for name, row in zip(marks, zip(*found.values(), strict=True), strict=True):
    print(f"{name:28}", *(f"{'there' if there else '-':22}" for there in row))

# %% [markdown]
# A **stop** ends the processes, and with them all that was in memory. A **remove** takes the upper directory.
# What the image had is untouched by either, so every new container begins the same: containers are
# **ephemeral**.
#
# It sounds like a loss, and it is what one wants. A server that cannot be thrown away is one that nobody dares
# to touch. What must stay goes to a place outside: a volume, which a later chapter mounts in.
#
# # Exercises
#
# ## 1. Contain
#
# `root` is a directory with an image's files. Run `argv` there as process 1 of a container: namespaces of its
# own for mounts, hostname, ipc, pids and network, the root entered so that the old one is gone, `/proc`
# mounted, the hostname set. Your function runs in a fresh process that may end with it.


# %%
def contain(root, hostname, argv):
    """Become a container. Of chapters 02 and 03 all is allowed, labkit.kernel included."""
    ### BEGIN SOLUTION
    for kind in ("mount", "uts", "ipc", "pid", "network"):
        namespaces.unshare(Namespace.named(kind))
    if born := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(born, 0)[1]) & 0xFF)
    process.die_with_parent()
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(root, root)
    mounts.mount("proc", f"{root}/proc", "proc")
    mounts.enter_root(root)
    socket.sethostname(hostname)
    os.execv(argv[0], argv)
    ### END SOLUTION


# %%
course.check("06.contain", contain)

# %% [markdown]
# ## 2. Stop
#
# The process `pid` is no child of yours, so wait(2) will not help; a pidfd will. Ask it to end, give it
# `grace_seconds`, then make it. Return as soon as it is gone, with the name of the signal that was needed.


# %%
def stop(pid, grace_seconds):
    """SIGTERM, and SIGKILL after the grace period; return "TERM" or "KILL"."""
    ### BEGIN SOLUTION
    import select

    pidfd = os.pidfd_open(pid)
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)  # readable once the process has ended
    signal.pidfd_send_signal(pidfd, signal.SIGTERM)
    if ended.poll(grace_seconds * 1000):
        return "TERM"
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    ended.poll()
    return "KILL"
    ### END SOLUTION


# %%
course.check("06.stop", stop)

# %% [markdown]
# ## 3. Be a good process 1
#
# Write the small init that `docker run --init` puts in front of a program. It starts `argv`, passes SIGTERM on
# to it, reaps **every** child that ends (also those that it inherits), and returns the program's exit code as
# a shell has it. Your function is process 1 of a pid namespace.


# %%
def init(argv):
    """Run `argv` as a child and look after it; return its exit code, 128 + n for signal n."""
    ### BEGIN SOLUTION
    main = os.posix_spawnp(argv[0], argv, os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == main:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
    ### END SOLUTION


# %%
course.check("06.init", init)

# %% [markdown]
# ## 4. What survives?
#
# Say of each whether it is still so: first after a stop and a start of the same container, then in a **new**
# container of the same image. The check does it and looks.
#
# The answer is a dict. Its keys are `"a file in /var"`, `"a file in /dev/shm"`,
# `"the image's /etc/passwd, deleted"`, `"a background process"`, `"the hostname that create was given"` and
# `"the image's /bin/busybox"`; its values are pairs such as `(True, False)`.

# %%
survives = ...
### BEGIN SOLUTION
survives = {
    "a file in /var": (True, False),
    "a file in /dev/shm": (False, False),
    "the image's /etc/passwd, deleted": (True, False),
    "a background process": (False, False),
    "the hostname that create was given": (True, False),
    "the image's /bin/busybox": (True, True),
}
### END SOLUTION

# %%
course.check("06.survives", survives)

# %% [markdown]
# # What you have built
#
# This is the engine's own list of steps, between clone3(2) and execve(2). Find your five, and for each of the
# others the reason that stands beside it.

# %%
from labkit.runtime import init as the_engines_init

course.show(the_engines_init)

# %% [markdown]
# ## In short
#
# - A container is a process with namespaces, a root, a group and few capabilities. The order of the steps
#   makes it.
# - Process 1 gets no signal that it does not handle: a program must, or stopping it takes the grace period.
# - 126 and 127 mean that it never ran; 137 means SIGKILL, and only the group's counter says whose.
# - A stop ends the processes, a remove takes the files. The image knows of neither.
#
# ## Questions
#
# 1. In which of the five steps could each of these go wrong, and with which error: a full disk, a missing
#    controller, an image without `/proc`, a program built for another machine?
# 2. Why does the parent of step 1 stay outside, and who would tell the exit code if it did not?
#    <details><summary>An answer</summary>unshare(2) moves only later children into a new pid namespace. The
#    parent can wait(2) for process 1, and nobody inside outlives it: when process 1 ends, the kernel kills the
#    rest.</details>
# 3. `docker stop` takes ten seconds for a container with `CMD python app.py` as a shell line. Which process is
#    number 1 there, and what does it do with SIGTERM?
# 4. Why does `exec` join the group before it joins the namespaces?
# 5. Your by-hand container and the engine's both run as root. Compare what each could do to the host.
# 6. A container is OOM-killed and a script only sees 137. Which two places on the host could it have asked?
# 7. Why may the engine not simply keep all it knows in memory, in one process?
#    <details><summary>An answer</summary>It may be killed, upgraded or restarted at any time, and the containers
#    must go on. So each has a monitor of its own, records lie in files, and the kernel is asked for the
#    truth.</details>
# 8. What would be left behind if a machine lost power while your by-hand container ran? And the engine's?
# 9. Two containers of one image are to share a file that both may change. Why is neither's upper directory the
#    place for it?
# 10. Strip one thing after another from a container (cgroup, network namespace, capabilities, root). At which
#     point is it no container any more?
#
# ## Further
#
# - pid_namespaces(7), "The namespace init process": what happens to the others when process 1 ends, and what
#   does a second unshare of pids say?
# - credentials(7) and capabilities(7): let your by-hand container run as user 1000. At which step, and why there?
# - The OCI runtime specification, runtime.md: match its `create`, `start`, `kill`, `delete` to the life above.
#   What does splitting create from start make possible?

# %%
course.finish()
