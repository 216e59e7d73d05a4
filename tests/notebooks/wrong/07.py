# %% 07.diff_id: the digest of what travels
def diff_id(blob):
    return sha256(Path(blob).read_bytes())


# %% 07.diff_id: believes the file's name
def diff_id(blob):
    with gzip.open(blob) if blob.endswith("gz") else open(blob, "rb") as tar:
        return sha256(tar.read())


# %% 07.diff_id: reads the first stream of gzip only
def diff_id(blob):
    import zlib

    data = Path(blob).read_bytes()
    if data.startswith(b"\x1f\x8b"):
        data = zlib.decompressobj(wbits=31).decompress(data)
    return sha256(data)


# %% 07.diff_id: forgets to say which algorithm it was
def diff_id(blob):
    data = Path(blob).read_bytes()
    return hashlib.sha256(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data).hexdigest()


# %% 07.shared_bytes: looks at layers alone, so that one image under two tags is not all shared
def shared_bytes(layout, one, two):
    def layers_of(tag):
        index = json.loads(Path(layout, "index.json").read_bytes())
        (top,) = (
            m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag
        )
        manifest = json.loads(Path(layout, "blobs", *top["digest"].split(":")).read_bytes())
        return {layer["digest"]: layer["size"] for layer in manifest["layers"]}

    return sum(size for digest, size in layers_of(one).items() if digest in layers_of(two))


# %% 07.shared_bytes: counts a layer as often as it is named
def shared_bytes(layout, one, two):
    def needed(tag):
        index = json.loads(Path(layout, "index.json").read_bytes())
        (top,) = (
            m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag
        )
        manifest = json.loads(Path(layout, "blobs", *top["digest"].split(":")).read_bytes())
        return [top, manifest["config"], *manifest["layers"]]

    others = [d["digest"] for d in needed(two)]
    return sum(d["size"] for d in needed(one) if d["digest"] in others)


# %% 07.shared_bytes: compares diff ids, which say nothing about what is stored
def shared_bytes(layout, one, two):
    def read(digest):
        return json.loads(Path(layout, "blobs", *digest.split(":")).read_bytes())

    def needed(tag):
        index = json.loads(Path(layout, "index.json").read_bytes())
        (top,) = (
            m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag
        )
        manifest = read(top["digest"])
        config = read(manifest["config"]["digest"])
        found = {top["digest"]: top["size"], manifest["config"]["digest"]: manifest["config"]["size"]}
        for diff_id, layer in zip(config["rootfs"]["diff_ids"], manifest["layers"], strict=True):
            found[diff_id] = layer["size"]
        return found

    return sum(size for digest, size in needed(one).items() if digest in needed(two))


# %% 07.unearth: greps in what is compressed
def unearth(layout, tag):
    found = set()
    for blob in Path(layout, "blobs/sha256").iterdir():
        found |= set(re.findall(rb"KEY-[0-9a-f]{16}", blob.read_bytes()))
    return sorted(key.decode() for key in found)


# %% 07.unearth: looks into every blob there is, a neighbour's too
def unearth(layout, tag):
    found = set()
    for blob in Path(layout, "blobs/sha256").iterdir():
        data = blob.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        found |= set(re.findall(rb"KEY-[0-9a-f]{16}", data))
    return sorted(key.decode() for key in found)


# %% 07.unearth: forgets that a config is a place, too
def unearth(layout, tag):
    index = json.loads(Path(layout, "index.json").read_bytes())
    (top,) = (m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag)
    manifest = json.loads(Path(layout, "blobs", *top["digest"].split(":")).read_bytes())
    found = set()
    for layer in manifest["layers"]:
        data = Path(layout, "blobs", *layer["digest"].split(":")).read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        found |= set(re.findall(rb"KEY-[0-9a-f]{16}", data))
    return sorted(key.decode() for key in found)


# %% 07.unearth: sees what a container sees
def unearth(layout, tag):
    place = Path("/mnt")
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    index = json.loads(Path(layout, "index.json").read_bytes())
    (top,) = (m for m in index["manifests"] if m["annotations"]["org.opencontainers.image.ref.name"] == tag)
    manifest = json.loads(Path(layout, "blobs", *top["digest"].split(":")).read_bytes())
    for layer in manifest["layers"]:
        blob = Path(layout, "blobs", *layer["digest"].split(":"))
        subprocess.run(["tar", "-xf", blob, "-C", place], check=True)
        for mark in place.rglob(".wh.*"):
            if mark.name != ".wh..wh..opq":
                mark.with_name(mark.name[4:]).unlink(missing_ok=True)
    found = set()
    for file in place.rglob("*"):
        if file.is_file():
            found |= set(re.findall(rb"KEY-[0-9a-f]{16}", file.read_bytes()))
    return sorted(key.decode() for key in found)


# %% 07.layer: leaves it all to tarfile, times and names included
def write_layer(directory, target):
    with tarfile.open(target, "w") as tar:
        tar.add(directory, arcname=".")


# %% 07.layer: sets the time, and keeps the names of users
def write_layer(directory, target):
    def timeless(member):
        member.mtime = 0
        return member

    with tarfile.open(target, "w") as tar:
        for path in sorted(Path(directory).rglob("*")):
            tar.add(path, str(path.relative_to(directory)), recursive=False, filter=timeless)


# %% 07.layer: takes the order that the file system gives
def write_layer(directory, target):
    with tarfile.open(target, "w") as tar:
        for path in Path(directory).rglob("*"):
            tar.add(path, str(path.relative_to(directory)), recursive=False, filter=without_chance)


# %% 07.layer: throws the owners away with the times
def write_layer(directory, target):
    options = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"]
    subprocess.run(["tar", *options, "-cf", target, "-C", directory, "bin", "empty", "etc"], check=True)


# %% 07.layer: writes what the links lead to
def write_layer(directory, target):
    with tarfile.open(target, "w", dereference=True) as tar:
        for path in sorted(Path(directory).rglob("*")):
            tar.add(path, str(path.relative_to(directory)), recursive=False, filter=without_chance)


# %% 07.make_image: takes the digests of the compressed layers for diff ids
def make_image(tars, command, layout):
    layout = Path(layout)
    (layout / "blobs/sha256").mkdir(parents=True)
    layers = [put(layout, gzip.compress(Path(tar).read_bytes()), "layer.v1.tar+gzip") for tar in tars]
    config = {
        "architecture": manifests.here().architecture,
        "os": "linux",
        "config": {"Cmd": command},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
    }
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json"}
    manifest |= {"config": put(layout, json.dumps(config).encode(), "config.v1+json"), "layers": layers}
    top = put(layout, json.dumps(manifest).encode(), "manifest.v1+json")
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


# %% 07.make_image: has the topmost layer first, as overlay's lowerdir does
def make_image(tars, command, layout):
    layout = Path(layout)
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    top = write_image(layout, [Path(tar).read_bytes() for tar in reversed(tars)], command)
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))


# %% 07.make_image: forgets the tag
def make_image(tars, command, layout):
    layout = Path(layout)
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    top = write_image(layout, [Path(tar).read_bytes() for tar in tars], command)
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top, top]}))


# %% 07.make_image: gives the command as one line
def make_image(tars, command, layout):
    layout = Path(layout)
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    top = write_image(layout, [Path(tar).read_bytes() for tar in tars], [" ".join(command)])
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))


# %% 07.make_image: hashes one writing of the manifest, and stores another, which skopeo may not see
def make_image(tars, command, layout):
    layout = Path(layout)
    (layout / "blobs/sha256").mkdir(parents=True)
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    top = write_image(layout, [Path(tar).read_bytes() for tar in tars], command)
    manifest = json.loads(place(layout, top["digest"]).read_bytes())
    place(layout, top["digest"]).write_text(json.dumps(manifest, indent=2))
    top["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top]}))
