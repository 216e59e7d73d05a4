# ---
# jupyter:
#   kernelspec: {display_name: Python 3 (ipykernel), language: python, name: python3}
# ---

# %% [markdown]
# # 11 · A cable between namespaces
#
# `docker run -p 8080:80 nginx`, and a browser finds it. Between the two lie a cable that is not there, a switch
# that is not there, and an address that changes twice on the way. All of it is in the kernel, and none of it
# was made for containers.
#
# In this chapter you lay the cable, plug in the switch, let packets out, let packets in, and follow one of them
# from rule to rule. Every step fails first, for a reason worth knowing: these are the failures that you will
# meet again, late in the evening, with somebody waiting. Then you let the engine do it, and hold its work
# against yours.
#
# **Needs:** root, namespaces, veth and bridge, nftables. **Takes:** an hour and a half, exercises included.

# %% tags=["parameters"]
sent_kib = 512
downloads = 8
crowd = 100

# %%
import json
import os
import subprocess
import time
from pathlib import Path

import labkit
from labkit import course
from labkit.course import diagrams
from labkit.network import endpoints, firewall
from labkit.observe import packet_trace
from labkit.paths import Paths
from labkit.widgets import NetworkMap

course.start("11")

# %% [markdown]
# ## An island
#
# A fresh network namespace has one interface, `lo`, and no way to anywhere. This is the island on which each of
# our containers begins. To see something arrive there, a small server waits on each: whoever connects to port
# 80 is told by which address it is known.

# %%
SERVER = """
from labkit.kernel import interfaces
interfaces.bring_up("lo")
server = socket.create_server(("", 80))
print("ready")
while True:
    peer, (address, _) = server.accept()
    peer.sendall(f"hello, {address}".encode())
    peer.close()
"""


def island():
    """A process alone in a network namespace of its own, with the server in it."""
    child = course.child.start(SERVER, namespaces="net")
    child.read_line()
    return child


# %% [markdown]
# nsenter(1) brings a command onto an island. `ping` and `nc` come from busybox; for each we want to know in one
# word how it went.


# %%
def on(where, *command):
    words = ["nsenter", "--target", str(where.pid), "--net", *command]
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def sh(where, script):
    """Do what a shell script says on an island; what it printed."""
    done = on(where, "sh", "-euc", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# %%
def how_it_went(done, success):
    return success if done.returncode == 0 else done.stderr.strip().rpartition(": ")[2] or "silence"


def ping(where, address):
    for _ in range(2):  # the first may come while the neighbour is still being looked for
        done = on(where, "busybox", "ping", "-c1", "-W1", address)
        if done.returncode == 0:
            break
    return how_it_went(done, "an answer")


def ask(where, address, port=80):
    done = on(where, "busybox", "nc", "-w1", address, str(port))
    return how_it_went(done, done.stdout)


def until(holds, seconds=5):
    """Ask again and again: the kernel takes a namespace down in its own time."""
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


# %% [markdown]
# ## A cable
#
# A *veth pair* is a cable with a network card at each end. What goes in at one end comes out at the other,
# wherever that is. Five commands lay one from `left` to `right`.
#
# **Before you run it:** after which of them does the ping get through? And what does it say before: always the
# same?

# %% tags=["nbval-check-output"]
left, right = island(), island()
steps = {
    "nothing": (left, ""),
    "a cable": (left, f"ip link add eth0 type veth peer name eth0 netns {right.pid}"),
    "here: an address": (left, "ip address add 10.11.0.2/24 dev eth0"),
    "here: switched on": (left, "ip link set eth0 up"),
    "there: an address": (right, "ip address add 10.11.0.3/24 dev eth0"),
    "there: switched on": (right, "ip link set eth0 up"),
}
for step, (where, script) in steps.items():
    sh(where, script)
    print(f"{step:20}", ping(left, "10.11.0.3"))

# %% [markdown]
# Two kinds of failure, and they are the first thing to tell apart in any network.
#
# - **Network is unreachable** comes from your own kernel, at once. It has no route, so it has not even tried.
# - **Silence** means that the kernel had a route, sent, and waited. The packet, or its answer, was lost.
#
# What turned the one into the other? Switching on an interface that has an address makes a route by itself:

# %% tags=["nbval-check-output"]
print(sh(left, "ip route"))

# %% [markdown]
# Read it as: whoever begins with 10.11.0 is a neighbour, behind `eth0`. `/24` was the part that says so. And
# how does a card find its neighbour's card? It shouts, once, "who has 10.11.0.3?", and remembers who answered:

# %% tags=["nbval-check-output"]
(neighbour,) = json.loads(sh(left, "ip --json neighbour"))
(ours,), (theirs,) = (json.loads(sh(one, "ip --json link show eth0")) for one in (left, right))
print("the neighbour is remembered by its card:", neighbour["lladdr"] == theirs["address"])
print("this end names the other by its number: ", ours["link_index"] == theirs["ifindex"])

# %% [markdown]
# `ip link` writes the second fact as `eth0@if2`: the other end is interface number 2, elsewhere. Both ends may be
# called `eth0` and have the same number; a name means something within one namespace only.
#
# `ip` is only a messenger. It writes **netlink** messages to the kernel, and Python can do that too. This
# is how an engine does it: no program started, no text parsed.


# %% tags=["nbval-check-output"]
def by_netlink(other):
    from pyroute2 import IPRoute

    with IPRoute() as rtnetlink:
        rtnetlink.link("add", ifname="eth1", kind="veth", peer={"ifname": "eth1", "net_ns_pid": other})
        (number,) = rtnetlink.link_lookup(ifname="eth1")
        rtnetlink.addr("add", index=number, address="10.11.1.2", prefixlen=24)
        rtnetlink.link("set", index=number, state="up")
        (link,) = rtnetlink.get_links(number)
        kind = link.get_attr("IFLA_LINKINFO").get_attr("IFLA_INFO_KIND")
        print(f"a {kind}, up: {bool(link['flags'] & 1)}, carrier: {link.get_attr('IFLA_CARRIER')}")


course.child(by_netlink, right.pid, namespaces="net")

# %% [markdown]
# Up, and yet no carrier: so a card says that its cable hangs loose. The far end was never switched on.
#
# Where is that cable now? The child has ended, and its namespace went with it.

# %% tags=["nbval-check-output"]
gone = until(lambda: "eth1" not in sh(right, "ip link"))
print("its end on the right island is gone:", gone)

# %% [markdown]
# A cable goes with either of its ends. So when a container dies, by whatever hand, **nobody has to clean up
# its cable**: the kernel does.
#
# ## A third one
#
# One more island shall join. The obvious thing is one more cable, from `left` to it.
#
# **Before you run it:** `left` has two cards now, both at home in 10.11.0. Whom does it reach?

# %% tags=["nbval-check-output"]
third = island()
sh(left, f"ip link add eth1 type veth peer name eth0 netns {third.pid}")
sh(left, "ip address add 10.11.0.12/24 dev eth1; ip link set eth1 up")
sh(third, "ip address add 10.11.0.4/24 dev eth0; ip link set eth0 up")
print("left to right:", ping(left, "10.11.0.3"))
print("left to third:", ping(left, "10.11.0.4"))
print(sh(left, "ip route"))
pairs = crowd * (crowd - 1) // 2
print(f"cables for {crowd} islands, each with each: {pairs}")

# %% [markdown]
# Two routes to the same place, and the first one wins: `left` shouts for the third into the wrong cable. Each
# cable would need a subnet of its own, and then see how many there would be. This is not how a room full of
# computers is wired, either. There one takes a **switch**, and the kernel has one: a *bridge*.

# %%
for one in (left, right, third):
    one.kill()

# %% [markdown]
# ## A switch
#
# From here on one island plays the **host**. On a real machine the host's end of all this would lie in your own
# network namespace; playing it keeps your machine out of harm's way, and the rules are the same.
#
# One thing must be settled first. A module called `br_netfilter` makes a bridge show its frames to the firewall
# as if they were routed. Some machines have it, some have not, so we switch it off where it is. The last
# question at the end asks what it would change.

# %%
host, web, db = island(), island(), island()
BRIDGED = "/proc/sys/net/bridge/bridge-nf-call-iptables"
sh(host, f"echo 0 > /proc/sys/net/ipv4/ip_forward; test ! -e {BRIDGED} || echo 0 > {BRIDGED}")
sh(host, "ip link add br0 type bridge; ip link set br0 up")


def plug(one, number):
    """A cable from the bridge to an island, which is 10.11.0.number from then on."""
    sh(host, f"ip link add port{number} type veth peer name eth0 netns {one.pid}")
    sh(host, f"ip link set port{number} master br0 up")
    sh(one, f"ip address add 10.11.0.{number}/24 dev eth0; ip link set eth0 up")


plug(web, 2)
plug(db, 3)

# %% tags=["nbval-check-output"]
print("web to db:", ask(web, "10.11.0.3"))
print("db to web:", ask(db, "10.11.0.2"))
print("the host to web:", ask(host, "10.11.0.2"))

# %% [markdown]
# One card on each island, one cable to the switch, and any number of others. A bridge learns who is where as
# people talk: it looks at the sender of every frame.

# %% tags=["nbval-check-output"]
learned = {row["mac"]: row["ifname"] for row in json.loads(sh(host, "bridge --json fdb show br br0 dynamic"))}
for name, one in (("web", web), ("db", db)):
    (card,) = json.loads(sh(one, "ip --json link show eth0"))
    print(f"{name} is behind {learned[card['address']]}")

# %% [markdown]
# Why does the host not reach web, although the bridge is its own? A switch forwards, it does not talk. To take
# part, the host needs an address *on the bridge*. `br0` is a switch and a network card in one, and that
# address will be important in a moment.
#
# ## The way out
#
# The **outside** is one more island, with a cable to the host. Nobody out there knows anything of 10.11.0. A
# small table of rules over there writes down who came: we shall not have to believe what we are told.

# %%
outside = island()
sh(host, f"ip link add up0 type veth peer name eth0 netns {outside.pid}")
sh(host, "ip address add 203.0.113.1/24 dev up0; ip link set up0 up")
sh(outside, "ip address add 203.0.113.80/24 dev eth0; ip link set eth0 up")

VISITORS = """
table ip visitors {
  set seen { type ipv4_addr; flags dynamic; }
  chain come {
    type filter hook prerouting priority raw
    iifname eth0 tcp flags syn add @seen { ip saddr }
  }
}
"""


# %%
def load(where, rules):
    """Give an island's kernel nft rules: all of them or none."""
    words = ["nsenter", "--target", str(where.pid), "--net", "nft", "--file", "-"]
    done = subprocess.run(words, input=rules, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def listed(where, what, kind):
    """What nft lists of one kind: the sets, or the rules."""
    return [row[kind] for row in json.loads(sh(where, f"nft --json list {what}"))["nftables"] if kind in row]


def seen(where):
    """Who has come to this island since we asked the last time."""
    (visitors,) = listed(where, "set ip visitors seen", "set")
    sh(where, "nft flush set ip visitors seen")
    return visitors.get("elem", [])


for one in (outside, web):
    load(one, VISITORS)

# %% [markdown]
# **Before you run it:** four steps. At which one does web's packet first *arrive* outside, and at which one does
# web first hear an answer?

# %%
MASQUERADE = """
table ip box {
  chain behind {
    type nat hook postrouting priority srcnat
    ip saddr 10.11.0.0/24 oifname up0 counter masquerade
  }
}
"""


def attempt(step):
    print(f"{step:16} web hears: {ask(web, '203.0.113.80'):24} seen outside: {seen(outside)}")


# %% tags=["nbval-check-output"]
attempt("a cable alone")
sh(host, "ip address add 10.11.0.1/24 dev br0")
for one in (web, db):
    sh(one, "ip route add default via 10.11.0.1")
attempt("a default route")
sh(host, "echo 1 > /proc/sys/net/ipv4/ip_forward")
attempt("ip_forward")
load(host, MASQUERADE)
attempt("masquerade")

# %% [markdown]
# Line by line:
#
# 1. web knows its neighbours and nobody else. It needs a **default route**: what is not a neighbour goes to the
#    gateway, the host's address on the bridge.
# 2. The host gets the packet, sees that it is for somebody else, and throws it away. A computer is not a router
#    until somebody says so.
# 3. Now it arrives! And nobody hears an answer, since it came from 10.11.0.2, and the outside has no idea where
#    that is. The way there is not the way back.
# 4. **Masquerade**: on the way out the host puts its own address in place of web's. The outside answers the
#    host, and the host remembers for whom.
#
# Where does it remember? In a table of *connections* that all of NAT hangs on. A rule behind the masquerade can
# ask it: who began this connection, and to whom will answers come?

# %% tags=["nbval-check-output"]
MEMORY = """
table ip memory {
  set tracked { type ipv4_addr . ipv4_addr; flags dynamic; }
  chain leave {
    type filter hook postrouting priority 300
    oifname up0 add @tracked { ct original ip saddr . ct reply ip daddr }
  }
}
"""
load(host, MEMORY)
print("web hears:", ask(web, "203.0.113.80"))
(tracked,) = listed(host, "set ip memory tracked", "set")
print("begun by {}, answers come to {}".format(*tracked["elem"][0]["concat"]))

# %% [markdown]
# (In `/proc/net/nf_conntrack`, where the kernel shows it, you can read the whole of the table.)
#
# ## The way in
#
# web is a server. **Before you run it:** the outside asks the host's address at port 8080. Nobody listens there.
# Then a single rule changes that: for whoever comes to port 8080, exchange the *destination*.

# %%
PUBLISH = """
table ip box {
  chain to_web {
    type nat hook prerouting priority dstnat
    tcp dport 8080 counter dnat to 10.11.0.2:80
  }
}
"""

# %% tags=["nbval-check-output"]
print("no rule:", ask(outside, "203.0.113.1", 8080))
load(host, PUBLISH)
print("a rule: ", ask(outside, "203.0.113.1", 8080))
sockets = sh(host, "ss --no-header --listening --tcp --numeric")
print("somebody listens on 8080:", "8080" in sockets)

# %% [markdown]
# A **published port**: nobody listens, and it answers. web even knows who really asked. The word "hello,
# 203.0.113.80" came from a server that saw the outside's own address.
#
# ### Is what is not published closed?
#
# web's port 80 was never meant for strangers, only 8080 of the host. **Before you run it:** somebody on the same
# wire as the host tells his computer that 10.11.0 is behind that host. Can he get at web's port 80, past the
# published one?

# %%
GUARD = """
table ip box {
  chain guard {
    type filter hook forward priority filter
    oifname br0 ct state established,related accept
    oifname br0 ct status dnat accept
    oifname br0 counter drop
  }
}
"""

# %% tags=["nbval-check-output"]
sh(outside, "ip route add 10.11.0.0/24 via 203.0.113.1")
print("web's own port, no guard:  ", ask(outside, "10.11.0.2", 80))
load(host, GUARD)
print("web's own port, guarded:   ", ask(outside, "10.11.0.2", 80))
print("the published port:        ", ask(outside, "203.0.113.1", 8080))
print("web itself, to the outside:", ask(web, "203.0.113.80"))

# %% [markdown]
# It was open to all who know the way. A host that forwards, forwards in both directions, and publishing a port
# closes no other. So an engine has to build the wall itself: into the bridge goes what belongs to a connection
# that began inside (`established`), what came by a published port (`ct status dnat`), and nothing else.
#
# (Docker trusted the host's own policy in this until version 28: where that let packets through, one reached from
# the same wire what nobody had published. Its release notes of February 2025 say how the door was closed.)
#
# ### From the host itself
#
# The developer sits at the host and opens `http://127.0.0.1:8080`. Four attempts follow, each with one thing
# more. **Before you run it:** which hook does a packet of the host's own pass, if not `prerouting`? And whom will
# web see?

# %%
OWN = """
table ip box {
  chain own {
    type nat hook output priority -100
    ip daddr 127.0.0.1 tcp dport 8080 counter dnat to 10.11.0.2:80
  }
}
"""
MASQUERADE_LOOPBACK = "add rule ip box behind ip saddr 127.0.0.0/8 oifname br0 counter masquerade"


def attempt(step):
    print(f"{step:22} the host hears: {ask(host, '127.0.0.1', 8080):20} seen by web: {seen(web)}")


# %% tags=["nbval-check-output"]
seen(web)
attempt("as it is")
load(host, OWN)
attempt("a rule in output")
sh(host, "echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet")
attempt("route_localnet")
load(host, MASQUERADE_LOOPBACK)
attempt("one more masquerade")

# %% [markdown]
# 1. A packet that the host makes itself never *arrives*, so it passes no `prerouting`. Its first hook is `output`.
# 2. The rule matches, and the packet is lost all the same. It goes from 127.0.0.1 to 10.11.0.2, and 127 is not
#    allowed to leave the machine, RFC 1122 says so. The kernel throws it away as a *martian*.
# 3. `route_localnet` allows it on this one interface. Now web gets a packet from 127.0.0.1. That is web itself! It
#    takes it for a forgery and drops it.
# 4. So the source must be exchanged as well, for the address on the bridge.
#
# With `route_localnet` comes a duty: now a container could send packets *to* the host's 127.0.0.1, where
# databases listen that trust everybody there. labkit's first rule of all, `guard_loopback`, drops those.
#
# ### From the neighbour
#
# The last one who asks is db. It wants web's published port, by the host's address, as an application would that
# was given a public URL. db's packets do pass `prerouting`. **Before you run it:** so what could go wrong?

# %%
WATCH = """
table ip watch {
  chain come {
    type filter hook input priority filter
    ip saddr 10.11.0.2 tcp flags & (syn | ack) == syn | ack counter
    ip saddr 203.0.113.1 tcp flags & (syn | ack) == syn | ack counter
  }
}
"""
load(db, WATCH)

# %% tags=["nbval-check-output"]
print("db hears:", ask(db, "203.0.113.1", 8080))
for rule in listed(db, "table ip watch", "rule"):
    match, counter = rule["expr"][0]["match"], rule["expr"][-1]["counter"]
    print("answers from", match["right"], "have come:", counter["packets"] > 0)

# %% [markdown]
# web did answer, and db did get it. But web saw a question from 10.11.0.3, a neighbour, and answered straight
# through the switch. The host, which would have put back the address that db had asked, never saw the answer.
# db asked 203.0.113.1 and hears from 10.11.0.2: never heard of, reset. This turn is called a **hairpin**. The
# cure is to make the answer come back through the host, and you know by now how one does that:

# %% tags=["nbval-check-output"]
HAIRPIN = "add rule ip box behind ct status dnat ip saddr 10.11.0.0/24 oifname br0 counter masquerade"
load(host, HAIRPIN)
print("db hears:", ask(db, "203.0.113.1", 8080))
print("web, who asks for itself:", ask(web, "203.0.113.1", 8080))

# %% [markdown]
# "hello, 10.11.0.1". It works, and it has a price: web does not know any more who asked.
#
# ## A packet, followed
#
# Here is everything that you have made so far, as the kernel describes it over netlink. **Before you click:** a
# packet of db's to the outside; which boxes will light up? And one that comes for port 8080?

# %% tags=["nbval-ignore-output"]
NetworkMap({"host": host.pid, "web": web.pid, "db": db.pid, "outside": outside.pid})

# %% [markdown]
# The map knows what *should* happen. So many rules; which of them does a packet really meet? nft can follow it: a
# rule with `meta nftrace set 1` marks a packet, and from there on the kernel tells of each chain that it passes, what it
# looked like and what was decided. We mark a connection from the outside, the questions and the answers.
#
# **Before you run it:** a question passes `prerouting`, `forward` and `postrouting`. Which nat chains will the
# *answer* pass on its way back?

# %%
FOLLOW = """
table ip follow {
  chain first {
    type filter hook prerouting priority -350
    tcp dport 8080 meta nftrace set 1
    tcp sport 80 meta nftrace set 1
  }
}
"""
load(host, FOLLOW)
with packet_trace.follow(host.pid) as trace:
    ask(outside, "203.0.113.1", 8080)
    hops = trace.hops()


# %%
def way(flags):
    """The hops of the first packet with these flags of TCP, without the chain that only marks."""
    first = next(hop.packet for hop in hops if hop.flags == flags)
    return [hop for hop in hops if hop.packet == first and hop.table != "follow"]


def plainly(address):
    """An address, without the port that was picked at random."""
    name, _, port = address.partition(":")
    return name if int(port) > 10000 else address


# %% tags=["nbval-check-output"]
ways = {"question": way("syn"), "answer": way("syn ack")}
for name, passed in ways.items():
    for hop in passed:
        print(f"{name:9}{hop.chain:8} {plainly(hop.source):17} → {plainly(hop.destination):17} {hop.verdict}")

# %% [markdown]
# Each line is the packet as it *enters* a chain. Look at the question's destination: at `to_web` it was the host,
# from `guard` on it is web. Its source stays, since nobody masquerades what comes from the outside.
#
# The answer comes from web and leaves as the host's, port 8080. But it met no nat chain at all! **nat chains
# see the first packet of a connection only.** What they decided goes into the table of connections, and from
# then on the kernel exchanges addresses by itself, there and back. So a new rule never changes a connection that
# is under way. Many an evening was lost to that.

# %%
names = {"203.0.113.1": "host", "10.11.0.2": "web", "203.0.113.80": "outside"}


def named(address):
    host_part, _, port = plainly(address).partition(":")
    return f"{names[host_part]}:{port}"


question = {hop.chain: f"to {named(hop.destination)}" for hop in ways["question"]}
answer = {hop.chain: f"from {named(hop.source)}" for hop in ways["answer"]}
rows = {
    "question": {"outside": "sends"} | question | {"web": "gets it"},
    "answer": {"web": "sends"} | answer | {"outside": "gets it"},
}
below = ("connection tracking", "exchanges the addresses of every packet but the first")
diagrams.chain("One connection on its way through the host, as nft has traced it", rows, below)

# %% [markdown]
# Counters say how often a rule was the one. A rule that should work and whose counter stands still is the quickest
# way to find a mistake. (Who hears nothing asks again, so some of your numbers may be larger.)

# %% tags=["nbval-ignore-output"]
for rule in listed(host, "table ip box", "rule"):
    words = {name: value for part in rule["expr"] for name, value in part.items()}
    if "counter" in words:
        verdict = next(name for name in ("masquerade", "dnat", "drop") if name in words)
        print(f"{rule['chain']:7} {verdict:11} packets: {words['counter']['packets']}")

# %% tags=["nbval-check-output"]
for one in (web, db, host, outside):
    one.kill()
print("islands, cables, bridge and rules: gone with their namespaces")

# %% [markdown]
# ## No island at all, or an island for good
#
# Two modes need none of this. **Before you run it:** how many interfaces has a container of each?

# %% tags=["nbval-check-output"]
count = ["sh", "-c", "ls /sys/class/net | wc -l"]
ours = len(os.listdir("/sys/class/net"))
print("none: interfaces:", labkit.run("lab/busybox", count, network="none").stdout.strip())
in_host_mode = int(labkit.run("lab/busybox", count, network="host").stdout)
print("host: as many as the host has:", in_host_mode == ours)

# %% [markdown]
# `none` is the island of the beginning. `host` is no island: all of the host's interfaces, its ports, its
# 127.0.0.1, and no NAT that could cost anything. A container with `--network host` can talk to every service that
# trusts the loopback. It is the right mode for few things, such as a program that is to watch the network.
#
# ## The same, with labkit
#
# Now the engine does it on your real machine, with a table of rules of its own. `course.network` makes a network
# that goes away with this chapter.

# %%
blue = course.network("chapter-11-blue", "10.111.1.0/24")
green = course.network("chapter-11-green", "10.111.2.0/24")


def container(name, network, command, **options):
    name, network = f"chapter-11-{name}", network.name
    return labkit.run(
        "lab/busybox", ["sh", "-c", command], name=name, network=network, detach=True, **options
    )


serve = "mkdir /w; echo hello from web > /w/index.html; exec httpd -f -p 80 -h /w"
site = container("web", blue, serve, publish=["8111:80"])
friend, stranger = container("friend", blue, "sleep 1000"), container("stranger", green, "sleep 1000")

# %% [markdown]
# **Before you run it:** by hand you made a switch with an address, a cable to it, an `eth0` with an address, and
# a default route. Is there anything in the engine's work that you do not recognise?

# %%
from types import SimpleNamespace

here = SimpleNamespace(pid=os.getpid())  # your machine, as one more place for a command
paths = Paths.from_environment()


def endpoint(one):
    """What the engine has written down of a container on its network."""
    (found,) = endpoints.of_container(paths, one.id)
    return found


def card(where, name):
    (found,) = json.loads(sh(where, f"ip --json --details address show {name}"))
    return found | {
        "kind": found["linkinfo"]["info_kind"],
        "addresses": [a["local"] for a in found["addr_info"]],
    }


# %% tags=["nbval-check-output"]
switch, port, inside = card(here, blue.bridge), card(here, endpoint(site).host_interface), card(site, "eth0")
print("the switch is a", switch["kind"], "with", *switch["addresses"])
print("a", port["kind"], "is a port of it:", port["master"] == blue.bridge)
print(
    "its other end is eth0 inside:", port["link_index"] == inside["ifindex"], "- with", *inside["addresses"]
)
print(sh(site, "ip route | head -n1"))

# %% [markdown]
# The rules look different, and do the same. By hand, each network and each port was one more rule. labkit has a
# few rules that never change, and *sets* and *maps* in which they look things up: a thousand ports cost
# a packet no more than one.

# %% tags=["nbval-ignore-output"]
table = firewall.table(paths)
text = sh(here, f"nft list table inet {table}").splitlines()
for line in text:
    if "ip6" not in line and any(word in line for word in ("dnat", "masquerade", "drop")):
        print(line.strip())
(ports,) = listed(here, f"map inet {table} ports_4", "map")
for key, value in ports["elem"]:
    print("in the map ports_4:", *key["concat"], "→", *value["concat"])

# %% [markdown]
# Who reaches the published port? Once more there is an outside, this time with a cable to your machine. The
# chapter writes down that end of it before it is made.

# %%
outside = island()
course.owns("link", "c11-up0")
sh(here, f"ip link add c11-up0 type veth peer name eth0 netns {outside.pid}")
sh(here, "ip address add 203.0.113.1/24 dev c11-up0; ip link set c11-up0 up")
sh(outside, "ip address add 203.0.113.80/24 dev eth0; ip link set eth0 up")


def get(where, address, port=80):
    """What a web server says."""
    request = "printf 'GET / HTTP/1.0\\r\\n\\r\\n'"
    done = on(where, "sh", "-c", f"{request} | busybox nc -w1 {address} {port} | tail -n1")
    return done.stdout.strip() or "silence"


assert until(lambda: get(here, "127.0.0.1", 8111) != "silence")  # the web server needs a moment to begin

# %% tags=["nbval-check-output"]
print("the outside:  ", get(outside, "203.0.113.1", 8111))
print("your machine: ", get(here, "127.0.0.1", 8111))
print("the friend:   ", get(friend, "203.0.113.1", 8111))
print("the stranger: ", get(stranger, "203.0.113.1", 8111))
print("the friend, to the outside:", ask(friend, "203.0.113.80"))

# %% [markdown]
# The stranger lives on another network. A published port is public, so it comes in by the door like everybody
# else. **Before you run it:** may it also go straight to web's own address?

# %% tags=["nbval-check-output"]
address = endpoint(site).ipv4.partition("/")[0]
print("the friend:  ", get(friend, address))
print("the stranger:", get(stranger, address))

# %% [markdown]
# Silence. Who says so? We follow the stranger's packet as before, marked by a table of the chapter's own.

# %% tags=["nbval-check-output"]
MARK = f"""
table inet course-11 {{
  chain first {{
    type filter hook prerouting priority -350
    iifname "{green.bridge}" meta nftrace set 1
  }}
}}
"""
course.owns("nft", "inet course-11")
load(here, MARK)
with packet_trace.follow() as trace:
    get(stranger, address)
    passed = [hop for hop in trace.hops() if hop.table == table]
sh(here, "nft delete table inet course-11")
print(f"{passed[-1].chain}: {passed[-1].rule} → {passed[-1].verdict}")

# %% [markdown]
# It is the last line of `forward`, "nothing else enters a bridge". Compare it with your own guard.
#
# ### Whose traffic?
#
# The map once more, of your real machine this time, while the friend downloads something from web. Where does the
# traffic run, and where does it not?

# %% tags=["nbval-ignore-output"]
from IPython.display import display

site.exec(["dd", "if=/dev/zero", "of=/w/big", "bs=1024", f"count={sent_kib}"])
places = {"your machine": os.getpid(), "web": site.pid, "friend": friend.pid, "stranger": stranger.pid}
seen_live = NetworkMap(places | {"outside": outside.pid})
shown = display(seen_live, display_id=True)
with seen_live:
    for _ in range(downloads):
        friend.exec(["wget", "-q", "-O", "/dev/null", f"http://{address}/big"])
        time.sleep(0.2)

# %% [markdown]
# Neighbours need the switch alone: not a byte passed the host's own cards, and none of its rules. (Run the cell again
# with more `downloads` if you blinked.)
#
# Every card counts. The host's end of a cable counts what passes it, so an engine need not look into the container
# to know how much it has moved; `docker stats` shows these numbers. **Before you run it:** web sends to friend. At
# web's cable, on the host's side: is that *received* or *transmitted*?


# %%
def counters(one):
    """KiB that the host's end of a container's cable has received, and transmitted."""
    place = Path("/sys/class/net", endpoint(one).host_interface, "statistics")
    return [int((place / name).read_text()) // 1024 for name in ("rx_bytes", "tx_bytes")]


# %% tags=["nbval-check-output"]
before = {one.name: counters(one) for one in (site, friend)}
friend.exec(["wget", "-q", "-O", "/dev/null", f"http://{address}/big"])
for one in (site, friend):
    received, transmitted = (new - old for new, old in zip(counters(one), before[one.name], strict=True))
    which = "received" if received > transmitted else "transmitted"
    print(f"{one.name}: its cable has {which} all {sent_kib} KiB:", max(received, transmitted) >= sent_kib)

# %% [markdown]
# What web sends, the host's end *receives*. The two words change places with the end of the cable you stand at.
# Whoever writes a monitor gets this wrong once.


# %% tags=["nbval-check-output"]
cables = [endpoint(one).host_interface for one in (site, friend, stranger)]
for one in (site, friend, stranger):
    one.remove(force=True)
sh(here, "ip link delete c11-up0")
outside.kill()
print("the cables are gone:", until(lambda: not set(cables) & set(os.listdir("/sys/class/net"))))
print("the switch waits for the next one:", Path("/sys/class/net", blue.bridge).exists())

# %% [markdown]
# # Exercises
#
# Each function runs in a fresh process that is alone on an island, with its loopback up. Other islands are given
# by the pid of a process that lives there, so `netns PID` of `ip link` reaches them and `nsenter` too. The checks
# ask the kernel for what you have made, and send words across it that nobody can know beforehand.


# %%
def at(pid, script):
    """Do what a shell script says on the island of a process. Your functions may use it."""
    subprocess.run(["nsenter", "--target", str(pid), "--net", "sh", "-euc", script], check=True)


# %% [markdown]
# ## 1. Lay a cable
#
# From this island to another one. Here it ends in `eth0` with the address `ours`, there in `eth0` with `theirs`
# (both with their prefix, such as `10.5.0.1/24`).


# %%
def cable(other, ours, theirs):
    """A veth pair between the caller's network namespace and that of the process `other`."""
    ### BEGIN SOLUTION
    subprocess.run(
        ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", str(other)], check=True
    )
    for pid, address in ((os.getpid(), ours), (other, theirs)):
        at(pid, f"ip address add {address} dev eth0; ip link set eth0 up")
    ### END SOLUTION


# %%
course.check("11.cable", cable)


# %% [markdown]
# ## 2. A switch for all
#
# This island is the host. Make a bridge `br0` that has the address `gateway` (`10.5.0.1/24`), and plug in every
# island of `islands`, a dict of addresses with their prefix by pid. Each has an `eth0`, reaches the others and the host,
# and sends everything else to the host.


# %%
def switch(gateway, islands):
    """A bridge with an address, and a cable to each of the islands."""
    ### BEGIN SOLUTION
    me = os.getpid()
    at(me, f"ip link add br0 type bridge; ip address add {gateway} dev br0; ip link set br0 up")
    for number, (pid, address) in enumerate(islands.items()):
        at(
            me,
            f"ip link add port{number} master br0 type veth peer name eth0 netns {pid}; ip link set port{number} up",
        )
        at(pid, f"ip address add {address} dev eth0; ip link set eth0 up")
        at(pid, f"ip route add default via {gateway.partition('/')[0]}")
    ### END SOLUTION


# %%
course.check("11.switch", switch)


# %% [markdown]
# ## 3. Out, and not in
#
# This island is a host again. The bridge `br0` with the range `inside` (`10.5.0.0/24`) is there, and so is `up0`,
# the way to the outside. Make the host forward, and let those inside reach everybody outside. Outside, the host's
# address must be all that is seen. **Nobody outside may begin a connection to the inside**, even if he knows the way.


# %%
def way_out(inside):
    """Forward, masquerade, and let in nothing but answers."""
    ### BEGIN SOLUTION
    rules = f"""
    table ip box {{
      chain behind {{ type nat hook postrouting priority srcnat; ip saddr {inside} oifname up0 masquerade; }}
      chain guard {{
        type filter hook forward priority filter
        oifname br0 ct state established,related accept
        iifname up0 oifname br0 drop
      }}
    }}
    """
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/ip_forward")
    ### END SOLUTION


# %%
course.check("11.way_out", way_out)


# %% [markdown]
# ## 4. Publish
#
# The same host; it forwards already, and lets in nothing but answers and what was let in by a published port
# (`ct status dnat`). Publish `port` of the host, at **all** of its addresses, so that it leads to `address` at port
# 80. It must answer for the outside, for the host itself at 127.0.0.1, and for a neighbour on the bridge who asks
# by the host's address. A visitor from the outside shall be known to the server by his own address. The bridge is
# called `br0`, its range is `inside`; what goes to other ports, and to others than the host, stays as it is.
#
# `fib daddr type local` matches what is sent to any address of the host's own.


# %%
def publish(port, address, inside):
    """Lead a port of the host to port 80 of an address, whoever asks."""
    ### BEGIN SOLUTION
    there = f"fib daddr type local tcp dport {port} dnat to {address}:80"
    rules = f"""
    table ip ports {{
      chain come {{ type nat hook prerouting priority dstnat; {there}; }}
      chain own {{ type nat hook output priority -100; {there}; }}
      chain behind {{
        type nat hook postrouting priority srcnat
        ip saddr 127.0.0.0/8 oifname br0 masquerade
        ct status dnat ip saddr {inside} oifname br0 masquerade
      }}
    }}
    """
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet")
    ### END SOLUTION


# %%
course.check("11.publish", publish)


# %% [markdown]
# ## 5. Decide like a kernel
#
# Which way does a packet go? `routes` is what `ip --json route` prints, as a list of dicts: `dst` is `default` or
# a range, or a single address; `dev` the interface; `gateway` is there where it does not lead to neighbours; a
# `metric` may be there, and 0 is meant where it is not. The **longest prefix** wins, and among equals the lowest metric.
# Write the function that answers with the interface and with the address whose card the packet is sent to. Answer
# `None` where no route fits.


# %%
def next_hop(routes, address):
    """A pair, (interface, address of the next hop), or None."""
    ### BEGIN SOLUTION
    import ipaddress

    found = []
    for route in routes:
        to = ipaddress.ip_network("0.0.0.0/0" if route["dst"] == "default" else route["dst"])
        if ipaddress.ip_address(address) in to:
            found.append((-to.prefixlen, route.get("metric", 0), route["dev"], route.get("gateway", address)))
    return min(found)[2:] if found else None
    ### END SOLUTION


# %%
course.check("11.next_hop", next_hop)

# %% [markdown]
# # The module
#
# `firewall` has the rules of the whole engine in one table. You know every one of its lines.

# %%
course.show(firewall)

# %% [markdown]
# # In short
#
# - A container's network is a namespace, a veth pair and a switch. With the namespace, its cable goes.
# - *Unreachable* means no route; *silence* means that the packet or its answer was lost on the way.
# - Out: a default route, `ip_forward`, and masquerade, so that the answer finds back. In: dnat. From the host, and from
#   the neighbour: dnat and masquerade.
# - nat chains see the first packet of a connection; the kernel remembers the rest.
# - To publish a port opens one door. It closes none: that is what the guard is for.
#
# # Questions
#
# 1. A ping says "Network is unreachable" at once, another one waits and says nothing. What do you look at first in
#    each case?
# 2. A container is killed with SIGKILL. Who takes its cable away?
# 3. Two containers have an interface of the same name, number and address. When is that no trouble at all?
# 4. Why does the bridge need an address for packets that leave, and none for packets between neighbours?
# 5. You add a dnat rule while a download runs. Does the download notice? What about the next one?
# 6. `ss -l` shows nobody on port 8080, and yet it answers. How do you find out who is behind it?
# 7. A web server behind a published port writes the addresses of its visitors into a log. Which visitors look all the
#    same there, and why?
# 8. Which of the four things that make 127.0.0.1:8080 work would be needless if the engine listened on the port
#    with a process of its own and copied the bytes? What would that cost?
# 9. Somebody switches `ip_forward` on for a container host in an office. What does that allow to a colleague's
#    laptop, if there is no guard?
# 10. With `br_netfilter`, frames between neighbours pass `forward`, and connection tracking too. Which failure of this chapter
#     would then not have happened, and which rule of labkit (`together`) is there because of it?
#
# # Go further
#
# - veth(4), bridge(8), ip-netns(8): give the islands names, and look at them from a terminal with `ip -n`.
# - nft(8), "ADDRESS FAMILIES" and "STATEMENTS": draw the hooks, then find out where `raw` and `-100` come from.
# - `bridge link set dev PORT isolated on`: switch off the talk between neighbours without a single rule.

# %%
course.finish()
