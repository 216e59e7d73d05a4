"""packet_trace: follow packets through the rules of a network namespace, hop by hop.

Chapter 11. nft(8), "meta nftrace". A rule marks the packets that are to be
followed; for each chain that one of them passes the kernel then tells what the
packet looks like there, and which rule decided.
"""

import contextlib
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_NETLINK_NETFILTER, _TRACE_GROUP = 12, 1 << 8
"""linux/netlink.h, and the bit of NFNLGRP_NFTRACE in linux/netfilter/nfnetlink.h."""

_LINE = re.compile(r"trace id (\S+) (\S+) (\S+) (\S+) (packet:|rule|unknown rule|verdict|policy) ?(.*)")
_FIELD = re.compile(r'(iif|oif|saddr|daddr|sport|dport|flags(?: ==)?) "?([^\s"]+)')
_ETHER = re.compile(r"ether [sd]addr \S+")
_VERDICT = re.compile(r"(.*) \(verdict (.*)\)$")
_SILENT = 0.05  # seconds without a word: the packet's way is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One packet in one chain."""

    packet: str  # which packet it is, the same in all its hops
    family: str
    table: str
    chain: str
    iif: str = ""  # by which interface it came; empty for one of the namespace's own
    oif: str = ""  # by which it is to leave; empty where that is not decided yet
    source: str = ""  # address:port, as it stands in the packet at this moment
    destination: str = ""
    flags: str = ""  # of TCP
    verdict: str = ""  # accept, drop, continue, jump …
    rule: str = ""  # the rule that decided; empty where the chain's policy did


class Trace:
    """What `nft monitor trace` tells of one network namespace."""

    def __init__(self, words: "subprocess.Popen[str]", file: Path) -> None:
        self._monitor, self._file = words, file

    def hops(self, timeout_seconds: float = 2.0) -> list[Hop]:
        """All that was told so far, once the kernel has been silent for a moment."""
        deadline = time.monotonic() + timeout_seconds
        size = -1
        while time.monotonic() < deadline and (size <= 0 or self._file.stat().st_size != size):
            size = self._file.stat().st_size
            time.sleep(_SILENT)
        return parse(self._file.read_text())


@contextlib.contextmanager
def follow(pid: "int | str" = "self") -> Iterator[Trace]:
    """Listen in the network namespace of a process, for as long as the block runs.

    Load the rules first: the monitor knows the text of those alone that were
    there when it began. The block starts once the kernel has it on its list.
    """
    import tempfile

    with tempfile.NamedTemporaryFile("w", prefix="labkit-trace-") as file:
        monitor = subprocess.Popen(
            ["nsenter", f"--net=/proc/{pid}/ns/net", "nft", "--numeric", "monitor", "trace"],
            stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        try:
            _wait_until_it_listens(monitor, Path(file.name))
            yield Trace(monitor, Path(file.name))
        finally:
            monitor.kill()
            monitor.wait()


def _wait_until_it_listens(
    monitor: "subprocess.Popen[str]", file: Path, timeout_seconds: float = 5.0
) -> None:
    """proc_pid_net(5): /proc/PID/net/netlink has every socket, its protocol and the groups it has joined."""
    deadline = time.monotonic() + timeout_seconds
    while not _listens(monitor.pid):
        if monitor.poll() is not None or time.monotonic() > deadline:
            said = file.read_text().strip() or "it says nothing"
            raise OSError(f"nft monitor trace does not start: {said}")
        time.sleep(0.005)


def _listens(pid: int) -> bool:
    """Whether one of this namespace's netfilter sockets, the process's own, hears of traces."""
    try:
        ours = {
            int(target[8:-1])
            for descriptor in Path(f"/proc/{pid}/fd").iterdir()
            if (target := str(descriptor.readlink())).startswith("socket:[")
        }
        lines = Path(f"/proc/{pid}/net/netlink").read_text().splitlines()[1:]
    except OSError:
        return False
    rows = [line.split() for line in lines]
    return any(
        int(row[1]) == _NETLINK_NETFILTER and int(row[3], 16) & _TRACE_GROUP and int(row[9]) in ours
        for row in rows
    )


def parse(text: str) -> list[Hop]:
    """The hops in what `nft monitor trace` prints: one for each packet and chain, in order.

    The kernel's number of a packet follows from where it lies in memory, so a
    later one can have it again: that one begins where a chain comes once more.
    """
    found: list[Hop] = []
    passed: dict[str, set[tuple[str, str, str]]] = {}
    again: Counter[str] = Counter()
    for line in text.splitlines():
        told = _LINE.match(line)
        if told is None:
            continue
        number, family, table, chain, kind, rest = told.groups()
        place = (family, table, chain)
        if kind == "packet:":
            if place in passed.setdefault(number, set()):
                passed[number] = set()
                again[number] += 1
            passed[number].add(place)
        packet = f"{number}.{again[number]}" if again[number] else number
        if kind == "packet:":
            found.append(_seen(packet, family, table, chain, rest))
        else:
            last = _place_of(found, packet, family, table, chain)
            found[last] = _decided(found[last], kind, rest)
    return found


def _seen(packet: str, family: str, table: str, chain: str, rest: str) -> Hop:
    """What the packet looks like, from words such as `ip saddr 10.0.0.2 … tcp dport 80`."""
    values: dict[str, str] = dict(_FIELD.findall(_ETHER.sub("", rest)))
    ports = [f":{values[name]}" if name in values else "" for name in ("sport", "dport")]
    return Hop(
        packet=packet, family=family, table=table, chain=chain,
        iif=values.get("iif", ""), oif=values.get("oif", ""),
        source=values.get("saddr", "") + ports[0], destination=values.get("daddr", "") + ports[1],
        flags=_flags(values.get("flags ==") or values.get("flags", "")),
    )  # fmt: skip


def _flags(word: str) -> str:
    """TCP's flags by name: nft prints a set of several as a number, RFC 9293."""
    if not word.startswith("0x"):
        return word
    names = ("fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr")
    number = int(word, 16)
    return " ".join(name for bit, name in enumerate(names) if number >> bit & 1)


def _place_of(found: list[Hop], packet: str, family: str, table: str, chain: str) -> int:
    """The hop that a line speaks of; a chain that was jumped to has no line of its own for the packet."""
    for number in range(len(found) - 1, -1, -1):
        hop = found[number]
        if (hop.packet, hop.family, hop.table, hop.chain) == (packet, family, table, chain):
            return number
    before = next((hop for hop in reversed(found) if hop.packet == packet), None)
    blank = before or Hop(packet=packet, family=family, table=table, chain=chain)
    found.append(replace(blank, family=family, table=table, chain=chain, verdict="", rule=""))
    return len(found) - 1


def _decided(hop: Hop, kind: str, rest: str) -> Hop:
    if kind in ("policy", "verdict"):
        return replace(hop, verdict=hop.verdict if hop.rule else rest.strip())
    told = _VERDICT.match(rest)
    rule, verdict = (told[1], told[2]) if told else (rest, "")
    if verdict in ("", "continue"):
        return hop
    return replace(hop, rule=rule if kind == "rule" else "", verdict=verdict)
