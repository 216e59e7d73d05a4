# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 03 · A root of its own
#
# Inside a container, `/` is not your machine's `/`. There is another `/etc`, another `/bin`, and no way up from there. Two system calls can do this. The old one, `chroot`, looks right and can be left by anybody who knows the trick; you will know it in ten minutes. The other one, `pivot_root`, is what containers use, and it wants to be asked properly.
#
# You build the whole of a container's file system here: a root from an image, the way in, a `/proc` that tells the truth, the files that must not be seen and those that must not be written. At the end you start a process that has all of it.
#
# **Needs** root and namespaces. **Takes** about 50 minutes, exercises included.

# %% tags=["parameters"]
image_name = "lab/busybox"

# %%
import os
import shutil
from pathlib import Path

from labkit import course
from labkit.images import base, store
from labkit.kernel import libc, mounts, namespaces
from labkit.kernel.mounts import MountFlag
from labkit.kernel.namespaces import Namespace
from labkit.paths import Paths

course.start("03")

# %% [markdown]
# ## What a root is made of
#
# A process has two pointers into the tree of files: its working directory, and its root. A path that begins with `/` starts at the second. `chroot(2)` sets it. **Before you run it:** the child makes an empty directory its root and runs `ls`. What goes wrong: the `chroot`, or the `ls`?

# %% tags=["nbval-check-output"]
empty = course.scratch("empty")
course.fails("os.chroot(empty); subprocess.run(['/bin/ls'])", empty=str(empty))

# %% [markdown]
# The `chroot` worked, and that is the trouble: from then on there was no `/bin/ls`, nor any library for it. A root must bring everything along. That is what an image is for, and the lab has a small one: a single program, busybox, with a link for each of its commands. We copy it, since an image itself must never change.

# %%
paths = Paths.from_environment()
image = base.get(paths, image_name)
layer = store.layer_directory(paths, image.layers[0])


def fresh_root(name):
    """A copy of the image, ours to spoil."""
    return shutil.copytree(layer, course.scratch(name), symlinks=True, dirs_exist_ok=True)


# %% [markdown]
# **Before you run it:** which of our eight namespaces does the child leave on its way into the new root?

# %% tags=["nbval-ignore-output"]
jail = fresh_root("jail")
locked_up = "os.chroot(jail); os.chdir('/'); subprocess.run(['/bin/ls', '-C', '/']); print('ready'); input()"

with course.child.start(locked_up, jail=str(jail)) as prisoner:
    print(prisoner.read_line())
    prisoner.read_line()
    print("its root, seen from here:", os.readlink(f"/proc/{prisoner.pid}/root"))
    moved = [
        kind.oci
        for kind in Namespace
        if namespaces.identity(prisoner.pid, kind) != namespaces.identity("self", kind)
    ]

# %% tags=["nbval-check-output"]
print("namespaces that it left:", moved or "none")

# %% [markdown]
# None at all. Nothing was mounted, nothing is isolated; one pointer of one process moved. You see it from outside in `/proc/PID/root`.
#
# ## The way out
#
# The wall of this prison is a single rule: `..` stops at a process's root. It says nothing about a process that stands *outside* of its root. **Before you run it:** the child calls `chroot` and no `chdir`. Where does it stand, and does `..` stop it?

# %% tags=["nbval-check-output"]
# %%child
# real = os.stat("/")
# os.chdir("/")
# os.chroot(jail)
# print("/ is the real root:             ", os.path.samestat(os.stat("/"), real))
# print("where it stands is the real root:", os.path.samestat(os.stat("."), real))

# %% [markdown]
# Its root has moved and its feet have not. It stands outside its own prison, where no `..` ever meets the wall. Well, you say, then call `chdir("/")` as well, as everybody does. But a prisoner who is root may call `chroot` too:
#
# ```text
#    /                       the real root
#    └── var
#        └── …
#            └── jail        the prisoner's root:  ".." stops here …
#                └── cellar  … until the prisoner makes *this* the root
# ```
#
# **Your turn.** When the check calls your function, the process is in the jail: root and working directory both. Get out. You may do what root may do: make directories, `os.chroot`, `os.chdir`. How do you know that you are at the top? When `.` and `..` are the same, `os.path.samestat(os.stat("."), os.stat(".."))`.


# %%
def break_out():
    """From inside a chroot jail, make the machine's own root the root of this process again."""
    ### BEGIN SOLUTION
    os.makedirs("/cellar", exist_ok=True)
    os.chroot("/cellar")  # the wall is below us now, and we still stand above it
    while not os.path.samestat(os.stat("."), os.stat("..")):
        os.chdir("..")
    os.chroot(".")
    ### END SOLUTION


# %%
course.check("03.escape", break_out)

# %% [markdown]
# Here it is at work, yours if it has passed, else the lab's. Afterwards we compare the child's root with our own from outside. **Before you run it:** is there a `chroot` that could have held it?

# %%
break_out = course.use(break_out, "03.escape")


# %%
def chrooted(directory):
    os.chroot(directory)
    os.chdir("/")
    break_out()


def is_out(child):
    """Whether a process has the same root as this notebook, asked of the kernel."""
    return os.path.samestat(os.stat(f"/proc/{child.pid}/root"), os.stat("/"))


# %% tags=["nbval-check-output"]
with course.child.start(chrooted, str(jail), hold=True) as prisoner:
    prisoner.wait_value()
    print("out of the chroot:", is_out(prisoner))

# %% [markdown]
# No. The whole tree was mounted all the time, and whoever may call `chroot` gets to it. `chroot` is fine for building packages and for repairing a system; it never was a wall against root.
#
# ## pivot_root
#
# So take the tree itself away. In a mount namespace of its own, a process has its own list of mounts. `pivot_root(2)` puts another mount at the top of that list and hands you the old one, to be unmounted. What is not mounted cannot be climbed to. The call takes two directories: the new root, and a place below it for the old.
#
# It is a call that likes to say no. **Before you run it:** the new root is a directory like any other. Why might that not be enough?

# %%
rootfs = fresh_root("rootfs")
(rootfs / "old").mkdir()
pivot = "libc.call('pivot_root', new.encode(), f'{new}/old'.encode())"

course.fails(pivot, namespaces="mount", new=str(rootfs))

# %% [markdown]
# "Busy" where the directory lies on the same file system as `/`, "invalid argument" where it does not. Both mean one thing: the call swaps *mounts*, and this is none. The remedy looks silly and is in every container engine: mount the directory onto itself.
#
# Now to a machine as systemd leaves it, where every mount is *shared* (we shall see in a moment what that means). **Before you run it:** the bind mount is there. Is the kernel content?

# %% tags=["nbval-check-output"]
course.fails(
    """
    mounts.propagate("/", MountFlag.SHARED)  # as systemd has it
    mounts.bind(new, new)
    libc.call("pivot_root", new.encode(), f"{new}/old".encode())
    """,
    namespaces="mount",
    new=str(rootfs),
)

# %% [markdown]
# Still not. A swap of shared mounts would travel to other namespaces and pull the root from under *them*; so the kernel refuses, with the same word as for everything else. The mounts must be made private first. **Before you run it:** with that done the call works at last. Is the machine out of reach now?

# %% tags=["nbval-check-output"]
# %%child --new mount
# mounts.propagate("/", MountFlag.PRIVATE)
# mounts.bind(rootfs, rootfs)
# libc.call("pivot_root", os.fsencode(rootfs), os.fsencode(rootfs / "old"))
# os.chdir("/")
# print("/ is the image:        ", os.path.exists("/bin/busybox"))
# print("the machine is in /old:", os.path.isdir("/old/proc/1"))

# %% [markdown]
# There it lies, all of it, under `/old`. The last step is to let it go: `umount2` with `MNT_DETACH`, which takes a mount off the tree at once even though it is in use (we stand on it). There is an elegant way to write all this, from the notes of the man page. With `.` for both directories the old root comes to lie exactly *on top of* the new one, so no `/old` is needed, and unmounting `.` takes off the one that is on top.


# %%
def by_hand(new):
    import ctypes

    kernel = ctypes.CDLL(None)
    mounts.bind(new, new)
    os.chdir(new)
    print("pivot_root answers", kernel.pivot_root(b".", b"."))
    print("umount2 answers   ", kernel.umount2(b".", 2))  # MNT_DETACH
    os.chdir("/")


# %% [markdown]
# (`course.child` has made the mounts private before the first line.) **Before you run it:** how many mounts does the process see at the end?

# %% tags=["nbval-check-output"]
with course.child.start(by_hand, str(rootfs), namespaces="mount", hold=True) as settler:
    settler.wait_value()
    print(settler.read(), end="")
    print("mounts here:  more than ten" if len(mounts.mounts()) > 10 else "mounts here:  few")
    print("mounts there:", [mount.mount_point for mount in mounts.mounts(settler.pid)])

# %% [markdown]
# One. Everything else is not hidden but absent, as in the last chapter. In labkit these lines are `mounts.enter_root`. And now the test: the same escape as before, from this root. **Before you run it:** how far up does `..` lead?


# %%
def pivoted(directory):
    mounts.bind(directory, directory)
    mounts.enter_root(directory)
    break_out()


# %% tags=["nbval-check-output"]
for how, kinds in ((chrooted, ""), (pivoted, "mount")):
    with course.child.start(how, str(jail), namespaces=kinds, hold=True) as prisoner:
        prisoner.wait_value()
        print(f"{how.__name__:9} and then the trick:", "out" if is_out(prisoner) else "still inside")

# %% [markdown]
# The trick ran without an error and arrived at the top, only that the top is the image now.
#
# **Your turn.** Write it yourself, for a hard case: when the check calls you, the process is still in a namespace that others use, and everything in it is shared. They must notice nothing. You may use `libc.call` as above, or the functions of `mounts` other than `enter_root`.


# %%
def own_root(new_root):
    """Give this process a mount namespace of its own with `new_root` as `/` and no other mount."""
    ### BEGIN SOLUTION
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(new_root, new_root)
    os.chdir(new_root)
    libc.call("pivot_root", b".", b".")
    libc.call("umount2", b".", mounts.DETACH)
    os.chdir("/")
    ### END SOLUTION


# %%
course.check("03.pivot", own_root)

# %% [markdown]
# ## How mounts travel
#
# "Shared" has refused us once and has to be explained. A new mount namespace begins as a copy of another's list, and the copies can stay in touch: a mount made in one may appear in the other. That is so by intention: plug in a disk, and every service should see it. Each mount says in `mountinfo` how it behaves. On this machine `/` is:

# %% tags=["nbval-ignore-output"]
print(next(mount.propagation for mount in mounts.mounts() if mount.mount_point == "/"))

# %% [markdown]
# Let two children try it. The first makes a shared mount, our stage. The second starts as a copy of the first's namespace and then decides how it wants to be connected. Both then wait for a name and mount something by that name on the stage.


# %%
def mount_what_is_said(stage):
    while True:
        print("ready")
        place = f"{stage}/{input()}"
        os.makedirs(place, exist_ok=True)
        mounts.mount("tmpfs", place, "tmpfs")


# %%
def first(stage):
    mounts.mount("tmpfs", stage, "tmpfs")
    mounts.propagate(stage, MountFlag.SHARED)
    mount_what_is_said(stage)


def second(stage, other, how):
    namespaces.enter(other, Namespace.MOUNT)
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate(stage, how)
    mount_what_is_said(stage)


# %% [markdown]
# The notebook gives the names and then reads what each of the two sees, in `/proc/PID/mountinfo`.

# %%
stage = str(course.scratch("stage"))


def sees(child, name):
    return any(mount.mount_point == f"{stage}/{name}" for mount in mounts.mounts(child.pid))


def travel(how):
    """Mount something on either side; tell who sees the other's, and how the stage is marked in mountinfo."""
    with course.child.start(first, stage, namespaces="mount") as one:
        one.read_line()
        with course.child.start(second, stage, one.pid, how) as two:
            two.read_line()
            for child, name in ((one, "ones"), (two, "twos")):
                child.say(name)
                child.read_line()
            tags = next(mount.tags for mount in mounts.mounts(two.pid) if mount.mount_point == stage)
            return sees(two, "ones"), sees(one, "twos"), [tag.partition(":")[0] for tag in tags]


# %% [markdown]
# First the naive version: the second has a mount namespace of its own and leaves it at that. **Before you run it:** does what it mounts stay with it?

# %% tags=["nbval-check-output"]
_, escaped, _ = travel(MountFlag.SHARED)
print("a mount made in the fresh namespace shows in the old one:", escaped)

# %% [markdown]
# It does not stay. This is the trap of a bare `unshare` on a machine with systemd: the container's mounts appear on the host. `unshare(1)`, `course.child` and every engine therefore change the propagation as their first act. There are three ways to be connected. **Before you run it:** which one lets a new disk of the host appear inside, and nothing of the inside on the host?

# %% tags=["nbval-check-output"]
print("second is   sees the first's   is seen by the first   tags in mountinfo")
for how in (MountFlag.SHARED, MountFlag.SLAVE, MountFlag.PRIVATE):
    inwards, outwards, tags = travel(how)
    print(f"{str(how).lower():10}  {inwards!s:17}  {outwards!s:21}  {' '.join(tags) or '-'}")

# %% [markdown]
# A *slave* listens and does not speak. labkit's monitor takes that one, so that an unmount on the host reaches it and cannot be blocked by a container; Docker offers all of them as `--mount …,bind-propagation=`. In mountinfo a slave has the tag `master:`, with the number of the group it listens to, and a private mount has none.
#
# **Your turn.** Again the check puts you into a namespace that others use, where `directory` is a shared mount.


# %%
def one_way(directory):
    """Give this process a mount namespace where mounts on `directory` arrive, and none leave."""
    ### BEGIN SOLUTION
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate(directory, MountFlag.SLAVE)
    ### END SOLUTION


# %%
course.check("03.oneway", one_way)

# %% [markdown]
# ## A /proc that tells the truth
#
# Chapter 02 left a question open: in a fresh pid namespace, `ps` still shows the whole machine. **Before you run it:** the child is process 1 of its own world. How many processes does `/proc` list?

# %% tags=["nbval-check-output"]
# %%child --new pid
# pids = [name for name in os.listdir("/proc") if name.isdigit()]
# print("I am process", os.getpid(), "and /proc lists", "one process" if len(pids) == 1 else "the whole machine")

# %% [markdown]
# `/proc` is not a window of the process that looks, but of the one that *mounted* it: it shows the pid namespace of whoever called `mount`. This one was mounted by your machine's process 1, long ago. A fresh one tells another story.

# %% tags=["nbval-check-output"]
# %%child --new pid,mount
# mounts.mount("proc", "/proc", "proc")
# pids = [name for name in os.listdir("/proc") if name.isdigit()]
# print("I am process", os.getpid(), "and /proc lists", "one process" if len(pids) == 1 else "the whole machine")

# %% [markdown]
# So an engine mounts `/proc` inside, after the pid namespace and after the new root. `course.child` does the same when it is given a root and a pid namespace, and busybox's `ps` confirms it:

# %% tags=["nbval-ignore-output"]
# %%sh --new pid --root {rootfs}
# ps

# %% [markdown]
# ## What must not be seen or written
#
# `/proc` is more than a list of processes. `/proc/sys` holds switches of the kernel, and there is only one kernel. **Before you run it:** our child has its own root, its own pids and its own `/proc`. May it turn a switch of the whole machine?

# %% tags=["nbval-check-output"]
switch = "/proc/sys/vm/swappiness"
course.child(
    "print('it may write', switch, os.access(switch, os.W_OK))", namespaces="pid", root=rootfs, switch=switch
)

# %% [markdown]
# It may. (We only asked.) So that part must be read-only. A mount can be, whatever its file system is; hence a bind mount of the directory onto itself, with the flag for read-only. **Before you run it:** one call with both flags. Did it do what it was told?

# %% tags=["nbval-check-output"]
# %%child --new pid --root {rootfs}
# mounts.mount("/proc/sys", "/proc/sys", flags=MountFlag.BIND | MountFlag.RDONLY)
# print("after one call, it may write:   ", os.access(switch, os.W_OK))
# mounts.mount("", "/proc/sys", flags=MountFlag.REMOUNT | MountFlag.BIND | MountFlag.RDONLY)
# print("after a second, it may write:   ", os.access(switch, os.W_OK))

# %% [markdown]
# One of the oldest traps of `mount(2)`: a bind mount ignores all other flags, without a word. They take effect in a second call, a remount. (`mount_setattr(2)` is the modern answer.) Other files should not even be read: they tell of the host's hardware, keys or timers. Nobody can delete a file from `/proc`, but one can lay something else over it. Docker takes `/dev/null`; any empty file does. **Before you run it:** what is left of `/proc/interrupts`?

# %% tags=["nbval-check-output"]
# %%child --new pid --root {rootfs}
# Path("/tmp/nothing").touch()
# print("something to read before:", len(Path("/proc/interrupts").read_text()) > 0)
# mounts.bind("/tmp/nothing", "/proc/interrupts")
# print("bytes to read afterwards:", len(Path("/proc/interrupts").read_text()))

# %% [markdown]
# Covered, for this namespace alone. The lists that labkit covers and write-protects are Docker's, and they are short:

# %% tags=["nbval-check-output"]
from labkit.runtime import spec

print("masked:   ", *spec.MASKED_PATHS[:6], "…")
print("read-only:", *spec.READONLY_PATHS)

# %% [markdown]
# The last wish is a root that nobody can write to, `docker run --read-only`. The root is a mount, so the same remount does it, and what is mounted below keeps its own flags. **Before you run it:** is `/tmp` read-only as well, if it is a mount of its own?

# %% tags=["nbval-check-output"]
course.fails(
    """
    mounts.mount("tmpfs", "/tmp", "tmpfs")
    mounts.remount("/", MountFlag.RDONLY)
    print("in /tmp:", Path("/tmp/note").write_text("kept"), "bytes written")
    Path("/etc/motd").write_text("lost")
    """,
    root=rootfs,
)


# %% [markdown]
# **Your turn.** The check has put you into a root of your own, in your own namespaces, with a fresh `/proc`. Close it.


# %%
def seal():
    """Make `/` and `/proc/sys` read-only and `/proc/interrupts` empty; leave `/tmp` a place to write."""
    ### BEGIN SOLUTION
    Path("/tmp/nothing").touch()
    mounts.bind("/tmp/nothing", "/proc/interrupts")
    mounts.bind("/proc/sys", "/proc/sys")
    mounts.remount("/proc/sys", MountFlag.RDONLY)
    mounts.mount("tmpfs", "/tmp", "tmpfs")
    mounts.remount("/", MountFlag.RDONLY)
    ### END SOLUTION


# %%
course.check("03.seal", seal)

# %% [markdown]
# The last exercise puts two chapters together, and what comes out is nearly a container. Mind the order: who mounts `/proc`, and where must that process live by then?


# %%
def small_world(new_root):
    """Start `/bin/sleep 60` as process 1 with `new_root` as `/` and its own `/proc`; return its pid here."""
    ### BEGIN SOLUTION
    namespaces.unshare(Namespace.PID | Namespace.MOUNT)
    pid = os.fork()
    if pid == 0:
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.bind(new_root, new_root)
        mounts.enter_root(new_root)
        mounts.mount("proc", "/proc", "proc")
        os.execv("/bin/sleep", ["sleep", "60"])
    return pid
    ### END SOLUTION


# %%
course.check("03.world", small_world)

# %% [markdown]
# ## In labkit
#
# You have written most of two modules. `kernel.mounts` has the calls; here is the one that everything leads to.

# %%
course.show(mounts.enter_root)

# %% [markdown]
# And `runtime.rootfs` is the order of this chapter: what is mounted, the way in, what is covered and what is closed. Chapter 06 calls it from a container's first process.

# %%
from labkit.runtime import rootfs as rootfs_module

course.show(rootfs_module)

# %% [markdown]
# ## What you know now
#
# `chroot` moves one pointer and holds nobody who is root; `pivot_root` takes the old tree away. It wants a mount, a private one, in a mount namespace of its own. Mounts travel between namespaces unless told not to. `/proc` belongs to the pid namespace of whoever mounts it, and since the kernel behind it is everybody's, parts of it must be covered and closed.
#
# ## Ten questions
#
# 1. Why does `chroot` need a privilege at all, given that it only narrows what a process sees? (Think of a setuid program and its `/etc/passwd`.)
# 2. A process in a chroot jail is not root. Can it still get out, if somebody outside hands it an open directory?
# 3. In the escape, what would go wrong if the prisoner called `chdir("/cellar")` before `chroot("/cellar")`?
# 4. `pivot_root` answers "invalid argument". Name three different causes, and a file in `/proc` that tells them apart.
# 5. With `pivot_root(".", ".")` and without the `umount2` after it: what would `ls /` show? And `ls /..`?
# 6. Why does `MNT_DETACH` succeed where a plain `umount` says "busy", and when does the file system really go?
# 7. A container's root is a slave of the host. The host unmounts a USB disk. What happens inside? What would happen if it were private?
# 8. You bind-mount `/proc` of the host into a container, for monitoring. What do you give away?
# 9. Somebody inside is root with all capabilities and finds `/proc/sys` read-only. Which single call would undo that, and which capability must a container therefore lack?
# 10. The root is read-only and the program insists on writing to `/var/cache`. Which two remedies are there, and where do the bytes go in each?
#
# <details><summary>A word on 3 and 9</summary>
#
# 3: It would stand inside its new root, and `..` would stop there: the trick lives from standing outside. 9: A remount without the flag. It needs CAP_SYS_ADMIN, which no container gets unless it asks to be `--privileged`.
#
# </details>
#
# ## Further
#
# - `pivot_root(2)`: read the notes, and find out why the call once moved the roots of *other* processes too.
# - `mount_namespaces(7)`, with "Peer groups" and its long example; then `unbindable`, and what happens without it when you bind `/` into a directory again and again.
# - `mount_setattr(2)` and `open_tree(2)`: write-protect a whole tree of mounts in one step, and build a mount that nobody sees until it is finished.

# %%
course.finish()
