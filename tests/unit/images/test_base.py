import threading
import time

import pytest

from labkit.errors import NotFound
from labkit.images import base, store


def test_many_threads_that_find_no_image_make_it_once(monkeypatch):
    made: list[str] = []

    def get(paths, name):
        if not made:
            raise NotFound("no such image")
        return made[0]

    def build(paths):
        time.sleep(0.05)
        made.append("lab/busybox")
        return made[0]

    monkeypatch.setattr(store, "get", get)
    monkeypatch.setattr(base, "build_busybox", build)
    threads = [threading.Thread(target=base.get, args=(None, base.BUSYBOX)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert made == ["lab/busybox"]


def test_what_is_no_image_of_the_lab_is_told(monkeypatch):
    def get(paths, name):
        raise NotFound(f"no such image: {name}")

    monkeypatch.setattr(store, "get", get)
    with pytest.raises(NotFound, match="lab/none"):
        base.get(None, "lab/none")
