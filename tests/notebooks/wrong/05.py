# %% 05.stack: takes the list as the kernel does not have it
def stack(layers, upper, work, merged):
    lowerdir = ":".join(layers)
    mounts.mount("overlay", merged, "overlay", options=f"lowerdir={lowerdir},upperdir={upper},workdir={work}")


# %% 05.stack: copies instead of mounting
def stack(layers, upper, work, merged):
    for layer in layers:
        subprocess.run(["cp", "-a", f"{layer}/.", merged], check=True)


# %% 05.stack: forgets the upper directory, so nobody can write
def stack(layers, upper, work, merged):
    mounts.mount("overlay", merged, "overlay", options="lowerdir=" + ":".join(reversed(layers)))


# %% 05.stack: one overlay for each layer, each hiding the one before
def stack(layers, upper, work, merged):
    for layer in layers:
        mounts.mount(
            "overlay", merged, "overlay", options=f"lowerdir={layer},upperdir={upper},workdir={work}"
        )


# %% 05.names: escapes nothing
def options(layers, upper, work):
    return f"lowerdir={':'.join(layers)},upperdir={upper},workdir={work}"


# %% 05.names: forgets the backslash itself
def options(layers, upper, work):
    def escaped(path):
        return path.replace(",", "\\,").replace(":", "\\:")

    return f"lowerdir={':'.join(map(escaped, layers))},upperdir={escaped(upper)},workdir={escaped(work)}"


# %% 05.names: quotes as a shell would
def options(layers, upper, work):
    return f"lowerdir='{':'.join(layers)}',upperdir='{upper}',workdir='{work}'"


# %% 05.names: escapes the backslashes last, and with them its own
def options(layers, upper, work):
    def escaped(path):
        return path.replace(",", "\\,").replace(":", "\\:").replace("\\", "\\\\")

    return f"lowerdir={':'.join(map(escaped, layers))},upperdir={escaped(upper)},workdir={escaped(work)}"


# %% 05.forget: empty files as a registry's archive has them
def forget(layer, file, directory):
    Path(layer, file).parent.mkdir(parents=True, exist_ok=True)
    Path(layer, file).with_name(".wh." + Path(file).name).touch()
    Path(layer, directory).mkdir(parents=True, exist_ok=True)
    Path(layer, directory, ".wh..wh..opq").touch()


# %% 05.forget: an empty directory, but not an opaque one
def forget(layer, file, directory):
    Path(layer, file).parent.mkdir(parents=True, exist_ok=True)
    os.mknod(Path(layer, file), 0o020600, os.makedev(0, 0))
    Path(layer, directory).mkdir(parents=True, exist_ok=True)


# %% 05.forget: a whiteout for the directory too, so that it is gone altogether
def forget(layer, file, directory):
    for name in (file, directory):
        Path(layer, name).parent.mkdir(parents=True, exist_ok=True)
        os.mknod(Path(layer, name), 0o020600, os.makedev(0, 0))


# %% 05.layer_of: the first layer that has something of that name
def layer_of(path, layers):
    for index, layer in enumerate(layers):
        if os.path.lexists(os.path.join(layer, path)):
            return index
    return None


# %% 05.layer_of: knows whiteouts, but not that one may be on the way
def layer_of(path, layers):
    for index, layer in enumerate(layers):
        place = os.path.join(layer, path)
        if os.path.lexists(place):
            status = os.lstat(place)
            return None if status.st_mode & 0o170000 == 0o020000 and status.st_rdev == 0 else index
    return None


# %% 05.layer_of: walks down, and forgets that a directory can be opaque
def layer_of(path, layers):
    parts = path.split("/")
    for index, layer in enumerate(layers):
        for depth in range(1, len(parts) + 1):
            place = os.path.join(layer, *parts[:depth])
            if not os.path.lexists(place):
                break
            status = os.lstat(place)
            if status.st_mode & 0o170000 == 0o020000 and status.st_rdev == 0:
                return None
            if depth == len(parts):
                return index
            if status.st_mode & 0o170000 != 0o040000:
                return None
    return None


# %% 05.squash: one layer over the other, and the deleted is back
def squash(layers, target):
    for layer in reversed(layers):
        subprocess.run(["cp", "-a", f"{layer}/.", target], check=False)


# %% 05.squash: leaves the overlay mounted and calls it the layer
def squash(layers, target):
    mounts.mount("overlay", target, "overlay", options="lowerdir=" + ":".join(layers))


# %% 05.squash: loses modes and owners
def squash(layers, target):
    mounts.mount("tmpfs", "/mnt", "tmpfs")
    mounts.mount("overlay", "/mnt", "overlay", options="lowerdir=" + ":".join(layers))
    subprocess.run(["cp", "-r", "/mnt/.", target], check=True)
