from collections.abc import Iterator

import dockerd
import pytest


@pytest.fixture(scope="module")
def docker() -> Iterator[dockerd.Docker]:
    """A real Docker; ask for it only with `requires("root", "dockerd")`."""
    with dockerd.daemon() as running:
        yield running
