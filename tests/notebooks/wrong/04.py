# %% 04.enter: limits the group and stays outside
def enter(group, memory_bytes, cpus, processes):
    for directory, file, value in (
        (group["memory"], "memory.max", memory_bytes),
        (group["memory"], "memory.limit_in_bytes", memory_bytes),
        (group["cpu"], "cpu.max", f"{int(cpus * 100000)} 100000"),
        (group["cpu"], "cpu.cfs_quota_us", int(cpus * 100000)),
        (group["pids"], "pids.max", processes),
    ):
        if os.path.exists(f"{directory}/{file}"):
            open(f"{directory}/{file}", "w").write(str(value))


# %% 04.enter: limits the process and not the group
def enter(group, memory_bytes, cpus, processes):
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    for directory in set(group.values()):
        open(f"{directory}/cgroup.procs", "w").write(str(os.getpid()))


# %% 04.enter: takes the quota for a number of CPUs
def enter(group, memory_bytes, cpus, processes):
    for directory, file, value in (
        (group["memory"], "memory.max", memory_bytes),
        (group["memory"], "memory.limit_in_bytes", memory_bytes),
        (group["cpu"], "cpu.max", f"{int(cpus * 1000000)} 100000"),
        (group["cpu"], "cpu.cfs_quota_us", int(cpus * 1000000)),
        (group["pids"], "pids.max", processes),
    ):
        if os.path.exists(f"{directory}/{file}"):
            open(f"{directory}/{file}", "w").write(str(value))
    for directory in set(group.values()):
        open(f"{directory}/cgroup.procs", "w").write(str(os.getpid()))


# %% 04.verdict: takes every 137 for the OOM killer
def verdict(group, argv):
    def go_in():
        for directory in set(group.values()):
            open(f"{directory}/cgroup.procs", "w").write("0")

    code = subprocess.run(argv, preexec_fn=go_in).returncode
    code = code if code >= 0 else 128 - code
    return {"exit_code": code, "oom_killed": code == 137}


# %% 04.verdict: never goes into the group
def verdict(group, argv):
    code = subprocess.run(argv).returncode
    return {"exit_code": code if code >= 0 else 128 - code, "oom_killed": code == -9}


# %% 04.verdict: reads the counter without knowing what it was before
def verdict(group, argv):
    def go_in():
        for directory in set(group.values()):
            open(f"{directory}/cgroup.procs", "w").write("0")

    code = subprocess.run(argv, preexec_fn=go_in).returncode
    text = ""
    for name in ("memory.events", "memory.oom_control"):
        if os.path.exists(f"{group['memory']}/{name}"):
            text = open(f"{group['memory']}/{name}").read()
    kills = int(dict(line.split() for line in text.splitlines())["oom_kill"])
    return {"exit_code": code if code >= 0 else 128 - code, "oom_killed": kills > 0}


# %% 04.verdict: Python's negative code instead of the shell's
def verdict(group, argv):
    def go_in():
        for directory in set(group.values()):
            open(f"{directory}/cgroup.procs", "w").write("0")

    return {"exit_code": subprocess.run(argv, preexec_fn=go_in).returncode, "oom_killed": False}


# %% 04.defuse: freezes and calls it a day
def defuse(group):
    if "freezer" in group:
        open(f"{group['freezer']}/freezer.state", "w").write("FROZEN")
    else:
        open(f"{group['pids']}/cgroup.freeze", "w").write("1")


# %% 04.defuse: asks politely, and only the first one
def defuse(group):
    pids = open(f"{group['pids']}/cgroup.procs").read().split()
    os.kill(int(pids[0]), 15)


# %% 04.defuse: lets no more be born, and leaves those that are there
def defuse(group):
    open(f"{group['pids']}/pids.max", "w").write("1")


# %% 04.shape: in its own namespace, where there is no such interface
def shape(pid, interface, bits_per_second):
    subprocess.run(
        f"tc qdisc add dev {interface} root tbf rate {bits_per_second}bit burst 32kb latency 100ms".split(),
        check=True,
    )


# %% 04.shape: bps are bytes in a second, says tc(8)
def shape(pid, interface, bits_per_second):
    subprocess.run(
        f"nsenter -t {pid} --net tc qdisc add dev {interface} root "
        f"tbf rate {bits_per_second}bps burst 32kb latency 100ms".split(),
        check=True,
    )


# %% 04.shape: delays every packet instead
def shape(pid, interface, bits_per_second):
    subprocess.run(f"nsenter -t {pid} --net ip link set {interface} down".split(), check=True)
    subprocess.run(f"nsenter -t {pid} --net ip link set {interface} mtu 1400 up".split(), check=True)
