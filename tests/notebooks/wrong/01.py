# %% 01.clock: waits for the end
def first_word(argv):
    began = time.monotonic()
    said = subprocess.run(argv, stdout=subprocess.PIPE).stdout
    return time.monotonic() - began if said else None


# %% 01.clock: waits for a line
def first_word(argv):
    began = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        said = program.stdout.readline()
        seconds = time.monotonic() - began
        program.kill()
    return seconds if said else None


# %% 01.clock: takes the time of the start alone
def first_word(argv):
    began = time.monotonic()
    program = subprocess.Popen(argv, stdout=subprocess.PIPE)
    seconds = time.monotonic() - began
    program.kill()
    program.wait()
    return seconds


# %% 01.clock: leaves the program behind
def first_word(argv):
    began = time.monotonic()
    program = subprocess.Popen(argv, stdout=subprocess.PIPE)
    said = program.stdout.read(1)
    return time.monotonic() - began if said else None


# %% 01.clock: takes the end of a silent program for a word
def first_word(argv):
    began = time.monotonic()
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as program:
        program.stdout.read(1)
        seconds = time.monotonic() - began
        program.kill()
    return seconds


# %% 01.initrd: the init ends
def make_initrd(file):
    Path(file).write_bytes(archive('#!/bin/busybox sh\necho "$secret $(busybox uname -r)"\n'))


# %% 01.initrd: says what it knew beforehand
def make_initrd(file):
    release = (vm.kernel().parent / "release").read_text().strip()
    Path(file).write_bytes(archive(f'#!/bin/busybox sh\necho "word {release}"\nbusybox poweroff -f\n'))


# %% 01.initrd: the init may not be executed
def make_initrd(file):
    init = b'#!/bin/busybox sh\necho "$secret $(busybox uname -r)"\nbusybox poweroff -f\n'
    parts = [entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev")]
    parts.append(entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    parts.append(entry("bin/busybox", stat.S_IFREG | 0o755, Path("/bin/busybox").read_bytes()))
    parts.append(entry("init", stat.S_IFREG | 0o644, init))
    Path(file).write_bytes(b"".join(parts) + entry("TRAILER!!!", 0))


# %% 01.initrd: no archive, but the words
def make_initrd(file):
    Path(file).write_text('echo "$secret $(uname -r)"; poweroff -f')


# %% 01.kernel: compares versions
def our_kernel(read):
    return read("/proc/version") == Path("/proc/version").read_text()


# %% 01.kernel: compares hostnames
def our_kernel(read):
    return read("/proc/sys/kernel/hostname") == Path("/proc/sys/kernel/hostname").read_text()


# %% 01.kernel: compares the second of the boot
def our_kernel(read):
    def booted(text):
        return next(line for line in text.splitlines() if line.startswith("btime"))

    return booted(read("/proc/stat")) == booted(Path("/proc/stat").read_text())


# %% 01.memory: counts what is shared once for each
def memory_bytes(pids):
    return sum(of_memory(pid, "Rss") for pid in pids)


# %% 01.memory: in kB
def memory_bytes(pids):
    return sum(of_memory(pid, "Pss") for pid in pids) // 1024


# %% 01.memory: only the first
def memory_bytes(pids):
    return of_memory(pids[0], "Rss")


# %% 01.memory: what each has for itself alone
def memory_bytes(pids):
    return sum(of_memory(pid, "Private_Clean") + of_memory(pid, "Private_Dirty") for pid in pids)
