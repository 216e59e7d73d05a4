"""paths: where labkit keeps things, as one object that can be moved.

root (LABKIT_ROOT, /var/lib/labkit) is kept over a boot; run (LABKIT_RUN,
/run/labkit) speaks of kernel objects, which are gone after one. Engines with
different paths know nothing of each other, so a test never meets a student.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Paths:
    """The two directories below which everything of one engine lies."""

    root: Path
    run: Path

    @classmethod
    def from_environment(cls) -> "Paths":
        """The paths of LABKIT_ROOT and LABKIT_RUN, or the system's."""
        return cls(
            root=Path(os.environ.get("LABKIT_ROOT", "/var/lib/labkit")),
            run=Path(os.environ.get("LABKIT_RUN", "/run/labkit")),
        )

    @property
    def images(self) -> Path:
        """One JSON record for each image, named by its id."""
        return self.root / "images"

    @property
    def names(self) -> Path:
        """One link to a record for each name: repository/tag, with ! for the / in a repository."""
        return self.root / "names"

    @property
    def blobs(self) -> Path:
        """Manifests, configs and layers as they came, each under its own digest."""
        return self.root / "blobs"

    @property
    def layers(self) -> Path:
        """One directory for each unpacked layer, named by its diff id."""
        return self.root / "layers"

    @property
    def containers(self) -> Path:
        """One directory for each container: its record, upper and work."""
        return self.root / "containers"

    @property
    def volumes(self) -> Path:
        """One directory for each volume: its record and its _data."""
        return self.root / "volumes"

    @property
    def networks(self) -> Path:
        """One JSON record for each network, named by its id."""
        return self.root / "networks"

    @property
    def cache(self) -> Path:
        """What can be made again: kernels and packages for the chapters."""
        return self.root / "cache"

    @property
    def bundles(self) -> Path:
        """One OCI bundle for each container that has been started since boot."""
        return self.run / "containers"

    @property
    def endpoints(self) -> Path:
        """One directory for each network that was used since boot: who is on it, with which addresses."""
        return self.run / "networks"

    @property
    def ledger(self) -> Path:
        """One file for each owner of kernel objects."""
        return self.run / "ledger"

    def prepare(self) -> None:
        """Make the directories, readable by root alone."""
        private = (
            self.images, self.names, self.blobs, self.containers,
            self.volumes, self.cache, self.bundles, self.ledger, self.networks, self.endpoints,
        )  # fmt: skip
        for directory in (*private, self.layers):
            directory.mkdir(parents=True, exist_ok=True)
        for directory in (self.root, self.run):
            directory.chmod(0o711)  # a remapped container's root must be able to pass through
        for directory in private:
            directory.chmod(0o700)
