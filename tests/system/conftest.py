from collections.abc import Iterator

import pytest

from labkit.engine.engine import Engine
from labkit.network import connections
from labkit.paths import Paths


@pytest.fixture
def engine(paths: Paths) -> Iterator[Engine]:
    """An engine of the test's own, gone afterwards with every container of it."""
    made = Engine(paths)
    yield made
    for container in made.containers():
        container.remove(force=True)
    made.close()
    made.sweep()
    connections.take_down_unused(paths)
    assert list(paths.ledger.iterdir()) == [], "the ledger still names objects"
    assert list(paths.bundles.iterdir()) == []
    assert list(paths.containers.iterdir()) == []
