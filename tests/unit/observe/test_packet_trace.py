from labkit.observe import packet_trace
from labkit.observe.packet_trace import Hop

TOLD = """
trace id 93b3e57d inet box first packet: iif "up0" ether saddr 82:a0:9c:c8:d7:ec \
ether daddr 8a:6e:e0:d4:18:9a ip saddr 203.0.113.80 ip daddr 203.0.113.1 ip ttl 64 ip length 60 \
tcp sport 46324 tcp dport 8080 tcp flags == syn
trace id 93b3e57d inet box first rule meta nftrace set 1 (verdict continue)
trace id 93b3e57d inet box first policy accept
trace id 93b3e57d inet box come packet: iif "up0" ip saddr 203.0.113.80 ip daddr 203.0.113.1 tcp sport 46324 \
tcp dport 8080 tcp flags == syn
trace id 93b3e57d inet box come rule fib daddr type local jump published (verdict jump published)
trace id 93b3e57d inet box published rule dnat ip to 10.11.0.2:80 (verdict accept)
trace id f1e75b0b inet box guard packet: iif "br0" oif "up0" ip saddr 10.11.0.2 ip daddr 203.0.113.80 \
tcp sport 80 tcp dport 46324 tcp flags == 0x12
trace id f1e75b0b inet box guard unknown rule handle 5 (verdict drop)
and a line that is none of nft's
"""


def test_each_chain_of_a_packet_is_a_hop_with_what_it_saw_and_what_was_decided():
    first, come, published, guard = packet_trace.parse(TOLD)

    assert first == Hop(
        packet="93b3e57d", family="inet", table="box", chain="first", iif="up0",
        source="203.0.113.80:46324", destination="203.0.113.1:8080", flags="syn", verdict="accept",
    )  # fmt: skip
    assert (come.chain, come.verdict) == ("come", "jump published")
    assert (published.chain, published.rule) == ("published", "dnat ip to 10.11.0.2:80")
    assert (published.packet, published.destination) == (come.packet, come.destination)
    assert (guard.iif, guard.oif, guard.flags, guard.verdict, guard.rule) == (
        "br0", "up0", "syn ack", "drop", "",
    )  # fmt: skip


def test_a_number_that_the_kernel_gives_again_is_another_packet():
    lines = [
        f"trace id 93b3e57d ip box {chain} packet: ip saddr 10.0.0.1 ip daddr 10.0.0.2 tcp flags == {flags}"
        for flags in ("syn", "ack")
        for chain in ("come", "leave")
    ]
    lines.append("trace id 93b3e57d ip box leave rule tcp dport 80 drop (verdict drop)")
    hops = packet_trace.parse("\n".join(lines))

    assert [(hop.packet, hop.flags) for hop in hops] == [
        ("93b3e57d", "syn"), ("93b3e57d", "syn"), ("93b3e57d.1", "ack"), ("93b3e57d.1", "ack"),
    ]  # fmt: skip
    assert [hop.verdict for hop in hops] == ["", "", "", "drop"]


def test_nothing_told_is_no_hop():
    assert packet_trace.parse("") == []
