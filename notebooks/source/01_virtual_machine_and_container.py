# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 01 · Virtual machine and container
#
# Two ways to give a program a machine to itself. One is to give it a machine: processor, memory and devices made of software, and a kernel that runs on them. The other is to leave it on yours, and let your kernel tell it a story.
#
# In this chapter you build both from almost nothing, put a clock and a scale beside them, and then try what each keeps apart. You make the archive that a kernel boots from with your own hands, byte by byte. And you crash a kernel on purpose, since that is the quickest way to find out whose it was.
#
# **Needs** root, what every container needs, QEMU, and a distribution's kernel that set-up has fetched (`labkit doctor` shows each). **Takes** about 45 minutes, exercises included.

# %% tags=["parameters"]
container_starts = 15
guest_starts = 3

# %%
import stat
import statistics
import subprocess
import time
from pathlib import Path

import labkit
from labkit import Limits, MiB, course
from labkit.course import vm

course.start("01")

# %% [markdown]
# ## The same program, twice
#
# A program that only says hello, once in a container and once in a virtual machine, which we shall often just call *machine*. What does it stand on?

# %% tags=["nbval-check-output"]
from labkit.course import diagrams

diagrams.chain(
    "What stands between the program and your kernel",
    {
        "container": {"program": "a process", "system calls": "some hundreds", "namespaces": "what it sees"},
        "machine": {"program": "a process", "its own kernel": "and its calls", "QEMU": "plays hardware"},
    },
    ("your kernel", "it serves them both: the program above, and QEMU"),
)

# %% [markdown]
# Keep the picture in mind: every figure of this chapter follows from it. A container is a process of yours. In the other row there is one more kernel, and below it a program, QEMU, that pretends to be a computer.
#
# ## A fair clock
#
# We want the *time to first output*: from the wish to the first byte that the new program says. The obvious clock is around `subprocess.run`. **Before you run it:** this program speaks at once. What does the clock show?

# %%
began = time.monotonic()
subprocess.run(["sh", "-c", "echo here I am; sleep 0.5"], stdout=subprocess.PIPE)
too_late = time.monotonic() - began
print(f"{too_late:.2f} s")
assert too_late > 0.5

# %% [markdown]
# Half a second for nothing: `run` waits for the *end*. A server that never ends would take for ever to start, by this clock. It has to stop at the first byte, and a whole line may be too long to wait for.
#
# **Your turn.** Write the clock. `time.monotonic()` is the right one to read: the time of day may be set while you measure.


# %%
def first_word(argv):
    """Start a program; return the seconds until its first byte, None if it ends without one. Then end it."""
    ### BEGIN SOLUTION
    began = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        said = program.stdout.read(1)
        seconds = time.monotonic() - began
        program.kill()
    return seconds if said else None
    ### END SOLUTION


# %%
course.check("01.clock", first_word)

# %%
first_word = course.use(first_word, "01.clock")


def median_of(times, measure, *args):
    """The middle of several measurements: one bad moment of the machine does not move it."""
    return statistics.median(measure(*args) for _ in range(times))


# %% [markdown]
# ## A container on the clock
#
# First an ordinary process, to know what nothing costs. Then a container. For the container we are hard on ourselves: the whole life is counted, until it has spoken, ended, and all its traces have been cleared away. **Before you run it:** what is the factor between the two: 5, 50, 500?


# %%
def whole_life():
    """A container from the wish until nothing is left of it."""
    began = time.monotonic()
    assert labkit.run("lab/busybox", ["echo", "here I am"]).stdout == "here I am\n"
    return time.monotonic() - began


whole_life()  # the very first time makes the image; it does not count
process_seconds = median_of(container_starts, first_word, ["busybox", "echo", "here I am"])
container_seconds = median_of(container_starts, whole_life)
print(f"a process {process_seconds * 1e3:.1f} ms, a container {container_seconds * 1e3:.1f} ms")
print(f"factor {container_seconds / process_seconds:.0f}")

# %% [markdown]
# Some milliseconds. Chapter 00 showed what they are spent on: a few dozen requests to a kernel that runs already.
#
# ## What a kernel boots from
#
# A machine begins with memory and a kernel in it. The kernel wants a first program, and a program lives in a file. For that there is the *initrd*: an archive that lies in memory beside the kernel, and that it unpacks as its first root directory. The format is a `cpio` archive of the kind called "newc". Thirteen numbers in hexadecimal, a name, the content; that is a file.


# %%
def entry(name, mode, data=b"", device=(0, 0)):
    """One file. The numbers: inode, mode, uid, gid, links, time, size, devices, length of name, checksum."""
    path = name.encode() + b"\0"
    numbers = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % number for number in numbers) + path
    return filled(head) + filled(data)


def filled(part):
    """Zeros up to the next multiple of four."""
    return part + bytes(-len(part) % 4)


# %% tags=["nbval-check-output"]
print(entry("hello", stat.S_IFREG | 0o644, b"world"))

# %% [markdown]
# Our machine needs very little: a directory or two, a console to speak on, one program that can do everything, and `/init`, the first process. The program is Debian's busybox, linked statically: with no library to load, it runs on a bare kernel.


# %%
def archive(init):
    """An initrd whose first process is the text of `init`."""
    parts = [entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev", "proc")]
    parts.append(entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    parts.append(entry("bin/busybox", stat.S_IFREG | 0o755, Path("/bin/busybox").read_bytes()))
    parts.append(entry("init", stat.S_IFREG | 0o755, init.encode()))
    return b"".join(parts) + entry("TRAILER!!!", 0)


naive = """#!/bin/busybox sh
echo "here I am, process $$"
"""

# %% [markdown]
# A second witness: cpio itself should be able to read what we wrote.

# %% tags=["nbval-check-output"]
read = subprocess.run(["busybox", "cpio", "-t"], input=archive(naive), capture_output=True)
print(read.stdout.decode())

# %% [markdown]
# ## Processor: real or played?
#
# QEMU can play a processor, translating each instruction of the guest: *emulation*, in QEMU's word "tcg". Or it can have the real one run them, in a mode where a kernel can do no harm. That is what the host's KVM is for, behind `/dev/kvm`. **Before you run it:** suppose the device file is there. Does that mean that it works?

# %% tags=["nbval-ignore-output"]
print("/dev/kvm is there:", Path("/dev/kvm").exists())
accelerator = vm.accelerator()
print("a guest really runs with:", {"kvm": "KVM", "tcg": "emulation"}[accelerator])

# %% [markdown]
# `vm.accelerator` believes nothing and boots a guest to see. If your machine is itself a virtual one, as most are that one can rent, then KVM may be missing, or be there and refuse. The chapter goes on with whatever works, and says so in the plot. An emulated machine is many times slower than one on KVM; keep that in mind when you read the times.
#
# ## The naive machine
#
# Here is the whole computer, as a command.

# %% tags=["nbval-ignore-output"]
place = course.scratch("machine")
command = vm.command(place / "initrd", accelerator=accelerator)
print(" ".join(command).replace(" -", "\n  -"))


# %% [markdown]
# No disk, no screen, no network: memory, a processor, and a serial line, which becomes the program's output. **Before you run it:** `/init` says one line and ends, as a program should. What does the machine do then?


# %%
def boot(init):
    """Boot a machine by hand; all that its console says."""
    (place / "initrd").write_bytes(archive(init))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return vm.readable(done.stdout).strip()


# %%
said = boot(naive)
print(*said.splitlines()[:8], "…", sep="\n")
assert "here I am, process 1\n" in said and "Attempted to kill init" in said

# %% [markdown]
# It panics. Process 1 ended, everything is a descendant of process 1, so there is nothing left to do: *not syncing: Attempted to kill init!* In a container the same event is the most natural thing in the world. Its process 1 ends, and the container is over.
#
# So the first process of a machine must not end. It has to switch the machine off.

# %%
better = """#!/bin/busybox sh
echo "here I am, process $$"
busybox mount -t proc none /proc
echo "my kernel is $(busybox uname -sr)"
echo "I was told: $(busybox cat /proc/cmdline)"
busybox poweroff -f
"""
said = boot(better)
print(said)
assert "Power down" in said and "panic -" not in said

# %% [markdown]
# A computer, from its first instruction to "Power down", whose complete software is one kernel, one program and six lines of shell. The last line but one is the kernel's *command line*: the way to tell a machine something before it has anything to read.
#
# **Your turn.** Build the initrd of a machine that answers a question. Somebody boots it with `secret=…` on its kernel's command line; it says that word and its kernel's release, with a blank between them, on a line of their own, and switches itself off. One thing that may help: words with a `=` that mean nothing to the kernel become environment variables of `/init`.


# %%
def make_initrd(file):
    """Write to `file` the initrd of a machine that says `WORD RELEASE` and switches itself off."""
    ### BEGIN SOLUTION
    init = """#!/bin/busybox sh
echo "$secret $(busybox uname -r)"
busybox poweroff -f
"""
    Path(file).write_bytes(archive(init))
    ### END SOLUTION


# %%
course.check("01.initrd", make_initrd)

# %% [markdown]
# ## Side by side
#
# Now one of each, running at the same time. The container sleeps, and `exec` lets us ask it things. For the machine, `vm.Guest` does what you just did by hand, with an `/init` that obeys its console.

# %%
box = labkit.run(
    "lab/busybox", ["sleep", "4711"], detach=True, hostname="box", limits=Limits(memory_bytes=64 * MiB)
)
guest = vm.Guest.start()
guest.run("sleep 4712 &")


def ask_host(line):
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True).stdout


def ask_box(line):
    return box.exec(["sh", "-c", f"{line} 2>&1"]).stdout


# %% [markdown]
# How many kernels are at work here? A kernel rolls a random number when it boots, and shows it as `boot_id`. **Before you run it:** three places, how many different numbers?

# %% tags=["nbval-ignore-output"]
places = {"host": ask_host, "container": ask_box, "machine": guest.run}
boots = {name: ask("cat /proc/sys/kernel/random/boot_id").strip() for name, ask in places.items()}
for name, ask in places.items():
    print(f"{name:10} {boots[name][:8]}…  {ask('uname -r').strip()}")

# %% tags=["nbval-check-output"]
print("kernels:", len(set(boots.values())))
print("the container's is the host's:", boots["container"] == boots["host"])
print("the machine's is the host's:  ", boots["machine"] == boots["host"])

# %% [markdown]
# Two. The container has the host's kernel, because it has none; a thousand containers would still make it two. It follows that a container can never have *another* version than the host, and a machine can.
#
# Both places run a `sleep` now, with 4711 and 4712 seconds. **Before you run it:** which of them will the host's list of processes show?

# %% tags=["nbval-check-output"]
from labkit.observe import processes

commands = [row.command for row in processes.rows()]
print("the container's sleep:", any("sleep 4711" in command for command in commands))
print("the machine's sleep:  ", any("sleep 4712" in command for command in commands))
print("QEMU, the machine:    ", processes.row(guest.pid).command.startswith("qemu-system-"))

# %% [markdown]
# To the host the whole machine is *one process*, and what happens in it is that process's private affair. Whoever administers the host sees into containers, but not into machines.
#
# **Before you run it:** and inside? The container runs `sleep`, the machine runs `/init` and `sleep`. How many processes does each list?

# %% tags=["nbval-check-output"]
in_box = ask_box("ps -o comm | grep -v COMM").split()
in_guest = guest.run("ls /proc | grep -c '^[0-9]'")
print("container, fewer than eight:", "sleep" in in_box and len(in_box) < 8)
print("machine, more than thirty:   ", int(in_guest) > 30)

# %%
print(guest.run("ps | head -n 12"))

# %% [markdown]
# Those in brackets are threads of the guest's kernel: they swap, write back and count time, all for the sake of one `sleep`. On the host the same threads run once, for all containers together.
#
# **Your turn.** You are somewhere, and may read files there, through a function `read(path)`. It knows `/proc/` with `version`, `uptime`, `stat`, `meminfo`, `cpuinfo`, `cmdline`, `sys/kernel/hostname` and `sys/kernel/random/boot_id`. Is it *this* kernel that answers? Mind that machines of one make have the same version, and that two may even have been switched on in the same second.


# %%
def our_kernel(read):
    """Whether the place in which `read(path)` reads has the kernel that this function runs on."""
    ### BEGIN SOLUTION
    boot_id = "/proc/sys/kernel/random/boot_id"
    return read(boot_id) == Path(boot_id).read_text()
    ### END SOLUTION


# %%
course.check("01.kernel", our_kernel)

# %% [markdown]
# ## On the scale
#
# How much memory does each take? `ps` knows a figure, RSS: the pages that a process has in memory. For one process that is right. **Before you run it:** twenty processes of the same program, some 1 MiB of RSS each. Do they take 20 MiB?


# %%
def of_memory(pid, which):
    """A line of /proc/PID/smaps_rollup, in bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{which}:"))


# %%
sleepers = [subprocess.Popen(["busybox", "sleep", "60"]) for _ in range(20)]
time.sleep(0.1)  # until all have become busybox
rss, pss = (sum(of_memory(sleeper.pid, which) for sleeper in sleepers) for which in ("Rss", "Pss"))
for sleeper in sleepers:
    sleeper.kill()
    sleeper.wait()
print(f"sum of RSS {rss / MiB:.1f} MiB, sum of PSS {pss / MiB:.1f} MiB")
assert pss < rss / 2

# %% [markdown]
# The program's pages are in memory once, and RSS counts them for each. PSS, the *proportional* size, divides every page by the number of those who share it. So PSS may be added up, and RSS may not.
#
# **Your turn.** A scale for several processes at once; we put both our candidates on it next.


# %%
def memory_bytes(pids):
    """What these processes take together, in bytes, with nothing counted twice."""
    ### BEGIN SOLUTION
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total
    ### END SOLUTION


# %%
course.check("01.memory", memory_bytes)

# %% [markdown]
# Now both of ours. For the container we count its process, what its control group is charged for beyond that (buffers and tables that the kernel keeps for it), and the engine's monitor, which stands by until the container ends. The machine is the process of QEMU. **Before you run it:** guess the factor.

# %%
memory_bytes = course.use(memory_bytes, "01.memory")

monitor = processes.row(box.pid).parent_pid
container_memory = max(memory_bytes([box.pid]), box.usage().memory_bytes) + memory_bytes([monitor])
guest_memory = memory_bytes([guest.pid])
print(
    f"container {container_memory / MiB:6.1f} MiB, of which the monitor {memory_bytes([monitor]) / MiB:.1f}"
)
print(f"machine   {guest_memory / MiB:6.1f} MiB, of which the guest sees {vm.MEMORY_MIB}")
assert guest_memory > 5 * container_memory

# %% [markdown]
# Fair is fair: an emulated processor needs memory for translated instructions, which KVM does not. But the guest's own share is bad enough. It keeps a kernel, and pages that it has once used it does not give back by itself, as the host cannot know that they are free.
#
# Then the disk. A machine needs a kernel and a root; a container only a root. The time of the machine, last, is taken until its *first process* speaks, several times.

# %%
from labkit.images import base
from labkit.paths import Paths

container_disk = base.get(Paths.from_environment(), "lab/busybox").size_bytes
guest_disk = vm.kernel().stat().st_size + len(archive(better))
print(f"container {container_disk / MiB:.1f} MiB, machine {guest_disk / MiB:.1f} MiB")


# %%
def until_it_speaks():
    with vm.Guest.start() as another:
        another.read_until("ready\n")
        return another.age_seconds


guest_seconds = median_of(guest_starts, until_it_speaks)
print(f"machine: {guest_seconds:.2f} s, {guest_seconds / container_seconds:.0f} times a container")
assert guest_seconds > container_seconds

# %% [markdown]
# All of it in one picture. The scales are logarithmic: from one line of the grid to the next it is ten times as much.

# %% tags=["nbval-ignore-output"]
from labkit.course import figures

how = {"kvm": "on KVM", "tcg": "emulated"}[accelerator]


def pair(title, unit, small, large):
    plot = figures.axes(title, unit, height=1.35)
    bars = plot.barh(["container", f"machine, {how}"], [small, large], color=[figures.BLUE, figures.ORANGE])
    plot.bar_label(bars, [f"{small:.3g}", f"{large:.3g}"], padding=4, color=figures.GREY)
    plot.set_xscale("log")
    plot.set_xlim(small / 5, large * 5)
    plot.invert_yaxis()


pair("Time to first output", "seconds", container_seconds, guest_seconds)
pair("Memory while it does nothing", "MiB", container_memory / MiB, guest_memory / MiB)
pair("On the disk", "MiB", container_disk / MiB, guest_disk / MiB)

# %% [markdown]
# For the disk the factor is smaller than legend has it: what makes real machines large is not the kernel but the whole distribution that people put around it, and they put it into containers too.
#
# **Before you run it:** how many of each would this machine hold, by memory alone?

# %%
lines = Path("/proc/meminfo").read_text().splitlines()
free_bytes = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
print(f"free: {free_bytes / MiB:.0f} MiB")
print(f"containers that sleep: {free_bytes // container_memory}")
print(f"machines that sleep:   {free_bytes // guest_memory}")

# %% [markdown]
# That is why the cloud's price list has containers by the hundred. It is not a fair picture of programs that do something: a database takes the memory of a database in either.
#
# ## What keeps apart better
#
# Now the other side of the bill. The container is limited to 64 MiB. **Before you run it:** it asks how much memory there is. What is it told, and what is the machine told?


# %%
def sees_bytes(ask):
    return int(ask("head -n 1 /proc/meminfo").split()[1]) * 1024


for name, ask in places.items():
    print(f"{name:10} {sees_bytes(ask) / MiB:8.0f} MiB")
assert sees_bytes(ask_box) == sees_bytes(ask_host) and sees_bytes(guest.run) < vm.MEMORY_MIB * MiB

# %% [markdown]
# The limit holds, but the container does not *see* it: there is no namespace for the amount of memory. Programs that fit themselves to the machine misjudge it, and are killed. The guest sees what it has, since that is all there is.
#
# **Before you run it:** both are root. Each asks the kernel to drop its caches, a harmless wish that only the master of a kernel may have.

# %% tags=["nbval-check-output"]
wish = "echo 1 > /proc/sys/vm/drop_caches && echo done"
print("container:", ask_box(f"({wish})").strip().rpartition(": ")[2])
print("machine:  ", guest.run(wish).strip())

# %% [markdown]
# Whatever belongs to the kernel as a whole must be kept from a container, or one could spoil it for all: `/proc/sys` is mounted read-only there. The machine's root may do as it likes, with a kernel of its own.
#
# As it likes? Then let it go all the way. **Before you run it:** `echo c > /proc/sysrq-trigger` makes a kernel crash, at once and truly. Who survives?

# %%
guest.process.stdin.write(b"echo c > /proc/sysrq-trigger\n")
guest.wait()
words = guest.console[guest.console.rfind("Kernel panic") :]
print(words.splitlines()[0])

# %% tags=["nbval-check-output"]
print("a kernel has crashed:     ", "Kernel panic" in guest.console)
print("the host is still up:     ", ask_host("cat /proc/sys/kernel/random/boot_id").strip() == boots["host"])
print("the container still runs: ", box.status == "running")

# %% [markdown]
# You have crashed a kernel, and the price was one process. In a container the same line would have been your machine, with everything on it, if it had got through. That is no mere theory. **Dirty Pipe** ([CVE-2022-0847](https://nvd.nist.gov/vuln/detail/CVE-2022-0847)) was one mistake in the kernel's pipes; with it, any process could change files that it may only read, such as an image that all its neighbours run from. One kernel means: its mistakes are everybody's.
#
# ## And what does not
#
# So machines are safe? Look at what stands on the other side of *their* wall. **Before you run it:** QEMU parses whatever a hostile guest sends to its devices. In how many kinds of namespace is it apart from the host, and whose user does it run as?

# %% tags=["nbval-check-output"]
from labkit.kernel.namespaces import Namespace, identity

with vm.Guest.start() as second:
    apart = [kind.oci for kind in Namespace if identity(second.pid, kind) != identity("self", kind)]
    print("apart in:", apart or "nothing")
    print("as user: ", processes.row(second.pid).user)

# %% [markdown]
# Root, and apart in nothing. Who gets out of the guest *into QEMU* has won more than one who gets out of most containers. There have been ways: **VENOM** ([CVE-2015-3456](https://nvd.nist.gov/vuln/detail/CVE-2015-3456)) was a buffer in QEMU's floppy controller that could be overrun, unnoticed from 2004 to 2015, and in reach of guests that had no floppy drive. So those who run machines for strangers put QEMU itself in a box: another user, a few system calls, namespaces, a control group. Look closely at a good virtual machine, and round it there is a container.
#
# | | container | virtual machine |
# | --- | --- | --- |
# | a stranger's code talks to | the kernel: hundreds of system calls | a few pretended devices, and the processor |
# | a mistake there lets it out | to the host's kernel | to the process that plays the machine |
# | the kernel's version, modules, settings | the host's, for all | its own |
# | a crash of its kernel | everybody's | its own |
# | processor caches (Spectre and its kin) | shared | shared, unless a core is rented whole |
# | can the host see in | yes, process by process | no, and that makes help harder too |
# | files between inside and outside | a mount, at no cost | through a device, copied or shared with an effort |
# | equal pages in memory | once, for all | once for each, unless the host searches for twins |
# | start, memory | see above | see above |
#
# Neither column is the better one. Between people who trust each other, containers waste nothing. Between strangers, a second kernel is worth its price; and who must have both runs a small machine around each customer's containers, as Kata Containers does. Nor need a machine be slow: the makers of Firecracker, a QEMU with almost nothing in it, promise 125 ms from the wish to the guest's first process (on KVM; it stands in their SPECIFICATION.md).

# %%
box.remove(force=True)
guest.close()

# %% [markdown]
# ## In labkit
#
# The archive, the command and the talk over the console are one file. There is little in it that you have not written yourself by now.

# %%
course.show(vm)

# %% [markdown]
# ## What you know now
#
# A virtual machine is a process that plays hardware, with a kernel of its own inside; a container is a process, and the kernel is yours. From that all else follows: milliseconds against seconds, a few MiB against many, one kernel for all against one for each. The container's wall is the system call interface, the machine's is the pretended hardware; both have had holes. Measure until the first byte, add up PSS, and ask the `boot_id`, not the hostname, where you are.
#
# ## Ten questions
#
# 1. Somebody shows you a "container running Windows" on a Linux host, and it works. What must be true?
# 2. Why did the naive machine panic when its first process ended, and why does no container do that to its host?
# 3. Your image is called `ubuntu:24.04` and the host is Debian 12. Which of `uname -r`, `/etc/os-release` and `ldd --version` speak of which?
# 4. Somebody bind-mounts a file of theirs over `boot_id` in a container. What does `our_kernel` say now, and where would you look instead if you can look from the host?
# 5. A Java program in a container of 512 MiB on a host with 64 GiB gets itself killed at start. What did it ask, and whom?
# 6. Which of the three figures (time, memory, disk) would change most with KVM in place of emulation, and which not at all?
# 7. A hundred machines boot from the same initrd. How many copies of busybox are in memory? And for a hundred containers of one image?
# 8. You may choose: a mistake in the kernel's network code, or a mistake in QEMU's network card. Which would you rather have, as the tenant of a machine, and as the tenant of a container?
# 9. Your cloud machine says "KVM is not available". Why might a host keep it from its guests?
# 10. Is a virtual machine with one container in it more or less safe than the container alone? Than the machine alone?
#
# <details><summary>A word on 1 and 6</summary>
#
# 1: There is a virtual machine in it: a container has no other kernel to offer than the host's. 6: Time changes most, by far; memory a little, by the translated code; the disk not at all.
#
# </details>
#
# ## Further
#
# - `qemu-system-x86_64(1)`: give the machine a network card and a disk, step by step, and take the time again after each. What costs most?
# - `initrd(4)` and `bootparam(7)`, and the kernel's document on the initramfs buffer format: pack your own program in place of busybox. Statically linked it needs no other file at all.
# - `proc_pid_smaps(5)`: look at the parts of QEMU's memory one by one. Which of them is the guest's, and does it shrink when the guest frees something?

# %%
course.finish()
