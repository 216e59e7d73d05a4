"""shared: what hosts agree on, as keys of etcd.

Chapter 13. Below /labkit: records/ID is a network; networks/ID/leases/ADDRESS says
whose an address is; networks/ID/endpoints/CONTAINER says where a container is;
hosts/ADDRESS is a host. These hang on a host's lease, all but the records, so what
a dead host had is free a moment later; last/ID says which address was given out
last. Files of a host are in step with this: of its own containers they are the
truth, of all else they are a copy.
"""

import contextlib
import dataclasses
import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from labkit import records
from labkit.errors import Conflict, LabkitError, NotFound
from labkit.network import addresses, endpoints, etcd, membership, networks
from labkit.network.endpoints import Endpoint
from labkit.network.etcd import Etcd, LeaseLost, Row
from labkit.network.membership import Host
from labkit.network.networks import Network
from labkit.paths import Paths

T = TypeVar("T")
RECORDS, NETWORKS, HOSTS = "/labkit/records/", "/labkit/networks/", "/labkit/hosts/"
LAST = "/labkit/last/"
VNI_OPTION = "com.docker.network.driver.overlay.vxlanid_list"
FIRST_VNI, LAST_VNI = 4096, (1 << 24) - 1  # lower ones are left to those who number VXLANs by hand
BAD_RECORD = (ValueError, TypeError, KeyError, AttributeError, LabkitError)
"""What comes of reading what another host has written, where it is not what it should be."""

_ID, _NAME = re.compile(r"[0-9a-f]{64}"), re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


def client(host: Host) -> Etcd:
    """A connection to the store that a host shares with others."""
    return Etcd(host.etcd)


# ------------------------------------------------------------------ networks


@dataclasses.dataclass(frozen=True, slots=True)
class Records:
    """Every network that is shared, by its id; keys that are no records; the revision at that moment."""

    networks: dict[str, Network]
    strange: list[str]
    revision: int


def records_now(store: Etcd) -> Records:
    """What the hosts agree on."""
    rows, revision = store.below(RECORDS)
    found, strange = {}, []
    for row in rows:
        try:
            network = network_from(row)
        except BAD_RECORD:
            strange.append(row.key)
        else:
            found[network.id] = network
    return Records(found, strange, revision)


def network_from(row: Row) -> Network:
    """A record as another host has written it; ValueError and the like where it is none."""
    content = json.loads(row.value)
    subnets = tuple(
        addresses.check(
            one["subnet"], gateway=one["gateway"], ip_range=one["ip_range"], auxiliary=one["auxiliary"]
        )
        for one in content["subnets"]
    )
    network = Network(**{**content, "subnets": subnets})
    texts = [*network.options.items(), *network.labels.items()]
    if (
        row.key != RECORDS + network.id
        or not _ID.fullmatch(network.id)
        or not _NAME.fullmatch(network.name)
        or network.driver != networks.SHARED_DRIVER
        or not subnets
        or not all(isinstance(text, str) for pair in texts for text in pair)
        or not isinstance(network.created_at, int | float)
    ):
        raise ValueError(f"{row.key} is no record of a network")
    vni_of(network)
    networks.check_options(network.options)
    return network


def vni_of(network: Network) -> int:
    """The number that its packets bear on the way; ValueError where it has none."""
    number = int(network.options[VNI_OPTION])
    if not 1 <= number <= LAST_VNI:
        raise ValueError(f"no VXLAN has the number {number}")
    return number


def choose_vni(taken: Iterable[int], wanted: int = 0, *, first: int = FIRST_VNI, last: int = LAST_VNI) -> int:
    """The number that is wanted, or the lowest that is free; Conflict where there is none."""
    used = set(taken)
    if wanted and wanted in used:
        raise Conflict(f"VXLAN {wanted} is the number of another network")
    if wanted:
        return wanted
    for number in range(first, min(last, first + len(used)) + 1):
        if number not in used:
            return number
    raise Conflict(f"no VXLAN is free from {first} to {last}", hint="remove networks: labkit network prune")


def admit(store: Etcd, network: Network) -> Network:
    """Write a new network down, if none has come into being since this host looked; with its number."""
    now = records_now(store)
    known = now.networks
    clashes = [one for one in known.values() if one.name == network.name]
    if clashes and clashes[0].id != network.id:
        raise Conflict(f"network with name {network.name} already exists")
    for one in known.values():
        if one.id != network.id and _overlap(one, network):
            raise networks.Overtaken(f"network {one.name} has a subnet of {network.name}")
    wanted = int(network.options.get(VNI_OPTION, 0))
    taken = [vni_of(one) for one in known.values() if one.id != network.id]
    number = choose_vni(taken, wanted)
    complete = dataclasses.replace(network, options=network.options | {VNI_OPTION: str(number)})
    key = RECORDS + network.id
    outcome = store.transact(
        [etcd.none_since(RECORDS, now.revision)],
        [etcd.put(key, json.dumps(dataclasses.asdict(complete)))],
        [etcd.get(key)],
    )
    if not outcome.succeeded and not outcome.rows:
        raise networks.Overtaken(f"another host made a network in the same moment as {network.name}")
    return complete


def _overlap(one: Network, other: Network) -> bool:
    return any(
        mine.version == theirs.version and mine.net.overlaps(theirs.net)
        for mine in one.subnets
        for theirs in other.subnets
    )


def dismiss(store: Etcd, network: Network) -> None:
    """Remove a record, if no host has a container on the network. Conflict names who has."""
    below, key = f"{NETWORKS}{network.id}/", RECORDS + network.id
    outcome = store.transact(
        [etcd.none_below(below)], [etcd.delete(key), etcd.delete_below(f"{LAST}{network.id}/")]
    )
    if outcome.succeeded:
        return
    present = remote_endpoints(store.below(below)[0], Host(id="", name="", address="", etcd=()))
    told = ", ".join(f"{one.container_name} on {one.host}" for one in present) or "they start just now"
    raise Conflict(
        f"error while removing network: network {network.name} id {network.id} has active endpoints",
        hint=f"stop or disconnect {told}",
    )


# ------------------------------------------------------------------ addresses


def last(store: Etcd, network_id: str, version: int) -> str:
    """The address that was given out last. The next container gets one that follows.

    So one that has just lost its holder lies idle for as long as can be: the
    holder may be alive, on a host that was cut off, and come back.
    """
    row = store.read(f"{LAST}{network_id}/{version}")
    with contextlib.suppress(ValueError):
        if row and ipaddress.ip_address(row.value).version == version:
            return row.value
    return ""


def claim(
    store: Etcd,
    host: Host,
    lease: int,
    network_id: str,
    address: str,
    container_id: str,
    *,
    is_new: bool = True,
) -> bool:
    """Take an address for a container of this host, if nobody else has it.

    What this host itself has still written there from before is taken over: its
    own files say who has what here. NotFound where the network is no more.
    """
    record, key = RECORDS + network_id, f"{NETWORKS}{network_id}/leases/{address}"
    value = json.dumps({"host": host.id, "container": container_id})
    following = f"{LAST}{network_id}/{6 if ':' in address else 4}"
    outcome = store.transact(
        [etcd.present(record), etcd.absent(key)],
        [etcd.put(key, value, lease), *([etcd.put(following, address)] if is_new else [])],
        [etcd.get(key), etcd.get(record)],
    )
    if outcome.succeeded:
        return True
    found = {row.key: row for row in outcome.rows}
    if record not in found:
        raise NotFound(f"network {network_id[:12]} not found", hint="it was removed, maybe by another host")
    if _holder(found[key]) != host.id:
        return False
    if (found[key].value, found[key].lease) == (value, lease):
        return True
    return store.transact([etcd.unchanged(found[key])], [etcd.put(key, value, lease)]).succeeded


def _holder(row: Row) -> str:
    """The host that has written a key below a network."""
    try:
        found = json.loads(row.value)["host"]
    except (ValueError, KeyError, TypeError):
        return ""
    return found if isinstance(found, str) else ""


def addresses_elsewhere(rows: Iterable[Row], host: Host, network_id: str) -> set[str]:
    """What other hosts have given out."""
    prefix = f"{NETWORKS}{network_id}/leases/"
    found = set()
    for row in rows:
        if row.key.startswith(prefix) and _holder(row) != host.id:
            with contextlib.suppress(ValueError):  # whatever that is, no container here will get it
                found.add(str(ipaddress.ip_address(row.key.removeprefix(prefix))))
    return found


# ------------------------------------------------------------------ endpoints


def publish(store: Etcd, host: Host, lease: int, endpoint: Endpoint) -> None:
    """Tell the others where a container is."""
    content = dataclasses.asdict(endpoint) | {"host": host.address}
    key = f"{NETWORKS}{endpoint.network_id}/endpoints/{endpoint.container_id}"
    value = json.dumps({"host": host.id, "endpoint": content})
    store.transact([etcd.present(RECORDS + endpoint.network_id)], [etcd.put(key, value, lease)])


def withdraw(store: Etcd, host: Host, rows: Iterable[Row], here: set[str]) -> None:
    """Remove what this host has written below a network but `here`: its files do not bear it out."""
    for row in rows:
        if row.key not in here and _holder(row) == host.id:
            store.transact([etcd.unchanged(row)], [etcd.delete(row.key)])


def keys_here(paths: Paths, network_id: str) -> tuple[dict[str, tuple[str, str]], dict[str, Endpoint]]:
    """What this host's files say of a network: key → (address, container), and key → endpoint."""
    prefix = f"{NETWORKS}{network_id}"
    leases = {
        f"{prefix}/leases/{address}": (address, container)
        for address, container in endpoints.leases(paths, network_id)
    }
    present = endpoints.of_network(paths, network_id)
    return leases, {f"{prefix}/endpoints/{one.container_id}": one for one in present}


def remote_endpoints(rows: Iterable[Row], host: Host) -> list[Endpoint]:
    """The containers of other hosts; what is no proper record is left out."""
    found = []
    for row in rows:
        if "/endpoints/" in row.key and _holder(row) != host.id:
            try:
                found.append(_endpoint_from(row))
            except BAD_RECORD:
                continue
    return found


def _endpoint_from(row: Row) -> Endpoint:
    """A record that another host has written: it names files and goes to the kernel, so all is checked."""
    content = json.loads(row.value)["endpoint"]
    one = Endpoint(**{**content, "aliases": tuple(content["aliases"])})
    texts = (one.network_name, one.container_name, *one.aliases)
    if (
        row.key != f"{NETWORKS}{one.network_id}/endpoints/{one.container_id}"
        or not _ID.fullmatch(one.network_id)
        or not re.fullmatch(r"[0-9a-f]{12,64}", one.container_id)
        or not all(isinstance(text, str) and _NAME.fullmatch(text) for text in texts)
        or not all(isinstance(flag, bool) for flag in (one.has_names, one.internal, one.through_host))
    ):
        raise ValueError(f"{row.key} is no record of an endpoint")
    ipaddress.IPv4Address(one.host)
    addresses.check_mac(one.mac)
    for text, version in ((one.ipv4, 4), (one.ipv6, 6)):
        if text and ipaddress.ip_interface(text).version != version:
            raise ValueError(f"{text} is no address of IPv{version}")
    for text in (one.gateway, one.gateway_6):
        if text:
            ipaddress.ip_address(text)
    return one


# ------------------------------------------------------------------ the copies here


def take_in(paths: Paths, store: Etcd) -> tuple[list[Network], list[str]]:
    """Bring this host's copies of the records up to date; the networks that have gone, and strange keys."""
    now = records_now(store)
    known = now.networks
    here = {one.id: one for one in networks.recorded(paths) if one.driver == networks.SHARED_DRIVER}
    for network in known.values():
        if here.get(network.id) != network:
            records.save(networks.file_of(paths, network.id), network)
    gone = []
    for network in here.values():
        # Its file may be younger than what we have read: only what is absent now, too, has gone.
        if network.id not in known and store.read(RECORDS + network.id) is None:
            gone.append(network)
    return gone, now.strange


def retry_with_lease(lease_of: Callable[[int], int], work: Callable[[int], T]) -> T:
    """Do something on this host's lease; once more where that has run out and is followed by another."""
    lease = lease_of(0)
    try:
        return work(lease)
    except LeaseLost:
        return work(lease_of(lease))


def hosts(store: Etcd) -> list[dict[str, Any]]:
    """The members: name, address and since when, with how many containers on shared networks each has."""
    rows, _ = store.below("/labkit/")
    found = []
    for row in rows:
        if row.key.startswith(HOSTS):
            try:
                content = json.loads(row.value)
                known = {key: content[key] for key in ("id", "name", "address", "since")}
            except (ValueError, TypeError, KeyError):
                continue
            mine = [r for r in rows if "/endpoints/" in r.key and _holder(r) == known["id"]]
            found.append(known | {"containers": len({r.key.rpartition("/")[2] for r in mine})})
    return found


def announce(store: Etcd, host: Host, lease: int, since: float) -> None:
    """Be a member from now on; Conflict where another host has this one's address."""
    key = HOSTS + host.address
    value = json.dumps({"id": host.id, "name": host.name, "address": host.address, "since": since})
    for _ in range(3):
        row = store.read(key)
        try:
            other = json.loads(row.value) if row else {}
        except ValueError:
            other = {}
        if row and other.get("id") != host.id:
            raise Conflict(
                f"{host.address} is the address of another host: {other.get('name')}",
                hint=f"one that is gone is forgotten after {membership.LEASE_SECONDS} seconds",
            )
        still = etcd.unchanged(row) if row else etcd.absent(key)
        if store.transact([still], [etcd.put(key, value, lease)]).succeeded:
            return
    raise Conflict(f"several hosts claim the address {host.address}")
