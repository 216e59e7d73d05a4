import threading
import time

import pytest

from labkit.errors import NotFound
from labkit.images import archive, base, store
from labkit.paths import Paths


def test_many_threads_that_find_no_image_make_it_once(monkeypatch):
    made: list[str] = []

    def get(paths, name):
        if not made:
            raise NotFound("No such image")
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
        raise NotFound(f"No such image: {name}")

    monkeypatch.setattr(store, "get", get)
    with pytest.raises(NotFound, match="lab/none"):
        base.get(None, "lab/none")


def test_a_debian_machine_s_own_release_is_taken_and_stable_elsewhere(tmp_path):
    release = tmp_path / "os-release"
    release.write_text('ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="Debian GNU/Linux 12"\n')
    assert base._suite(release) == "bookworm"
    release.write_text("ID=ubuntu\nVERSION_CODENAME=noble\n\n# a comment\n")
    assert base._suite(release) == "stable"


def test_a_static_program_asks_for_no_interpreter(tmp_path):
    assert base._wants_interpreter(base.Path("/bin/sh"))
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert not base._wants_interpreter(tmp_path / "script")


def test_an_image_that_takes_a_network_is_taken_from_its_archive_where_one_is_kept(tmp_path, monkeypatch):
    paths = Paths(root=tmp_path, run=tmp_path)
    taken: list[object] = []

    def get(paths, name):
        if not taken:
            raise NotFound("No such image")
        return taken[0]

    monkeypatch.setattr(store, "get", get)
    monkeypatch.setattr(archive, "load", lambda paths, file: taken.append(file))
    with pytest.raises(NotFound) as missing:
        base.get(paths, "lab/gcc")
    assert missing.value.hint == "labkit image make lab/gcc"

    base.kept(paths, "lab/gcc").parent.mkdir(parents=True)
    base.kept(paths, "lab/gcc").touch()
    assert base.get(paths, "lab/gcc") == tmp_path / "cache/images/lab-gcc.tar"
