"""engine: make, run and find containers, and undo what a kill has left.

Chapter 6. Everything that is made is in the container's ledger first.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence
from typing import Unpack

from labkit import records
from labkit.engine import attached, containers, starting, storage, volumes
from labkit.engine.attached import Result
from labkit.engine.container import Container
from labkit.engine.starting import Options
from labkit.errors import Unsupported
from labkit.images import collect, lock
from labkit.kernel import trees
from labkit.ledger import Ledger
from labkit.network import client, peers
from labkit.paths import Paths
from labkit.runtime import status
from labkit.runtime.launcher import Launcher
from labkit.runtime.status import Status

_DRAFT_SECONDS = 60
"""A create that is under way takes no longer; an older draft was killed."""


class Engine:
    """All containers and images below one pair of directories."""

    def __init__(self, paths: Paths | None = None, *, owner: str = "") -> None:
        if os.geteuid() != 0:
            raise Unsupported(
                "labkit makes namespaces, mounts and cgroups, for which it must be root", hint="sudo"
            )
        self.paths = paths or Paths.from_environment()
        self.paths.prepare()
        self.owner = owner
        self.launcher = Launcher()
        self.sweep()
        peers.ensure(self.paths)
        client.ensure(self.paths)
        collect.if_needed(self.paths)

    def close(self) -> None:
        """End the launcher; detached containers go on."""
        self.launcher.close()

    def run(
        self,
        image: str,
        command: Sequence[str] | None = None,
        *,
        stdin: str | bytes | None = None,
        timeout_seconds: float | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Run a command in a container that is gone afterwards; what it said, and how it ended."""
        with lock.shared(self.paths):  # its layers stay, whoever removes the image meanwhile
            record = starting.new_record(self.paths, image, command, owner=self.owner, **options)
            with (
                starting.prepared(self.paths, record, kept=False) as ready,
                starting.no_space_is_named(self.paths.root),
                storage.ready(self.paths, record, starting.ledger_of(self.paths, record), kept=False),
            ):
                return attached.run(
                    self.launcher,
                    starting.request(self.paths, record, attached=True),
                    first_files=[ready.held],
                    on_born=ready.on_born,
                    stdin=stdin,
                    timeout_seconds=timeout_seconds,
                )

    def create(
        self, image: str, command: Sequence[str] | None = None, *, name: str = "", **options: Unpack[Options]
    ) -> Container:
        """Keep a container that is not started yet. It is there whole, or not at all."""
        name = containers.check_name(self.paths, name) if name else containers.new_name(self.paths)
        with lock.shared(self.paths):  # until its record names its layers
            return self._create(image, command, name, options)

    def _create(self, image: str, command: Sequence[str] | None, name: str, options: Options) -> Container:
        record = starting.new_record(self.paths, image, command, name=name, owner=self.owner, **options)
        draft = self.paths.containers / f".draft-{record.id}"
        try:
            with starting.no_space_is_named(self.paths.root), self._storage_of_a_new(record):
                starting.make_directories(draft)
                records.save(draft / "container.json", record)
                draft.rename(containers.directory(self.paths, record.id))
                records.sync_directory(self.paths.containers)
        except BaseException:
            trees.remove(draft)
            raise
        return self._handle(record)

    @contextlib.contextmanager
    def _storage_of_a_new(self, record: containers.Record) -> Iterator[None]:
        """Its volumes, made and filled; those that are its alone are gone again where the block fails."""
        if not record.mounts:
            yield
            return
        ledger = starting.ledger_of(self.paths, record)
        held = ledger.hold()
        try:
            with storage.ready(self.paths, record, ledger, kept=True):
                yield
            ledger.close()
        except BaseException:
            ledger.undo()
            raise
        finally:
            os.close(held)

    def _handle(self, record: containers.Record) -> Container:
        return Container(self.paths, self.launcher, record)

    def containers(self) -> list[Container]:
        """All that are kept, the oldest first."""
        return [self._handle(record) for record in containers.all_records(self.paths)]

    def get(self, name: str) -> Container:
        """By name, id or its beginning; NotFound otherwise."""
        return self._handle(containers.find(self.paths, name))

    def sweep(self) -> list[str]:
        """Undo what killed engines and monitors left; what somebody still looks after is not touched."""
        removed: list[str] = []
        for ledger in Ledger.all(self.paths):
            if not ledger.owner.startswith("container-"):
                continue
            with ledger.abandoned() as ours:
                if ours:
                    self._keep_the_end(ledger.owner.removeprefix("container-"))
                    removed += ledger.undo()
        for draft in self.paths.containers.glob(".draft-*"):
            if time.time() - draft.lstat().st_mtime > _DRAFT_SECONDS:
                trees.remove(draft)
                removed.append(f"tree {draft}")
        return removed + volumes.sweep(self.paths)

    def _keep_the_end(self, container_id: str) -> None:
        """Write down how a container ended whose monitor could not."""
        bundle = containers.bundle(self.paths, container_id)
        if (bundle / "state.json").exists():
            state = status.load(bundle)
            status.save(bundle, dataclasses.replace(state, status=Status.EXITED))
