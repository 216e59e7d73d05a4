# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 04 · Control groups
#
# A namespace decides what a process can **see**. It does not stop it from eating all the memory there is.
# That is the work of a second feature, which counts what a group of processes uses, and sets limits.
#
# In this chapter you run out of memory on purpose, watch a quota bite, hold a fork bomb in your hand, slow
# down a disk and a network, and freeze a process in the middle of a thought. The notebook survives all of
# it, because it is never in the group.
#
# **Needs:** root, control groups, and the tools `ip`, `tc` and `nft`. **Takes:** about 70 minutes.

# %% tags=["parameters"]
memory_mib = 48
quotas = [0.1, 0.25, 0.5, 0.75, 1.0]
spin_seconds = 0.5

# %%
import os
import subprocess
import time

from labkit import IoLimit, Limits, MiB, course
from labkit.course import figures
from labkit.kernel import cgroups

course.start("04")

# %% [markdown]
# ## A tree of directories
#
# Control groups (*cgroups*) are directories of a file system that the kernel makes up. There are two
# generations of it. **Version 1** has a tree for each resource, so a process has a place in every tree;
# **version 2** has one tree for all. Many machines have both mounted, which is called *hybrid*.

# %%
print("this machine's layout:", cgroups.layout())
for tree in cgroups.hierarchies():
    print(f"version {tree.version}  {tree.mount_point!s:28} {' '.join(sorted(tree.controllers)) or '-'}")

# %% [markdown]
# A group is made with mkdir(2). Here we make one, in the tree that counts memory, below a group that belongs
# to this chapter.
#
# **Before you run it:** nobody has written a file into the new directory. Is it empty? And can it be removed
# with rmdir(2), which refuses any directory that is not empty?

# %% tags=["nbval-check-output"]
home = course.cgroup("by-hand").directory("memory")
os.mkdir(home / "mine")
files = os.listdir(home / "mine")
print("empty:", not files, " has cgroup.procs:", "cgroup.procs" in files)
os.rmdir(home / "mine")
print("removed:", not (home / "mine").exists())

# %% [markdown]
# It was born full, and it went with all its files: none of them is a file. Each is a knob or a gauge, and
# reading or writing it calls a function of the kernel. `rm -r` would fail on the first.
#
# The knobs have other names in each generation, and sometimes another form. The engine keeps both in one
# table; a *plan* for a set of limits is rows of it.

# %% tags=["nbval-check-output"]
from labkit.kernel import limits

wanted = Limits(memory_bytes=64 * MiB, cpus=0.5, cpu_weight=200, processes=20)
for one, two in zip(limits.plan(wanted, version=1), limits.plan(wanted, version=2), strict=True):
    print(f"version 1: {one.file:24}{one.value:10}  version 2: {two.file:12}{two.value}")

# %% [markdown]
# A process enters a group by having its number written to `cgroup.procs`. Its children are born where it is,
# and they cannot leave, unless somebody with the right to write these files moves them.
#
# **Before you run it:** a child enters the group and starts a grandchild. Where is the grandchild?

# %% tags=["nbval-check-output"]
group = course.cgroup("family")
for directory in group.all_directories:
    assert (directory / "cgroup.procs").read_text() == ""
course.child(
    """
    group.join()
    born = os.fork()
    if born == 0:
        here = Path("/proc/self/cgroup").read_text()
        print("the grandchild is in", group.path.split("/")[-1], "too:", group.path in here)
        os._exit(0)
    os.waitpid(born, 0)
    """,
    group=group,
)

# %% [markdown]
# ## Memory
#
# First without cgroups, the old way: setrlimit(2) limits the address space of **one process**.
#
# **Before you run it:** the limit is 200 MiB, and the program starts four processes of 100 MiB each. Does
# it fit?

# %% tags=["nbval-check-output"]
course.child(
    """
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (200 << 20, 200 << 20))
    for number in range(4):
        if os.fork() == 0:
            block = b"x" * (100 << 20)
            time.sleep(0.2)
            os._exit(0)
    print("all well:", all(os.wait()[1] == 0 for _ in range(4)))
    """
)

# %% [markdown]
# 400 MiB under a limit of 200: each process was within its own. A container is many processes, so its limit
# must count them together. That is what a cgroup does. It counts pages that are really in use, whoever of
# the group has touched them first, and the cache of files that the group has read and written with them.
#
# The helper below makes a limit hard: where the machine has swap, `memory_swap_bytes` says that none of it
# may help out.


# %%
def hard(memory_bytes):
    """A limit for memory without a way out into swap."""
    swap = memory_bytes if cgroups.can_limit_swap() else None
    return Limits(memory_bytes=memory_bytes, memory_swap_bytes=swap)


group = course.cgroup("small", hard(memory_mib * MiB))
for file in ("memory.max", "memory.limit_in_bytes"):
    if (group.directory("memory") / file).exists():
        print(file, "=", (group.directory("memory") / file).read_text().strip())

# %% [markdown]
# **Before you run it:** a child takes 4 MiB at a time, far past the limit. How does it learn that there is no
# more: an exception, an error from mmap(2), or something else?

# %% tags=["nbval-ignore-output"]
eater = """
blocks = []
while len(blocks) < 50:
    blocks.append(b"x" * (4 << 20))
    print("has", 4 * len(blocks), "MiB", flush=True)
    time.sleep(pause_seconds)
"""
ended = course.child(eater, cgroup=group, pause_seconds=0, quiet=True)
print("the last it said:", ended.output.splitlines()[-1])
print("and then:", ended.error)

# %% tags=["nbval-check-output"]
print("processes taken by the OOM killer:", group.oom_kills())
print("the notebook is in that group:", os.getpid() in group.processes())

# %% [markdown]
# It does not learn it at all. Memory is promised long before it is used, so there is no call that could fail:
# the process touches a page, the kernel finds none for the group, and its **OOM killer** ends a process of
# that group with SIGKILL. From outside it looks like exit code 137, which is 128 + 9. Only the group's own
# counter says why.
#
# Once more and slower, to be watched: the cockpit reads the group's gauges ten times a second.

# %% tags=["nbval-ignore-output"]
from labkit.widgets import CgroupCockpit

cockpit = CgroupCockpit(group)
shown = display(cockpit, display_id=True)
with cockpit:
    course.child(eater, cgroup=group, pause_seconds=0.12, quiet=True)
    time.sleep(0.5)
shown.update(cockpit)  # so that a saved notebook has the last picture

# %% [markdown]
# The cache of files is counted too. **Before you run it:** in the same group, a child writes a file that is
# twice as large as the limit. Is it killed?

# %% tags=["nbval-check-output"]
big_file = course.scratch("files") / "big"
before = group.oom_kills()
course.child(
    """
    with open(file, "wb") as written:
        for _ in range(size_mib):
            written.write(b"x" * (1 << 20))
    """,
    cgroup=group,
    file=str(big_file),
    size_mib=2 * memory_mib,
)
print("written:", big_file.stat().st_size == 2 * memory_mib * MiB, " killed:", group.oom_kills() - before)

# %% [markdown]
# No. A page of a file can be written back and given up; a page of a program's own data cannot (without swap).
# So the cache shrinks first, and only what cannot shrink kills. It also means that a container whose memory
# chart is at the limit may be perfectly well.
#
# ## CPU: a quota
#
# Memory is full or not. CPU time is different: it comes back every moment, so a limit on it cannot kill, only
# make wait. The **quota** says how many microseconds of CPU the group may use in each period of 100 ms.
#
# The child counts as far as it can, and notes the longest pause between two counts.


# %%
def spin(seconds):
    """Count for so long: how far it came, and the longest time between two counts."""
    last = time.perf_counter()
    end, count, longest = last + seconds, 0, 0.0
    while (now := time.perf_counter()) < end:
        longest = max(longest, now - last)
        last, count = now, count + 1
    return {"count": count, "longest_ms": longest * 1e3}


def measure(cpus):
    """One run of `spin` in a fresh group with this quota: what it did, and what the group's gauges say."""
    group = course.cgroup("quota", Limits(cpus=cpus))
    done = course.child(spin, spin_seconds, cgroup=group).value
    return done, group.usage()


# %% [markdown]
# **Before you run it:** with a quota of 0.1 CPU, is the process slow all the time, or fast and then stopped?
# And how long is its longest pause?

# %%
results = [measure(cpus) for cpus in quotas]
print("quota  cpu time   periods  throttled  waited   longest pause")
for cpus, (done, used) in zip(quotas, results, strict=True):
    print(
        f"{cpus:5}  {used.cpu_seconds:6.3f} s  {used.periods:7}  {used.throttled_periods:9}"
        f"  {used.throttled_seconds:5.2f} s  {done['longest_ms']:7.1f} ms"
    )
assert results[0][1].throttled_periods > 0 and results[0][0]["count"] < results[-1][0]["count"]

# %% [markdown]
# The pause answers it: **fast and then stopped**. With a quota of 0.1 the group runs at full speed for 10 ms
# and then stands still until the period of 100 ms is over: about 90 ms in which a web server answers nobody.
# This is the commonest reason for a service that is slow "without using its CPU". `periods` and `throttled`
# are the kernel's own count; they are called `nr_periods` and `nr_throttled` in `cpu.stat`.

# %%
full_speed = max(done["count"] / used.cpu_seconds for done, used in results)  # counts in a CPU second
work = [done["count"] / full_speed / spin_seconds for done, _ in results]
plot = figures.axes("work done against the quota", "quota in CPUs", "work, in CPUs at full speed")
plot.plot(quotas, work, "o-", label="measured")
plot.plot([0, 1], [0, 1], "--", color=figures.GREY, label="what was asked for")
figures.legend(plot)

# %% [markdown]
# A point can lie a little above the line, since the first period begins with a full allowance, and below it
# where other programs wanted the CPU too.
#
# ## CPU: a weight
#
# A quota holds even when the machine has nothing else to do, and that is a waste. A **weight** only decides
# who gets how much when there is not enough for all.
#
# **Before you run it:** two groups with the weights 100 and 300, both on one CPU. What does each get? And
# what does the lighter one get when the other rests?


# %%
def spin_on(cpu, seconds):
    os.sched_setaffinity(0, {cpu})  # one CPU for both: where there is enough, a weight says nothing
    print("ready")
    spin(seconds)


def cpu_used(groups, seconds):
    """The CPU seconds that each of these groups uses in a stretch of time."""
    before = [group.usage().cpu_seconds for group in groups]
    time.sleep(seconds)
    return [group.usage().cpu_seconds - then for group, then in zip(groups, before, strict=True)]


# %%
one_cpu = min(os.sched_getaffinity(0))
pair = [course.cgroup(name, Limits(cpu_weight=weight)) for name, weight in (("light", 100), ("heavy", 300))]
with course.child.start(spin_on, one_cpu, 20, cgroup=pair[0]) as light:
    with course.child.start(spin_on, one_cpu, 20, cgroup=pair[1]) as heavy:
        light.read_line(), heavy.read_line()
        both = cpu_used(pair, 1.0)
    alone = cpu_used(pair, 0.5)
print(f"together: {both[0]:.2f} s and {both[1]:.2f} s, a ratio of 1 to {both[1] / both[0]:.1f}")
print(f"alone:    {alone[0]:.2f} s of 0.50 s")
assert both[1] > 1.5 * both[0]

# %% [markdown]
# One to three, as the weights are; and all of the CPU as soon as nobody else wants it. (Other work of the
# machine on the same CPU takes its part from both.) In version 1 the weight is called `cpu.shares` and counts
# from 2 to 262,144; `docker run --cpu-shares` still speaks of it so.
#
# Here is a group at work while its knobs are turned: the quota falls, then the group is **frozen**, then let
# go. Limits may be changed at any time.

# %% tags=["nbval-ignore-output"]
group = course.cgroup("turned")
cockpit = CgroupCockpit(group)
shown = display(cockpit, display_id=True)
with cockpit, course.child.start(spin, 30, cgroup=group):
    for cpus in (1.0, 0.5, 0.2):
        group.limit(Limits(cpus=cpus))
        time.sleep(0.7)
    group.freeze()
    time.sleep(0.6)
    group.freeze(False)
    time.sleep(0.4)
shown.update(cockpit)

# %% [markdown]
# ## Freezing
#
# What was that last part? A frozen group gets no CPU at all. Its processes are not stopped by a signal, which
# they could notice (or a parent could, through wait(2)); for them, time has a hole. It is what `docker pause`
# does.
#
# **Before you run it:** a frozen process is sent SIGTERM. When does its handler run?

# %% tags=["nbval-check-output"]
group = course.cgroup("ice")
talker = """
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"handler: SIGTERM\\n"))
print("ready", flush=True)
while True:
    time.sleep(0.01)
"""
with course.child.start(talker, cgroup=group) as child:
    print(child.read_line())
    group.freeze()
    os.kill(child.pid, 15)  # SIGTERM
    time.sleep(0.2)
    print("frozen:", group.is_frozen(), " it has said:", repr(child.read()))
    group.freeze(False)
    print("thawed:", child.read_line())

# %% [markdown]
# The signal waited. In version 2 even a frozen process can be killed; in version 1 SIGKILL waits as well,
# which is why an engine that ends a paused container must thaw it too.
#
# ## Processes: the fork bomb
#
# A program that does nothing but copy itself fills the table of processes in a second, and then not even
# `kill` can be started. The naive cure is to be fast. The better one is a number, written beforehand.
#
# **Before you run it:** this is a real bomb, every process forks for ever. The group may have 20. How many
# does it have after a second, and can the notebook still start a process of its own?

# %% tags=["nbval-check-output"]
group = course.cgroup("bomb", Limits(processes=20))
bomb = """
while True:
    try:
        os.fork()
    except BlockingIOError:  # EAGAIN: the group is full
        time.sleep(0.05)
"""
with course.child.start(bomb, cgroup=group):
    time.sleep(1)
    print("processes in the group:", len(group.processes()))
    echo = subprocess.run(["echo", "yes"], capture_output=True, text=True)
    print("the notebook can start one:", echo.stdout.strip())
    group.kill()
print("after kill:", group.processes())

# %% [markdown]
# Twenty, and fork(2) says `EAGAIN` to the twenty-first. How often it has said so, the kernel counts in
# `pids.events`. And `group.kill()` is not a loop over a list: while it ran through the list, those behind it
# would fork again. In version 2 one write to `cgroup.kill` ends all of them at once; in version 1 the group is
# frozen first, so that the list holds still. You will write that yourself below.
#
# ## The disk
#
# A limit for a disk needs a disk, by its numbers. We take a file of our own and make it one: a loop device.


# %%
def make_disk(size_mib):
    """A block device of our own: its path and its numbers, or the reason why there is none."""
    file = course.scratch("disk") / "image"
    with open(file, "wb") as image:
        image.truncate(size_mib * MiB)
    course.owns("loop", file)
    made = subprocess.run(["losetup", "--find", "--show", file], capture_output=True, text=True)
    if made.returncode:
        return "", "", made.stderr.strip()
    device = made.stdout.strip()
    number = os.stat(device).st_rdev
    return device, f"{os.major(number)}:{os.minor(number)}", ""


from labkit.observe import machine

device, numbers, why_not = make_disk(16)
why_not = why_not or machine.why_not("cgroup.io")
print(f"the disk is {device}" if not why_not else f"the cells on disks are skipped: {why_not}")

# %% [markdown]
# The group may write 4 MiB in a second, and a child writes 6 MiB. **Before you run it:** it writes as
# programs do, with write(2). How long does that take?


# %%
def write_to(device, direct):
    """Write 6 MiB in 24 pieces: when each of them was written, and when all was on the disk."""
    import mmap

    piece = mmap.mmap(-1, 1 << 18)  # direct I/O wants whole pages
    disk = os.open(device, os.O_WRONLY | (os.O_DIRECT if direct else 0))
    began, times = time.monotonic(), []
    for number in range(24):
        os.pwrite(disk, piece, number << 18)
        times.append(time.monotonic() - began)
    os.fsync(disk)
    return {"times": times, "synced": time.monotonic() - began}


if not why_not:
    slow = course.cgroup("slow", Limits(io=(IoLimit(device=numbers, write_bytes_per_second=4 * MiB),)))
    buffered = course.child(write_to, device, False, cgroup=slow).value
    print(f"the last write(2) returned after {buffered['times'][-1] * 1e3:.1f} ms")
    print(f"fsync(2) returned after {buffered['synced'] * 1e3:.0f} ms")

# %% [markdown]
# At once, as if there were no limit: write(2) only copies into the kernel's cache. Somebody has to pay later,
# and here it was fsync(2). Who does not call it pays never in version 1, where the kernel's own threads write
# the cache back and are in no group of ours; version 2 knows whose page it was, on the file systems that
# help it to.
#
# With direct I/O nothing stands between the program and the disk. **Before you run it:** 6 MiB at 4 MiB in a
# second?

# %%
if not why_not:
    held = course.child(write_to, device, True, cgroup=slow).value
    free = course.child(write_to, device, True).value
    print(f"with the limit: {6 / held['synced']:6.1f} MiB/s")
    print(f"without:        {6 / free['synced']:6.1f} MiB/s")
    assert 2 < 6 / held["synced"] < 5.5 < 6 / free["synced"]
    plot = figures.axes("writing 6 MiB to a disk", "seconds", "MiB written", height=2.4)
    written = [number / 4 for number in range(1, 25)]
    for label, run in (("limit 4 MiB/s", held), ("no limit", free)):
        plot.plot(run["times"], written, label=label)
    figures.legend(plot)

# %%
if device:
    subprocess.run(["losetup", "--detach", device], check=True)

# %% [markdown]
# ## Pressure
#
# How full a group is says little; how long it **waits** says all. Kernels with *pressure stall information*
# count in what share of the time some process of the group stood still for lack of a resource.

# %%
if machine.has("psi") and (pressure := pair[0].usage().pressure):
    print("of the last ten seconds, some process waited for", {k: f"{v} %" for k, v in pressure.items()})
else:
    print("not by group on this machine:", machine.why_not("psi") or "only version 2 counts it by group")

# %% [markdown]
# ## The network, which has no controller
#
# There is no `net.max`. Version 1 could only tag the packets of a group (`net_cls`), version 2 leaves it to
# BPF programs. What engines do instead needs no cgroup at all: a container has a **network namespace** with
# a cable of its own, and whatever goes through a cable can be shaped and counted there.
#
# Two children with a network namespace each: one plays the container and sends, the other plays the world
# and takes in. No packet of this chapter leaves the two.

# %%
sender = """
while True:
    size = int(input())
    began = time.monotonic()
    with socket.create_connection(("10.4.0.1", 9000)) as connection:
        connection.sendall(bytes(size))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)  # the other side has all of it
    print(size * 8 / (time.monotonic() - began))
"""
taker = """
server = socket.create_server(("0.0.0.0", 9000))
print("ready")
while True:
    connection, _ = server.accept()
    while connection.recv(1 << 16):
        pass
    connection.sendall(b".")
    connection.close()
"""
container = course.child.start(sender, namespaces="net")
world = course.child.start(taker, namespaces="net")


# %%
def inside(child, command):
    """Run a command in a child's network namespace, as `nsenter --net` does."""
    words = ["nsenter", "--target", str(child.pid), "--net", *command.split()]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


# %% [markdown]
# A *veth pair* is a cable with two ends. It is made inside the container's namespace and one end is pushed
# over to the other; both go when the namespaces go.

# %%
inside(container, f"ip link add eth0 type veth peer name cable netns {world.pid}")
for child, end, address in ((container, "eth0", "10.4.0.2/24"), (world, "cable", "10.4.0.1/24")):
    inside(child, f"ip address add {address} dev {end}")
    inside(child, f"ip link set {end} up")
world.read_line()


def rate(mib):
    """Send so many MiB, and return the rate in Mbit/s that the container has measured."""
    container.say(str(mib * MiB))
    return float(container.read_line(timeout_seconds=30)) / 1e6


free_rate = rate(16)
print(f"no limit: {free_rate:.0f} Mbit/s")

# %% [markdown]
# tc(8) puts a *queueing discipline* on an interface. A **token bucket** (`tbf`) lets tokens drip in at a
# steady rate, and a packet may leave when there are as many as it has bytes.
#
# **Before you run it:** the bucket is put on the container's `eth0`. Which direction does it limit, what the
# container sends or what it receives?

# %%
inside(container, "tc qdisc add dev eth0 root tbf rate 20mbit burst 32kb latency 100ms")
shaped_rate = rate(3)
print(f"shaped: {shaped_rate:.1f} Mbit/s of 20")
assert 8 < shaped_rate < 23 < free_rate

# %% [markdown]
# What it **sends**: a queue forms only where packets leave. To limit what a container receives, one shapes
# the other end of the cable, and that end is the host's. It is the better place anyway: on its own end a
# container with `CAP_NET_ADMIN` could simply take the bucket off.
#
# For counting there is nft(8). A table belongs to a network namespace, so this one is not in the host's list.

# %%
for line in (
    "add table inet watch",
    "add counter inet watch sent",
    "add chain inet watch out { type filter hook output priority 0 ; }",
    "add rule inet watch out ip daddr 10.4.0.1 counter name sent",
):
    inside(container, f"nft {line}")
rate(2)
print(inside(container, "nft list counter inet watch sent"))

# %% tags=["nbval-check-output"]
import json

listed = json.loads(inside(container, "nft --json list counter inet watch sent"))
counted = listed["nftables"][1]["counter"]["bytes"]
print("at least the 2 MiB were counted:", counted >= 2 * MiB)
tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
print("the host has that table:", "inet watch" in tables)

# %%
container.kill(), world.kill()
print("the cable is gone with its ends")

# %% [markdown]
# A little more than was sent, since every packet carries its headers, and the counter sees them. This is
# where the two network columns of `docker stats` come from, give or take a header: there from the counters
# of the interface itself.
#
# # Exercises
#
# `group` is a dict: for each controller the directory with its files, such as
# `{"memory": "/sys/fs/cgroup/memory/labkit/…", "cpu": …, "pids": …}`. In version 2 all of them are the same
# directory. Your functions should work with both generations: look which file is there.
#
# ## 1. Enter, with limits
#
# Set the three limits and move the process that runs your function into the group, writing the kernel's files
# yourself.

# %%
from pathlib import Path


def enter(group, memory_bytes, cpus, processes):
    """Limit the group and move this process into it; 0.5 cpus is half of one CPU's time."""
    ### BEGIN SOLUTION
    quota = int(cpus * 100_000)
    for controller, file, value in (
        ("memory", "memory.max", memory_bytes),
        ("memory", "memory.limit_in_bytes", memory_bytes),
        ("cpu", "cpu.max", f"{quota} 100000"),
        ("cpu", "cpu.cfs_quota_us", quota),
        ("pids", "pids.max", processes),
    ):
        if (knob := Path(group[controller], file)).exists():
            knob.write_text(str(value))
    for directory in set(group.values()):
        Path(directory, "cgroup.procs").write_text(str(os.getpid()))
    ### END SOLUTION


# %%
course.check("04.enter", enter)

# %% [markdown]
# ## 2. Why did it end?
#
# Exit code 137 can mean that somebody sent SIGKILL, or that memory ran out. `docker inspect` tells the two
# apart. Run a command inside the group and say how it ended: its exit code as a shell has it (128 + n for
# signal n), and whether the OOM killer took **any** process of the group meanwhile.


# %%
def verdict(group, argv):
    """Run `argv` in the group, return {"exit_code": …, "oom_killed": …}. The group has its limits already."""

    ### BEGIN SOLUTION
    def kills():
        files = (Path(group["memory"], name) for name in ("memory.events", "memory.oom_control"))
        gauge = next(file for file in files if file.exists())
        return int(dict(line.split() for line in gauge.read_text().splitlines())["oom_kill"])

    def go_in():
        for directory in set(group.values()):
            Path(directory, "cgroup.procs").write_text("0")  # 0 is who writes

    before = kills()
    code = subprocess.run(argv, preexec_fn=go_in).returncode
    return {"exit_code": code if code >= 0 else 128 - code, "oom_killed": kills() > before}
    ### END SOLUTION


# %%
course.check("04.verdict", verdict)

# %% [markdown]
# ## 3. Defuse
#
# A bomb goes off in the group, and it is limited to 30 processes. End it: when your function returns, nothing
# of the group may be alive, the group must still be there, and it must be of use again.


# %%
def defuse(group):
    """End every process of the group, however fast they fork."""
    ### BEGIN SOLUTION
    pids = Path(group["pids"], "cgroup.procs")
    at_once = Path(group["pids"], "cgroup.kill")
    while pids.read_text():
        if at_once.exists():
            at_once.write_text("1")
        elif "freezer" in group:
            state = Path(group["freezer"], "freezer.state")
            state.write_text("FROZEN")
            while state.read_text() != "FROZEN\n":
                time.sleep(0.001)
            for pid in pids.read_text().split():
                os.kill(int(pid), 9)
            state.write_text("THAWED")
        else:
            for pid in pids.read_text().split():
                os.kill(int(pid), 9)
        time.sleep(0.01)
    ### END SOLUTION


# %%
course.check("04.defuse", defuse)

# %% [markdown]
# ## 4. Shape a container's traffic
#
# You are the engine. Given a process in another network namespace and the name of its interface, limit what
# it can send to so many **bits** in a second. The check measures it.


# %%
def shape(pid, interface, bits_per_second):
    """Limit what the network namespace of process `pid` sends through `interface`."""
    ### BEGIN SOLUTION
    bucket = f"tbf rate {bits_per_second}bit burst 32kb latency 100ms"
    command = f"nsenter --target {pid} --net tc qdisc replace dev {interface} root {bucket}"
    subprocess.run(command.split(), check=True)
    ### END SOLUTION


# %%
course.check("04.shape", shape)

# %% [markdown]
# # What you have built
#
# The engine's file does what you did by hand, for both generations. Look at `_kill_once` in its two forms, and
# at `_let_children_use`: version 2 hands a controller down one level at a time.

# %%
course.show(cgroups)

# %% [markdown]
# ## In short
#
# - A control group is a directory of a file system that the kernel makes up; its files are knobs and gauges.
# - A limit on memory kills, a quota on CPU makes wait, a weight matters only when there is not enough.
# - A limit counts the group, not the process: children are born in it and stay in it.
# - The network has no controller: it is shaped and counted on the container's own cable.
#
# ## Questions
#
# 1. A service with a quota of 0.5 CPU has eight busy threads on eight CPUs. For how many milliseconds of each
#    period does it run?
#    <details><summary>An answer</summary>The quota of 50 ms of CPU time is used up by eight threads at once
#    in about 6 ms; then all of them wait for about 94 ms.</details>
# 2. A container ends with exit code 137. What three things could have happened, and where would you look?
# 3. Why does the OOM killer exist at all? Could malloc(3) not simply fail?
# 4. The memory of a container is at 100 % of its limit all day, and no process has been killed. Is it in
#    trouble? Which gauge would tell?
# 5. Two containers have weights 100 and 100, and one of them has four times as many threads. Who gets more?
# 6. A process that is already in the group is moved out of it. What happens to the memory that was counted?
# 7. Why must a fork bomb be limited beforehand, while a greedy CPU user can be limited afterwards?
# 8. Your container writes its log with write(2) and never calls fsync(2). On a version 1 machine, does a limit
#    for its disk hold it? What would you see on the host?
# 9. In version 2 a group with processes in it cannot have child groups with controllers ("no internal
#    processes"). What problem of version 1 does this rule solve?
# 10. Which of this chapter's limits could root inside a container lift again, and what would it need?
#     <details><summary>An answer</summary>Those whose files or interfaces it can write: with the cgroup tree
#     mounted writable, its own limits; with CAP_NET_ADMIN, the bucket on its own end. So engines mount the
#     tree read-only and shape the host's end.</details>
#
# ## Further
#
# - cgroups(7), and docs.kernel.org/admin-guide/cgroup-v2.html: `memory.high` throttles instead of killing. When
#   would you set it?
# - sched(7) and docs.kernel.org/scheduler/sched-bwc.html: `cpu.max.burst`. Does it help the web server above?
# - tc-tbf(8), tc-htb(8), tc-netem(8): give the container a line to the moon, with 1.3 s of delay.

# %%
course.finish()
