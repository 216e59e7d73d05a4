# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 07 · An image is a Merkle tree
#
# People speak of images as of a kind of disk. There is no disk. An image is a few tar files, and a few hundred
# bytes of JSON that name them by their SHA-256. There is no more to it, and today you write one with nothing
# but `tarfile`, `gzip`, `hashlib` and `json`.
#
# A program that has never heard of this course will read it, and `labkit` will run it. Then you change one
# byte and watch who notices, measure what twenty images share, and dig up a secret that was deleted.
#
# **Needs:** root, namespaces, control groups, OverlayFS, busybox, skopeo. **Takes:** an hour and a quarter,
# exercises included.

# %% tags=["parameters"]
greeting = "hello from a hand-made image"
apps = 20
customers = 20_000

# %%
import gzip
import hashlib
import io
import json
import os
import re
import secrets
import subprocess
import tarfile
import textwrap
from pathlib import Path

import labkit
from labkit import course

course.start("07")

# %% [markdown]
# ## A name that follows from the content
#
# An image is to be the same for everybody: for who built it, for who downloads it, for who runs it in a year.
# So its files get a name that nobody chooses. Put them into one archive, and take the SHA-256 of that: who
# has the name can check the content, and who changes the content changes the name.
#
# A small application, and the simplest thing that could work.

# %%
app = course.scratch("app")
(app / "etc").mkdir()
(app / "etc/greeting").write_text(greeting + "\n")
(app / "hello").write_text("#!/bin/sh\ncat /etc/greeting\n")
(app / "hello").chmod(0o755)
os.utime(app / "hello", (10**9, 10**9))  # it is of 2001


# %%
def sha256(data):
    """The name that follows from these bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def naive_tar(directory):
    """A directory as the bytes of a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.add(directory, arcname=".")
    return buffer.getvalue()


# %% [markdown]
# **Before you run it:** a colleague has the same files, in a copy made just now. Will the two of you get the
# same name?

# %% tags=["nbval-check-output"]
copy = course.scratch("copy")
subprocess.run(["cp", "-r", f"{app}/.", copy], check=True)
with course.expected_failure(AssertionError):
    assert sha256(naive_tar(app)) == sha256(naive_tar(copy)), "the same files have two names"

# %% [markdown]
# A tar archive says more of a file than its content. One of those things is different in the copy.


# %% tags=["nbval-check-output"]
def heads(data):
    """What a tar says of each member, field by field; without the checksum of all that."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [member.get_info() | {"chksum": 0} for member in tar]


pairs = zip(heads(naive_tar(app)), heads(naive_tar(copy)), strict=True)
print("they differ in:", {field for one, two in pairs for field in one if one[field] != two[field]})

# %% [markdown]
# The time of the last change, which a copy does not keep, and neither does `git clone`. A machine with other
# users would add a second difference, for tar also writes down user *names*. So we leave out what is by
# chance, and keep what has a meaning: names, modes, owners by number, links, content. And we fix the order,
# which the file system does not.


# %%
def without_chance(member):
    member.mtime, member.uname, member.gname = 0, "", ""
    return member


def tar_of(directory):
    """The same files give the same bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory))
            tar.add(path, name, recursive=False, filter=without_chance)
    return buffer.getvalue()


# %% tags=["nbval-check-output"]
print("the same name:", sha256(tar_of(app)) == sha256(tar_of(copy)))
(copy / "etc/greeting").write_text("hullo\n")
print("and with another greeting:", sha256(tar_of(app)) == sha256(tar_of(copy)))

# %% [markdown]
# Such an archive is a **layer**. Ours shall lie on another one: a shell must come from somewhere. We take the
# files of `lab/busybox` for it.

# %%
from labkit.images import base, store
from labkit.paths import Paths

paths = Paths.from_environment()
ground = store.layer_directory(paths, base.get(paths, "lab/busybox").layers[0])
tars = [tar_of(ground), tar_of(app)]  # the lowest first
print([f"{len(data):,} bytes" for data in tars])

# %% [markdown]
# ## Why there are two digests
#
# Layers travel, so they are compressed. **Before you run it:** one layer, compressed with three levels of
# effort. How many names does the result have, and how many the content?

# %% tags=["nbval-check-output"]
blobs = [gzip.compress(tars[0], level, mtime=0) for level in (1, 6, 9)]
print("names of the compressed layer:", len({sha256(blob) for blob in blobs}))
print("names of what is in it:       ", len({sha256(gzip.decompress(blob)) for blob in blobs}))

# %% [markdown]
# The same layer, three names. (And without `mtime=0` a new one each second: gzip, too, writes down the time.)
# So images have both kinds:
#
# | | is the SHA-256 of | stands in | is for |
# | --- | --- | --- | --- |
# | **digest** | the blob as it travels, `.tar.gz` | the manifest | checking what came **before** anything opens it |
# | **diff id** | the tar in it | the config | saying what the files **are**, however they were packed |
#
# ## Four pieces of JSON
#
# Now the image. Everything in it is a **blob**: a file whose name is its digest. A **descriptor** names a blob
# by three things: which type it has, what its digest is, how long it is.


# %%
def new_layout(name):
    """An empty image layout, as the OCI's image specification has it."""
    layout = course.scratch(name)
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout


def put(layout, data, kind):
    """Keep a blob under its digest; return the descriptor that names it."""
    digest = sha256(data)
    place(layout, digest).write_bytes(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}


def place(layout, digest):
    return layout / "blobs" / digest.replace(":", "/")


# %% [markdown]
# First the two layers.

# %%
layout = new_layout("layout")
layers = [put(layout, gzip.compress(tar, mtime=0), "layer.v1.tar+gzip") for tar in tars]
layers

# %% [markdown]
# The **config** says what runs in the image and for which machines it is, and names the layers by their diff
# ids. The **manifest** names the config and the layers by their digests.

# %%
from labkit.images import manifests

config = {
    "architecture": manifests.here().architecture,  # in Go's words: amd64, arm64
    "os": "linux",
    "config": {"Cmd": ["/hello"], "Env": ["PATH=/bin"]},
    "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
}
manifest = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": put(layout, json.dumps(config).encode(), "config.v1+json"),
    "layers": layers,
}

# %% [markdown]
# And the **index** has the names that people use, the **tags**. It is the one file whose name is not a digest:
# somewhere there has to be a beginning.

# %%
TAG = "org.opencontainers.image.ref.name"


def write_index(layout, tags):
    """Let each tag name a manifest by its descriptor."""
    named = [descriptor | {"annotations": {TAG: tag}} for tag, descriptor in tags.items()]
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": named}))


top = put(layout, json.dumps(manifest).encode(), "manifest.v1+json")
write_index(layout, {"v1": top})
print(json.dumps(json.loads((layout / "index.json").read_text()), indent=2))

# %%
for file in sorted(layout.rglob("*")):
    if file.is_file():
        print(f"{file.stat().st_size:10,}  {file.relative_to(layout)}")

# %% [markdown]
# That is an image, all of it. Looked at as a picture it is a tree, and each branch is a digest: it says not
# where something lies, but what it must be.

# %% tags=["nbval-ignore-output"]
from labkit.course import merkle

merkle.show(layout, "v1")

# %% [markdown]
# Each layer is in it twice, and under two names. A tree in which every node is named by the hash of what is in
# it, the names of those below included, is a **Merkle tree**, after Ralph Merkle, who thought of it in 1979.
# Git's commits are one, and so is every blockchain. You will see in a minute what it is good for.
#
# ## Somebody else's eyes
#
# skopeo reads and copies images; others wrote it, in another language. **Before you run it:** will it take
# what you made for an image? Which of the four blobs' digests will it call the image's `Digest`?


# %%
def skopeo(*words):
    """What skopeo answers, or why it will not: the message alone, with digests cut short."""
    command = ["skopeo", "--insecure-policy", *words]  # whose signatures to trust is not today's question
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = re.sub(r"[0-9a-f]{64}", lambda digest: digest[0][:12], done.stderr)
    return done.stdout if done.returncode == 0 else "refused: " + said.partition("msg=")[2].strip()


# %%
seen = json.loads(skopeo("inspect", f"oci:{layout}:v1"))
print(json.dumps(seen, indent=2))

# %% tags=["nbval-check-output"]
print("its Digest is the manifest's:", seen["Digest"] == top["digest"])
print("its Layers are those of the manifest:", seen["Layers"] == [layer["digest"] for layer in layers])

# %% [markdown]
# It reads it. Now let it *copy* the image, into the format of `docker save`, which keeps layers uncompressed.
# **Before you run it:** by which of its two digests will that archive call a layer?

# %% tags=["nbval-check-output"]
saved = course.scratch("saved") / "hello.tar"
skopeo("copy", "--quiet", f"oci:{layout}:v1", f"docker-archive:{saved}:hello:v1")
with tarfile.open(saved) as tar:
    inside = json.load(tar.extractfile("manifest.json"))[0]
diff_ids = [Path(name).stem for name in inside["Layers"]]
print("layers by their diff ids:", diff_ids == [d[7:] for d in config["rootfs"]["diff_ids"]])
print("the config is untouched: ", Path(inside["Config"]).stem == manifest["config"]["digest"][7:])

# %% [markdown]
# The blobs were packed anew, so the manifest and every blob digest are others now. The diff ids are the same,
# and with them the config, byte for byte. That is why Docker takes the **config's digest** for the *image id*:
# it names what the image is, not how it came.

# %% [markdown]
# ## It runs
#
# `labkit` takes images in as `docker load` does. Every blob is checked, each layer is unpacked into a directory
# that is named by its diff id, and an overlay of chapter 05 shows them as one root.

# %% tags=["nbval-check-output"]
from labkit.images import archive

(loaded,) = archive.load(paths, layout, name="course-07/hello")
image = loaded.image
print(labkit.run("course-07/hello:v1").stdout.strip())
print("image id and config digest are the same:", image.id == manifest["config"]["digest"])

# %% [markdown]
# A program said hello that came out of bytes which you wrote yourself, one by one, and nobody was asked for an
# account.
#
# ## One byte
#
# Somebody is in between: a mirror, a proxy, a thief. They want to change one byte of your layer. We play them,
# on a copy, and ask two readers each time to take the image in: skopeo, which copies it, and labkit, which
# unpacks it, into a store of its own.

# %%
from labkit.errors import LabkitError


def labkit_reads(layout):
    elsewhere = Paths(root=course.scratch("elsewhere"), run=paths.run)
    elsewhere.prepare()
    try:
        archive.load(elsewhere, layout, name="probe")
    except LabkitError as error:
        return "refused: " + re.sub(r"[0-9a-f]{64}", lambda digest: digest[0][:12], str(error))
    return ""


def skopeo_reads(layout):
    return skopeo("copy", "--quiet", f"oci:{layout}:v1", f"oci:{course.scratch('copied')}")


# %%
noticed = {}


def who_notices(step):
    noticed[step] = {"skopeo": skopeo_reads(forged), "labkit": labkit_reads(forged)}
    for name, said in noticed[step].items():
        print(textwrap.fill(f"{name:8}{said or 'takes it'}", 96, subsequent_indent=" " * 8))


# %% [markdown]
# **Step 1.** One letter of the greeting, in the tar; compressed again, and put where the layer was. **Before you
# run it:** who notices, and before or after it has unpacked the layer?

# %%
forged = course.scratch("forged")
subprocess.run(["cp", "-r", f"{layout}/.", forged], check=True)
bent = bytearray(tars[1])
bent[bent.index(greeting.encode())] = ord("j")
place(forged, layers[1]["digest"]).write_bytes(gzip.compress(bent, mtime=0))
who_notices("the layer, under its old name")

# %% [markdown]
# Both, and neither opened it: a blob that is not what its name says is not even unpacked.
#
# **Step 2.** So the thief gives the layer its right name, and writes that into the manifest. **Before you run
# it:** which name is wrong now, and who looks at it?

# %%
subprocess.run(["cp", "-r", f"{layout}/.", forged], check=True)  # as it was, to begin with
of_thief = put(forged, gzip.compress(bent, mtime=0), "layer.v1.tar+gzip")
lying = manifest | {"layers": [layers[0], of_thief]}
place(forged, top["digest"]).write_bytes(json.dumps(lying).encode())
who_notices("the manifest, under its old name")

# %% [markdown]
# A reader that takes it has found the manifest by the name of its file, and believed the name. (skopeo 1.9 does
# so with a local directory.) A digest protects only those who compare.
#
# **Step 3.** The manifest gets its right name too, and the index leads there. **Before you run it:** every blob
# has its right name now. Is there anybody left who could notice?

# %%
write_index(forged, {"v1": put(forged, json.dumps(lying).encode(), "manifest.v1+json")})
who_notices("the index")

# %% [markdown]
# There is the second purpose of the second digest. Whoever only copies has no reason to unpack, and cannot know
# the diff id; whoever unpacks knows it, and compares it with the config.
#
# **Step 4.** So the config's diff id is put right, under the config's old name. **Step 5.** And then the config
# gets its right name, too. **Before you run it:** what else has to change because of that?

# %%
false = config | {"rootfs": {"type": "layers", "diff_ids": [sha256(tars[0]), sha256(bent)]}}
place(forged, manifest["config"]["digest"]).write_bytes(json.dumps(false).encode())
who_notices("the config, under its old name")

# %%
lying["config"] = put(forged, json.dumps(false).encode(), "config.v1+json")
write_index(forged, {"v1": put(forged, json.dumps(lying).encode(), "manifest.v1+json")})
who_notices("all, up to the root")

# %% [markdown]
# The config's name stands in the manifest, so that changes, and its name, and with that the index. All five
# steps side by side:

# %%
print(f"{'changed':34}{'skopeo':10}labkit")
for step, said in noticed.items():
    skopeos, ours = ("refuses" if answer else "takes it" for answer in said.values())
    print(f"{step:34}{skopeos:10}{ours}")
*halfway, whole = noticed.values()
assert all(said["labkit"] for said in halfway) and not any(whole.values())

# %% [markdown]
# Only when the last digest on the way up was changed did everybody agree again. Here is what one byte did to
# the tree:

# %% tags=["nbval-ignore-output"]
merkle.show(forged, "v1", before=layout)

# %% [markdown]
# One branch, from the leaf to the root. And that is the use of a Merkle tree: **who knows the root's digest
# needs to trust nobody else.** Every mirror may be hostile, every cable tapped; 64 characters, kept in a safe
# place, vouch for gigabytes. The base layer stayed as it was, and need not be downloaded again.
#
# The thief's image is no forgery any more, it is an honest other image. Only the name `v1` is a lie. Which
# brings us to names.
#
# ## Tags move, digests do not
#
# A tag is one line in an index, and whoever may write there can let it lead elsewhere, the honest as well as
# the thief. **Before you run it:** we load the thief's image under the old name. What do the two lines print?

# %% tags=["nbval-check-output"]
store.tag(paths, image, "course-07/hello:kept")
archive.load(paths, forged, name="course-07/hello")
print("by tag:   ", labkit.run("course-07/hello:v1").stdout.strip())
print("by digest:", labkit.run(f"course-07/hello@{top['digest']}").stdout.strip())

# %% [markdown]
# The name is the same, and another program ran. That is no defect: `debian:12` is to be *today's* Debian 12.
# But who wants the same thing tomorrow writes the digest, `name@sha256:…`, which gives these bytes or nothing.
#
# ## What is shared
#
# Time to write the steps down as one function, and to make many images of it.


# %%
def write_image(layout, tars, command, made_by=()):
    """An image of these layers, the lowest first, in a layout; the descriptor of its manifest."""
    config = {
        "architecture": manifests.here().architecture,
        "os": "linux",
        "config": {"Cmd": command, "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
        "history": [{"created_by": line} for line in made_by],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(layout, json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(layout, gzip.compress(tar, 6, mtime=0), "layer.v1.tar+gzip") for tar in tars],
    }
    return put(layout, json.dumps(manifest).encode(), "manifest.v1+json")


# %% [markdown]
# A shop with many applications, each on the same base. **Before you run it:** each image, looked at alone, is
# as large as its layers. How much disk do all of them take?

# %%
shop, tags = new_layout("shop"), {}
for number in range(apps):
    (app / "etc/greeting").write_text(f"hello from app {number}\n")
    made_by = ["FROM lab/busybox", "COPY app /"]
    tags[f"app-{number}"] = write_image(shop, [tars[0], tar_of(app)], ["/hello"], made_by)
write_index(shop, tags)


# %%
def weight(top):
    """What an image weighs: its manifest, its config and its layers, as they travel."""
    manifest = json.loads(place(shop, top["digest"]).read_bytes())
    return sum(one["size"] for one in (top, manifest["config"], *manifest["layers"]))


alone_mb = sum(map(weight, tags.values())) / 1e6
on_disk_mb = sum(file.stat().st_size for file in (shop / "blobs/sha256").iterdir()) / 1e6
print(f"{apps} images of {alone_mb / apps:.2f} MB each: {alone_mb:.2f} MB")
print(f"all of them on the disk:   {on_disk_mb:.2f} MB")

# %%
from labkit.course import figures

plot = figures.axes(f"{apps} images on one base", "MB", height=1.7)
plot.barh(["each alone", "on the disk"], [alone_mb, on_disk_mb], color=[figures.ORANGE, figures.BLUE])
plot.invert_yaxis()
assert on_disk_mb < alone_mb / (apps / 2)

# %% [markdown]
# Nobody took care of that. Nobody compared files, and there is no table of what is shared: the same content has
# the same name, and a name can be there only once. A registry does not store the base again, and `docker pull`
# does not fetch it again; it has a blob of that name.
#
# **Before you run it:** and unpacked, in labkit's own store: how many directories are there for two layers of
# each image?

# %% tags=["nbval-check-output"]
on_sale = [one.image for one in archive.load(paths, shop, name="course-07/shop")]
directories = {store.layer_directory(paths, layer) for image in on_sale for layer in image.layers}
print("layers:", sum(len(image.layers) for image in on_sale), " directories:", len(directories))

# %% tags=["nbval-ignore-output"]
from labkit.widgets import LayerStack

LayerStack.of("course-07/shop:app-0", "course-07/shop:app-1")

# %% [markdown]
# The kernel profits, too: both containers run the *same* busybox file, so it is in memory once.
#
# ## The secret
#
# Now a build that is careful. It copies a dump of the customers' database in, which has a password in its last
# line; it takes out what it needs, and deletes the dump in the next step. As you know from chapter 05, a
# deletion is a mark. In a tar it is an empty file, whose name is `.wh.` and the name of what is gone.

# %%
password = f"KEY-{secrets.token_hex(8)}"
copied, removed = course.scratch("copied-in"), course.scratch("removed")
for step in (copied, removed):
    (step / "srv").mkdir()
lines = [f"insert into customers values ({number}, 'Ada');" for number in range(customers)]
(copied / "srv/dump.sql").write_text("\n".join([*lines, f"-- password: {password}\n"]))
(removed / "srv/.wh.dump.sql").touch()

# %%
careful = new_layout("careful")
made_by = ["FROM lab/busybox", "COPY dump.sql /srv/", "RUN import && rm /srv/dump.sql"]
of_careful = write_image(careful, [tars[0], tar_of(copied), tar_of(removed)], ["sh"], made_by)
write_index(careful, {"v1": of_careful})

# %% [markdown]
# **Before you run it:** we look for the password in a container, and then with grep(1) in all the image's
# files. Who finds it?

# %% tags=["nbval-check-output"]
archive.load(paths, careful, name="course-07/careful")
print(labkit.run("course-07/careful:v1", ["cat", "/srv/dump.sql"]).stderr.strip())
grep = subprocess.run(["grep", "-rl", password, careful], capture_output=True, text=True, check=False)
print("files in which grep finds it:", len(grep.stdout.splitlines()))

# %% [markdown]
# Not in the container, and not on the disk. One could believe that all is well, and many have. But grep was
# looking at gzip. **Before you run it:** and if we open the layers?


# %% tags=["nbval-check-output"]
def dig(layout, wanted):
    """Every file, in every layer, that has these bytes in it."""
    for blob in sorted((layout / "blobs/sha256").iterdir()):
        if blob.read_bytes().startswith(b"\x1f\x8b"):  # gzip begins so
            with tarfile.open(blob) as tar:
                for member in tar:
                    if member.isfile() and wanted in tar.extractfile(member).read():
                        yield member.name


print("found in:", list(dig(careful, password.encode())))

# %% [markdown]
# There it is, for everybody who can pull the image, for as long as a copy of it exists. A layer cannot be
# changed by a later one: its digest is its name. The later one can only say *do not look*.
#
# Each format says it in its own way. `labkit` has turned the empty file `.wh.dump.sql` into the whiteout that
# the kernel knows, and will turn it back when the layer travels again:

# %% tags=["nbval-check-output"]
top_layer = store.layer_directory(paths, store.get(paths, "course-07/careful:v1").layers[-1])
status = os.lstat(top_layer / "srv/dump.sql")
print("srv holds:", os.listdir(top_layer / "srv"))
print("a device with the numbers", (os.major(status.st_rdev), os.minor(status.st_rdev)))

# %% [markdown]
# And here is the image's weight. The dashed part is what nobody sees and everybody downloads; click on the
# layer for its files.

# %% tags=["nbval-ignore-output"]
LayerStack.of("course-07/careful:v1")

# %% [markdown]
# What to do? The password is burnt: change it, today, before you clean up anything. Then build so that it is
# never in any layer: a secret that is mounted for one step (`RUN --mount=type=secret`), or a stage that is
# thrown away. Chapter 09 does both.
#
# ## The same with labkit
#
# `labkit.images` has each of your functions, for images of any size and from people who mean harm. `layers.pack`
# is your `tar_of`, and writes whiteouts; it streams, and hashes as it goes. **Before you run it:** it keeps the
# times of files, as Docker does, because make(1) and many caches live by them. So which of these are equal?

# %% tags=["nbval-check-output"]
from labkit.images import layers as packing

exact = course.scratch("exact")
subprocess.run(["cp", "-a", f"{app}/.", exact], check=True)
first, second = packing.pack(app), packing.pack(exact)
print("a copy that has kept the times:", first.digest == second.digest)
os.utime(exact / "hello", (0, 0))
print("the same after a touch(1):     ", first.digest == packing.pack(exact).digest)

# %% [markdown]
# The same directory gives the same bytes; whoever wants the same bytes from another machine has to set the
# times, too. A build that does is called **reproducible**.
#
# **Before you run it:** and the whiteout, which is a device in the layer's directory: what does it become in the
# tar?

# %% tags=["nbval-check-output"]
packed = io.BytesIO()
packing.pack(top_layer, packed.write)
with tarfile.open(fileobj=io.BytesIO(packed.getvalue())) as tar:
    print(tar.getnames())

# %% [markdown]
# An image that was taken in goes out as it came, byte for byte; `labkit image save` does this. skopeo, asked
# again, finds the digest that you computed at the beginning of the chapter.

# %% tags=["nbval-check-output"]
from labkit.images import saving

out = course.scratch("out")
saving.save_directory(paths, ["course-07/hello:kept"], out)
again = json.loads(skopeo("inspect", f"oci:{out}"))
print("the Digest is the same:", again["Digest"] == top["digest"])

# %% [markdown]
# And `manifests` reads what you wrote as JSON. An image comes from outside, so every field is checked, and what
# does not fit is refused by its name.

# %% tags=["nbval-check-output"]
ours = manifests.Manifest.parse(json.dumps(manifest).encode())
print("layers:", len(ours.layers), " the config by the same name:", ours.config.digest == image.id)
with course.expected_failure():
    manifests.Manifest.parse(json.dumps(manifest | {"layers": [{"digest": "../../etc/passwd"}]}).encode())

# %% [markdown]
# # Exercises
#
# Each function runs in a fresh process. You may use what the chapter has imported, and its functions; the checks
# ask skopeo, tar(1) and the kernel.
#
# ## 1. The diff id
#
# `blob` is the path of a layer as it came: a tar, or a tar in gzip, and its name does not say which. Find its
# diff id.


# %%
def diff_id(blob):
    """`sha256:` and 64 digits: what the config calls this layer."""
    ### BEGIN SOLUTION
    with open(blob, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(blob) if packed else open(blob, "rb") as tar:
        return sha256(tar.read())
    ### END SOLUTION


# %%
course.check("07.diff_id", diff_id)

# %% [markdown]
# ## 2. What two images share
#
# Given a layout and two tags: how many bytes of blobs do both images need? That is what a registry saves if it
# has one of them already. An image needs its manifest, its config and its layers.


# %%
def shared_bytes(layout, one, two):
    """The bytes that are there once and are needed by both; `layout` is the path of a directory."""

    ### BEGIN SOLUTION
    def read(digest):
        return json.loads(Path(layout, "blobs", *digest.split(":")).read_bytes())

    def needed(tag):
        index = json.loads(Path(layout, "index.json").read_bytes())
        (top,) = (
            m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag
        )
        manifest = read(top["digest"])
        return {d["digest"]: d["size"] for d in (top, manifest["config"], *manifest["layers"])}

    both = needed(one).keys() & needed(two).keys()
    return sum(size for digest, size in needed(one).items() if digest in both)
    ### END SOLUTION


# %%
course.check("07.shared_bytes", shared_bytes)

# %% [markdown]
# ## 3. Unearth
#
# You are handed an image, and a rumour: there are keys in it. A key is `KEY-` and sixteen hexadecimal digits.
# Find all that are in the image `tag`, also those that no container shows. Files are not the only place where
# people leave them. Keys of *other* images in the layout are not your business.


# %%
def unearth(layout, tag):
    """The keys as a list, each once, in any order."""

    ### BEGIN SOLUTION
    def read(descriptor):
        data = Path(layout, "blobs", *descriptor["digest"].split(":")).read_bytes()
        return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data

    index = json.loads(Path(layout, "index.json").read_bytes())
    (top,) = (m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag)
    manifest = json.loads(read(top))
    blobs = [top, manifest["config"], *manifest["layers"]]
    return sorted({key.decode() for blob in blobs for key in re.findall(rb"KEY-[0-9a-f]{16}", read(blob))})
    ### END SOLUTION


# %%
course.check("07.unearth", unearth)

# %% [markdown]
# ## 4. The same bytes
#
# Write the files of `directory` as a tar at `target`: names relative to `directory`, with modes, owners (by
# number), links and content. Two directories with the same files must give the same bytes, whenever they were
# made, in whichever order, and on whichever machine. Try it without a look at `tar_of`; the check is harder to
# please than the chapter was.


# %%
def write_layer(directory, target):
    """Nothing in it is by chance, and nothing that has a meaning is lost."""
    ### BEGIN SOLUTION
    with tarfile.open(target, "w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(Path(directory).rglob("*")):
            member = tar.gettarinfo(path, str(path.relative_to(directory)))
            member.mtime, member.uname, member.gname = 0, "", ""
            with open(path, "rb") if member.isreg() else io.BytesIO() as content:
                tar.addfile(member, content)
    ### END SOLUTION


# %%
course.check("07.layer", write_layer)

# %% [markdown]
# ## 5. An image
#
# `tars` are the paths of layers, the lowest first, and `command` is the list of words that the image runs. Make
# the empty directory `layout` an image layout with that one image, tagged `latest`. skopeo has to accept it, and
# the kernel has to run it.


# %%
def make_image(tars, command, layout):
    """Write oci-layout, index.json and the blobs; all paths are plain text."""
    ### BEGIN SOLUTION
    layout = Path(layout)
    (layout / "blobs/sha256").mkdir(parents=True)

    def keep(data, kind):
        digest = hashlib.sha256(data).hexdigest()
        (layout / "blobs/sha256" / digest).write_bytes(data)
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    layers = [Path(tar).read_bytes() for tar in tars]
    config = {
        "architecture": manifests.here().architecture,
        "os": "linux",
        "config": {"Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [sha256(data) for data in layers]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": keep(json.dumps(config).encode(), "config.v1+json"),
        "layers": [keep(data, "layer.v1.tar") for data in layers],
    }
    top = keep(json.dumps(manifest).encode(), "manifest.v1+json")
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    ### END SOLUTION


# %%
course.check("07.make_image", make_image)

# %% [markdown]
# # What you have built
#
# Your descriptor, your manifest and your index are this file of the engine. Look at what it refuses, and ask of
# each refusal who would send such a thing.

# %%
course.show(manifests)

# %% [markdown]
# ## In short
#
# - An image is tar files and JSON, each named by its SHA-256; the names of what is below are part of what is
#   hashed. So the root's digest vouches for everything.
# - A layer has two digests: one of what travels, one of what it is. The image id is that of the config.
# - What has the same content has the same name, so it is stored, sent and cached once.
# - A later layer can hide, never remove. What was ever in a layer is public.
# - Tags move, digests do not; and the same input gives the same digest only if nobody writes down the time.
#
# ## Questions
#
# 1. Somebody has changed the `Cmd` of an image and nothing else. Which digests change, which do not, and what
#    has to be downloaded again?
# 2. A registry recompresses all layers with zstd. What happens to image ids, to pinned digests, to signatures?
#    <details><summary>An answer</summary>Diff ids, configs and therefore image ids stay. The manifests change,
#    so whoever has pinned or signed a manifest's digest gets an error, and rightly: those are other bytes.
#    </details>
# 3. Why must a reader check the blob's digest *before* it unpacks, although the diff id would be checked after?
# 4. Why is a size in the descriptor, when the digest says everything?
# 5. Two builds of one Dockerfile on one day give two image ids. Name four places where the time, or chance, may
#    have come in.
# 6. Your colleague wants to remove a leaked key by a `RUN rm` and to push under the same tag. What does that do
#    for those who pulled yesterday, for those who pull tomorrow, for the key?
# 7. The base image has got a security fix. Which of the blobs of the twenty applications can stay?
#    <details><summary>An answer</summary>Their own top layers can: a layer does not name the one below it. But
#    each config lists all diff ids, so twenty configs and manifests are new, and somebody must make them.
#    </details>
# 8. Can an image hold its own digest in a file? Can a manifest name itself?
# 9. An index may name images for many platforms. Which blobs could those share?
# 10. For SHA-1, by which git names its commits, people have made two files with one digest. What could somebody
#     do who can make two layers with one SHA-256?
#
# ## Further
#
# - github.com/opencontainers/image-spec: `layer.md`, "Whiteouts". How does a tar say that a directory is opaque,
#   and why is the order of its members important?
# - tar(5) and gzip(1), `--no-name`: which of their fields depend on where and when they were written? Compare
#   reproducible-builds.org on `SOURCE_DATE_EPOCH`.
# - skopeo-copy(1) and containers-signature(5): a signature signs one digest. Which one of the tree, and why is
#   that enough?

# %%
course.finish()
