"""peering: the process that keeps a host a member: labkit:peer.

Chapter 13. One thread keeps the lease alive, one hears from etcd what other hosts
change, one hears by inotify(7) what this host's own commands change. Each only
says which network is concerned; a fourth looks at both sides of that and brings
them in step, so it does not matter what was missed, or heard twice.
"""

import contextlib
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from labkit import records
from labkit.errors import LabkitError
from labkit.kernel import inotify, process
from labkit.kernel.inotify import Happening
from labkit.network import membership, networks, overlay, shared
from labkit.network.etcd import Etcd, LeaseLost, Watch
from labkit.network.membership import Host, place_of
from labkit.paths import Paths

AGAIN_SECONDS = 1.0
MOST_LOGGED = 1000  # lines of one process; a log is no place for a flood
EVERYTHING = ""
"""In the queue: look at all networks, and at which there are."""

_NAMES = Happening.CREATE | Happening.MOVED_TO | Happening.MOVED_FROM | Happening.DELETE


def main(root: str, run: str) -> None:
    """Be a member until the host leaves, or its record is taken away."""
    process.set_name("labkit:peer")
    paths = Paths(Path(root), Path(run))
    host = membership.load(paths)
    if host is not None:
        Peer(paths, host).run()


class Peer:
    """One host among others."""

    def __init__(self, paths: Paths, host: Host) -> None:
        self._paths = paths
        self._host = host
        self._lease = 0  # until it is known to be good
        self._since = time.time()
        self._todo: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._watch: Watch | None = None
        self._logged = 0

    def run(self) -> None:
        """Work until SIGTERM; then give the lease back, and with it all that the others see of this host."""
        pid = os.getpid()
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        here = {"pid": pid, "start_ticks": process.started_at(pid)}
        records.save(place_of(self._paths) / "process", here, durable=False)
        for work in (self._stay, self._hear_others, self._hear_commands):
            threading.Thread(target=self._guarded, args=(work,), daemon=True).start()
        with contextlib.closing(shared.client(self._host)) as store:
            self._work(store)
            if membership.load(self._paths) == self._host:
                (place_of(self._paths) / "ready").unlink(missing_ok=True)
            with contextlib.suppress(LabkitError):  # it runs out by itself
                store.revoke(self._lease)

    def _stop(self) -> None:
        self._stopping.set()
        self._todo.put(EVERYTHING)

    def _guarded(self, work: Callable[[], None]) -> None:
        """What nobody has thought of ends the process, not one thread; the next command starts another."""
        try:
            work()
        except BaseException as failure:
            self._log(f"{type(failure).__name__}: {failure}")
            self._stop()
            raise

    def _log(self, text: str) -> None:
        self._logged += 1
        if self._logged <= MOST_LOGGED:
            print(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    # ------------------------------------------------------------ both sides in step

    def _work(self, store: Etcd) -> None:
        again: set[str] = set()
        while not self._stopping.is_set():
            names = set(again)
            with contextlib.suppress(queue.Empty):
                names.add(self._todo.get(timeout=AGAIN_SECONDS if again else None))
                while True:
                    names.add(self._todo.get_nowait())
            if self._stopping.is_set():
                return
            again = set()
            try:
                self._bring_in_step(store, names)
            except (LabkitError, OSError) as failure:
                self._log(str(failure))
                again = names

    def _bring_in_step(self, store: Etcd, names: set[str]) -> None:
        if not self._lease:
            return  # all is looked at as soon as there is one
        everything = EVERYTHING in names
        if everything:
            overlay.take_in(self._paths, store)
        shared_ones = {
            one.id for one in networks.recorded(self._paths) if one.driver == networks.SHARED_DRIVER
        }
        for network_id in shared_ones if everything else shared_ones & names:
            lines = overlay.keep_in_step(self._paths, self._host, store, self._lease, network_id)
            for line in lines:
                self._log(line)
        if everything:
            overlay.take_in(self._paths, store)  # what the last containers have just been taken off

    # ------------------------------------------------------------ the lease

    def _stay(self) -> None:
        store, known = shared.client(self._host), False
        while not self._stopping.is_set():
            if membership.load(self._paths) != self._host:
                self._stop()
                return
            pause = membership.LEASE_SECONDS / 3
            try:
                known = self._keep_alive(store, known=known)
            except LabkitError as failure:
                self._log(str(failure))
                pause = AGAIN_SECONDS
            self._stopping.wait(pause)

    def _keep_alive(self, store: Etcd, *, known: bool) -> bool:
        """Keep the lease, or take another where it has run out; whether this host is known to the others."""
        lease = self._lease or membership.lease(self._paths)  # of a peer before, that was killed
        try:
            if not lease:
                raise LeaseLost("there was none")
            store.keep_alive(lease)
            if known:
                return True
        except LeaseLost:
            lease = store.grant(membership.LEASE_SECONDS)
        try:
            shared.announce(store, self._host, lease, self._since)
        except LabkitError:
            store.revoke(lease)
            raise
        self._lease = lease
        membership.keep_lease(self._paths, lease)
        (place_of(self._paths) / "ready").touch(mode=0o600)
        self._todo.put(EVERYTHING)
        return True

    # ------------------------------------------------------------ what is heard

    def _hear_others(self) -> None:
        store = shared.client(self._host)
        while not self._stopping.is_set():
            try:
                _, revision = store.below(shared.RECORDS)
                watch = Watch(self._host.etcd, "/labkit/", revision + 1)
                self._todo.put(EVERYTHING)  # whatever was before the watch
                for keys in watch.changed():
                    for key in keys:
                        self._hear_of(key)
            except LabkitError as failure:
                self._log(str(failure))
                self._stopping.wait(AGAIN_SECONDS)

    def _hear_of(self, key: str) -> None:
        if key.startswith(shared.RECORDS):
            self._todo.put(EVERYTHING)
        elif key.startswith(shared.NETWORKS):
            self._todo.put(key.removeprefix(shared.NETWORKS).partition("/")[0])

    def _hear_commands(self) -> None:
        descriptor, places = inotify.start(), dict[int, str]()
        self._listen(descriptor, places)
        while not self._stopping.is_set():
            select.select([descriptor], [], [])
            events = inotify.read(descriptor)
            if any(event.happening & (Happening.IS_DIRECTORY | Happening.OVERFLOW) for event in events):
                self._listen(descriptor, places)
                self._todo.put(EVERYTHING)
            for network_id in {places.get(event.watch, EVERYTHING) for event in events}:
                self._todo.put(network_id)

    def _listen(self, descriptor: int, places: dict[int, str]) -> None:
        """Hear of the leases and endpoints of every network that there is a directory of."""
        top = self._paths.endpoints
        places[inotify.watch(descriptor, top, Happening.CREATE | Happening.MOVED_TO)] = EVERYTHING
        for network in top.iterdir():
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # it has gone again
                places[inotify.watch(descriptor, network, Happening.CREATE)] = network.name
                for name in ("leases", "endpoints"):
                    places[inotify.watch(descriptor, network / name, _NAMES)] = network.name
