"""options: read the values of an instruction's flags: --mount, --network, --chmod, durations, ports.

Chapter 8. docs.docker.com/reference/dockerfile. Pure: text in, values out.
"""

import csv
import re
from dataclasses import dataclass
from decimal import Decimal

from labkit.build.dockerfile import Instruction
from labkit.errors import Invalid, Unsupported

NETWORKS = ("default", "host", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMount:
    """One --mount of a RUN, as it was asked for."""

    kind: str = "bind"  # or cache, tmpfs, secret
    target: str = ""
    source: str = ""
    copied_from: str = ""  # of bind and cache: a stage or an image
    id: str = ""  # of cache and secret
    read_only: bool = False
    sharing: str = "shared"  # of cache: or private, locked
    required: bool = False  # of secret
    env: str = ""  # of secret: the variable that holds it
    mode: int | None = None
    uid: int = 0
    gid: int = 0
    size_bytes: int = 0  # of tmpfs; 0 is as much as there is


_KEYS = {
    "bind": "type target dst destination source src from rw readwrite ro readonly",
    "cache": "type target dst destination source src from id sharing mode uid gid ro readonly rw readwrite",
    "tmpfs": "type target dst destination size",
    "secret": "type target dst destination id required mode uid gid env",
}
_OTHER_NAMES = {
    "dst": "target",
    "destination": "target",
    "src": "source",
    "readonly": "ro",
    "readwrite": "rw",
}


def run_mount(text: str) -> RunMount:
    """The value of a --mount."""
    try:
        (row,) = csv.reader([text])
    except (csv.Error, ValueError):
        raise Invalid(f"invalid --mount={text}") from None
    given: dict[str, str] = {}
    for part in row:
        key, equals, value = part.partition("=")
        key = key.strip().lower()
        if not equals and key not in ("ro", "readonly", "rw", "readwrite", "required"):
            raise Invalid(f"invalid field {part!r} must be a key=value pair")
        given[_OTHER_NAMES.get(key, key)] = value if equals else "true"
    kind = given.get("type", "bind").lower()
    if kind == "ssh":
        raise Unsupported("RUN --mount=type=ssh is not supported", hint="hand the key over as a secret")
    if kind not in _KEYS:
        raise Invalid(f"unsupported mount type {kind!r}", hint=f"{', '.join(_KEYS)} are known")
    for key in given:
        if key not in _KEYS[kind].split():
            raise Invalid(f"unexpected key {key!r} for mount type {kind!r}", hint=_KEYS[kind])
    return _filled(kind, given)


def _filled(kind: str, given: dict[str, str]) -> RunMount:
    target, name = given.get("target", ""), given.get("id", "")
    if kind == "secret":
        name = name or target.rpartition("/")[2]
        if not name:
            raise Invalid("a secret mount needs an id", hint="--mount=type=secret,id=NAME")
        target = target or ("" if "env" in given else f"/run/secrets/{name}")
    elif not target:
        raise Invalid(f"a {kind} mount needs a target", hint=f"--mount=type={kind},target=/place")
    sharing = given.get("sharing", "shared")
    if sharing not in ("shared", "private", "locked"):
        raise Invalid(f"unsupported sharing value {sharing!r}", hint="shared, private or locked")
    return RunMount(
        kind=kind,
        target=target,
        source=given.get("source", ""),
        copied_from=given.get("from", ""),
        id=name or target,
        read_only=_yes(given, "ro") if "ro" in given else kind == "bind" and not _yes(given, "rw"),
        sharing=sharing,
        required=_yes(given, "required"),
        env=given.get("env", ""),
        mode=mode(given["mode"]) if "mode" in given else None,
        uid=_number(given, "uid"),
        gid=_number(given, "gid"),
        size_bytes=_size(given["size"]) if "size" in given else 0,
    )


def _yes(given: dict[str, str], key: str) -> bool:
    value = given.get(key, "false").lower()
    if value not in ("true", "false", "1", "0"):
        raise Invalid(f"invalid value for {key}: {value}")
    return value in ("true", "1")


def _number(given: dict[str, str], key: str) -> int:
    value = given.get(key, "0")
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise Invalid(f"invalid value for {key}: {value}")
    return int(value)


def _size(text: str) -> int:
    found = re.fullmatch(r"([0-9]{1,15})([bkmg]?)b?", text.lower())
    if found is None:
        raise Invalid(f"invalid value for size: {text}", hint="such as 64m")
    return int(found[1]) << 10 * "bkmg".index(found[2] or "b")


def mode(text: str) -> int:
    """The bits of a --chmod, which Docker takes as octal digits."""
    if not re.fullmatch(r"[0-7]{1,5}", text) or int(text, 8) > 0o7777:
        raise Invalid(f"invalid chmod parameter: {text!r}, it should be octal string and between 0 and 07777")
    return int(text, 8)


def network(text: str) -> str:
    """The value of --network."""
    if text not in NETWORKS:
        raise Invalid(f"unsupported network mode {text!r}", hint=f"{', '.join(NETWORKS)} are known")
    return text


def security(text: str) -> None:
    """--security=sandbox is how every RUN runs; the other one is refused."""
    if text == "insecure":
        raise Unsupported(
            "RUN --security=insecure is not allowed: a build gets no privileges of the host",
            hint="run what needs them in a container of its own",
        )
    if text != "sandbox":
        raise Invalid(f"security {text!r} is not valid", hint="sandbox is how every RUN runs")


def sources_of(instruction: Instruction) -> list[str]:
    """What an instruction names as a stage or image to take files from."""
    if instruction.keyword == "COPY":
        return [name] if (name := instruction.flag("from")) else []
    if instruction.keyword != "RUN":
        return []
    parts = (part for text in instruction.all_flags("mount") for part in text.split(","))
    return [
        name for key, _, name in (part.partition("=") for part in parts) if key.strip() == "from" and name
    ]


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")


def duration_ns(text: str, name: str) -> int:
    """A duration as Go writes it, such as 1m30s, in nanoseconds."""
    if text in ("", "0"):
        return 0
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or len(text) > 32:
        raise Invalid(f"invalid duration {text!r} for --{name}", hint="such as 1m30s")
    total = int(sum(Decimal(number) * _UNITS[unit] for number, unit in parts))
    if 0 < total < 10**6:
        raise Invalid(f"Interval {name!r} cannot be less than 1ms")
    return total


_PORT = re.compile(r"(?:([0-9]{1,5})(?:-([0-9]{1,5}))?)(?:/([a-zA-Z]+))?")


def ports(text: str) -> list[str]:
    """`8080`, `53/udp` or `8000-8002` as Docker writes each: number/protocol."""
    found = _PORT.fullmatch(text)
    if found is None:
        raise Invalid(f"invalid containerPort: {text}", hint="such as 80, 53/udp or 8000-8010")
    first, last = int(found[1]), int(found[2] or found[1])
    protocol = (found[3] or "tcp").lower()
    if last < first or last > 65535:
        raise Invalid(f"invalid range of ports: {text}")
    if protocol not in ("tcp", "udp", "sctp"):
        raise Invalid(f"invalid proto: {protocol}")
    return [f"{port}/{protocol}" for port in range(first, last + 1)]
