"""authority: who decides which networks there are, and whose an address is.

Chapters 11 and 13. A network of one host is that host's own affair: its files
and their locks say all. One that several hosts share needs the others' consent
for each name, subnet and address.
"""

from typing import Protocol

from labkit.network.networks import Network
from labkit.paths import Paths


class Authority(Protocol):
    """With whom a network and its addresses are agreed. What it is asked for twice, it grants twice."""

    def admit(self, paths: Paths, network: Network) -> Network:
        """A new network, with what is chosen for it; Overtaken where another came into being meanwhile."""

    def dismiss(self, paths: Paths, network: Network) -> None:
        """A network is to be no more; Conflict where somebody elsewhere is on it."""

    def taken(self, paths: Paths, network: Network) -> set[str]:
        """The addresses that are given out elsewhere."""

    def last(self, paths: Paths, network: Network, version: int) -> str:
        """The address after which the next one is looked for; empty: the lowest that is free will do."""

    def claim(self, paths: Paths, network: Network, address: str, container_id: str) -> bool:
        """Give an address, that is written down here, to a container; False where another host was faster."""


class ThisHost:
    """Nobody else has to agree."""

    def admit(self, _: Paths, network: Network, /) -> Network:
        """As it is."""
        return network

    def dismiss(self, _: Paths, __: Network, /) -> None:
        """At once."""

    def taken(self, _: Paths, __: Network, /) -> set[str]:
        """None: what is given out here is known from its files."""
        return set()

    def last(self, _: Paths, __: Network, ___: int, /) -> str:
        """None: an address is free at the very moment when its container has ended."""
        return ""

    def claim(self, _: Paths, __: Network, ___: str, ____: str, /) -> bool:
        """Always."""
        return True


THIS_HOST = ThisHost()
