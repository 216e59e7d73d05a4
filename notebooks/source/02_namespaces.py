# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 02 · Namespaces
#
# A container has its own hostname, its own processes, its own network. Yet nothing of your machine was copied to give it these. It is the same machine, looked at through other windows, and the kernel's word for such a window is *namespace*. There are eight kinds.
#
# In this chapter you open all eight by hand and look at each from both sides of the glass. On the way you write two programs that every container engine has in it somewhere: a first process that buries its dead, and a root user who is nobody.
#
# **Needs** root, and a kernel with all eight kinds (`labkit doctor` shows both). **Takes** about an hour, exercises included.

# %% tags=["parameters"]
new_name = "blue"
days_ahead = 30

# %%
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

from labkit import course
from labkit.kernel import idmap, namespaces, process
from labkit.kernel.idmap import IdMap
from labkit.kernel.namespaces import Namespace

course.start("02")

# %% [markdown]
# ## Eight links
#
# A process does not *have* a hostname or a network. It points to objects in the kernel that have them. `/proc/PID/ns` shows the pointers as links, one for each kind, and each link reads as a kind with a number. Equal numbers mean the same object.

# %% tags=["nbval-ignore-output"]
for kind in Namespace:
    print(f"{kind.oci:8}", os.readlink(f"/proc/self/ns/{kind.link}"))


# %% [markdown]
# That is this notebook's process. Now a question that we shall ask in every section: in which kinds is some *other* process not where we are? Comparing eight links answers it.


# %%
def apart(pid):
    """The kinds of namespace in which a process is not where this notebook is."""

    def link(whose, kind):
        return os.readlink(f"/proc/{whose}/ns/{kind.link}")

    return [kind.oci for kind in Namespace if link(pid, kind) != link("self", kind)]


# %% [markdown]
# `course.child` runs lines in a fresh process, so that the notebook itself never moves. **Before you run it:** in how many of the eight kinds will a fresh child be apart from us: eight, or none?

# %% tags=["nbval-check-output"]
with course.child.start("input()") as ordinary:
    print("apart from the notebook in:", apart(ordinary.pid) or "nothing")

# %% [markdown]
# None. `fork` copies the pointers, not what they point to, so all your life you have shared all eight with nearly every process on the machine. To be apart, somebody has to ask for it.
#
# ## UTS: a name of one's own
#
# Suppose a program wants to be called `blue`. There is a call for that, `sethostname(2)`. We would rather not rename your machine, so the child below plays the machine: it has a hostname to itself. Inside it live two processes. One waits; the other changes the name. **Before you run it:** what does the waiting one print, the old name or the new one?

# %% tags=["nbval-check-output"]
# %%child --new uts
# neighbour = subprocess.Popen(["sh", "-c", "read go; hostname"], stdin=subprocess.PIPE)
# socket.sethostname(new_name)
# neighbour.communicate(b"go\n")

# %% [markdown]
# The neighbour did nothing and was renamed all the same. The name is not the process's, it is the namespace's, and both point to the same one. So the program that wants a name for itself needs a fresh namespace first.
#
# That takes one system call, `unshare(2)`, with one bit that says which kind. Here it is without any help from labkit: libc through ctypes, and the number from the kernel's headers. **Before you run it:** will the notebook see the new name?

# %% tags=["nbval-check-output"]
before = socket.gethostname()
course.child(
    """
    import ctypes
    print("unshare(2) answers", ctypes.CDLL(None).unshare(0x04000000))  # CLONE_NEWUTS
    socket.sethostname(new_name)
    print("inside: ", socket.gethostname())
    """,
    new_name=new_name,
)
print("outside:", "as before" if socket.gethostname() == before else "renamed!")

# %% [markdown]
# Zero is success, and the rename stayed where it was made. From here on we let `course.child` do the call: `namespaces="uts"` is the same bit.
#
# **From outside**, one of the eight links now differs. And whoever is allowed to may climb through the window: `nsenter(1)` opens `/proc/PID/ns/uts` and calls `setns(2)` on it. That is all that `docker exec` does, for several kinds at once.

# %% tags=["nbval-check-output"]
stay_as = "socket.sethostname(name); print('ready'); input()"

with course.child.start(stay_as, namespaces="uts", name=new_name) as blue:
    blue.read_line()
    print("apart in:", apart(blue.pid))
    heard = subprocess.check_output(["nsenter", "--target", str(blue.pid), "--uts", "hostname"], text=True)
    print("nsenter goes in and hears:", heard.strip())


# %% [markdown]
# **Your turn.** Write the function that gives the process which calls it a hostname of its own. The check runs it in a fresh child and asks the kernel, not the function, whether it worked. In a child you may use `namespaces`, `Namespace`, `socket` and `os` without importing them.


# %%
def own_name(name):
    """Give this process the hostname `name`, and let nobody outside notice."""
    ### BEGIN SOLUTION
    namespaces.unshare(Namespace.UTS)
    socket.sethostname(name)
    ### END SOLUTION


# %%
course.check("02.name", own_name)

# %% [markdown]
# ## IPC: messages that stay
#
# Two processes may talk through a System V message queue. Such a queue is an odd thing: it has a number instead of a path, and it outlives whoever made it. **Before you run it:** `ipcmk` makes a queue and ends at once. Is the queue still there for the child afterwards, and does the notebook see it?


# %%
def queues():
    """How many System V message queues this process can see."""
    return len(Path("/proc/sysvipc/msg").read_text().splitlines()) - 1


def make_queue():
    subprocess.run(["ipcmk", "--queue"], check=True, stdout=subprocess.DEVNULL)
    return queues()


# %% tags=["nbval-check-output"]
seen_before = queues()
inside = course.child(make_queue, namespaces="ipc").value
print("inside, after ipcmk has ended:", inside)
print("outside:", "nothing new" if queues() == seen_before else "one more than before")

# %% [markdown]
# The queue outlived `ipcmk`, but it could not outlive its namespace: with the last process inside, the kernel threw all of it away. This is a pattern for all eight kinds. A namespace goes when nobody points to it any more, and takes its contents along.
#
# ## Mount: a tree of one's own
#
# A mount namespace holds the list of what is mounted where. It was the first kind, and its bit is still called plainly `CLONE_NEWNS`, since nobody thought there would be others. **Before you run it:** the child mounts an empty memory file system on a directory and writes a file there. What does the notebook find in that directory?

# %% tags=["nbval-check-output"]
desk = course.scratch("desk")
course.child(
    """
    mounts.mount("tmpfs", desk, "tmpfs")
    Path(desk, "secret").write_text("only here")
    print("inside: ", os.listdir(desk))
    """,
    namespaces="mount",
    desk=str(desk),
)
print("outside:", os.listdir(desk))

# %% [markdown]
# Nothing, although both looked at the same path. The child's list had one entry more than ours, and when the child ended, its list ended with it: nobody had to unmount anything. (`course.child` did one thing more behind your back, without which the mount might have shown outside after all. Chapter 03 is about that.)
#
# ## PID: counting from one
#
# In a pid namespace the kernel counts processes anew. The obvious attempt comes first. **Before you run it:** after `unshare`, is the caller process 1?

# %% tags=["nbval-check-output"]
# %%child
# namespaces.unshare(Namespace.PID)
# print("I am process 1:         ", os.getpid() == 1)
# if os.fork() == 0:
#     print("my child is process 1:  ", os.getpid() == 1)
#     os._exit(0)
# os.wait()

# %% [markdown]
# A process never changes its pid: too many programs remember their own. So for this kind, `unshare` only says where the *next* child will be born, and the first one born there is process 1.
#
# **From outside** that process has another number, the next free one, as all processes do. Both numbers are true at once. The line `NSpid` in `/proc/PID/status` lists them, from our namespace inwards.

# %% tags=["nbval-ignore-output"]
with course.child.start("print(os.getpid()); input()", namespaces="pid") as first:
    print("what it says of itself:", first.read_line())
    status = Path(f"/proc/{first.pid}/status").read_text().splitlines()
    print("what we see:           ", next(line for line in status if line.startswith("NSpid")))

# %% [markdown]
# ```text
#   the machine's pid namespace                    the new one
#   ┌───────────────────────────────┐              ┌──────────────────┐
#   │    1  systemd                 │              │                  │
#   │  812  the notebook            │              │                  │
#   │  └─ 4711  the child  ─────────┼── the same ──┼──►  1 the child  │
#   │     └─ 4712  sleep  ──────────┼── the same ──┼──►  2 sleep      │
#   └───────────────────────────────┘              └──────────────────┘
#        sees everything                             sees only itself
# ```
#
# The glass is a mirror on one side: whoever is outside sees all that is inside, never the other way about. (The numbers in the picture are made up.) **Before you run it:** the child knows the notebook's pid and asks whether it could send it a signal. Is that refused for lack of rights, or is something else wrong?

# %% tags=["nbval-check-output"]
course.fails("os.kill(notebook, 0)  # 0 sends nothing and only asks", namespaces="pid", notebook=os.getpid())

# %% [markdown]
# Not "not permitted": *no such process*. Isolation by namespace is not a fence that says no, it is an absence. There is nothing to climb over.
#
# ### Process 1 is not like the others
#
# Three things are special about it. **First**, it holds the namespace together: when it ends, the kernel kills all others and nobody can be born there again. **Before you run it:** two harmless commands in a row. Why should the second one fail?

# %% tags=["nbval-check-output"]
course.fails(
    """
    namespaces.unshare(Namespace.PID)
    subprocess.run(["true"])  # process 1: born, done, gone
    subprocess.run(["true"])
    """
)


# %% [markdown]
# "Cannot allocate memory" is the kernel's unhelpful way to say that this pid namespace is dead: its process 1 was the first `true`. You will meet this message again one day; now you know it.
#
# **Second**, process 1 is deaf. A signal for which it has set no handler does not reach it, not even one that would kill any other process. **Before you run it:** we send SIGTERM, then SIGKILL, from *outside*, to a process 1 that only sleeps. Which of them ends it?


# %%
def ends_within(child, seconds):
    """Wait for a process to end: a pidfd becomes readable when it does."""
    return bool(select.select([child.pidfd], [], [], seconds)[0])


# %% tags=["nbval-check-output"]
for where in ("", "pid"):
    for number in (signal.SIGTERM, signal.SIGKILL):
        with course.child.start("print('ready'); signal.pause()", namespaces=where) as sleeper:
            sleeper.read_line()
            signal.pidfd_send_signal(sleeper.pidfd, number)
            ended = ends_within(sleeper, 0.3)
        whom = "process 1" if where else "an ordinary process"
        print(f"{number.name} to {whom:20}", "ends it" if ended else "is not heard")

# %% [markdown]
# SIGTERM to process 1 vanishes; SIGKILL from outside always works. Now you know why `docker stop` sits there for ten seconds with so many images: it sends SIGTERM, nobody inside listens, and then the time is up and SIGKILL follows. **Before you run it:** and SIGKILL from *inside*, from a child of process 1?

# %% tags=["nbval-check-output"]
# %%child --new pid
# subprocess.run(["sh", "-c", "kill -KILL 1"])
# print("process", os.getpid(), "after SIGKILL from its own child: still here")


# %% [markdown]
# Not even that. The inhabitants cannot pull down their own house.
#
# ### Zombies
#
# **Third**, process 1 inherits. When a process ends before its children do, they are orphans, and process 1 becomes their parent. When an orphan ends, somebody must fetch its exit status with `wait(2)`; until then it stays in the process table, dead and not gone, a *zombie*. Your machine's process 1 does this duty all day. What if ours is a program that has never heard of it?


# %%
def states(pid):
    """The states of a process's children: S sleeps, Z is a zombie."""
    born = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] for child in born]


# %% [markdown]
# The child below is process 1. It starts three shells; each leaves a short `sleep` behind and ends. **Before you run it:** all three sleeps have ended when we look for the first time. How many children does process 1 have then?

# %% tags=["nbval-check-output"]
careless = """
for n in range(3):
    subprocess.run(["sh", "-c", "sleep 0.1 &"])
time.sleep(0.4)
print("ready"); input()
for n in range(3):
    os.wait()
print("buried"); input()
"""
with course.child.start(careless, namespaces="pid") as first:
    for moment in ("nobody has waited for them:", "somebody has:              "):
        first.read_line()
        print(moment, states(first.pid))
        first.say("go on")

# %% [markdown]
# Three zombies, for as long as nobody cares. Each holds a pid and a slot in the process table; a web server that leaves one behind at each request fills the container's limit in a day. `docker run --init` exists for this and nothing else: it puts a tiny program in front of yours that waits for everybody.
#
# **Your turn**, two exercises. For the first, start a command as process 1 of a pid namespace of its own.


# %%
def first_process():
    """Start `sleep 60` as process 1 of a new pid namespace; return its pid as seen from here."""
    ### BEGIN SOLUTION
    namespaces.unshare(Namespace.PID)
    return subprocess.Popen(["sleep", "60"]).pid
    ### END SOLUTION


# %%
course.check("02.first", first_process)


# %% [markdown]
# The second is a small init. Your function *is* process 1 when the check calls it. It starts the command, buries every orphan that dies in the meantime, and comes back when the command itself has ended. `os.posix_spawnp(file, args, os.environ)` starts a program and returns its pid; `os.wait()` takes whoever has died.


# %%
def init(command):
    """Run `command` (a list of words), bury all who die meanwhile, and return the command's exit code."""
    ### BEGIN SOLUTION
    main = os.posix_spawnp(command[0], command, os.environ)
    while True:
        dead, status = os.wait()
        if dead == main:
            return os.waitstatus_to_exitcode(status)
    ### END SOLUTION


# %%
course.check("02.init", init)

# %% [markdown]
# ## Network: an empty room
#
# A new network namespace has no cable, no address, no route and no firewall rule. It has one interface, the loopback, and nothing else. **Before you run it:** a child in such a room connects to 127.0.0.1, itself. Nobody listens there. What does it hear: "connection refused"?

# %% tags=["nbval-check-output"]
course.fails("socket.create_connection(('127.0.0.1', 80), timeout=1)", namespaces="network")

# %% [markdown]
# Not even that. The loopback is there but switched off, so there is no way to itself, let alone to you. Every container engine makes the next line its first act. **Before you run it:** the same call, what changes?

# %% tags=["nbval-check-output"]
course.fails(
    """
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    socket.create_connection(("127.0.0.1", 80), timeout=1)
    """,
    namespaces="network",
)

# %% [markdown]
# "Refused" is progress: somebody was there to refuse. Now to what makes this kind so useful. Two servers want port 80. In *one* network namespace, the second is out of luck.

# %% tags=["nbval-check-output"]
course.fails(
    """
    one = socket.create_server(("0.0.0.0", 80))
    two = socket.create_server(("0.0.0.0", 80))
    """,
    namespaces="network",
)

# %% [markdown]
# **Before you run it:** the same two servers, each in a room of its own, on the same machine at the same time.

# %% tags=["nbval-check-output"]
serve = """
server = socket.create_server(("0.0.0.0", 80))
print("listening on port", server.getsockname()[1]); input()
"""
with (
    course.child.start(serve, namespaces="network") as one,
    course.child.start(serve, namespaces="network") as two,
):
    print("one:", one.read_line())
    print("two:", two.read_line())
    print("both apart from us in:", apart(one.pid), apart(two.pid))

# %% [markdown]
# Both have port 80, and neither can be reached from anywhere, which is the other side of the coin. To lead a cable into the room is the work of chapter 11.
#
# ## Cgroup: the path that begins here
#
# Chapter 04 counts and limits processes in groups that form a tree, and `/proc/PID/cgroup` says where in it a process lives. That path would tell a container how its host is organised. A cgroup namespace cuts it off: wherever you are when you make one is `/` from then on. **Before you run it:** the same file of the same process, read by itself and read by us. Do they agree?

# %% tags=["nbval-check-output"]
box = course.cgroup("box")
read_own = "print(sorted({line.split(':', 2)[2].strip() for line in open('/proc/self/cgroup')})); input()"

with course.child.start(read_own, namespaces="cgroup", cgroup=box) as member:
    print("it reads:  ", member.read_line())
    paths = {line.split(":", 2)[2] for line in Path(f"/proc/{member.pid}/cgroup").read_text().splitlines()}
    print("we read:   ", sorted(path[path.index("course-02") :] for path in paths if "course-02" in path))

# %% [markdown]
# They do not. The kernel writes that file for whoever reads it, relative to the reader's own namespace. (We cut our path short here; in full it begins with the group that labkit keeps all its groups in.)
#
# ## Time: another boot
#
# The youngest kind, from Linux 5.6. It shifts clocks, but only two of them. **Before you run it:** the child moves its namespace ahead by a month. What will differ inside: the date, or the time since boot?

# %% tags=["nbval-check-output"]
# %%child
# clocks = {"time since boot": time.CLOCK_BOOTTIME, "date and time": time.CLOCK_REALTIME}
# before = {name: time.clock_gettime(clock) for name, clock in clocks.items()}
# namespaces.unshare(Namespace.TIME)
# Path("/proc/self/timens_offsets").write_text(f"boottime {days_ahead * 86400} 0")
# if os.fork() == 0:
#     for name, clock in clocks.items():
#         print(f"{name:16}", round((time.clock_gettime(clock) - before[name]) / 86400), "days ahead")
#     os._exit(0)
# os.wait()

# %% [markdown]
# The date is the same for everybody; only the clocks that count from boot can be shifted. That is no whim: a process that is moved to another machine, frozen and thawed, must not see its uptime jump back, and this kind was made for that. Docker does not use it. As with pids, only children born after the call live in it, so the offsets are written first and the fork comes second.
#
# ## User: root that is not root
#
# The last kind changes what all others rest on: who you are. In a user namespace you may be user 0 while the machine knows you as somebody without any rights. **Before you run it:** the child has a user namespace in which 0 is the machine's 100000. What does it say it is, and what do we see?

# %% tags=["nbval-check-output"]
who = """
power = capabilities.of_process()["CapEff"]
print("user", os.getuid(), "with", "all" if power == capabilities.mask(capabilities.NAMES) else power, "capabilities"); input()
"""
with course.child.start(who, namespaces="user") as nobody:
    print("it says:  ", nobody.read_line())
    print("we see:    user", os.stat(f"/proc/{nobody.pid}").st_uid)
    print("the map:  ", " ".join(Path(f"/proc/{nobody.pid}/uid_map").read_text().split()))

# %% [markdown]
# Two answers, both true. `uid_map` is the dictionary between them: *inside*, *outside*, and for how many ids in a row. Root's power is split into some forty capabilities, and the child has them all. **Before you run it:** with all of them, can it rename its hostname? It is in our UTS namespace.

# %% tags=["nbval-check-output"]
course.fails("socket.sethostname('mine')", namespaces="user")

# %% [markdown]
# All capabilities, and not permitted. A capability counts only for what *belongs to your user namespace*, and the machine's hostname belongs to the machine's. But each new namespace belongs to the user namespace in which it was made. So:

# %% tags=["nbval-check-output"]
course.child("socket.sethostname('mine'); print('now called', socket.gethostname())", namespaces="user,uts")

# %% [markdown]
# This is how an ordinary user can run containers without asking root: a user namespace first, and then all other kinds belong to it.
#
# ### Files do not move along
#
# A file's owner is a number on the disk, in the machine's terms. We lay down a file of the real root's, and the child makes one of its own beside it. **Before you run it:** whom does the child, which is root, take for the owner of root's file?

# %% tags=["nbval-check-output"]
shelf = course.scratch("shelf")
shelf.chmod(0o777)
Path(shelf, "by-root").write_text("the machine's root made this")
course.child(
    """
    Path(shelf, "by-child").write_text("and this, the child's")
    print("inside: ", {name: os.stat(f"{shelf}/{name}").st_uid for name in sorted(os.listdir(shelf))})
    """,
    namespaces="user",
    shelf=str(shelf),
)
print("outside:", {name: os.stat(shelf / name).st_uid for name in sorted(os.listdir(shelf))})

# %% [markdown]
# The child's file belongs to 100000 outside. The machine's root has no number inside, so the child sees the number that stands for all such owners, 65534. And what has no number cannot be had. **Before you run it:** root inside gives itself root's file. Does `chown` work?

# %% tags=["nbval-check-output"]
course.fails("os.chdir(shelf); os.chown('by-root', 0, 0)", namespaces="user", shelf=str(shelf))

# %% [markdown]
# ### Who may write the dictionary
#
# By hand now. After `unshare` one has no name at all until the map is there. The process may write the map itself, and tries to do what `course.child` did. **Before you run it:** it was root of the machine a line ago. Is it allowed to claim the ids from 100000 on?

# %% tags=["nbval-check-output"]
course.fails(
    """
    namespaces.unshare(Namespace.USER)
    print("without a map I am user", os.getuid())
    Path("/proc/self/uid_map").write_text("0 100000 65536")
    """
)

# %% [markdown]
# It is not: with `unshare` it has left all its power over the outside behind. Alone it could map a single id, the one it had. Anything more must be written by somebody who stayed outside and has rights there. In Docker that is the daemon; for a user without rights there are the setuid helpers `newuidmap` and `newgidmap`, which read `/etc/subuid`.
#
# **Your turn.** Start a `sleep` that is root inside and nobody outside. `process.clone(int(Namespace.USER))` forks into a fresh user namespace and returns `(0, -1)` in the child and `(pid, pidfd)` in the parent; `idmap.write(pid, uids, gids)` writes both maps. Mind the order: the child must not go on before it has its map. A pipe is a good way to wait.


# %%
def nobody_root(outside):
    """Start `sleep 60` as user and group 0 of a user namespace, who are `outside` here; return its pid."""
    ### BEGIN SOLUTION
    wait_here, go = os.pipe()
    pid, _ = process.clone(int(Namespace.USER))
    if pid == 0:
        os.read(wait_here, 1)
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        os.execvp("sleep", ["sleep", "60"])
    idmap.write(pid, [IdMap(0, outside)], [IdMap(0, outside)])
    os.write(go, b"!")
    return pid
    ### END SOLUTION


# %%
course.check("02.nobody", nobody_root)

# %% [markdown]
# ## Who shares what
#
# Namespaces are not all or nothing: each process has eight pointers, and each can be set on its own. Here is one process with eight namespaces of its own, a second that has joined two of them, and a third that has done nothing. **Before you run it:** in which columns of the map will the second have the first one's colour?

# %%
from labkit.widgets import NamespaceMap

everything = ",".join(kind.oci for kind in Namespace)
join = "namespaces.enter(box, Namespace.NETWORK | Namespace.IPC); print('joined'); input()"

# %% tags=["nbval-ignore-output"]
with (
    course.child.start("input()", namespaces=everything) as box,
    course.child.start(join, box=box.pid) as helper,
    course.child.start("input()") as plain,
):
    helper.read_line()
    where = {"box": apart(box.pid), "helper": apart(helper.pid), "plain": apart(plain.pid)}
    display(NamespaceMap([box.pid, helper.pid, plain.pid], names={box.pid: "box", helper.pid: "helper"}))

# %% tags=["nbval-check-output"]
for name, kinds in where.items():
    print(f"{name:7} apart from us in:", ", ".join(kinds) or "nothing")

# %% [markdown]
# The helper's row is what Kubernetes calls a pod: containers with one network between them and the rest to themselves. `docker run --network container:box` asks for the same.
#
# **Your turn.** Write what is behind such a map, and behind `lsns(8)`: find all processes that share a namespace. Processes come and go while you look, and some have ended and not been fetched yet, so be prepared that a link cannot be read.


# %%
def companions(pid, kind):
    """The pids of all processes that share this namespace with `pid`; `kind` is "uts", "mnt", "net" …"""
    ### BEGIN SOLUTION
    wanted = os.readlink(f"/proc/{pid}/ns/{kind}")
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{entry}/ns/{kind}") == wanted:
                found.append(int(entry))
        except OSError:
            continue  # it has ended meanwhile
    return found
    ### END SOLUTION


# %%
course.check("02.companions", companions)

# %% [markdown]
# ## How long a namespace lives
#
# As long as somebody points to it, and a process is not the only one who can. **Before you run it:** we open the link of a child's UTS namespace like a file and then let the child end. Can another child still go in, and what is the hostname there?

# %% tags=["nbval-check-output"]
with course.child.start(stay_as, namespaces="uts", name="kept") as maker:
    maker.read_line()
    door = os.open(f"/proc/{maker.pid}/ns/uts", os.O_RDONLY)

print("its maker is", "alive" if maker.alive else "gone")
enter = "namespaces.enter_path(door, Namespace.UTS); print('inside it is still called', socket.gethostname())"
course.child(enter, door=f"/proc/{os.getpid()}/fd/{door}")
os.close(door)

# %% [markdown]
# An open file held it. A bind mount of the link holds it too, without any process at all: that is what `ip netns add` does, and what Docker keeps under `/run/docker/netns`. With our `close` the last pointer is gone, and the namespace with it.
#
# ## In labkit
#
# All of it is one small module. `unshare`, `enter` and `identity` are the three verbs of this chapter; `idmap` beside it has the maps, and `process.clone` makes a child that is born in its namespaces, in one call.

# %%
course.show(namespaces)

# %% [markdown]
# ## What you know now
#
# A namespace is an object in the kernel, a process has eight pointers to such objects, and `unshare`, `clone` and `setns` set them. From outside all is visible, with other numbers; from inside the rest of the machine is not forbidden but absent. Process 1 keeps its pid namespace alive, hears only what it listens for, and must bury its dead. And a user namespace decides whose power counts where.
#
# ## Ten questions
#
# 1. Two processes have the same number in their `uts` link. One of them calls `unshare(CLONE_NEWUTS)` and changes nothing. Do they show the same hostname now? And after the other one calls `sethostname`?
# 2. Why can `unshare` move a process into a new UTS namespace at once, but not into a new pid namespace?
# 3. A container's process 1 is a shell script that calls a server as its last line. What changes for `docker stop` if that line begins with `exec`?
# 4. `kill -9 1` inside a container does nothing, the same from the host works. Which rule makes the difference, and why is it a good one?
# 5. Inside a fresh pid namespace you run `ps` and still see the whole machine. Nothing is broken. What is missing? (Chapter 03 has the answer.)
# 6. Two containers listen on port 80. Under which circumstances would the second still get "address already in use"?
# 7. A child has all capabilities in its user namespace and is in the machine's network namespace. May it add an address to an interface? May it if it calls `unshare(CLONE_NEWNET)` first?
# 8. A volume holds files of user 1000. A container maps 0 to 100000 with a length of 65536. Which number do these files show inside, and who could change them?
# 9. Two time namespaces are created one after the other, and the date is changed on the machine. Who notices?
# 10. No process is in a namespace any more, yet it lives. Name two ways to keep it so, and say how you would find out.
#
# <details><summary>A word on 3 and 7</summary>
#
# 3: With `exec` the server *is* process 1 and gets the SIGTERM itself; without it the shell gets it, has no handler, and does not pass it on. 7: No, the interface belongs to the machine's user namespace. Yes, since the new network namespace belongs to the child's own, though there is only a loopback to give an address to.
#
# </details>
#
# ## Further
#
# - `namespaces(7)`, and from there the page of each kind. Read `pid_namespaces(7)` for what happens with nested ones: how many lines would `NSpid` have?
# - `lsns(8)` and `nsenter(1)`: find the namespaces of your own machine. Which programs besides containers use them? (Browsers do, and systemd services with `PrivateTmp=`.)
# - `user_namespaces(7)`, the section on capabilities, with `newuidmap(1)` and `subuid(5)` at hand: make a container's root without being root.

# %%
course.finish()
