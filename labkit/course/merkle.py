"""merkle: an image as a tree of digests, drawn; what is different from another image stands out.

Chapter 7. image-layout.md, manifest.md and config.md of image-spec.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from labkit.course import diagrams
from labkit.course.diagrams import Box
from labkit.errors import NotFound

REF_NAME = "org.opencontainers.image.ref.name"
SHORT = len("sha256:") + 12


class Node(NamedTuple):
    """Something that is named by its digest, and what is named in it."""

    name: str
    digest: str
    below: "tuple[Node, ...]" = ()


def show(layout: Path, tag: str, before: Path | None = None) -> None:
    """Draw who names whom in the image of a layout; marked is what the layout `before` has otherwise."""
    top = read(layout, tag)
    known = set(_digests(read(before, tag))) if before else set(_digests(top))
    tree = _box(top, known)
    said = f"{tag} is {top.digest.partition(':')[2][:12]}"
    title = f"What has changed in {tag}" if before else f"Who names whom in {tag}"
    diagrams.tree(title, Box("index.json", said, (tree,), tree.changed))


def read(layout: Path, tag: str) -> Node:
    """The manifest that a tag names, with its config and its layers; the config with its diff ids."""
    index = json.loads((layout / "index.json").read_bytes())
    tops = [m["digest"] for m in index["manifests"] if m.get("annotations", {}).get(REF_NAME) == tag]
    if not tops:
        raise NotFound(f"no image is tagged {tag} in {layout}")
    manifest = _json(layout, tops[0])
    config = manifest["config"]["digest"]
    contents = enumerate(_json(layout, config)["rootfs"]["diff_ids"], 1)
    blobs = enumerate(manifest["layers"], 1)
    of_config = Node("config", config, tuple(Node(f"layer {n}: the tar", diff_id) for n, diff_id in contents))
    packed = (Node(f"layer {n}: as it travels", blob["digest"]) for n, blob in blobs)
    return Node("manifest", tops[0], (of_config, *packed))


def _json(layout: Path, digest: str) -> Any:
    return json.loads((layout / "blobs" / digest.replace(":", "/")).read_bytes())


def _digests(node: Node) -> Iterator[str]:
    yield node.digest
    for lower in node.below:
        yield from _digests(lower)


def _box(node: Node, known: set[str]) -> Box:
    below = tuple(_box(lower, known) for lower in node.below)
    return Box(node.name, node.digest[:SHORT], below, changed=node.digest not in known)
