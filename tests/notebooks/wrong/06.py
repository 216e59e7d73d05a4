# %% 06.contain: chroot, which leaves the host's root where it was
def contain(root, hostname, argv):
    for kind in ("mount", "uts", "ipc", "pid", "network"):
        namespaces.unshare(Namespace.named(kind))
    if born := os.fork():
        os._exit(os.waitpid(born, 0)[1] & 0xFF)
    process.die_with_parent()
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.mount("proc", f"{root}/proc", "proc")
    os.chroot(root)
    os.chdir("/")
    socket.sethostname(hostname)
    os.execv(argv[0], argv)


# %% 06.contain: forgets that a pid namespace begins with the next child
def contain(root, hostname, argv):
    for kind in ("mount", "uts", "ipc", "pid", "network"):
        namespaces.unshare(Namespace.named(kind))
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(root, root)
    mounts.enter_root(root)
    socket.sethostname(hostname)
    os.execv(argv[0], argv)


# %% 06.contain: no /proc, so nobody inside can see a process
def contain(root, hostname, argv):
    for kind in ("mount", "uts", "ipc", "pid", "network"):
        namespaces.unshare(Namespace.named(kind))
    if born := os.fork():
        os._exit(os.waitpid(born, 0)[1] & 0xFF)
    process.die_with_parent()
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(root, root)
    mounts.enter_root(root)
    socket.sethostname(hostname)
    os.execv(argv[0], argv)


# %% 06.contain: shares the network with the host
def contain(root, hostname, argv):
    for kind in ("mount", "uts", "ipc", "pid"):
        namespaces.unshare(Namespace.named(kind))
    if born := os.fork():
        os._exit(os.waitpid(born, 0)[1] & 0xFF)
    process.die_with_parent()
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(root, root)
    mounts.mount("proc", f"{root}/proc", "proc")
    mounts.enter_root(root)
    socket.sethostname(hostname)
    os.execv(argv[0], argv)


# %% 06.stop: does not ask
def stop(pid, grace_seconds):
    os.kill(pid, 9)
    return "KILL"


# %% 06.stop: always waits for the whole grace period
def stop(pid, grace_seconds):
    os.kill(pid, 15)
    time.sleep(grace_seconds)
    try:
        os.kill(pid, 9)
        return "KILL"
    except ProcessLookupError:
        return "TERM"


# %% 06.stop: asks, and believes in it
def stop(pid, grace_seconds):
    os.kill(pid, 15)
    return "TERM"


# %% 06.init: looks after its own child alone
def init(argv):
    started = subprocess.Popen(argv)
    signal.signal(signal.SIGTERM, lambda *_: started.terminate())
    code = started.wait()
    return code if code >= 0 else 128 - code


# %% 06.init: passes no signal on
def init(argv):
    main = os.posix_spawnp(argv[0], argv, os.environ)
    while True:
        pid, status = os.wait()
        if pid == main:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


# %% 06.init: returns with the first child that ends, whoever it is
def init(argv):
    main = os.posix_spawnp(argv[0], argv, os.environ)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(main, signal.SIGTERM))
    code = os.waitstatus_to_exitcode(os.wait()[1])
    return code if code >= 0 else 128 - code


# %% 06.init: becomes the program and looks after nobody
def init(argv):
    os.execvp(argv[0], argv)


# %% 06.survives: thinks that a stop is a removal
survives = {
    "a file in /var": (False, False),
    "a file in /dev/shm": (False, False),
    "the image's /etc/passwd, deleted": (False, False),
    "a background process": (False, False),
    "the hostname that create was given": (True, False),
    "the image's /bin/busybox": (True, True),
}

# %% 06.survives: thinks that a container changes its image
survives = {
    "a file in /var": (True, True),
    "a file in /dev/shm": (False, False),
    "the image's /etc/passwd, deleted": (True, True),
    "a background process": (False, False),
    "the hostname that create was given": (True, False),
    "the image's /bin/busybox": (True, True),
}
