"""What a container, or a machine outside, tries beyond a single forged frame. Each yields what it got through with.

`INTRUSIONS` names them all. They leave the arena as they found it.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from netpy.kernel import netns
from tests.e2e.world import HOST_ADDRESS

from . import frames as f
from .arena import BOUND, PRIVATE, SECOND_ADDRESS, SECRET, Arena, Party, arrives, heard, honest

Trio = tuple[str, str, str]
Intrusion = Callable[[Arena], Iterator[str]]
GUARDED, LOOSE = ("mallory", "alice", "bob"), ("punch", "judy", "toby")
_FAMILIES = (4, 6)
_FLOOD = 20_000


def steal_a_mac(arena: Arena, trio: Trio = GUARDED) -> Iterator[str]:
    """Sends as its victim, also in frames that the bridge keeps to itself, to be sent what is the victim's."""
    mallory, alice, bob = (arena.party(name) for name in trio)
    with mallory.sending() as mouth, mallory.listening() as ear:
        for last in (0x00, 0x02, 0x03, 0x0E):
            mouth.send(f.ether(alice.mac, f"01:80:c2:00:00:{last:02x}", f.LLDP, bytes(46)))
        for _ in range(20):
            mouth.send(f.ether(alice.mac, f.ALL, f.IP, f.udp(mallory.four, alice.four, (1, 2), b"x")))
        letter = secrets.token_bytes(24)
        with bob.sending() as honestly:
            honestly.send(honest(bob, alice, letter))
        if heard(ear, [letter], bob.call(mallory)):
            yield "the attacker reads what is sent to the victim"


def listen_in(arena: Arena, trio: Trio = GUARDED) -> Iterator[str]:
    """Waits for frames to a MAC that nobody has."""
    mallory, _, bob = (arena.party(name) for name in trio)
    letter = secrets.token_bytes(24)
    packet = f.udp(bob.four, bob.gateway, (1, 2), letter)
    with mallory.listening() as ear, bob.sending() as mouth:
        mouth.send(f.ether(bob.mac, "02:42:00:11:22:33", f.IP, packet))
        if heard(ear, [letter], bob.call(mallory)):
            yield "frames to an unknown MAC go to everybody"


def flood_the_table(arena: Arena, trio: Trio = GUARDED) -> Iterator[str]:
    """Sends from thousands of MACs, to fill the bridge's table."""
    mallory = arena.party(trio[0])
    made_up = f"02:{secrets.token_hex(1)}:{secrets.token_hex(1)}"  # nobody's; another time others
    with mallory.sending() as mouth:
        for number in range(2000):
            mac = f"{made_up}:{(number >> 8):02x}:{number & 255:02x}:01"
            mouth.send(f.ether(mac, f.ALL, f.IP, f.udp(mallory.four, mallory.gateway, (1, 2), b"x")))
    learned = [line for line in arena.on_host("bridge", "fdb", "show").splitlines() if line.startswith(made_up)]
    if learned:
        yield f"the bridge learned {len(learned)} addresses, such as {learned[0]}"


def storm(arena: Arena, trio: Trio = GUARDED) -> Iterator[str]:
    """Sends broadcasts as fast as it can."""
    mallory, alice, _ = (arena.party(name) for name in trio)
    frame = f.ether(mallory.mac, f.ALL, f.IP, f.udp(mallory.four, "255.255.255.255", (7, 7), b"storm"))
    before = _received(alice)
    begun = time.monotonic()
    with mallory.sending() as mouth:
        for _ in range(_FLOOD):
            mouth.send(frame)
    allowed = 5000 + 5000 * (time.monotonic() - begun) * 1.2 + 500
    if _received(alice) - before > allowed:
        yield f"{_received(alice) - before} of {_FLOOD} broadcasts arrived"


def cross_to_another_network(arena: Arena) -> Iterator[str]:
    """Speaks to a container of another network: by its address, raw by way of the router, by its link-local address."""
    mallory, carol = arena.party("mallory"), arena.party("carol")
    for family in _FAMILIES:
        if mallory.tcp(carol.address(family), SECRET):
            yield f"carol answers mallory over IPv{family}"
        if _by_router(mallory, carol, family, arena.host):
            yield f"a packet reaches carol by way of the router, IPv{family}"
    if mallory.tcp(f"{carol.link_local}%eth0", SECRET):
        yield "carol answers by her link-local address"
    packet = f.udp(mallory.link_local, carol.link_local, (4000, 4001), b"to a link-local address")
    if arrives(mallory, carol, f.ether(mallory.mac, mallory.router, f.IP6, packet), guide=arena.host):
        yield "a packet from link to link is forwarded"


def route_by_the_source(arena: Arena) -> Iterator[str]:
    """IPv4's loose source route, by way of the router to another network; and IPv6's routing header."""
    mallory, carol = arena.party("mallory"), arena.party("carol")
    letter = b"by a route of my own choice"
    option = b"\x01\x83\x07\x04" + socket.inet_aton(carol.four)
    inside = f.udp(mallory.four, carol.four, (4000, 4001), letter)[20:]
    packet = f.ipv4(mallory.four, mallory.gateway, f.UDP, inside, options=option)
    with carol.listening() as ear, mallory.sending() as mouth:
        mouth.send(f.ether(mallory.mac, mallory.router, f.IP, packet))
        header = struct.pack(">BBBBI", f.UDP, 2, 0, 1, 0) + socket.inet_pton(socket.AF_INET6, carol.six)
        packet = f.packet(mallory.six, mallory.gateway6, 43, header + inside)
        mouth.send(f.ether(mallory.mac, mallory.router, f.IP6, packet))
        if heard(ear, [letter], arena.host.call(carol)):
            yield "a source-routed packet reaches carol"


def reach_the_hosts_loopback(arena: Arena) -> Iterator[str]:
    """A port published on 127.0.0.1, and the host's own loopback services, from a container and from outside."""
    if not arena.host.tcp("127.0.0.1", PRIVATE):
        yield "the port on loopback does not even serve the host"
    for who in (arena.party("mallory"), arena.party("carol"), arena.outside):
        for to in (who.gateway, "127.0.0.1", HOST_ADDRESS):
            if who.tcp(to, PRIVATE):
                yield f"{who.name} reaches the port on loopback at {to}"
        for port in (PRIVATE, 80):
            syn = _syn(who.four, "127.0.0.1", port)
            if _hears_back(who, f.ether(who.mac, who.router, f.IP, syn)):
                yield f"{who.name} is answered by 127.0.0.1:{port}"


def reach_another_address(arena: Arena) -> Iterator[str]:
    """A port published on one address of the host, by another one."""
    if not arena.outside.tcp(HOST_ADDRESS, BOUND):
        yield "the port does not serve where it is published"
    for who in (arena.outside, arena.party("carol")):
        for to in (SECOND_ADDRESS, who.gateway if who.name == "carol" else SECOND_ADDRESS):
            if who.tcp(to, BOUND):
                yield f"{who.name} reaches at {to} what is published at {HOST_ADDRESS}"


def route_in_from_outside(arena: Arena) -> Iterator[str]:
    """A machine outside sends straight to a container's address."""
    outside = arena.outside
    for name in ("alice", "carol", "ivan", "eve"):
        party = arena.party(name)
        for family in _FAMILIES:
            address = party.address(family)
            if address and outside.tcp(address, SECRET):
                yield f"outside reaches {name} at {address}"
    if arrives(outside, arena.party("alice"), *_spoofed_as_inside(arena), guide=arena.host):
        yield "outside sends as a container and is let in"


def talk_without_icc(arena: Arena) -> Iterator[str]:
    """Containers that may not talk to each other: straight, and by way of the router, which is on the same bridge."""
    eve, adam = arena.party("eve"), arena.party("adam")
    if eve.tcp(adam.four, SECRET):
        yield "adam answers eve"
    packet = f.udp(eve.four, adam.four, (4000, 4001), b"apart, yet together")
    for mac, way in ((adam.mac, "straight"), (f.ALL, "to all"), (eve.router, "by way of the router")):
        if arrives(eve, adam, f.ether(eve.mac, mac, f.IP, packet), guide=arena.host):
            yield f"a packet reaches adam {way}"


def leave_an_internal_network(arena: Arena) -> Iterator[str]:
    """A container without a way out sends by way of the host nevertheless."""
    ivan, outside = arena.party("ivan"), arena.outside
    packet = f.udp(ivan.four, outside.four, (4000, 4001), b"out of an internal network")
    if arrives(ivan, outside, f.ether(ivan.mac, ivan.router, f.IP, packet), guide=arena.host):
        yield "a packet of ivan's gets out"
    packet = f.udp(ivan.four, arena.party("carol").four, (4000, 4001), b"to another network")
    if arrives(ivan, arena.party("carol"), f.ether(ivan.mac, ivan.router, f.IP, packet), guide=arena.host):
        yield "a packet of ivan's reaches carol"


def change_its_own_addresses(arena: Arena) -> Iterator[str]:
    """With CAP_NET_ADMIN: takes another MAC, and bob's address."""
    alice, bob = arena.party("alice"), arena.party("bob")
    change = (
        f"ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; ip link set eth0 up;"
        f"ip addr add {bob.four}/16 dev eth0; arping -c 1 -A -I eth0 {bob.four}; ping -c 1 -W 1 {alice.four}"
    )
    said = arena.netpy.run(
        "run", "--rm", "--cap-add", "NET_ADMIN", "--network", "front", "busybox", "sh", "-c", change, check=False
    ).stdout
    if " 0% packet loss" in said:
        yield "with another MAC it still talks to alice"
    if bob.mac not in alice.run("ip", "neigh", "show", bob.four) and not alice.tcp(bob.four, SECRET):
        yield "alice has lost bob"
    if not alice.tcp(bob.four, SECRET).startswith("HTTP"):
        yield "alice no longer reaches bob"


def spoil_its_own_names(arena: Arena) -> Iterator[str]:
    """Listens on 127.0.0.11, rewrites resolv.conf, flushes its own rules: it hurts itself alone."""
    vandal = (
        "echo nameserver 192.0.2.1 > /etc/resolv.conf; nc -lu -p 53 -s 127.0.0.11 </dev/null >/dev/null 2>&1 & "
        "nc -l -p 53 -s 127.0.0.11 </dev/null >/dev/null 2>&1 & sleep 1000"
    )
    party = arena.start("vandal", "--network", "front", "--cap-add", "NET_ADMIN", "busybox", "sh", "-c", vandal)
    try:
        party.run("nft", "flush", "ruleset")
        party.run("iptables-legacy", "-t", "nat", "-F")
        bob = arena.netpy.run("exec", "bob", "nslookup", "alice", "127.0.0.11", check=False)
        if arena.party("alice").four not in bob.stdout:
            yield f"bob cannot resolve alice: {bob.stdout}"
    finally:
        arena.remove("vandal")


def forge_a_name(arena: Arena) -> Iterator[str]:
    """Knows id and port of a query that the name server forwards for bob, and answers first: as the server, as itself.

    The server's address is outside and silent. What comes in by the sandbox's own interface is all that could deceive.
    """
    mallory = arena.party("mallory")
    flags = ("--network", "front", "--dns", arena.outside.four, "busybox", "sleep", "1000")
    bob = arena.start("asker", *flags)
    try:
        with arena.outside.listening() as ear, mallory.sending() as mouth:
            answers: list[str] = []
            ask = ("exec", "asker", "nslookup", "-type=a", "forged.example.org", "127.0.0.11")
            thread = threading.Thread(target=lambda: answers.append(arena.netpy.run(*ask, check=False).stdout))
            thread.start()
            query, port = _query_of(ear, bob)
            answer = f.dns_answer(query, "203.0.113.66")
            for source in (arena.outside.four, mallory.four, mallory.gateway):
                packet = f.udp(source, bob.four, (53, port), answer)
                for _ in range(3):
                    mouth.send(f.ether(mallory.mac, bob.mac, f.IP, packet))
            thread.join()
            if "203.0.113.66" in "".join(answers):
                yield "a forged answer was believed"
    finally:
        arena.remove("asker")


def take_a_published_port(arena: Arena) -> Iterator[str]:
    """Another program on the host binds a port that is published."""
    for address in ("0.0.0.0", HOST_ADDRESS):
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):

            def work(address: str = address, option: int = option) -> bool:
                with socket.socket() as rival:
                    rival.setsockopt(socket.SOL_SOCKET, option, 1)
                    with contextlib.suppress(OSError):
                        rival.bind((address, BOUND))
                        rival.listen()
                        return True
                return False

            if arena.host.within(work) and not arena.outside.tcp(HOST_ADDRESS, BOUND).startswith("HTTP"):
                yield f"a program on the host took port {BOUND} at {address}"


def reach_the_daemon(arena: Arena) -> Iterator[str]:
    """Looks for the sockets of the daemon and the name server from inside."""
    mallory = arena.party("mallory")
    names = mallory.within(Path("/proc/thread-self/net/unix").read_text)
    if "netpy" in names:
        yield "a Unix socket of ours is in its namespace"
    for path in (str(arena.netpy.socket), str(arena.netpy.exec_root), "/run/netpy", str(arena.netpy.data_root)):
        if arena.netpy.run("exec", "mallory", "ls", path, check=False).returncode == 0:
            yield f"it sees {path}"
    listening = netns.run_in(arena.world.host, Path("/proc/thread-self/net/tcp").read_text).splitlines()[1:]
    if [line for line in listening if line.split()[3] == "0A"]:
        yield "the daemon listens on TCP"


INTRUSIONS: dict[str, Intrusion] = {
    work.__name__.replace("_", " "): work
    for work in (
        steal_a_mac, listen_in, flood_the_table, storm, cross_to_another_network, route_by_the_source,
        reach_the_hosts_loopback, reach_another_address, route_in_from_outside, talk_without_icc,
        leave_an_internal_network, change_its_own_addresses, spoil_its_own_names, forge_a_name,
        take_a_published_port, reach_the_daemon,
    )
}  # fmt: skip

BETWEEN_NEIGHBOURS = (listen_in, flood_the_table, storm, steal_a_mac)


def _by_router(sender: Party, receiver: Party, family: int, guide: Party) -> bool:
    packet = f.udp(sender.address(family), receiver.address(family), (4000, 4001), b"by way of the router")
    kind = f.IP if family == 4 else f.IP6
    return arrives(sender, receiver, f.ether(sender.mac, sender.router, kind, packet), guide=guide)


def _spoofed_as_inside(arena: Arena) -> list[bytes]:
    outside, alice, bob = arena.outside, arena.party("alice"), arena.party("bob")
    packet = f.udp(bob.four, alice.four, (4000, 4001), b"as if from inside")
    packet6 = f.udp(bob.six, alice.six, (4000, 4001), b"as if from inside")
    return [
        f.ether(outside.mac, outside.router, f.IP, packet),
        f.ether(outside.mac, outside.router, f.IP6, packet6),
    ]


def _syn(source: str, destination: str, port: int) -> bytes:
    body = struct.pack(">HHIIBBHHH", 40123, port, 1, 0, 0x50, 0x02, 1024, 0, 0)
    return f.packet(source, destination, 6, body)


def _hears_back(who: Party, frame: bytes) -> bool:
    """Whether anything of TCP comes back to the port that `_syn` sends from, before an answer to a ping does."""
    with who.listening() as ear, who.sending() as mouth:
        mouth.send(frame)
        who.run("ping", "-c", "1", "-W", "1", who.gateway)
        ear.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            while True:
                data = ear.recv(65536)
                if data[12:14] == b"\x08\x00" and data[23] == 6 and data[36:38] == struct.pack(">H", 40123):
                    return True
    return False


def _received(party: Party) -> int:
    lines = party.within(Path("/proc/thread-self/net/dev").read_text).splitlines()
    return next(int(line.split()[2]) for line in lines if line.strip().startswith("eth0:"))


def _query_of(ear: socket.socket, asker: Party) -> tuple[bytes, int]:
    """The next DNS query that arrives outside, and the port that an answer must go to at the asker."""
    del asker
    while True:
        data = ear.recv(65536)
        if data[12:14] == b"\x08\x00" and data[23] == 17 and data[36:38] == b"\0\x35" and b"forged" in data:
            return data[42:], int.from_bytes(data[34:36], "big")
