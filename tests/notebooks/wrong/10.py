# %% 10.show_only: both flags in one call, and the kernel takes only the first
def show_only(source, target):
    mounts.mount(source, target, flags=MountFlag.BIND | MountFlag.REC | MountFlag.RDONLY)


# %% 10.show_only: read-only at the top alone
def show_only(source, target):
    mounts.bind(source, target, recursive=True)
    mounts.remount(target, MountFlag.RDONLY)


# %% 10.show_only: leaves out what is mounted below
def show_only(source, target):
    mounts.bind(source, target)
    mounts.remount(target, MountFlag.RDONLY)


# %% 10.show_only: a copy that looks the same
def show_only(source, target):
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
    mounts.bind(target, target)
    mounts.remount(target, MountFlag.RDONLY)


# %% 10.show_only: makes the file systems themselves read-only, for everybody
def show_only(source, target):
    for place in (f"{source}/below", f"{source}/below/deeper"):
        mounts.mount("", place, flags=MountFlag.REMOUNT | MountFlag.RDONLY)
    mounts.bind(source, target, recursive=True)
    mounts.remount(target, MountFlag.RDONLY)


# %% 10.scratch_pad: no size
def scratch_pad(target, size_bytes, uid):
    flags = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    mounts.mount("tmpfs", target, "tmpfs", flags, options=f"mode=700,uid={uid}")


# %% 10.scratch_pad: anybody may read it
def scratch_pad(target, size_bytes, uid):
    flags = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    mounts.mount("tmpfs", target, "tmpfs", flags, options=f"size={size_bytes},uid={uid}")


# %% 10.scratch_pad: forgets that programs could lie in it
def scratch_pad(target, size_bytes, uid):
    mounts.mount("tmpfs", target, "tmpfs", MountFlag.NOSUID, options=f"size={size_bytes},mode=700,uid={uid}")


# %% 10.scratch_pad: the directory is changed, and then covered
def scratch_pad(target, size_bytes, uid):
    os.chown(target, uid, uid)
    os.chmod(target, 0o700)
    flags = MountFlag.NOSUID | MountFlag.NODEV | MountFlag.NOEXEC
    mounts.mount("tmpfs", target, "tmpfs", flags, options=f"size={size_bytes}")


# %% 10.use_volume: copies after it has covered what it wants to copy
def use_volume(volume, target):
    mounts.bind(volume, target)
    if not os.listdir(volume):
        subprocess.run(["cp", "-a", f"{target}/.", volume], check=True)


# %% 10.use_volume: passes over names with a dot, as * does
def use_volume(volume, target):
    if not os.listdir(volume):
        subprocess.run(f"cp -a {target}/* {volume}", shell=True, check=True)
    mounts.bind(volume, target)


# %% 10.use_volume: everything belongs to root afterwards
def use_volume(volume, target):
    if not os.listdir(volume):
        subprocess.run(["cp", "-rd", f"{target}/.", volume], check=True)
    mounts.bind(volume, target)


# %% 10.use_volume: brings the image's files back at each use
def use_volume(volume, target):
    subprocess.run(["cp", "-a", f"{target}/.", volume], check=True)
    mounts.bind(volume, target)


# %% 10.use_volume: a hard link becomes two files
def use_volume(volume, target):
    import shutil

    if not os.listdir(volume):
        shutil.copytree(target, volume, symlinks=True, dirs_exist_ok=True)
    mounts.bind(volume, target)


# %% 10.use_volume: copies and mounts nothing
def use_volume(volume, target):
    if not os.listdir(volume):
        subprocess.run(["cp", "-a", f"{target}/.", volume], check=True)


# %% 10.place_of: puts the two together
def place_of(root, path):
    return root + path


# %% 10.place_of: lets the host follow the links
def place_of(root, path):
    return os.path.realpath(root + path)


# %% 10.place_of: takes .. away before it has followed the links
def place_of(root, path):
    done = root
    for name in os.path.normpath("/" + path.lstrip("/")).split("/"):
        here = f"{done}/{name}"
        if os.path.islink(here):
            goal = os.readlink(here)
            here = root + goal if goal.startswith("/") else os.path.normpath(f"{done}/{goal}")
        done = here
    return done


# %% 10.place_of: a wall instead of a way: what leads out is cut down to the root
def place_of(root, path):
    found = os.path.realpath(root + path)
    return found if found.startswith(root + "/") else root


# %% 10.copy_whole: straight into the place where everybody looks
def copy_whole(source, target):
    subprocess.run(["rm", "-rf", target], check=True)
    subprocess.run(["cp", "-a", source, target], check=True)


# %% 10.copy_whole: a draft, but what a killed one left is in the way
def copy_whole(source, target):
    draft = f"{os.path.dirname(target)}/.draft-{os.path.basename(target)}"
    os.mkdir(draft)
    subprocess.run(["cp", "-a", f"{source}/.", draft], check=True)
    os.rename(draft, target)


# %% 10.copy_whole: made elsewhere, and then moved file by file
def copy_whole(source, target):
    import shutil

    shutil.copytree(source, target + ".new", dirs_exist_ok=True)
    os.makedirs(target, exist_ok=True)
    for name in os.listdir(target + ".new"):
        os.rename(f"{target}.new/{name}", f"{target}/{name}")
        time.sleep(0.005)
    os.rmdir(target + ".new")


# %% 10.copy_whole: says when it is done, and is seen long before
def copy_whole(source, target):
    os.makedirs(target, exist_ok=True)
    subprocess.run(["cp", "-a", f"{source}/.", target], check=True)
    Path(target, ".complete").touch()
