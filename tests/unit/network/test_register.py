import json
import shutil
from dataclasses import asdict

import pytest

from labkit import records
from labkit.network.endpoints import Endpoint
from labkit.network.register import Register
from labkit.paths import Paths

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def paths(tmp_path):
    return Paths(root=tmp_path / "root", run=tmp_path / "run")


@pytest.fixture
def register(paths):
    found = Register(paths)
    yield found
    found.close()


def put(paths, network, container_id, name, ipv4, **more):
    one = Endpoint(
        network_id=network,
        network_name=network,
        container_id=container_id,
        container_name=name,
        ipv4=ipv4,
        **more,
    )
    place = paths.endpoints / network / "endpoints"
    (paths.endpoints / network / "leases").mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    records.save(place / f"{container_id}.json", one, durable=False)
    return place / f"{container_id}.json"


def seen_by(register, container_id):
    register.catch_up()
    book = register.book_of(container_id)
    return {name: ipv4 for name, (ipv4, _) in book.addresses.items() if "." not in name and len(name) < 12}


def test_what_was_there_before_is_known(paths):
    put(paths, "blue", A, "web", "10.0.0.2/24")
    register = Register(paths)

    assert seen_by(register, A) == {"web": ("10.0.0.2",)}
    assert register.catch_up() == 0
    register.close()


def test_a_container_sees_its_own_networks_alone(paths, register):
    put(paths, "blue", A, "web", "10.0.0.2/24")
    put(paths, "blue", B, "db", "10.0.0.3/24")
    put(paths, "green", B, "db", "10.9.0.3/24")
    put(paths, "green", C, "cache", "10.9.0.4/24")

    assert seen_by(register, A) == {"web": ("10.0.0.2",), "db": ("10.0.0.3",)}
    assert seen_by(register, B).keys() == {"web", "db", "cache"}
    assert seen_by(register, C) == {"db": ("10.9.0.3",), "cache": ("10.9.0.4",)}
    assert seen_by(register, "d" * 64) == {}


def test_a_network_that_leads_out_comes_before_an_internal_one(paths, register):
    put(paths, "ant", A, "web", "10.0.0.2/24", internal=True)
    put(paths, "ant", B, "db", "10.0.0.3/24", internal=True)
    put(paths, "bee", A, "web", "10.9.0.2/24")
    put(paths, "bee", C, "db", "10.9.0.3/24")

    assert seen_by(register, A)["db"] == ("10.9.0.3",)


def test_every_change_is_known_at_the_next_look(paths, register):
    put(paths, "blue", A, "web", "10.0.0.2/24")
    assert seen_by(register, A) == {"web": ("10.0.0.2",)}

    file = put(paths, "blue", B, "db", "10.0.0.3/24")
    assert seen_by(register, A)["db"] == ("10.0.0.3",)

    put(paths, "blue", B, "db", "10.0.0.9/24")
    assert seen_by(register, A)["db"] == ("10.0.0.9",)

    file.unlink()
    assert "db" not in seen_by(register, A)

    version = register.version
    assert register.catch_up() == version, "nothing has changed since"


def test_a_network_that_goes_and_comes_back_is_followed(paths, register):
    for round_ in range(3):
        put(paths, "blue", A, "web", f"10.0.0.{round_}/24")
        assert seen_by(register, A) == {"web": (f"10.0.0.{round_}",)}
        shutil.rmtree(paths.endpoints / "blue")
        assert seen_by(register, A) == {}


def test_what_is_no_record_is_passed_over(paths, register):
    file = put(paths, "blue", A, "web", "10.0.0.2/24")
    for name, text in {"x.json": "{", "y.json": "[]", "z.json": "{}", "w.json": '{"aliases": 3}'}.items():
        draft = paths.run / "draft"
        draft.write_text(text)
        draft.rename(file.with_name(name))
    (paths.endpoints / "stray").write_text("")
    (paths.endpoints / "blue" / "other").mkdir()

    assert seen_by(register, A) == {"web": ("10.0.0.2",)}


def test_an_address_that_is_none_is_no_record(paths, register):
    file = put(paths, "blue", B, "db", "10.0.0.3/24")
    records.save(file, json.loads(file.read_text()) | {"ipv4": "no address"})
    put(paths, "blue", A, "web", "10.0.0.2/24")

    assert seen_by(register, A) == {"web": ("10.0.0.2",)}


def test_more_changes_than_the_queue_holds_are_read_anew(paths, register):
    put(paths, "blue", A, "web", "10.0.0.2/24")
    assert seen_by(register, A)
    file = put(paths, "blue", B, "db", "10.0.0.3/24")
    record = asdict(Endpoint(**json.loads(file.read_text())))
    with open("/proc/sys/fs/inotify/max_queued_events") as limit:
        most = int(limit.read())
    draft = file.with_name(".draft")
    text = json.dumps(record)
    for _ in range(most + 10):
        draft.write_text(text)
        draft.rename(file)
    file.unlink()

    assert seen_by(register, A) == {"web": ("10.0.0.2",)}
    put(paths, "blue", B, "db", "10.0.0.4/24")
    assert seen_by(register, A)["db"] == ("10.0.0.4",), "and it listens on"


def test_those_on_other_hosts_are_found_and_ask_nothing_here(paths, register):
    put(paths, "blue", A, "web", "10.0.0.2/24")
    elsewhere = paths.endpoints / "blue" / "remote"
    elsewhere.mkdir()
    there = Endpoint(
        network_id="blue", network_name="blue", container_id=B, container_name="far", ipv4="10.0.0.9/24"
    )
    records.save(elsewhere / f"{B}.json", there, durable=False)

    assert seen_by(register, A) == {"web": ("10.0.0.2",), "far": ("10.0.0.9",)}
    assert seen_by(register, B) == {}
    (elsewhere / f"{B}.json").unlink()
    assert seen_by(register, A) == {"web": ("10.0.0.2",)}
