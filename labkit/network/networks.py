"""networks: which there are, and what each was asked to be.

Chapters 11 and 13. docker-network(1). One record for each below LABKIT_ROOT/networks.
What the kernel needs for one (a bridge, rules) is made when the first container
comes, so a boot loses nothing. Of a network that several hosts share, the record
is a copy of the one that they agree on.
"""

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from labkit import records
from labkit.errors import Conflict, Invalid, NotFound
from labkit.kernel import locks
from labkit.network import addresses, membership
from labkit.network.addresses import Subnet
from labkit.paths import Paths

DEFAULT = "bridge"
"""The network of a container that asks for none: it has no names, as in Docker."""

MODES = ("host", "none")
"""What stands in the place of a network: all of the host's interfaces, or the loopback alone."""

OWNER_LABEL = "labkit.owner"
ICC_OPTION = "com.docker.network.bridge.enable_icc"
MASQUERADE_OPTION = "com.docker.network.bridge.enable_ip_masquerade"
MTU_OPTION = "com.docker.network.driver.mtu"
PARENT_OPTION = "parent"

SHARED_DRIVER = "overlay"

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


class Overtaken(Conflict):
    """Another host changed what this one had looked at; look again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """One network as it was asked for. Ids have 64 digits."""

    id: str
    name: str
    driver: str = "bridge"
    subnets: tuple[Subnet, ...] = ()
    internal: bool = False  # nobody outside is reached, nor reaches in
    ipv6: bool = False
    options: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    created_at: float = 0.0  # seconds since 1970

    @property
    def short(self) -> str:
        """The first twelve digits."""
        return self.id[:12]

    @property
    def has_names(self) -> bool:
        """Whether its containers find one another by name."""
        return self.name != DEFAULT

    @property
    def bridge(self) -> str:
        """The interface of the host that its containers are plugged into; at most 15 bytes, netdevice(7)."""
        return f"lk-{self.id[:12]}"

    @property
    def mtu(self) -> int:
        """The largest packet in bytes, where it was chosen; else 0."""
        return int(self.options.get(MTU_OPTION, 0))

    def has(self, option: str, *, default: bool = True) -> bool:
        """A switch among its options."""
        return self.options.get(option, str(default)).lower() in ("true", "1", "t")

    def subnet(self, version: int) -> Subnet | None:
        """Its first range of addresses of one version."""
        return next((one for one in self.subnets if one.version == version), None)


def file_of(paths: Paths, network_id: str) -> Path:
    """Where a network's record is."""
    return paths.networks / f"{network_id}.json"


def load(paths: Paths, network_id: str) -> Network:
    """One record; FileNotFoundError where there is none."""
    found: dict[str, Any] = records.load(file_of(paths, network_id))
    return Network(**{**found, "subnets": addresses.rows(found["subnets"])})


def all_networks(paths: Paths) -> list[Network]:
    """Every network, the oldest first; those that hosts share as they are now, or were when last heard of."""
    catch_up(paths)
    return recorded(paths)


def catch_up(paths: Paths) -> str:
    """Learn which networks hosts share by now; what hinders it is returned, in words."""
    if membership.load(paths) is None:
        return ""
    from labkit.network import overlay  # few hosts are members, and etcd's client takes its time to load

    return overlay.catch_up(paths)


def recorded(paths: Paths) -> list[Network]:
    """What this host's files say, the oldest first."""
    found = []
    for file in paths.networks.glob("[!.]*.json"):
        with contextlib.suppress(FileNotFoundError):  # it was removed while we looked
            found.append(load(paths, file.stem))
    return sorted(found, key=lambda network: network.created_at)


def find(paths: Paths, name: str) -> Network:
    """By name, id, or as much of the id as is not ambiguous; the default network is made where it is not."""
    known, trouble = recorded(paths), ""
    if not any(name in (one.id, one.name) and one.driver != SHARED_DRIVER for one in known):
        trouble = catch_up(paths)  # one of this host alone needs nobody's word
        known = recorded(paths)
    exact = [one for one in known if one.id == name] or [one for one in known if one.name == name]
    found = exact or [one for one in known if name and one.id.startswith(name)]
    if len(found) > 1:
        raise Invalid(f"network {name} is ambiguous ({len(found)} matches found on name)")
    if not found and name == DEFAULT:
        return _default(paths)
    if not found:
        raise NotFound(f"network {name} not found", hint=trouble or "labkit network ls shows those there are")
    return found[0]


def _default(paths: Paths) -> Network:
    """The network of those who ask for none; whoever needs it first makes it."""
    try:
        return make(paths, DEFAULT, lambda network: network, predefined=True)
    except Conflict:  # another process was faster
        return find(paths, DEFAULT)


def locked(paths: Paths) -> AbstractContextManager[None]:
    """One maker of networks at a time: two must not choose the same subnet."""
    return locks.held(paths.networks)


def make(
    paths: Paths,
    name: str,
    settle: Callable[[Network], Network],
    *,
    driver: str = "bridge",
    subnets: Sequence[Subnet] = (),
    internal: bool = False,
    ipv6: bool = False,
    options: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    predefined: bool = False,
) -> Network:
    """A network with subnets that clash with nothing, chosen or free. Its name must be new.

    `settle` objects, or returns it with what was still to be chosen; then it is kept.
    """
    if not predefined:
        _check_name(name)
    with locked(paths):
        known = all_networks(paths)
        if any(one.name == name for one in known):
            raise Conflict(f"network with name {name} already exists")
        network = Network(
            id=secrets.token_hex(32),
            name=name,
            driver=driver,
            subnets=_subnets(known, subnets, ipv6=ipv6, driver=driver),
            internal=internal,
            ipv6=ipv6 or any(one.version == 6 for one in subnets),
            options=check_options(dict(options or {})),
            labels=dict(labels or {}),
            created_at=time.time(),
        )
        network = settle(network)
        records.save(file_of(paths, network.id), network)
        return network


def _check_name(name: str) -> None:
    if name in (*MODES, DEFAULT, "default", "container") or name.startswith("container:"):
        raise Conflict(f"operation is not permitted on predefined {name} network")
    if not _NAME.fullmatch(name):
        raise Invalid(f"invalid network name {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")


def check_options(options: dict[str, str]) -> dict[str, str]:
    """What every driver may be told; Invalid names an option with a value that makes no sense."""
    mtu = options.get(MTU_OPTION)
    if mtu is not None and not (mtu.isdigit() and 68 <= int(mtu) <= 65535):
        raise Invalid(f"{MTU_OPTION}={mtu}: the largest packet has 68 to 65535 bytes")
    for name in (ICC_OPTION, MASQUERADE_OPTION):
        if options.get(name, "true").lower() not in ("true", "false", "1", "0", "t", "f"):
            raise Invalid(f"{name}={options[name]}: it is true or false")
    return options


def _subnets(
    known: Sequence[Network], chosen: Sequence[Subnet], *, ipv6: bool, driver: str
) -> tuple[Subnet, ...]:
    """Those that were chosen, and free ones for what is missing."""
    if driver in MODES:
        return ()
    taken: dict[IPv4Network | IPv6Network, str] = {
        subnet.net: f"network {one.name}" for one in known for subnet in one.subnets
    }
    if driver != "macvlan":  # such a network is a part of the host's own
        taken = addresses.host_routes() | taken
    for number, one in enumerate(chosen):
        addresses.check_free(one.net, taken)
        taken[one.net] = f"the same request, subnet {number + 1}"
    found = list(chosen)
    if not any(one.version == 4 for one in found):
        found.append(addresses.free_subnet(taken))
    if ipv6 and not any(one.version == 6 for one in found):
        found.append(addresses.fresh_ipv6_subnet())
    return tuple(sorted(found, key=lambda one: one.version))


def forget(paths: Paths, network: Network) -> None:
    """Remove a record for good."""
    file_of(paths, network.id).unlink(missing_ok=True)
    records.sync_directory(paths.networks)
