"""What packets experience: one matrix on both firewall backends, with and without br_netfilter, in both families."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from netpy.diff import Plan, diff
from netpy.kernel import netns
from netpy.kernel.netfilter import Backend
from netpy.kernel.nft.backend import Nftables
from netpy.kernel.xt.backend import Xtables
from netpy.objects import AllowPort, Isolate, Masquerade, Publish
from tests.integration.firewall_lab import FAR, HOST, LOOPBACK, NETWORKS, OUT, Lab, address, lab, subnet

pytestmark = pytest.mark.root
BACKENDS = {"nftables": Nftables, "iptables": Xtables}
BOTH = pytest.mark.parametrize("family", (4, 6))
WEB, UDP, BOUND, PRIVATE, SECRET, ROUTED = 8080, 5353, 8081, 8082, 9999, 8090
ANY = {4: "0.0.0.0", 6: "::"}


@dataclass(frozen=True)
class World:
    lab: Lab
    backend: Backend

    def apply(self, *wanted: object) -> Plan:
        """Bring about `wanted` on top of what there is."""
        state = self.backend.lower(wanted)
        plan = diff(self.backend.observe(state), state)
        self.backend.apply(list(plan))
        return plan

    def remove(self, *unwanted: object) -> None:
        """Take `unwanted` away again, but for the static part, which is there for the others."""
        state = self.backend.lower(unwanted)
        self.backend.apply(list(diff(self.backend.observe(state), ())))


def networks() -> Iterator[object]:
    for family in (4, 6):
        for name in NETWORKS:
            guard = "routed" if name == "r" else "nat"
            yield Isolate(bridge=f"br-{name}", subnet=subnet(name, family), internal=name == "i", guard=guard)
            if name in "ab":
                yield Masquerade(bridge=f"br-{name}", subnet=subnet(name, family))


def publish(
    member: str, family: int, host_port: int, port: int, *, host_ip: str = "", protocol: str = "tcp"
) -> Publish:
    bridge, ip = f"br-{member[0]}", host_ip or ANY[family]
    where = address(member, family)
    return Publish(bridge=bridge, protocol=protocol, host_ip=ip, host_port=host_port, address=where, port=port)  # pyright: ignore


def ports() -> Iterator[object]:
    for family in (4, 6):
        yield publish("a1", family, WEB, 80)
        yield publish("a1", family, UDP, 53, protocol="udp")
        yield publish("a1", family, BOUND, 80, host_ip=HOST[family])
        yield publish("a1", family, PRIVATE, 80, host_ip=LOOPBACK[family])
        yield publish("a1", family, PRIVATE, 53, host_ip=LOOPBACK[family], protocol="udp")
        yield AllowPort(bridge="br-r", protocol="tcp", address=address("r1", family), port=ROUTED)


@pytest.fixture(scope="module", params=[False, True], ids=["", "br_netfilter"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab(tmp_path_factory.mktemp("lab"), bridge_netfilter=request.param) as found:
        for member in ("a1", "a2", "b1", "i1", "i2", "r1"):
            found.servers.start(member, 80)
            found.servers.start(member, SECRET)
            found.servers.start(member, 53, protocol="udp")
        found.servers.start("r1", ROUTED)
        for name in ("out", "far"):
            found.servers.start(name, 80)
            found.servers.start(name, WEB)
            found.servers.start(name, 53, protocol="udp")
        found.settle()
        yield found


@pytest.fixture(scope="module", params=["nftables", "iptables"])
def world(request: pytest.FixtureRequest, place: Lab) -> Iterator[World]:
    backend: Backend = netns.run_in(place.path("host"), lambda: BACKENDS[request.param]("netpy-f00"))
    found = World(place, backend)
    with closing(backend):
        found.apply(*networks(), *ports())
        yield found
        backend.clean()


# ---- published ports ---------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("client", ("out", "far", "host", "a1", "a2", "b1"))
def test_a_published_port_is_reached_at_the_hosts_address(world: World, client: str, family: int) -> None:
    assert world.lab.reach(client, HOST[family], WEB).startswith("a1 ")
    assert world.lab.hear(client, HOST[family], UDP).startswith("a1 ")


@BOTH
def test_the_container_sees_who_asks_from_outside(world: World, family: int) -> None:
    assert world.lab.reach("out", HOST[family], WEB) == f"a1 {OUT[family]}"


def test_a_published_port_is_reached_on_the_hosts_loopback(world: World) -> None:
    assert world.lab.reach("host", "127.0.0.1", WEB).startswith("a1 ")
    assert world.lab.reach("host", "127.0.0.1", PRIVATE).startswith("a1 ")
    assert world.lab.hear("host", "127.0.0.1", UDP).startswith("a1 ")
    assert world.lab.hear("host", "127.0.0.1", PRIVATE).startswith("a1 ")


@BOTH
def test_a_port_published_on_one_address_is_reached_there_only(world: World, family: int) -> None:
    gateway = address("b1", family).replace("2", "1") if family == 6 else "10.10.0.1"
    assert world.lab.reach("out", HOST[family], BOUND).startswith("a1 ")
    assert world.lab.connect("b1", gateway, BOUND) == ""
    assert world.lab.reach("b1", gateway, WEB).startswith("a1 ")


@BOTH
def test_one_address_goes_before_all_addresses(world: World, family: int) -> None:
    special = publish("b1", family, WEB, 80, host_ip=HOST[family])
    world.apply(special)
    assert world.lab.reach("out", HOST[family], WEB).startswith("b1 ")
    world.remove(special)
    assert world.lab.reach("out", HOST[family], WEB).startswith("a1 ")


@BOTH
def test_strangers_traffic_to_the_same_port_is_not_hijacked(world: World, family: int) -> None:
    assert world.lab.reach("out", FAR[family], WEB) == f"far {OUT[family]}"
    assert world.lab.reach("b1", FAR[family], WEB).startswith("far ")


@BOTH
def test_a_port_that_is_withdrawn_is_closed(world: World, family: int) -> None:
    extra = publish("b1", family, 8800, 80)
    world.apply(extra)
    assert world.lab.reach("out", HOST[family], 8800).startswith("b1 ")
    world.remove(extra)
    assert world.lab.connect("out", HOST[family], 8800) == ""
    assert world.lab.reach("out", HOST[family], WEB).startswith("a1 ")


# ---- what must not be reached ------------------------------------------------------------------------------------


@BOTH
def test_a_container_is_not_reached_directly(world: World, family: int) -> None:
    strangers = ("out", "far", "b1", "i1", "r1")
    assert world.lab.answers(strangers, address("a1", family), tcp=(80, SECRET), udp=(53,)) == []


@BOTH
def test_networks_are_isolated_both_ways(world: World, family: int) -> None:
    assert world.lab.answers(["a1"], address("b1", family), tcp=(80,), udp=(53,)) == []
    assert world.lab.answers(["b1"], address("a1", family), tcp=(80,), udp=(53,)) == []


@BOTH
def test_containers_of_one_network_and_the_host_reach_each_other(world: World, family: int) -> None:
    assert world.lab.reach("a1", address("a2", family), 80) == f"a2 {address('a1', family)}"
    assert world.lab.reach("i1", address("i2", family), 80) == f"i2 {address('i1', family)}"
    assert world.lab.reach("host", address("a1", family), SECRET).startswith("a1 ")


@BOTH
def test_a_port_on_loopback_is_not_reached_from_outside(world: World, family: int) -> None:
    assert world.lab.answers(("out", "a2", "b1"), HOST[family], tcp=(PRIVATE,), udp=(PRIVATE,)) == []


@pytest.mark.parametrize(("client", "link"), (("out", "lan"), ("a2", "br-a"), ("b1", "br-b")))
def test_a_frame_crafted_to_loopback_leads_nowhere(world: World, client: str, link: str) -> None:
    source = OUT[4] if client == "out" else address(client, 4)
    target = netns.run_in(world.lab.path("host"), lambda: Path(f"/sys/class/net/{link}").exists()) and link
    mac = world.lab.run("host", "ip", "-o", "link", "show", target or link).split("link/ether ")[1].split()[0]
    for to, port, word in (("127.0.0.1", PRIVATE, "stolen"), (HOST[4], UDP, "honest")):
        frame = _udp_frame(mac, source, to, port, f"{word} {client}".encode())
        netns.run_in(world.lab.path(client), lambda frame=frame: _inject(frame))
    # The second frame went the same way after the first: once it has arrived, the first one never will.
    while f"a1 honest {client}" not in world.lab.servers.heard():
        world.lab.ask("host", address("a1", 4), 53)
    assert f"a1 stolen {client}" not in world.lab.servers.heard()


@BOTH
def test_an_internal_network_has_no_way_out_nor_in(world: World, family: int) -> None:
    for to in (FAR[family], OUT[family], address("a1", family)):
        assert world.lab.answers(["i1"], to, tcp=(80,), udp=(53,)) == []
    assert world.lab.connect("i1", HOST[family], WEB) == ""
    assert world.lab.answers(("out", "a1"), address("i1", family), tcp=(80,)) == []
    assert world.lab.reach("host", address("i1", family), 80).startswith("i1 ")


# ---- ways out ----------------------------------------------------------------------------------------------------


@BOTH
def test_the_outside_sees_the_hosts_address(world: World, family: int) -> None:
    assert world.lab.reach("a1", OUT[family], 80) == f"out {HOST[family]}"
    assert world.lab.hear("b1", OUT[family], 53) == f"out {HOST[family]}"


@BOTH
def test_a_fixed_source_address_is_used(world: World, family: int) -> None:
    source = "192.0.2.77" if family == 4 else "fd00:2::77"
    spare = (f"{source}/{32 if family == 4 else 128}", "dev", "lan", *(("nodad",) if family == 6 else ()))
    world.lab.run("host", "ip", "addr", "add", *spare)
    fixed = Masquerade(bridge="br-i", subnet=subnet("i", family), source=source)
    opened = Isolate(bridge="br-i", subnet=subnet("i", family))
    closed = Isolate(bridge="br-i", subnet=subnet("i", family), internal=True)
    before, after = world.backend.lower([closed]), world.backend.lower([opened, fixed])
    plan = diff(before, after)
    world.backend.apply(list(plan))
    assert world.backend.observe(after) == after
    answer = world.lab.reach("i1", OUT[family], 80)
    world.backend.apply(list(plan.undo()))
    world.lab.run("host", "ip", "addr", "del", *spare[:3])
    assert answer == f"out {source}"
    assert world.lab.connect("i1", OUT[family], 80) == ""


@BOTH
def test_a_routed_network_is_reached_at_allowed_ports_and_pinged(world: World, family: int) -> None:
    to = address("r1", family)
    for client in ("out", "a1"):
        assert world.lab.reach(client, to, ROUTED).startswith("r1 ")
        assert world.lab.connect(client, to, 80) == ""
        assert " 0% packet loss" in world.lab.run(client, "ping", "-c", "1", "-W", "1", to, check=False)
    assert world.lab.reach("r1", OUT[family], 80) == f"out {to}"


# ---- state -------------------------------------------------------------------------------------------------------


def test_everything_is_found_again(world: World) -> None:
    state = world.backend.lower([*networks(), *ports()])
    assert not diff(world.backend.observe(state), state)
    owned = {obj.key: obj for obj in world.backend.owned()}
    for obj in state:
        if obj.key.kind != "passage":
            assert owned.pop(obj.key) == obj
    assert not owned


def _udp_frame(mac: str, source: str, target: str, port: int, data: bytes) -> bytes:
    udp = struct.pack(">HHHH", 4000, port, 8 + len(data), 0) + data
    addresses = socket.inet_aton(source) + socket.inet_aton(target)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    words = struct.unpack(">10H", head + addresses)
    total = sum(words)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    ip = head[:10] + struct.pack(">H", checksum) + addresses
    return bytes.fromhex(mac.replace(":", "")) + b"\x02\0\0\0\0\x02" + b"\x08\0" + ip + udp


def _inject(frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        raw.send(frame)
