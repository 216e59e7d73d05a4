"""driver: what every kind of network must be able to do.

Chapter 11. A driver keeps nothing in memory: it makes kernel objects, each of
which is in a ledger first, so an undo of the ledgers is an end of everything.
"""

from dataclasses import dataclass
from typing import Protocol

from labkit.ledger import Ledger
from labkit.network.authority import Authority
from labkit.network.endpoints import Endpoint
from labkit.network.networks import Network
from labkit.paths import Paths


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """Where a container can be plugged in."""

    namespace: int  # a descriptor of its network namespace
    interface: str  # what the interface inside is to be called
    gateway: bool  # whether this network leads to everywhere else


class Driver(Protocol):
    """One kind of network."""

    @property
    def authority(self) -> Authority:
        """With whom its networks and their addresses are agreed."""

    def validate(self, paths: Paths, network: Network, /) -> None:
        """Invalid or Unsupported where there can be no such network; nothing is made."""

    def attach(self, paths: Paths, network: Network, endpoint: Endpoint, socket: Socket) -> None:
        """Plug a container in; call it with the network locked. What a failure leaves is in the ledgers."""

    def detach(self, endpoint: Endpoint, socket: Socket, /) -> None:
        """Pull a running container's plug. One that ends takes its interfaces with it."""

    def remove(self, paths: Paths, network: Network) -> None:
        """Take away what was made for the network as a whole; nobody is on it any more."""


def ledger_of(paths: Paths, network: Network) -> Ledger:
    """Where the kernel objects of a network as a whole are written down."""
    return Ledger.of(paths, f"network-{network.id}")
