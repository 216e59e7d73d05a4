# %% 11.cable: forgets to switch the far end on
def cable(other, ours, theirs):
    subprocess.run(f"ip link add eth0 type veth peer name eth0 netns {other}".split(), check=True)
    at(os.getpid(), f"ip address add {ours} dev eth0; ip link set eth0 up")
    at(other, f"ip address add {theirs} dev eth0")


# %% 11.cable: both ends are on this side
def cable(other, ours, theirs):
    at(os.getpid(), "ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up")
    at(os.getpid(), f"ip address add {ours} dev eth0; ip address add {theirs} dev eth1")


# %% 11.cable: leaves the prefix to chance
def cable(other, ours, theirs):
    subprocess.run(f"ip link add eth0 type veth peer name eth0 netns {other}".split(), check=True)
    for pid, address in ((os.getpid(), ours), (other, theirs)):
        at(pid, f"ip address add {address.partition('/')[0]}/24 dev eth0; ip link set eth0 up")


# %% 11.switch: a cable to each, and no switch
def switch(gateway, islands):
    for number, (pid, address) in enumerate(islands.items()):
        at(os.getpid(), f"ip link add port{number} type veth peer name eth0 netns {pid}")
        at(os.getpid(), f"ip address add {gateway} dev port{number}; ip link set port{number} up")
        at(pid, f"ip address add {address} dev eth0; ip link set eth0 up")
        at(pid, f"ip route add default via {gateway.partition('/')[0]}")


# %% 11.switch: the ports stay down
def switch(gateway, islands):
    at(os.getpid(), f"ip link add br0 type bridge; ip address add {gateway} dev br0; ip link set br0 up")
    for number, (pid, address) in enumerate(islands.items()):
        at(os.getpid(), f"ip link add port{number} master br0 type veth peer name eth0 netns {pid}")
        at(pid, f"ip address add {address} dev eth0; ip link set eth0 up")
        at(pid, f"ip route add default via {gateway.partition('/')[0]}")


# %% 11.switch: neighbours alone, and no way to elsewhere
def switch(gateway, islands):
    at(os.getpid(), f"ip link add br0 type bridge; ip address add {gateway} dev br0; ip link set br0 up")
    for number, (pid, address) in enumerate(islands.items()):
        at(os.getpid(), f"ip link add port{number} master br0 type veth peer name eth0 netns {pid}")
        at(os.getpid(), f"ip link set port{number} up")
        at(pid, f"ip address add {address} dev eth0; ip link set eth0 up")


# %% 11.way_out: forwards and forgets the way back
def way_out(inside):
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/ip_forward")


# %% 11.way_out: the way out is open, and so is the way in
def way_out(inside):
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/ip_forward; nft add table ip box")
    at(os.getpid(), "nft 'add chain ip box behind { type nat hook postrouting priority srcnat; }'")
    at(os.getpid(), f"nft 'add rule ip box behind ip saddr {inside} oifname up0 masquerade'")


# %% 11.way_out: shuts out the answers, too
def way_out(inside):
    rules = f"""
    table ip box {{
      chain behind {{ type nat hook postrouting priority srcnat; ip saddr {inside} oifname up0 masquerade; }}
      chain guard {{ type filter hook forward priority filter; iifname up0 drop; }}
    }}
    """
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/ip_forward")


# %% 11.way_out: guards the host instead of what lies behind it
def way_out(inside):
    rules = f"""
    table ip box {{
      chain behind {{ type nat hook postrouting priority srcnat; ip saddr {inside} oifname up0 masquerade; }}
      chain guard {{ type filter hook input priority filter; iifname up0 ct state new drop; }}
    }}
    """
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/ip_forward")


# %% 11.publish: for the outside alone
def publish(port, address, inside):
    there = f"fib daddr type local tcp dport {port} dnat to {address}:80"
    rules = f"table ip ports {{ chain come {{ type nat hook prerouting priority dstnat; {there}; }}; }}"
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)


# %% 11.publish: everybody's port, not only the host's
def publish(port, address, inside):
    there = f"tcp dport {port} dnat to {address}:80"
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


# %% 11.publish: the neighbour's answer takes the short way
def publish(port, address, inside):
    there = f"fib daddr type local tcp dport {port} dnat to {address}:80"
    rules = f"""
    table ip ports {{
      chain come {{ type nat hook prerouting priority dstnat; {there}; }}
      chain own {{ type nat hook output priority -100; {there}; }}
      chain behind {{
        type nat hook postrouting priority srcnat
        ip saddr 127.0.0.0/8 oifname br0 masquerade
      }}
    }}
    """
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet")


# %% 11.publish: masquerades whoever comes, so that the server knows nobody
def publish(port, address, inside):
    there = f"fib daddr type local tcp dport {port} dnat to {address}:80"
    rules = f"""
    table ip ports {{
      chain come {{ type nat hook prerouting priority dstnat; {there}; }}
      chain own {{ type nat hook output priority -100; {there}; }}
      chain behind {{ type nat hook postrouting priority srcnat; oifname br0 masquerade; }}
    }}
    """
    subprocess.run(["nft", "--file", "-"], input=rules, text=True, check=True)
    at(os.getpid(), "echo 1 > /proc/sys/net/ipv4/conf/br0/route_localnet")


# %% 11.next_hop: the first that fits
def next_hop(routes, address):
    import ipaddress

    for route in routes:
        to = ipaddress.ip_network("0.0.0.0/0" if route["dst"] == "default" else route["dst"])
        if ipaddress.ip_address(address) in to:
            return route["dev"], route.get("gateway", address)
    return None


# %% 11.next_hop: the longest prefix, whatever the metric
def next_hop(routes, address):
    import ipaddress

    best = None
    for route in sorted(routes, key=lambda route: route.get("metric", 0)):
        to = ipaddress.ip_network("0.0.0.0/0" if route["dst"] == "default" else route["dst"])
        if ipaddress.ip_address(address) in to and (best is None or to.prefixlen >= best[0]):
            best = (to.prefixlen, route["dev"], route.get("gateway", address))
    return best[1:] if best else None


# %% 11.next_hop: compares the beginnings of texts
def next_hop(routes, address):
    best = ("", None)
    for route in routes:
        start = "" if route["dst"] == "default" else route["dst"].partition("/")[0].rstrip(".0")
        if address.startswith(start) and len(start) >= len(best[0]):
            best = (start, (route["dev"], route.get("gateway", address)))
    return best[1]


# %% 11.next_hop: sends to neighbours by way of nobody
def next_hop(routes, address):
    import ipaddress

    found = []
    for route in routes:
        to = ipaddress.ip_network("0.0.0.0/0" if route["dst"] == "default" else route["dst"])
        if ipaddress.ip_address(address) in to:
            found.append((-to.prefixlen, route.get("metric", 0), route["dev"], route.get("gateway")))
    return min(found)[2:] if found else None
