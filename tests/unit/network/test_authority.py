"""Addresses that others have a say in: who is slower takes the next, and leaves nothing of the first."""

import pytest

from labkit.errors import Conflict, LabkitError
from labkit.ledger import Ledger
from labkit.network import addresses, endpoints
from labkit.network.endpoints import Wish
from labkit.network.networks import Network

NETWORK = Network(id="ab" * 32, name="blue", subnets=(addresses.check("10.5.0.0/29"),))
ME, OTHER = "cd" * 32, "ef" * 32


class Rivals:
    """Hosts that take an address in the very moment in which this one asks for it."""

    def __init__(self, *faster, after=""):
        self.faster, self.after, self.given = set(faster), after, set()

    def taken(self, paths, network):
        return set(self.given)

    def last(self, paths, network, version):
        return self.after

    def claim(self, paths, network, address, container_id):
        assert [f"{address}@{container_id}"] == names(
            paths
        )  # it is written down here before others are asked
        self.given.add(address)
        return address not in self.faster


def names(paths):
    return [file.name for file in (paths.endpoints / NETWORK.id / "leases").iterdir()]


def join(paths, authority, **wish):
    ledger = Ledger.of(paths, f"container-{ME}")
    with endpoints.locked(paths, NETWORK.id):
        return endpoints.join(paths, NETWORK, ledger, ME, "web", Wish(**wish), authority=authority)


def test_the_next_address_is_taken_where_others_were_faster(paths):
    assert join(paths, Rivals("10.5.0.2", "10.5.0.3")).ipv4 == "10.5.0.4/29"
    assert names(paths) == [f"10.5.0.4@{ME}"]
    Ledger.of(paths, f"container-{ME}").undo()
    assert names(paths) == []


def test_the_one_after_the_last_is_tried_first(paths):
    assert join(paths, Rivals("10.5.0.6", after="10.5.0.5")).ipv4 == "10.5.0.2/29"


def test_a_wish_that_another_host_got_is_refused_and_leaves_nothing(paths):
    with pytest.raises(Conflict, match=r"Address already in use: 10\.5\.0\.4"):
        join(paths, Rivals("10.5.0.4"), ipv4="10.5.0.4")
    assert names(paths) == []


def test_where_others_have_all_there_is_none(paths):
    with pytest.raises(Conflict, match="no available IPv4 addresses"):
        join(paths, Rivals(*(f"10.5.0.{number}" for number in range(2, 7))))
    assert names(paths) == []


def test_others_who_do_not_answer_leave_nothing_behind(paths):
    class Silent(Rivals):
        def claim(self, *_):
            raise LabkitError("etcd does not answer")

    with pytest.raises(LabkitError, match="does not answer"):
        join(paths, Silent())
    assert names(paths) == []
    assert endpoints.of_network(paths, NETWORK.id) == []


def test_copies_of_other_hosts_records_come_and_go_and_are_never_this_hosts(paths):
    mine = join(paths, Rivals())
    other = endpoints.Endpoint(
        network_id=NETWORK.id, network_name="blue", container_id=OTHER, container_name="db", aliases=("sql",),
        ipv4="10.5.0.3/29", mac="02:42:0a:05:00:03", host="10.0.0.2",
    )  # fmt: skip
    with endpoints.locked(paths, NETWORK.id):
        endpoints.keep_remote(paths, NETWORK.id, [other])
    assert endpoints.remote_of_network(paths, NETWORK.id) == [other]
    assert endpoints.of_network(paths, NETWORK.id) == [mine]
    assert endpoints.of_container(paths, OTHER) == []
    with endpoints.locked(paths, NETWORK.id):
        endpoints.keep_remote(paths, NETWORK.id, [])
    assert endpoints.remote_of_network(paths, NETWORK.id) == []
