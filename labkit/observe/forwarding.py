"""forwarding: who on this host drops the packets that labkit's containers send and are sent.

Chapter 11. nft(8), iptables(8). A packet must be accepted by every table at a
hook, so a neighbour's policy can undo what labkit's own table allows: dockerd
sets the policy of FORWARD to drop. Nothing of the neighbour's is touched here;
what has to be added, and where, is only named.
"""

from dataclasses import dataclass
from typing import Any

from labkit.kernel import nft

OURS = "lk-"
"""What the names of labkit's bridges begin with."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """A chain that drops what it does not know."""

    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.chain}"

    @property
    def remedy(self) -> str:
        """The very commands that let labkit's bridges through."""
        if (self.family, self.table, self.chain) == ("ip", "filter", "FORWARD"):
            place = "DOCKER-USER" if _has_chain("ip", "filter", "DOCKER-USER") else "FORWARD"
            return " && ".join(f"iptables -I {place} {way} {OURS}+ -j ACCEPT" for way in ("-i", "-o"))
        return " && ".join(
            f"nft insert rule {self} {way} '\"{OURS}*\"' accept" for way in ("iifname", "oifname")
        )


def obstacles() -> list[Obstacle]:
    """Every chain at the forward hook whose policy is to drop, and that has no rule for labkit's bridges."""
    found = []
    for entry in nft.listing("list chains"):
        chain = entry.get("chain", {})
        if chain.get("hook") == "forward" and chain.get("policy") == "drop":
            one = Obstacle(chain["family"], chain["table"], chain["name"])
            if not _lets_ours_through(one):
                found.append(one)
    return found


def _has_chain(family: str, table: str, chain: str) -> bool:
    try:
        return bool(nft.listing(f"list chain {family} {table} {chain}"))
    except OSError:
        return False


def _lets_ours_through(obstacle: Obstacle) -> bool:
    """Whether rules of the chain, or of one that it jumps to, accept both directions of labkit's bridges."""
    seen: set[str] = set()
    ways: set[str] = set()
    left = [obstacle.chain]
    while left:
        name = left.pop()
        seen.add(name)
        for entry in nft.listing(f"list chain {obstacle.family} {obstacle.table} {name}"):
            steps: list[dict[str, Any]] = entry.get("rule", {}).get("expr", [])
            jumps = [step["jump"]["target"] for step in steps if "jump" in step]
            left += [target for target in jumps if target not in seen]
            if any("accept" in step for step in steps):
                ways |= {_way(step["match"]) for step in steps if "match" in step}
    return {"iifname", "oifname"} <= ways


def _way(match: dict[str, Any]) -> str:
    """`iifname` or `oifname` where a match is for the bridges of labkit."""
    left, right = match.get("left"), match.get("right")
    if isinstance(left, dict) and isinstance(right, str) and right in (f"{OURS}*", f"{OURS}+"):
        return str(left.get("meta", {}).get("key", ""))
    return ""
