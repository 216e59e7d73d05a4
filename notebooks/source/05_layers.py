# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 05 · Layers
#
# A container starts in milliseconds from an image of hundreds of megabytes, and when it has deleted half of
# it, the next container does not notice. Nothing was copied, and nothing was lost.
#
# In this chapter you lay directories over each other until that is no longer strange. You see which file
# comes from where, what a first write costs, what a deletion really is, and why an image never gets smaller.
#
# **Needs:** root and OverlayFS. **Takes:** about an hour, exercises included.

# %% tags=["parameters"]
sizes_mib = [1, 4, 16, 64]
containers = 100

# %%
import os
import stat
import subprocess
import time

from labkit import MiB, course

course.start("05")

# %% [markdown]
# ## The naive way: a copy for everybody
#
# A container needs a root directory that it may write to. The lab has an image, `lab/busybox`: one directory
# full of files. The simplest thing that could work is to copy it for each container.

# %%
from labkit.images import base, store
from labkit.paths import Paths

paths = Paths.from_environment()
image = base.get(paths, "lab/busybox")
layer = store.layer_directory(paths, image.layers[0])
print(f"{image.name}: {len(list(store.walk(layer)))} paths, {store.size_bytes(layer) / MiB:.1f} MiB")


# %% [markdown]
# Two small tools for the whole chapter: a clock, and what a directory takes on the disk.


# %%
def seconds(action, *args):
    """How long one call takes."""
    began = time.perf_counter()
    action(*args)
    return time.perf_counter() - began


def disk_bytes(directory):
    """What du(1) says: blocks on the disk, a hard link counted once."""
    told = subprocess.run(["du", "-sB1", directory], capture_output=True, text=True, check=True)
    return int(told.stdout.split()[0])


# %% [markdown]
# **Before you run it:** this image is tiny. What do a hundred copies of a real one, 500 MiB, cost?

# %%
copies = course.scratch("copies")
copy_seconds = seconds(subprocess.run, ["cp", "-a", layer, copies / "one"])
copy_bytes = disk_bytes(copies / "one")
print(f"one copy: {copy_seconds * 1e3:.1f} ms, {copy_bytes / MiB:.1f} MiB")
print(f"a hundred of a 500 MiB image: {100 * 500 / 1024:.0f} GiB, to change a handful of files in each")

# %% [markdown]
# That is the price of the naive way: time and disk for every file, though a container writes to very few.
# Remember the figure; the last section has the same hundred containers again.
#
# ## Four directories
#
# OverlayFS shows several directories as one. Reading falls through; writing stays on top.
#
# ```
#    you ──►  merged     what a process sees
#               │
#               ▼  looked up from the top down, the first that has the name wins
#             upper      the one directory that is written to      (work: its scratch pad)
#             lower      read-only, shared by as many overlays as you like
# ```
#
# Four empty directories, and a few files in the lowest.

# %%
place = course.scratch("first")
lower, upper, work, merged = (place / name for name in ("lower", "upper", "work", "merged"))
for directory in (lower, upper, work, merged, lower / "etc"):
    directory.mkdir()
(lower / "greeting").write_text("hello from below\n")
(lower / "etc/hosts").write_text("127.0.0.1 localhost\n")
print(sorted(str(path.relative_to(lower)) for path in lower.rglob("*")))

# %% [markdown]
# The mount is one call of mount(2), with the directories named in its options. `course.owns` writes the mount
# down first, so that it is taken away even if this notebook is killed.
#
# **Before you run it:** upper is empty. What does `merged` show?

# %% tags=["nbval-check-output"]
from labkit.kernel import mounts

course.owns("mount", merged)
mounts.mount("overlay", merged, "overlay", options=f"lowerdir={lower},upperdir={upper},workdir={work}")
print("merged:", sorted(os.listdir(merged)))
print("upper: ", sorted(os.listdir(upper)))

# %% [markdown]
# All of lower shows through, and not one byte of it was copied. Now write to `merged`: one file that is new,
# and one that lower has.
#
# **Before you run it:** does lower's `greeting` change?

# %% tags=["nbval-check-output"]
(merged / "new").write_text("made up here\n")
with open(merged / "greeting", "a") as greeting:
    greeting.write("and a line from above\n")
for name, directory in (("merged", merged), ("upper", upper), ("lower", lower)):
    print(
        f"{name:7}", {file.name: file.read_text() for file in sorted(directory.iterdir()) if file.is_file()}
    )

# %% [markdown]
# Lower is as it was. The old line was copied to upper together with the file, and there the new line was
# added: **copy-up**. From now on upper's `greeting` hides lower's. `etc/hosts` was not touched, so it was
# not copied.
#
# The microscope shows just this: the layers are columns, the paths are rows, and the eye looks from
# `merged` through the stack until it meets a file. Click a row for all of its versions.

# %% tags=["nbval-ignore-output"]
from labkit.widgets import OverlayMicroscope

OverlayMicroscope(merged=merged)

# %% [markdown]
# Why four directories, if three do the work? The kernel prepares a copy in `work` and renames it into `upper`
# when it is whole, so nobody ever sees half a file. A rename works within one file system only.
#
# **Before you run it:** here `work` is on a tmpfs of its own. Does the kernel say what is wrong?

# %% tags=["nbval-check-output"]
course.fails(
    """
    mounts.mount("tmpfs", "/mnt", "tmpfs")
    os.mkdir("/mnt/work"), os.mkdir("/mnt/merged")
    directories = f"lowerdir={lower},upperdir={upper},workdir=/mnt/work"
    mounts.mount("overlay", "/mnt/merged", "overlay", options=directories)
    """,
    namespaces="mnt",
    lower=str(lower),
    upper=str(upper),
)

# %% [markdown]
# `Invalid argument`, and nothing more; the reason is only in the kernel's log (`dmesg`: *workdir and upperdir
# must reside under the same mount*). Remember this one, you will meet it again. We are done with this stack.

# %%
mounts.unmount(merged)

# %% [markdown]
# ## What a write costs
#
# Copy-up copies the **whole** file, however little you write. We make files of several sizes in lower, and
# write one byte to each through the overlay, twice. `labkit` has the mount as a class; it does what you did
# by hand, and checks first what the kernel would only call invalid.

# %%
from labkit.images.overlay import Overlay


def lay(name, *lower):
    """A fresh overlay over these layers, the topmost first: its upper directory, and where it is mounted."""
    here = course.scratch(name)
    for part in ("upper", "work", "merged"):
        (here / part).mkdir()
    course.owns("mount", here / "merged")
    Overlay(lower=lower, upper=here / "upper", work=here / "work").mount(here / "merged")
    return here / "upper", here / "merged"


# %%
big = course.scratch("big")
for size in sizes_mib:
    (big / f"{size}").write_bytes(os.urandom(MiB) * size)
upper, merged = lay("cost", big)


def write_one_byte(file):
    with open(file, "r+b", buffering=0) as opened:
        opened.write(b"x")


# %% [markdown]
# **Before you run it:** the second write goes to the same file. Is it as slow as the first? And does the
# first one's time depend on the size?

# %%
first = [seconds(write_one_byte, merged / f"{size}") * 1e3 for size in sizes_mib]
second = [seconds(write_one_byte, merged / f"{size}") * 1e3 for size in sizes_mib]
for size, one, two in zip(sizes_mib, first, second, strict=True):
    print(f"{size:3} MiB: first write {one:8.2f} ms, second {two:6.3f} ms: {one / two:6.0f} times")
print(f"{2 * len(sizes_mib)} bytes were written, upper holds {disk_bytes(upper) / MiB:.0f} MiB")
assert min(first) > max(second), "a copy-up costs more than a write"

# %%
from labkit.course import figures

plot = figures.axes("one byte written through an overlay", "size of the file in lower, MiB", "ms")
plot.plot(sizes_mib, first, "o-", label="first write: the file is copied up")
plot.plot(sizes_mib, second, "o-", label="second write: it is there already")
plot.set_yscale("log")
figures.legend(plot)

# %% [markdown]
# The first write waits for the whole copy; the second is a plain write to upper. So a database of 10 GiB does
# not belong into an image: the first transaction would copy it all. (File systems that can share blocks, XFS
# and Btrfs, clone instead, and there the first line lies much lower.)
#
# A write is not the only thing that changes a file. **Before you run it:** does `chmod`, which touches no
# content, copy the content?

# %%
(big / "tool").write_bytes(os.urandom(8 * MiB))
upper, merged = lay("chmod", big)
os.chmod(merged / "tool", 0o755)
print(f"after one chmod, upper holds {disk_bytes(upper) / MiB:.1f} MiB")

# %% [markdown]
# Unless the kernel was told `metacopy=on` (rare), the answer is yes. So `RUN chown -R app /srv` in a
# Dockerfile stores all of `/srv` a second time. That single line is behind many a fat image.
#
# ## What a deletion is
#
# Lower is read-only, and yet a container can delete its files. Something must be written that says *it is
# gone*. Two layers this time, so that there is something to see.

# %%
bottom, middle = course.scratch("bottom"), course.scratch("middle")
for directory in (bottom / "docs", bottom / "bin", middle / "docs"):
    directory.mkdir()
(bottom / "news").write_text("old news\n")
(bottom / "docs/intro").write_text("intro\n")
(bottom / "bin/tool").write_text("#!/bin/sh\n")
(middle / "docs/guide").write_text("guide\n")
upper, merged = lay("gone", middle, bottom)

# %% [markdown]
# The microscope watches while we work: `news` is deleted, `docs` is deleted with all that is in it and made
# anew, and `bin/tool` is changed. **Before you run it:** `docs` is merged from two layers. What will the new
# `docs` show: nothing, `intro`, or both?

# %% tags=["nbval-ignore-output"]
microscope = OverlayMicroscope(merged=merged)
shown = display(microscope, display_id=True)
with microscope:
    for step in ("rm news", "rm -r docs", "mkdir docs && echo fresh > docs/fresh", "echo true >> bin/tool"):
        subprocess.run(step, shell=True, cwd=merged, check=True)
        time.sleep(0.3)
shown.update(microscope)  # so that a saved notebook has the last picture

# %% tags=["nbval-check-output"]
print("docs in merged:", os.listdir(merged / "docs"))
news = os.lstat(upper / "news")
numbers = os.major(news.st_rdev), os.minor(news.st_rdev)
print("upper's news: a character device?", stat.S_ISCHR(news.st_mode), numbers)
print("upper's docs:", os.getxattr(upper / "docs", "trusted.overlay.opaque"))
print("bottom still has:", (bottom / "news").read_text().strip())

# %% [markdown]
# Two marks, and that is all there is:
#
# - a **whiteout**, a character device with the numbers 0, 0, in the place of a deleted name;
# - an **opaque directory**, one with the extended attribute `trusted.overlay.opaque=y`: look no further down.
#
# Image files on a registry cannot hold such a device safely, so there the same two marks are empty files
# called `.wh.news` and `.wh..wh..opq`. Chapter 07 translates between the two.
#
# ## Why deleting frees nothing
#
# Each line of a Dockerfile runs in an overlay over the lines before it, and what lands in upper **is** the
# new layer. That is short enough to write down:


# %%
import itertools

number = itertools.count(1)


def run_step(layers, script):
    """One RUN line: run it over these layers (the topmost first), and keep what it wrote as one more."""
    upper, merged = lay(f"step-{next(number)}", *layers)
    subprocess.run(script, shell=True, cwd=merged, check=True)
    mounts.unmount(merged)
    return [upper, *layers]


# %% [markdown]
# A build with three steps: fetch an archive of 24 MiB, take what is needed out of it, delete the archive.
# **Before you run it:** how large is the image, to whoever pulls it?

# %%
ground = course.scratch("ground")
(ground / "os-release").write_text("NAME=small\n")
layers = [ground]
for script in (
    "head -c 24M /dev/urandom > archive",
    "head -c 1M archive > program",
    "rm archive",
):
    layers = run_step(layers, script)
    _, merged = lay("view", *layers)
    stored, visible = sum(map(disk_bytes, layers)), disk_bytes(merged)
    print(f"{script:36} stored {stored / MiB:5.1f} MiB, visible {visible / MiB:5.1f} MiB")

# %%
stored = [disk_bytes(layer) / MiB for layer in reversed(layers)]
plot = figures.axes("the layers of that image", "MiB", height=2.2)
plot.barh(["ground", "fetch", "take out", "delete"], stored, color=figures.BLUE)
plot.axvline(
    disk_bytes(merged) / MiB, color=figures.ORANGE, linestyle="--", label="all that a container sees"
)
plot.invert_yaxis()
figures.legend(plot)
assert disk_bytes(merged) < sum(map(disk_bytes, layers)) / 10

# %% [markdown]
# The last layer is nearly empty: it holds one whiteout. The archive is invisible to every container and
# travels with the image for ever, and so does a password that was copied in and "removed" again.
#
# The cure: fetch, use and delete in **one** step, so that the archive is never in an upper directory when
# the step ends. That is why Dockerfiles join their commands with `&&`.

# %%
script = "head -c 24M /dev/urandom > archive && head -c 1M archive > program && rm archive"
joined = run_step([ground], script)
for steps, result in (("three steps", layers), ("one step", joined)):
    print(f"{steps:12} {sum(map(disk_bytes, result)) / MiB:5.1f} MiB")

# %% [markdown]
# ## Three surprises
#
# An overlay is very nearly a normal file system. Here is where it is not.
#
# **One: a mapping does not follow.** A program that has mapped a lower file into its memory, as every program
# has mapped its libraries, keeps the lower file there, also after somebody else's write has copied it up.
#
# **Before you run it:** one reader opened the file and mapped it, then it is overwritten. What does it read,
# and what does its memory say?

# %% tags=["nbval-check-output"]
import mmap

below = course.scratch("below")
(below / "state").write_text("before")
upper, merged = lay("surprise", below)
with open(merged / "state", "rb") as reader, mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ) as mapping:
    (merged / "state").write_text("after!")
    print("read:", reader.read(), " mapped:", mapping[:])

# %% [markdown]
# (Before Linux 4.19 not even the open file followed.)
#
# **Two: hard links part.** Two names of one file in lower are two files as soon as one of them was written to.

# %% tags=["nbval-check-output"]
(below / "name").write_text("v1")
os.link(below / "name", below / "other")
upper, merged = lay("links", below)
(merged / "name").write_text("v2")
print("name:", (merged / "name").read_text(), " other:", (merged / "other").read_text())

# %% [markdown]
# **Three: a directory from lower may refuse to be renamed.** The kernel would have to copy all that is in it,
# or leave a note where it came from (`redirect_dir`, off in many kernels). It says `EXDEV`, *another device*,
# and mv(1) quietly copies instead.

# %%
(below / "photos").mkdir()
upper, merged = lay("rename", below)
try:
    os.rename(merged / "photos", merged / "pictures")
    print("this kernel leaves a note:", os.getxattr(upper / "pictures", "trusted.overlay.redirect"))
except OSError as error:
    print("refused:", error.strerror)

# %% [markdown]
# ## A path is not just a path
#
# The directories stand in a text of options, where `,` ends an option and `:` separates layers. A directory
# can have both in its name. **Before you run it:** `deal,2:1` is there. What will the kernel look for?

# %%
odd = course.scratch("odd")
for name in ("deal,2:1", "upper", "work", "merged"):
    (odd / name).mkdir()
(odd / "deal,2:1/proof").write_text("found it\n")
os.chdir(odd)
with course.expected_failure(OSError):
    mounts.mount("overlay", "merged", "overlay", options="lowerdir=deal,2:1,upperdir=upper,workdir=work")

# %% [markdown]
# For the kernel the path ends at the comma, and `2:1` is an option that it has never heard of. A backslash takes the meaning away from the next character, and a
# backslash itself needs one too. `labkit` has this as a function, as any engine must: a layer store that
# somebody puts below `/srv/a:b` is not an error of theirs.

# %% tags=["nbval-check-output"]
lowerdir = mounts.escape_option("deal,2:1", in_list=True)
print(lowerdir)
course.owns("mount", odd / "merged")
mounts.mount("overlay", "merged", "overlay", options=f"lowerdir={lowerdir},upperdir=upper,workdir=work")
print((odd / "merged/proof").read_text())

# %% [markdown]
# ## A hundred containers, one image
#
# Now all of it together. A hundred containers of `lab/busybox`, one after the other. Each prints a digest of
# what it finds in `/bin` and `/etc`, and then destroys as much of it as it can.
#
# **Before you run it:** what does the second container find?

# %%
import labkit

before = store.digest(layer)
vandal = "find /bin /etc -type f | sort | xargs cat | sha256sum; rm -rf /bin /etc"
began = time.perf_counter()
found = [labkit.run("lab/busybox", ["sh", "-c", vandal]).stdout for _ in range(containers)]
each_ms = (time.perf_counter() - began) / containers * 1e3
print(f"{containers} containers, {each_ms:.1f} ms each, destruction included")

# %% tags=["nbval-check-output"]
print("different starts:", len(set(found)))
print("the image has changed:", store.digest(layer) != before)

# %% [markdown]
# One hundred identical starts. The image's layer has the same SHA-256 as before: it cannot change, because
# nobody can reach it, only look through the overlay at it. This is what people mean when they call images
# **immutable**, and why "works on my machine" ends here.
#
# And the price, against the copies of the first section? Now a hundred overlays at the same time, over the
# one layer.

# %%
crowd = course.scratch("crowd")


def another(number):
    here = crowd / f"{number}"
    for part in ("upper", "work", "merged"):
        (here / part).mkdir(parents=True)
    course.owns("mount", here / "merged")
    Overlay(lower=(layer,), upper=here / "upper", work=here / "work").mount(here / "merged")


mount_seconds = [seconds(another, number) for number in range(containers)]
disk = sum(disk_bytes(crowd / f"{number}/upper") for number in range(containers))
print(f"{containers} overlays: {sum(mount_seconds) * 1e3:.0f} ms and {disk / MiB:.2f} MiB")
print(
    f"{containers} copies:   {containers * copy_seconds * 1e3:.0f} ms and {containers * copy_bytes / MiB:.0f} MiB"
)

# %%
plot = figures.axes("a root for one more container", "ms", height=1.7)
median_seconds = sorted(mount_seconds)[containers // 2]
plot.barh(
    ["copy", "overlay"], [copy_seconds * 1e3, median_seconds * 1e3], color=[figures.ORANGE, figures.BLUE]
)
plot.invert_yaxis()

# %% [markdown]
# The copies grow with the image, the overlays do not: they would cost the same over 500 MiB. And since all
# hundred look at the *same* files, the machine keeps one copy of busybox in memory, not a hundred.

# %%
for mount in reversed(mounts.mounts()):
    if mount.mount_point.startswith(f"{place.parent}/"):
        mounts.unmount(mount.mount_point)
os.chdir("/")

# %% [markdown]
# # Exercises
#
# Each function runs in a fresh process with a mount namespace of its own: what you mount there is seen by the
# check and by nobody else.
#
# ## 1. Stack them
#
# `layers` has the **lowest first**, as image formats list them. Make `merged` show them as one writable tree.


# %%
def stack(layers, upper, work, merged):
    """Mount an overlay of these layers (the lowest first) at `merged`; all paths are plain text."""
    ### BEGIN SOLUTION
    lowerdir = ":".join(reversed(layers))
    mounts.mount("overlay", merged, "overlay", options=f"lowerdir={lowerdir},upperdir={upper},workdir={work}")
    ### END SOLUTION


# %%
course.check("05.stack", stack)

# %% [markdown]
# ## 2. Any name at all
#
# Write the text of options, here with the **topmost first**, for layers whose names may hold `:`, `,` and `\`.
# Do it without `mounts.escape_option`: a few lines of your own.


# %%
def options(layers, upper, work):
    """The options for mount(2), with every path escaped as OverlayFS wants it."""

    ### BEGIN SOLUTION
    def escaped(path):
        return path.replace("\\", "\\\\").replace(",", "\\,")

    lowerdir = ":".join(escaped(path).replace(":", "\\:") for path in layers)
    return f"lowerdir={lowerdir},upperdir={escaped(upper)},workdir={escaped(work)}"
    ### END SOLUTION


# %%
course.check("05.names", options)

# %% [markdown]
# ## 3. Delete by hand
#
# You are a builder who writes a layer without mounting anything. Make `layer` such that, laid over another
# one, `file` is gone from the view, and the directory `directory` shows nothing of what is below.


# %%
def forget(layer, file, directory):
    """Write both marks into `layer`, a directory that is there; `file` and `directory` are relative paths."""
    ### BEGIN SOLUTION
    whiteout = Path(layer, file)
    whiteout.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(whiteout, 0o600 | 0o020000, os.makedev(0, 0))
    Path(layer, directory).mkdir(parents=True, exist_ok=True)
    os.setxattr(Path(layer, directory), "trusted.overlay.opaque", b"y")
    ### END SOLUTION


# %%
course.check("05.forget", forget)

# %% [markdown]
# ## 4. Be the kernel
#
# Given a path and the layers with the **topmost first**, say which layer a reader gets it from, without
# mounting: the index in `layers`, or `None` where the path is not to be seen. A directory counts as coming
# from the topmost layer that shows it. Mind the directories on the way: one of them may be whited out,
# opaque, or a plain file.


# %%
def layer_of(path, layers):
    """The index of the layer that wins for `path` (relative, such as "etc/hosts"), or None."""

    ### BEGIN SOLUTION
    def is_whiteout(found):
        return (found.st_mode & 0o170000) == 0o020000 and found.st_rdev == 0

    def is_opaque(directory):
        try:
            return os.getxattr(directory, "trusted.overlay.opaque") == b"y"
        except OSError:
            return False

    seen = list(range(len(layers)))  # the layers in which this directory is looked for
    parts = path.split("/")
    for depth in range(1, len(parts) + 1):
        winner, below = None, []
        for index in seen:
            place = os.path.join(layers[index], *parts[:depth])
            if not os.path.lexists(place):
                continue
            found = os.lstat(place)
            is_directory = (found.st_mode & 0o170000) == 0o040000
            if is_whiteout(found) or (winner is not None and not is_directory):
                break
            winner = index if winner is None else winner
            if not is_directory:
                break
            below.append(index)
            if is_opaque(place):
                break
        if winner is None:
            return None
        seen = below
    return winner
    ### END SOLUTION


# %%
course.check("05.layer_of", layer_of)

# %% [markdown]
# ## 5. Squash
#
# Make one layer out of many: laid alone, it shows what all of them show together, and it holds nothing that
# nobody can see. `layers` has the topmost first, and there are at least two of them. This is what
# `docker build --squash` did.


# %%
def squash(layers, target):
    """Fill `target`, an empty directory, with what these layers show together."""
    ### BEGIN SOLUTION
    mounts.mount("tmpfs", "/mnt", "tmpfs")
    mounts.mount("overlay", "/mnt", "overlay", MountFlag.RDONLY, options="lowerdir=" + ":".join(layers))
    subprocess.run(["cp", "-a", "/mnt/.", target], check=True)
    mounts.unmount("/mnt")
    mounts.unmount("/mnt")
    ### END SOLUTION


# %%
course.check("05.squash", squash)

# %% [markdown]
# # What you have built
#
# Your `stack` and `options` are this file of the engine. Look for the line that reverses nothing: the engine
# reverses an image's layers before it comes here.

# %%
from labkit.images import overlay

course.show(overlay)

# %% [markdown]
# ## In short
#
# - An overlay looks names up from the top down; the first layer that has one wins.
# - A write copies the whole file up, once. A deletion is a mark: a whiteout or an opaque directory.
# - Layers only grow. What a later one deletes is hidden, not gone: delete in the step that made it.
# - A container's changes live in its upper directory, so the image stays the same for everybody.
#
# ## Questions
#
# 1. A container appends one line a second to a log of 2 GiB that came with its image. What does the first
#    second cost, what does each later one?
# 2. Two containers of one image run `python3`. Which part of it is in memory twice, and which once?
# 3. Why must `upper` and `work` be on one file system, while `lower` may be on another, even a read-only DVD?
# 4. `RUN chmod -R g+w /opt` makes an image grow by 400 MiB. Explain it to the person who wrote it.
# 5. A secret was copied in at layer 3 and deleted at layer 4. How would you get it out of the image? What
#    should its owner do now?
# 6. Why does an opaque directory need a mark of its own? Could whiteouts alone express `rm -r d; mkdir d`?
# 7. You mount an overlay and then change a file in `lower` directly. What does the reader see?
#    <details><summary>An answer</summary>The kernel promises nothing: caches may hold the old version or the
#    new one. Lower layers must not change while they are mounted, which is why layer stores are left
#    alone.</details>
# 8. `tail -f` in one process, `echo >>` in another, both inside one overlay: when does `tail` miss lines?
# 9. An image has 127 layers. What does that cost a lookup that succeeds, and one that fails?
#    <details><summary>An answer</summary>One that succeeds stops at the layer that has the name; one that
#    fails asks every layer. The kernel's cache of names, the negative ones included, makes up for most of
#    it.</details>
# 10. Could you build the same from hard links instead of an overlay? What would go wrong at the first write?
#
# ## Further
#
# - docs.kernel.org/filesystems/overlayfs.html: `metacopy`, `redirect_dir`, `volatile`, data-only layers. Which
#   of them does `labkit` ask for, and when?
# - mount_setattr(2) and user_namespaces(7): how can two containers with different user ids share one layer?
# - fanotify(7) and statx(2): write a program that reports every copy-up of a mount as it happens.

# %%
course.finish()
