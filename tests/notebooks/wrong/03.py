# %% 03.escape: climbs against the wall
def break_out():
    for _ in range(50):
        os.chdir("..")
    os.chroot(".")


# %% 03.escape: moves into the cellar too
def break_out():
    os.makedirs("/cellar", exist_ok=True)
    os.chroot("/cellar")
    os.chdir("/")
    for _ in range(50):
        os.chdir("..")
    os.chroot(".")


# %% 03.escape: stands outside and forgets to move the root back
def break_out():
    os.makedirs("/cellar", exist_ok=True)
    os.chroot("/cellar")
    while not os.path.samestat(os.stat("."), os.stat("..")):
        os.chdir("..")
    print("out:", os.listdir("."))


# %% 03.pivot: a chroot, which looks the same from inside
def own_root(new_root):
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(new_root, new_root)
    os.chroot(new_root)
    os.chdir("/")


# %% 03.pivot: forgets that mounts are shared
def own_root(new_root):
    namespaces.unshare(Namespace.MOUNT)
    mounts.bind(new_root, new_root)
    mounts.enter_root(new_root)


# %% 03.pivot: no namespace of its own, the neighbour pays
def own_root(new_root):
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(new_root, new_root)
    mounts.enter_root(new_root)


# %% 03.pivot: keeps the old root
def own_root(new_root):
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(new_root, new_root)
    os.makedirs(f"{new_root}/old", exist_ok=True)
    libc.call("pivot_root", new_root.encode(), f"{new_root}/old".encode())
    os.chdir("/")


# %% 03.oneway: hears nothing either
def one_way(directory):
    namespaces.unshare(Namespace.MOUNT)
    mounts.propagate(directory, MountFlag.PRIVATE)


# %% 03.oneway: a namespace alone
def one_way(directory):
    namespaces.unshare(Namespace.MOUNT)


# %% 03.oneway: makes the neighbour's the slave
def one_way(directory):
    mounts.propagate(directory, MountFlag.SLAVE)


# %% 03.seal: read-only in one call
def seal():
    Path("/tmp/nothing").touch()
    mounts.bind("/tmp/nothing", "/proc/interrupts")
    mounts.mount("/proc/sys", "/proc/sys", flags=MountFlag.BIND | MountFlag.RDONLY)
    mounts.mount("tmpfs", "/tmp", "tmpfs")
    mounts.remount("/", MountFlag.RDONLY)


# %% 03.seal: closes /tmp as well
def seal():
    Path("/tmp/nothing").touch()
    mounts.bind("/tmp/nothing", "/proc/interrupts")
    mounts.bind("/proc/sys", "/proc/sys")
    mounts.remount("/proc/sys", MountFlag.RDONLY)
    mounts.remount("/", MountFlag.RDONLY)


# %% 03.seal: takes the right to write by mode bits, which do not bind root
def seal():
    Path("/tmp/nothing").touch()
    mounts.bind("/tmp/nothing", "/proc/interrupts")
    mounts.bind("/proc/sys", "/proc/sys")
    mounts.remount("/proc/sys", MountFlag.RDONLY)
    os.chmod("/", 0o555)
    os.chmod("/etc", 0o555)


# %% 03.seal: covers all of /proc
def seal():
    mounts.mount("tmpfs", "/proc", "tmpfs")
    Path("/proc/interrupts").touch()
    mounts.mount("tmpfs", "/tmp", "tmpfs")
    mounts.remount("/", MountFlag.RDONLY)


# %% 03.world: mounts /proc before the fork, for the old pid namespace
def small_world(new_root):
    namespaces.unshare(Namespace.PID | Namespace.MOUNT)
    mounts.propagate("/", MountFlag.PRIVATE)
    mounts.bind(new_root, new_root)
    mounts.enter_root(new_root)
    mounts.mount("proc", "/proc", "proc")
    return os.posix_spawn("/bin/sleep", ["sleep", "60"], {})


# %% 03.world: forgets /proc
def small_world(new_root):
    namespaces.unshare(Namespace.PID | Namespace.MOUNT)
    pid = os.fork()
    if pid == 0:
        mounts.propagate("/", MountFlag.PRIVATE)
        mounts.bind(new_root, new_root)
        mounts.enter_root(new_root)
        os.execv("/bin/sleep", ["sleep", "60"])
    return pid


# %% 03.world: a chroot with a /proc
def small_world(new_root):
    namespaces.unshare(Namespace.PID | Namespace.MOUNT)
    pid = os.fork()
    if pid == 0:
        mounts.propagate("/", MountFlag.PRIVATE)
        os.chroot(new_root)
        os.chdir("/")
        mounts.mount("proc", "/proc", "proc")
        os.execv("/bin/sleep", ["sleep", "60"])
    return pid
