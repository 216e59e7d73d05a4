# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 10 · Data that stays
#
# A container is made to be thrown away. What it wrote goes with it, and so does the database that somebody ran
# in it over the weekend.
#
# In this chapter you find out where a container's bytes really lie, and then you put them where they belong:
# into a directory of the host, into a volume, or into memory. To the kernel each of these is one call of
# mount(2). They differ in how long they live, in whose files they are, and in how fast they are, and you
# measure all of it.
#
# **Needs:** root, namespaces, control groups, OverlayFS. **Takes:** an hour and a quarter, exercises included.

# %% tags=["parameters"]
write_mib = 32
small_files = 400
commits = 40
old_file_mib = 32
rounds = 5

# %%
import os
import subprocess
import time
from pathlib import Path

import labkit
import labkit.errors
from labkit import Limits, MiB, Mount, course
from labkit.kernel import cgroups, mounts
from labkit.kernel.mounts import MountFlag

course.start("10")

# %% [markdown]
# ## What goes, and when
#
# A container that counts its visits in a file of its own. **Before you run it:** it is stopped and started
# again, and then removed and made anew. Which of the two makes it forget?


# %%
def visit(box):
    """Start it, leave a mark, stop it: how many marks there are now."""
    box.start()
    box.exec(["sh", "-c", "echo visited >> /visits"])
    marks = len(box.exec(["cat", "/visits"]).stdout.splitlines())
    box.stop(0.1)
    return marks


# %% tags=["nbval-check-output"]
box = labkit.create("lab/busybox", ["sleep", "60"], name="chapter-10-box")
print("first visit:", visit(box))
print("stopped, and started again:", visit(box))

# %% tags=["nbval-check-output"]
from labkit.engine import containers
from labkit.paths import Paths

paths = Paths.from_environment()
upper = containers.directory(paths, box.id) / "upper"
print("in its upper directory:", sorted(os.listdir(upper)))
box.remove()
print("after the removal there is an upper directory:", upper.exists())
box = labkit.create("lab/busybox", ["sleep", "60"], name="chapter-10-box")
print("a new one of the same name:", visit(box))
box.remove()

# %% [markdown]
# A stop takes nothing away. A removal takes the upper directory of chapter 05, and everything the container
# wrote was in there. That is right for programs, and wrong for data. So data must lie somewhere else:
#
# | | inside | on the host | lives until |
# | --- | --- | --- | --- |
# | own layer | anywhere | `containers/ID/upper` | the container is removed |
# | **bind mount** | `/data` | any directory you name | you delete it |
# | **volume** | `/data` | `volumes/NAME/_data` | somebody removes the volume |
# | **tmpfs** | `/data` | memory | the container stops |
#
# ## A bind mount, by hand
#
# `MS_BIND` shows a directory at a second place. Think of a house and a window: what you see through the window
# is the house, not a picture of it.

# %%
place = course.scratch("bind")
house, window = f"{place}/house", f"{place}/window"
for directory in (house, window, f"{house}/cellar"):
    os.mkdir(directory)
with open(f"{house}/letter", "w") as letter:
    print("dear reader", file=letter)


# %% [markdown]
# **Before you run it:** a file is written through the window. Where is it when the mount has gone?


# %% tags=["nbval-check-output"]
def look_through(house, window):
    mounts.mount(house, window, flags=MountFlag.BIND)
    print("through the window:", sorted(os.listdir(window)))
    print("one and the same file:", os.path.samefile(f"{house}/letter", f"{window}/letter"))
    Path(window, "reply").write_text("dear writer\n")


course.child(look_through, house, window, namespaces="mnt")
print("the child and its mounts are gone; house:", sorted(os.listdir(house)), "window:", os.listdir(window))

# %% [markdown]
# `samefile` compares device and inode: nothing was copied, so nothing has to be copied back. That is all there
# is to `docker run -v /home/me:/data`.
#
# ### Read-only, three times
#
# A container shall read your files and not change them. mount(2) has a flag for that, `MS_RDONLY`.


# %%
def write_to(directory):
    """What the kernel says to a new file there."""
    try:
        Path(directory, "graffiti").write_text("x")
    except OSError as error:
        return error.strerror
    os.unlink(f"{directory}/graffiti")
    return "written!"


# %% [markdown]
# **Before you run it:** both flags go into one call, and the call succeeds. Can the window be written to?


# %% tags=["nbval-check-output"]
def in_one_call(house, window):
    mounts.mount(house, window, flags=MountFlag.BIND | MountFlag.RDONLY)
    print("bind and read-only in one call:", write_to(window))
    mounts.mount("", window, flags=MountFlag.REMOUNT | MountFlag.BIND | MountFlag.RDONLY)
    print("read-only in a second call:    ", write_to(window))
    print("the house itself:              ", write_to(house))


course.child(in_one_call, house, window, namespaces="mnt")

# %% [markdown]
# The first call took the flag and forgot it, without a word: `MS_BIND` looks at no other flag but `MS_REC`.
# It needs a second one. And see the third line: it is the *mount* that is read-only, and the house is not.
#
# The second try has a hole, too. Something else is often mounted below a directory: a disk at `/home`, say,
# below `/`. **Before you run it:** the house is shown with all that is mounted in it, then made read-only. What
# of its cellar, which is a mount of its own?


# %% tags=["nbval-check-output"]
def with_a_cellar(house, window):
    mounts.mount("tmpfs", f"{house}/cellar", "tmpfs")
    mounts.mount(house, window, flags=MountFlag.BIND | MountFlag.REC)
    mounts.mount("", window, flags=MountFlag.REMOUNT | MountFlag.BIND | MountFlag.RDONLY)
    print("window:       ", write_to(window))
    print("window/cellar:", write_to(f"{window}/cellar"))


course.child(with_a_cellar, house, window, namespaces="mnt")

# %% [markdown]
# A remount changes one mount, not the tree of them. For years `docker run -v /:/host:ro` was read-only on the
# root's disk alone. Linux 5.12 has mount_setattr(2), which reaches the whole tree at once. It works on a mount
# that hangs nowhere yet, so nobody can slip in between.

# %% tags=["nbval-check-output"]
from labkit.kernel.mounts import MountAttribute


def the_whole_tree(house, window):
    mounts.mount("tmpfs", f"{house}/cellar", "tmpfs")
    tree = mounts.clone_tree(house, recursive=True)  # open_tree(2): a copy of the mounts, not of the files
    mounts.set_attributes(tree, MountAttribute.RDONLY, recursive=True)
    mounts.attach(tree, window)  # move_mount(2): only now it can be seen
    print("window:       ", write_to(window))
    print("window/cellar:", write_to(f"{window}/cellar"))


course.child(the_whole_tree, house, window, namespaces="mnt")

# %% [markdown]
# These three calls are what `labkit` makes for a container (and Docker since version 25):

# %% tags=["nbval-check-output"]
script = "cat /data/letter; touch /data/mine"
print(labkit.run("lab/busybox", ["sh", "-c", script], mounts=[Mount.bind(house, "/data", read_only=True)]))

# %% [markdown]
# ### A typing error
#
# **Before you run it:** the house is called `hose` here, in the two ways that `docker run` knows. Which of them
# finds the mistake?

# %% tags=["nbval-check-output"]
try:
    labkit.run("lab/busybox", ["true"], mounts=[f"type=bind,source={place}/hose,target=/data"])
except labkit.errors.Invalid as error:
    print("--mount:", str(error).replace(str(place), "…"))
result = labkit.run("lab/busybox", ["ls", "/data"], volumes=[f"{place}/hose:/data"])
print("-v: exit code", result.exit_code, "and files:", result.stdout.split())
print("and on the host:", sorted(os.listdir(place)))

# %% [markdown]
# `-v` makes a directory that is missing, and the program finds an empty `/data`. Many a database has been
# initialised anew that way. In a script, write `--mount`.
#
# ## Whose files are these?
#
# The kernel knows no names, only numbers, and a bind mount brings the numbers along as they are. Here is the
# directory of somebody whose number is 1000, and three containers that want to write to it.
#
# **Before you run it:** which of them may? And whose are the new files afterwards?

# %%
home = course.scratch("home")
os.chown(home, 1000, 1000)
home.chmod(0o755)


def touch_as(user, name):
    """A container with this user makes a file in the home: whose it is, or why there is none."""
    made = labkit.run("lab/busybox", ["touch", f"/home/{name}"], user=user, volumes=[f"{home}:/home"])
    return f"a file of {(home / name).stat().st_uid}" if made.exit_code == 0 else made.stderr.strip()


# %% tags=["nbval-check-output"]
for user in ("root", "nobody", "1000:1000"):
    print(f"{user:10} {touch_as(user, user.replace(':', '-'))}")

# %% [markdown]
# - **root** may write anything, and leaves files that their owner can no longer edit. Every developer knows
#   such a `node_modules`.
# - **nobody** is number 65534 here, a stranger. This is the error behind most "permission denied" on volumes.
# - **1000** fits. That it has no name in the image does not matter: `docker run --user $(id -u):$(id -g)`.
#
# The number must fit, or somebody must translate. Since Linux 5.12 a mount can do just that: an **id-mapped
# mount** has a table, on the disk it is 1000 and through the window it is 0.

# %%
from labkit.kernel import idmap
from labkit.kernel.idmap import IdMap


def translated(home, window):
    table = [IdMap(1000, 0)]  # 1000 on the disk is 0 to whoever looks through the mount
    with idmap.user_namespace(table, table) as names:
        mounts.bind_idmapped(home, window, names)
    Path(window, "by-root").touch()
    for directory in (window, home):
        print(f"{Path(directory).name:8} by-root belongs to {os.stat(f'{directory}/by-root').st_uid}")


course.child(translated, str(home), window, namespaces="mnt")

# %% [markdown]
# Root wrote it, and on the disk it belongs to 1000. Nothing was chowned, and it costs nothing per file. (If
# you read `Invalid argument`, the file system below cannot do it yet; ext4 and XFS can.)
#
# ## A volume, by hand
#
# A bind mount ties a container to the paths of one host. A **volume** is a directory that the engine keeps
# under a name. Its one trick comes at the first use. Here is the root of an image with a web site in it:

# %%
image, data = course.scratch("image"), course.scratch("volume")
site = image / "srv/site"
site.mkdir(parents=True)
(site / "index.html").write_text("<h1>It works</h1>\n")
os.chown(site / "index.html", 33, 33)
(site / ".htaccess").write_text("deny from none\n")
(site / ".htaccess").chmod(0o640)

# %% [markdown]
# **Before you run it:** the volume is new and empty. What does the web server find once it is mounted?


# %% tags=["nbval-check-output"]
def empty_window(data, site):
    mounts.bind(data, site)
    print("the site:", os.listdir(site))
    mounts.unmount(site)
    print("without the mount:", sorted(os.listdir(site)))


course.child(empty_window, str(data), str(site), namespaces="mnt")

# %% [markdown]
# A mount covers what lies below, as a lid does. Nothing is lost, but nobody can see it. So the engine copies
# first, with every owner and mode, and **only into a volume that is empty**.


# %% tags=["nbval-check-output"]
def first_use(data, site):
    if not os.listdir(data):
        subprocess.run(["cp", "-a", f"{site}/.", data], check=True)
    mounts.bind(data, site)
    subprocess.run(f"stat -c '%a %u %n' {site}/.htaccess {site}/* | sed s:/.*/::", shell=True)
    Path(site, "index.html").write_text("<h1>Changed</h1>\n")


course.child(first_use, str(data), str(site), namespaces="mnt")
print("in the volume:", (data / "index.html").read_text().strip())
print("in the image: ", (site / "index.html").read_text().strip())

# %% [markdown]
# The second container would find `Changed`: the volume is not empty any more, and is left alone. That is a
# promise and a trap. A new version of the image brings a new web site, and whoever has the volume never sees
# it.
#
# The engine does the same. `lab/busybox` has a few files in `/etc`, so let a volume be mounted there. The
# chapter writes its volumes down before they are made, as it does with everything.


# %%
def volume(name):
    """The name of a volume of this chapter."""
    course.owns("tree", paths.volumes / f"chapter-10-{name}")
    return f"chapter-10-{name}"


# %% tags=["nbval-check-output"]
settings = volume("settings")
edit = "echo 'guest:x:1234:1234::/:/bin/sh' >> /etc/passwd"
labkit.run("lab/busybox", ["sh", "-c", edit], volumes=[f"{settings}:/etc"])
last = ["tail", "-n1", "/etc/passwd"]
print("a second container:", labkit.run("lab/busybox", last, volumes=[f"{settings}:/etc"]).stdout, end="")
print("one without it:    ", labkit.run("lab/busybox", last).stdout, end="")

# %% [markdown]
# On the host it is a directory and a record, and you may read both.

# %% tags=["nbval-check-output"]
from labkit.engine import volumes

print("files of the volume:", sorted(os.listdir(paths.volumes / settings)))
print("in its _data:       ", sorted(os.listdir(volumes.directory(paths, settings))))

# %% [markdown]
# **Before you run it:** a container that is not even running has the volume. May the volume be removed?

# %% tags=["nbval-check-output"]
sleeper = labkit.create("lab/busybox", ["sleep", "60"], volumes=[f"{settings}:/etc:ro", "/scratch"])
with course.expected_failure(labkit.errors.Conflict):
    volumes.remove(paths, settings)
kinds = ["anonymous" if mount.anonymous else "named" for mount in sleeper.record.mounts]
print("its volumes are:", kinds)

# %% [markdown]
# It may not. Data has outlived containers before, and an engine does not guess. The second volume has no name
# that anybody chose: it was made for this container alone, and goes when the container is removed *with* its
# volumes (`docker rm -v`; `docker run --rm` does so by itself).

# %% tags=["nbval-check-output"]
(anonymous,) = (mount.source for mount in sleeper.record.mounts if mount.anonymous)
before = {one.name for one in volumes.all_volumes(paths)}
sleeper.remove(volumes=True)
after = {one.name for one in volumes.all_volumes(paths)}
print("the anonymous one:", anonymous in before, "→", anonymous in after, f"({len(anonymous)} digits)")
print("the named one:    ", settings in before, "→", settings in after)
volumes.remove(paths, settings)

# %% [markdown]
# ## A tmpfs, by hand
#
# Some data should *not* stay: a password, a session, a cache. A tmpfs is a file system without a disk; its
# pages are memory. Whose memory? Let us write 64 MiB to one, in a group that may have 32.
#
# **Before you run it:** the tmpfs has no size of its own. Does the write fail, or something else?


# %%
def fill(place, mib, options=""):
    mounts.mount("tmpfs", place, "tmpfs", options=options)
    try:
        with open(f"{place}/notes", "wb", buffering=0) as notes:
            for _ in range(mib):
                notes.write(bytes(1 << 20))
    except OSError as error:
        print(error.strerror)
    print(f"{os.stat(f'{place}/notes').st_size >> 20} MiB are in it, and I am alive")


pad = course.scratch("pad")
no_swap = 32 * MiB if cgroups.can_limit_swap() else None  # memory and swap together: no way out
limits = Limits(memory_bytes=32 * MiB, memory_swap_bytes=no_swap)

# %% tags=["nbval-ignore-output"]
course.child(fill, str(pad), 64, cgroup=course.cgroup("pad", limits), namespaces="mnt")

# %% [markdown]
# Killed. The pages of a tmpfs count for the group that wrote them, and unlike those of a file they have no disk
# to go to (but swap, if there is any). A program that fills its `/tmp` dies of hunger, and its log says nothing of a full disk. With a
# size, it gets an error that it can understand.

# %% tags=["nbval-check-output"]
course.child(fill, str(pad), 64, "size=16m", cgroup=course.cgroup("pad", limits), namespaces="mnt")

# %% [markdown]
# So give every tmpfs a size, and a small one. Together with a root that nobody can write to, it makes a
# container that can change nothing but what you allowed:

# %% tags=["nbval-check-output"]
script = "touch /etc/x; echo secret > /run/token && cat /run/token; df -h /run | tail -n1"
print(labkit.run("lab/busybox", ["sh", "-c", script], read_only=True, tmpfs={"/run": "size=2m,mode=700"}))

# %% [markdown]
# ## How fast?
#
# People say that the writable layer is slow and a volume is fast. We measure it: four kinds of work, in an
# overlay, in a directory shown by a bind mount (a volume is nothing else), and in a tmpfs.


# %%
def write_much(here, turn):
    with open(f"{here}/much-{turn}", "wb", buffering=0) as file:
        for _ in range(write_mib):
            file.write(bytes(1 << 20))
        os.fsync(file.fileno())


def make_many(here, turn):
    for number in range(small_files):
        Path(here, f"small-{turn}-{number}").write_text("x")


# %%
def commit(here, turn):
    with open(f"{here}/journal-{turn}", "wb", buffering=0) as file:
        for _ in range(commits):  # as a database does: a few bytes, and wait for the disk
            file.write(bytes(4096))
            os.fsync(file.fileno())


def change_old(here, turn):
    with open(f"{here}/old-{turn}", "r+b", buffering=0) as file:
        file.write(b"x")


# %% [markdown]
# Every place has the same big old files to begin with: the overlay has them in its *lower* directory, as a
# container has those of its image.

# %%
speed = course.scratch("speed")
for name in ("lower", "upper", "work", "layer", "volume", "bind", "tmpfs"):
    (speed / name).mkdir()
for name in ("lower", "volume"):
    for turn in range(rounds):
        (speed / name / f"old-{turn}").write_bytes(os.urandom(MiB) * old_file_mib)
os.sync()


# %%
def prepare(speed):
    """The three places, seen by this child alone."""
    directories = f"lowerdir={speed}/lower,upperdir={speed}/upper,workdir={speed}/work"
    mounts.mount("overlay", f"{speed}/layer", "overlay", options=directories)
    mounts.bind(f"{speed}/volume", f"{speed}/bind")
    mounts.mount("tmpfs", f"{speed}/tmpfs", "tmpfs", options="size=1g")
    subprocess.run(f"cp {speed}/volume/old-* {speed}/tmpfs", shell=True, check=True)


# %%
def race(speed):
    """For each work and each place the best of its times, in milliseconds: what disturbs only adds."""
    prepare(speed)
    best = {}
    for turn in range(rounds):
        for work in (write_much, make_many, commit, change_old):
            for here in ("layer", "bind", "tmpfs"):
                began = time.perf_counter()
                work(f"{speed}/{here}", turn)
                took = (time.perf_counter() - began) * 1e3
                best[f"{work.__name__} {here}"] = min(took, best.get(f"{work.__name__} {here}", took))
    return best


# %% [markdown]
# **Before you run it:** in which of the four will the layer be much slower than the volume? And where does
# memory win most?

# %%
took = course.child(race, str(speed), namespaces="mnt").value

# %%
works = {
    "write_much": f"write {write_mib} MiB, sync",
    "make_many": f"{small_files} small files",
    "commit": f"{commits} times 4 KiB and sync",
    "change_old": f"1 byte of an old {old_file_mib} MiB",
}
print(f"{'milliseconds':28}{'layer':>10}{'volume':>10}{'tmpfs':>10}")
for work, told in works.items():
    print(f"{told:28}" + "".join(f"{took[f'{work} {here}']:10.2f}" for here in ("layer", "bind", "tmpfs")))
assert took["change_old layer"] > took["change_old bind"]

# %%
from labkit.course import figures

plot = figures.axes("the same work in three places", "milliseconds", height=3.2)
for number, (here, told) in enumerate({"layer": "own layer", "bind": "volume", "tmpfs": "tmpfs"}.items()):
    rows = [row + 0.27 * (number - 1) for row in range(len(works))]
    plot.barh(rows, [took[f"{work} {here}"] for work in works], height=0.25, label=told)
plot.set_yticks(range(len(works)), list(works.values()))
plot.set_xscale("log")
plot.invert_yaxis()
figures.legend(plot, loc="lower right", bbox_to_anchor=(1, 1), ncols=3)

# %%
ratio = {work: took[f"{work} layer"] / took[f"{work} bind"] for work in works}
print(f"layer against volume, new data: {ratio['write_much']:.1f} times as long")
print(f"small files:                    {ratio['make_many']:.1f} times")
print(f"an old file, changed:           {ratio['change_old']:.0f} times")

# %% [markdown]
# The saying is half true. What is new goes straight to the upper directory, a directory like any other, so layer
# and volume do the same work on the same disk. What separates their first three rows is mostly noise: run the
# race again and see. But one byte in an *old* file costs the whole file, copy-up again, and there the volume wins
# by a factor that grows with the file. So no database should find its files in its image.
#
# The tmpfs wins wherever somebody waits for a disk. And it keeps no promise: a sync to memory is no sync.
#
# (There is a cheat, too. A container of `labkit.run` is gone when it ends, so its layer is mounted `volatile`,
# and no sync of it reaches the disk. In a volume a sync always counts.)
#
# ## Where a mount lands
#
# One thing is left, and it has cost real engines sleepless nights. A mount's target is a path *in the image*,
# and who made the image? Here is one whose `/data` is a symbolic link.
#
# **Before you run it:** an engine mounts a volume at `/data` of this root, by hand. What gets covered?

# %%
evil = course.scratch("evil")
for name in ("root/srv", "host/secrets", "volume"):
    (evil / name).mkdir(parents=True)
(evil / "host/secrets/key").write_text("the host's own\n")
(evil / "volume/fake").write_text("from the volume\n")
(evil / "root/data").symlink_to(f"{evil}/host/secrets")


# %% tags=["nbval-check-output"]
def trusting(evil):
    mounts.bind(f"{evil}/volume", f"{evil}/root/data")
    print("the host's secrets:", os.listdir(f"{evil}/host/secrets"))


course.child(trusting, str(evil), namespaces="mnt")

# %% [markdown]
# The link led out, the kernel followed it, and the image has chosen what on the *host* is covered. To refuse
# links would be safe and wrong: honest images have `/var/run → /run`. A link must be followed **as the
# container would follow it**, with the image's root as `/`. `labkit` goes name by name, reads each link as
# text, and keeps a descriptor of every step, so that nobody can swap a directory behind its back.

# %% tags=["nbval-check-output"]
from labkit.kernel import within


def careful(evil):
    found, inside = within.open_within(f"{evil}/root", "/data", make="directory")
    mounts.attach(mounts.clone_tree(f"{evil}/volume"), inside, at=found)
    print("the host's secrets:", os.listdir(f"{evil}/host/secrets"))
    print("in the root:", os.listdir(f"{evil}/root{inside}"))


course.child(careful, str(evil), namespaces="mnt")

# %% [markdown]
# # Exercises
#
# Each function runs in a fresh process with a mount namespace of its own. The check looks at what the kernel
# shows there, and at what lies on the disk afterwards.
#
# ## 1. Look, do not touch
#
# Make `target` show `source` with everything that is mounted below it, so that nobody can write through it, at
# no depth. Whoever uses `source` itself must notice nothing.


# %%
def show_only(source, target):
    """Mount `source` at `target`, read-only all the way down."""
    ### BEGIN SOLUTION
    tree = mounts.clone_tree(source, recursive=True)
    mounts.set_attributes(tree, MountAttribute.RDONLY, recursive=True)
    mounts.attach(tree, target)
    os.close(tree)
    ### END SOLUTION


# %%
course.check("10.show_only", show_only)

# %% [markdown]
# ## 2. A scratch pad with a bottom
#
# Mount a tmpfs at `target` for one user: so many bytes and not more, in a directory that is his alone, and in
# which nothing can be executed, no device works and no setuid bit counts.


# %%
def scratch_pad(target, size_bytes, uid):
    """A tmpfs of this size, for this user alone."""
    ### BEGIN SOLUTION
    flags = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    mounts.mount("tmpfs", target, "tmpfs", flags, options=f"size={size_bytes},mode=700,uid={uid}")
    ### END SOLUTION


# %%
course.check("10.scratch_pad", scratch_pad)

# %% [markdown]
# ## 3. First use
#
# Mount the directory `volume` at `target`, a directory of an image. If the volume is empty, it first gets what
# the image has there: names that begin with a dot, owners, modes, links and times too. If it is not, it is left
# alone.


# %%
def use_volume(volume, target):
    """Mount a volume over a directory of an image, as at its first use and at every later one."""
    ### BEGIN SOLUTION
    if not os.listdir(volume):
        subprocess.run(["cp", "-a", f"{target}/.", volume], check=True)
    mounts.bind(volume, target)
    ### END SOLUTION


# %%
course.check("10.use_volume", use_volume)

# %% [markdown]
# ## 4. Never outside
#
# Where does `path` lead if `root` is `/`? Follow every link as a process inside would: an absolute one begins
# at `root`, and `..` of the root is the root. Return the place as a path of the host, without any link below
# `root` left in it. The last name may be missing; everything before it is there. Do not chroot.


# %%
def place_of(root, path):
    """The host's path for a path inside."""
    ### BEGIN SOLUTION
    done, todo = [], path.split("/")[::-1]
    while todo:
        name = todo.pop()
        if name in ("", "."):
            continue
        if name == "..":
            done = done[:-1]
            continue
        here = "/".join([root, *done, name])
        if os.path.islink(here):
            goal = os.readlink(here)
            done = [] if goal.startswith("/") else done
            todo += goal.split("/")[::-1]
        else:
            done.append(name)
    return "/".join([root, *done])
    ### END SOLUTION


# %%
course.check("10.place_of", place_of)

# %% [markdown]
# ## 5. Whole or not at all
#
# A first copy may be killed at any moment. Copy the tree `source` to `target`, which does not exist yet, such
# that whoever looks sees either no `target` or a whole one, and such that the next call succeeds, whatever the
# killed one has left. You may use the directory in which `target` is to be.


# %%
def copy_whole(source, target):
    """Copy a tree so that nobody ever sees a part of it."""
    ### BEGIN SOLUTION
    draft = f"{os.path.dirname(target)}/.draft-{os.path.basename(target)}"
    subprocess.run(["rm", "-rf", draft], check=True)
    subprocess.run(["cp", "-a", source, draft], check=True)
    os.sync()
    os.rename(draft, target)
    ### END SOLUTION


# %%
course.check("10.copy_whole", copy_whole)

# %% [markdown]
# # What you have built
#
# Your `use_volume` and `copy_whole` are in this file of the engine. Look for the moment from which a first copy
# is decided, and for what happens to one that was killed after it. Your `show_only` is `labkit/runtime/outside.py`,
# your `place_of` is `labkit/kernel/within.py`.

# %%
course.show(volumes)

# %% [markdown]
# ## In short
#
# - A container's own layer lives as long as the container. Data belongs into a mount.
# - Bind mount, volume and tmpfs are one system call each. A volume is a directory with a name, and a first copy.
# - Read-only is a property of a mount, not of a tree of them, unless somebody asks for the whole tree.
# - Files belong to numbers. Run as the number, or let the mount translate.
# - The layer is slow where it must copy up, and only there. A tmpfs is fast, and eats the container's memory.
#
# ## Questions
#
# 1. `docker run --rm -v data:/data …` has ended. What of it is still there? And after `-v /data`, without a name?
# 2. Why does a bind mount show changes of the host at once, in both directions, and at no cost?
# 3. A colleague updates the image, and the configuration in the volume stays old. Explain it, and name a cure.
# 4. A program in a container of 256 MiB writes logs to `/dev/shm`. What happens in the end, and what will its
#    log say?
# 5. Two containers write to one volume. Who keeps them from destroying each other's files?
#    <details><summary>An answer</summary>Nobody but themselves. A volume is a directory; locks are flock(2) and
#    fcntl(2), and they work between containers as between any two processes, since the inode is the
#    same.</details>
# 6. You are in the group `docker`, and not root. How do you read `/etc/shadow` with one bind mount? What does
#    that say about the group?
# 7. Why is the first copy made beside the volume and renamed, instead of copied straight in?
# 8. A USB disk is mounted on the host at `/media/disk` after a container with `-v /media:/media` was started.
#    Does the container see it? Which word would change that?
#    <details><summary>An answer</summary>No: the container's copy of the mounts is private. With `rslave` the
#    host's later mounts travel into the container, and none of the container's travel back. See
#    mount_namespaces(7).</details>
# 9. Why can an engine not simply check a target with `realpath` and then mount there?
# 10. Where would you put: a database, its socket, a build cache, a TLS key, the uploads of users? Say why.
#
# ## Further
#
# - mount_setattr(2) and open_tree(2): what else can be set on a tree of mounts that nobody sees yet?
# - tmpfs(5), and `shmem` in `memory.stat`: find the pages of a tmpfs in the accounts of its group.
# - mount_namespaces(7), "Shared subtrees": make a mount in a container that appears on the host. When would
#   anybody want that?

# %%
course.finish()
