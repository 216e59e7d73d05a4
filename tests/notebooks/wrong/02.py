# %% 02.name: renames without leaving, on a machine that is not its own
def own_name(name):
    namespaces.unshare(Namespace.IPC)
    print("hostname is now", name)


# %% 02.name: only says that it did
def own_name(name):
    print(name)


# %% 02.name: leaves more than was asked
def own_name(name):
    namespaces.unshare(Namespace.UTS | Namespace.NETWORK)
    socket.sethostname(name)


# %% 02.name: leaves and forgets the name
def own_name(name):
    namespaces.unshare(Namespace.UTS)


# %% 02.first: takes itself for process 1
def first_process():
    namespaces.unshare(Namespace.PID)
    return os.getpid()


# %% 02.first: claims the number
def first_process():
    return 1


# %% 02.first: the sleep is process 2, a shell is first
def first_process():
    namespaces.unshare(Namespace.PID)
    shell = subprocess.Popen(["sh", "-c", "sleep 60 & wait"]).pid
    children = Path(f"/proc/{shell}/task/{shell}/children")
    while not children.read_text().strip():
        time.sleep(0.01)
    return int(children.read_text())


# %% 02.first: no namespace at all
def first_process():
    return subprocess.Popen(["sleep", "60"]).pid


# %% 02.init: waits for its own child alone
def init(command):
    return subprocess.run(command).returncode


# %% 02.init: lets the kernel bury all, and loses the exit code
def init(command):
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    return subprocess.run(command).returncode


# %% 02.init: comes back with whoever dies first
def init(command):
    os.posix_spawnp(command[0], command, os.environ)
    _, status = os.wait()
    return os.waitstatus_to_exitcode(status)


# %% 02.init: buries all, and returns the last one's code, which is the command's, as a raw status
def init(command):
    os.posix_spawnp(command[0], command, os.environ)
    while True:
        try:
            _, status = os.wait()
        except ChildProcessError:
            return status


# %% 02.nobody: maps 0 to 0, root inside and outside
def nobody_root(outside):
    wait_here, go = os.pipe()
    pid, _ = process.clone(int(Namespace.USER))
    if pid == 0:
        os.read(wait_here, 1)
        os.execvp("sleep", ["sleep", "60"])
    idmap.write(pid, [IdMap(0, 0)], [IdMap(0, 0)])
    os.write(go, b"!")
    return pid


# %% 02.nobody: becomes the outside user, with no namespace
def nobody_root(outside):
    return subprocess.Popen(["sleep", "60"], user=outside, group=outside).pid


# %% 02.nobody: writes its own map
def nobody_root(outside):
    pid = os.fork()
    if pid == 0:
        namespaces.unshare(Namespace.USER)
        try:
            idmap.write("self", [IdMap(0, outside)], [IdMap(0, outside)])
        finally:
            os.execvp("sleep", ["sleep", "60"])
    time.sleep(0.2)
    return pid


# %% 02.nobody: does not wait for the map, and stays nobody inside too
def nobody_root(outside):
    pid, _ = process.clone(int(Namespace.USER))
    if pid == 0:
        os.execvp("sleep", ["sleep", "60"])
    time.sleep(0.2)
    idmap.write(pid, [IdMap(0, outside)], [IdMap(0, outside)])
    return pid


# %% 02.companions: stumbles over the dead
def companions(pid, kind):
    wanted = os.readlink(f"/proc/{pid}/ns/{kind}")
    return [
        int(p) for p in os.listdir("/proc") if p.isdigit() and os.readlink(f"/proc/{p}/ns/{kind}") == wanted
    ]


# %% 02.companions: only itself
def companions(pid, kind):
    return [pid]


# %% 02.companions: looks at one kind, whatever was asked
def companions(pid, kind):
    wanted = namespaces.identity(pid, Namespace.UTS)
    return namespaces.members(Namespace.UTS)[wanted]
