"""mount_syntax: what people write after -v, --mount, --tmpfs and --volumes-from, read as Docker reads it.

Chapter 10. docker-run(1); a refusal says which word it does not know.
"""

import csv
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from labkit.engine.mount import PROPAGATIONS, Mount, tmpfs_options
from labkit.errors import Invalid, Unsupported

_MODE_KINDS = {
    "rw": "access", "ro": "access", "z": "label", "Z": "label", "nocopy": "copy",
    "consistent": "consistency", "cached": "consistency", "delegated": "consistency",
} | dict.fromkeys(PROPAGATIONS, "propagation")  # fmt: skip
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_BARE = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")


def volume(text: str) -> Mount:
    """`-v [source:]target[:mode]`; a source with a / is a path of the host, another one a volume's name."""
    sections = text.split(":")
    if len(sections) > 3:
        raise Invalid(f"invalid spec: {text}: too many colons")
    if "" in sections:
        raise Invalid(f"invalid spec: {text}: empty section between colons")
    if len(sections) == 1:
        sections = ["", text]
    source, target, mode = (*sections, "")[:3]
    if len(sections) == 2 and source and _is_mode(target):
        raise Invalid(
            f"invalid volume specification: '{text}'", hint="a mode needs a source and a target before it"
        )
    words = _modes(mode)
    try:
        return _from_sections(source, target, words)
    except Invalid as wrong:
        raise Invalid(f"invalid volume specification: '{text}': {wrong}") from None


def _from_sections(source: str, target: str, words: dict[str, str]) -> Mount:
    _refuse_selinux(words)
    read_only = words.get("access") == "ro"
    if source.startswith("."):
        source = str(Path(source).resolve())
    if source.startswith("/"):
        if "copy" in words:
            raise Invalid('invalid mount config for type "bind": field VolumeOptions must not be specified')
        return Mount(
            kind="bind", source=os.path.normpath(source), target=target, read_only=read_only,
            propagation=words.get("propagation", "rprivate"), make_source=True,
        )  # fmt: skip
    if "propagation" in words:
        raise Invalid('invalid mount config for type "volume": field BindOptions must not be specified')
    return Mount(kind="volume", source=source, target=target, read_only=read_only, copy="copy" not in words)


def _modes(text: str) -> dict[str, str]:
    """Each kind of word at most once: `ro,rshared` is fine, `ro,rw` is not."""
    words: dict[str, str] = {}
    for word in text.split(",") if text else ():
        kind = _MODE_KINDS.get(word, "")
        if not kind or kind in words:
            raise Invalid(f"invalid mode: {text}", hint=f"known are {', '.join(_MODE_KINDS)}")
        words[kind] = word
    return words


def _is_mode(text: str) -> bool:
    try:
        return bool(_modes(text))
    except Invalid:
        return False


def _refuse_selinux(words: dict[str, str]) -> None:
    """`z` and `Z` ask for another SELinux label: nothing to do where there is no SELinux."""
    if "label" in words and Path("/sys/fs/selinux/enforce").exists():
        raise Unsupported(f"labkit gives no SELinux labels, which {words['label']} asks for")


def mount(text: str) -> Mount:
    """`--mount type=…,source=…,target=…`: one line of CSV, and nothing in it that is not understood."""
    values: dict[str, Any] = {}
    labels: dict[str, str] = {}
    for field in _fields(text):
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals:
            if key not in _BARE:
                raise Invalid(f"{_argument(text)}: invalid field '{field}' must be a key=value pair")
            value = "true"
        if key == "volume-label":
            name, _, content = value.partition("=")
            labels[name] = content
        elif key in _KEYS:
            name, read = _KEYS[key]
            try:
                values[name] = read(value)
            except ValueError:
                raise Invalid(f"{_argument(text)}: invalid value for {key}: {value}") from None
        elif key in _REFUSED:
            raise Unsupported(f"{_argument(text)}: labkit has no {key}: {_REFUSED[key]}")
        else:
            raise Invalid(f"{_argument(text)}: unexpected key '{key}' in '{field}'")
    return _checked(text, values, labels)


def _fields(text: str) -> list[str]:
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as wrong:
        raise Invalid(f"{_argument(text)}: {wrong}") from None
    return rows[0] if rows else []


def _checked(text: str, values: dict[str, Any], labels: dict[str, str]) -> Mount:
    """No option of one type with another type, and a target in any case."""
    kind = values.setdefault("kind", "volume")
    if "target" not in values:
        raise Invalid(f"{_argument(text)}: target is required")
    for other, names in _OWN.items():
        if other != kind and (names & values.keys() or (other == "volume" and labels)):
            raise Invalid(f"{_argument(text)}: cannot mix '{other}-*' options with mount type '{kind}'")
    options = [values.pop(name) for name in ("size", "mode") if name in values]
    if kind == "tmpfs":
        values["options"] = tmpfs_options(options)
    values |= values.pop("below", {})
    for name in ("driver", "consistency"):  # local is the only driver; Linux has one consistency
        values.pop(name, None)
    return Mount(**values, labels=labels)


def _argument(text: str) -> str:
    return f'invalid argument "{text}" for "--mount" flag'


def _boolean(text: str) -> bool:
    """As Go's strconv.ParseBool reads it."""
    if text not in (*_TRUE, *_FALSE):
        raise ValueError(text)
    return text in _TRUE


def _no(text: str) -> bool:
    return not _boolean(text)


def _mode(text: str) -> str:
    return f"mode={int(text, 8):o}"


def _size(text: str) -> str:
    return f"size={size_bytes(text)}"


def _below(text: str) -> dict[str, bool]:
    """bind-recursive: with what is mounted below the source, and is that read-only too?"""
    known: dict[str, dict[str, bool]] = {
        "enabled": {},
        "disabled": {"recursive": False},
        "writable": {"read_only_below": False},
        "readonly": {"read_only_below": True, "recursive": True},
    }
    if text not in known:
        raise ValueError(text)
    return known[text]


def _driver(text: str) -> str:
    if text not in ("", "local"):
        raise Unsupported(f"labkit has no volume driver {text!r}", hint="local is the one that there is")
    return text


def _consistency(text: str) -> str:
    """A word about file sharing with a virtual machine: on Linux all three mean the same."""
    if text not in ("default", "consistent", "cached", "delegated"):
        raise ValueError(text)
    return text


_KEYS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "type": ("kind", str.lower),
    "source": ("source", str),
    "src": ("source", str),
    "target": ("target", str),
    "dst": ("target", str),
    "destination": ("target", str),
    "readonly": ("read_only", _boolean),
    "ro": ("read_only", _boolean),
    "bind-propagation": ("propagation", str.lower),
    "bind-nonrecursive": ("recursive", _no),
    "bind-recursive": ("below", _below),
    "volume-nocopy": ("copy", _no),
    "volume-driver": ("driver", _driver),
    "tmpfs-size": ("size", _size),
    "tmpfs-mode": ("mode", _mode),
    "consistency": ("consistency", _consistency),
}
"""Each key with the field that it sets, and how its value is read."""

_OWN = {
    "bind": {"propagation", "recursive", "below"},
    "volume": {"copy", "driver"},
    "tmpfs": {"size", "mode"},
}
_REFUSED = {
    "volume-opt": "its volumes are directories, without options of a driver",
    "volume-subpath": "a volume is mounted as a whole",
    "bind-create-src": "-v makes a missing source",
}


def size_bytes(text: str) -> int:
    """64m, 1.5g, 4096: a number of bytes as Docker writes it; ValueError where it is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)(i?b)?", text.strip().lower())
    if found is None:
        raise ValueError(text)
    return int(float(found[1]) * 1024 ** "bkmgt".index(found[2] or "b"))


def tmpfs(text: str) -> Mount:
    """`--tmpfs /target[:options]`."""
    target, _, options = text.partition(":")
    if not target.startswith("/"):
        raise Invalid(f"invalid mount path: '{target}' mount path must be absolute")
    return Mount(kind="tmpfs", target=target, options=tmpfs_options(options.split(",") if options else ()))


def volumes_from(text: str) -> tuple[str, bool]:
    """`--volumes-from container[:ro]`: whose, and whether only to be read."""
    container, colon, mode = text.partition(":")
    words = _modes(mode) if mode else {}
    if not container or (colon and not mode) or "propagation" in words:
        raise Invalid(f"invalid volumes-from specification: {text}", hint="container, container:ro or :rw")
    return container, words.get("access") == "ro"
