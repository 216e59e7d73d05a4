# %% 00.find: goes by the name of the group
def contained(pids):
    return [pid for pid in pids if "container" in Path(f"/proc/{pid}/cgroup").read_text()]


# %% 00.find: goes by the command
def contained(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "sleep\n"]


# %% 00.find: takes every process with some namespace of its own
def contained(pids):
    ours = os.readlink("/proc/self/ns/uts")
    return [pid for pid in pids if os.readlink(f"/proc/{pid}/ns/uts") != ours]


# %% 00.chain: takes the fourth word of stat
def ancestors(pid):
    found = [pid]
    while found[-1] != 1:
        found.append(int(Path(f"/proc/{found[-1]}/stat").read_text().split()[3]))
    return found


# %% 00.chain: stops below process 1
def ancestors(pid):
    found = [pid]
    while found[-1] > 1:
        status = Path(f"/proc/{found[-1]}/status").read_text()
        found.append(int(re.search(r"^PPid:\s*(\d+)$", status, re.MULTILINE)[1]))
    return found[:-1]


# %% 00.chain: only the parent
def ancestors(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return [pid, int(re.search(r"^PPid:\s*(\d+)$", status, re.MULTILINE)[1])]


# %% 00.trace: knows the usual answer
def who_asked(operations, call):
    return {"pivot_root": ["init"], "cgroup.mkdir": ["monitor"], "execve": ["init"]}.get(
        call, ["monitor", "init"]
    )


# %% 00.trace: every request, and not every process once
def who_asked(operations, call):
    return [operation.process for operation in operations if operation.call == call]


# %% 00.trace: the first alone
def who_asked(operations, call):
    return [next(operation.process for operation in operations if operation.call == call)]


# %% 00.start: the pid as the container counts
def start_box(hostname):
    container = labkit.run("lab/busybox", ["sleep", "60"], detach=True, hostname=hostname)
    return container, 1


# %% 00.start: a container that is over
def start_box(hostname):
    container = labkit.run("lab/busybox", ["hostname"], detach=True, hostname=hostname)
    container.wait(5)
    return container, 0


# %% 00.start: the name of the container is not its hostname
def start_box(hostname):
    container = labkit.run("lab/busybox", ["sleep", "60"], detach=True, name=hostname)
    return container, container.pid


# %% 00.start: waits for the end and prints
def start_box(hostname):
    print(labkit.run("lab/busybox", ["hostname"], hostname=hostname))
