"""Text of plans and drift: stable, one line per change, naming the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from netpy import render
from netpy.diff import Create, Delete, Plan, Update, diff
from netpy.objects import (
    Address,
    AllowPort,
    Bridge,
    Isolate,
    Key,
    Masquerade,
    Publish,
    RedirectDns,
    Route,
    Sysctl,
    Veth,
)

BRIDGE = Bridge(name="br-1", mac="02:00:00:00:00:01", mtu=1500, mark="m")
VETH = Veth(
    name="veth12ab",
    peer_netns="/run/netns/web",
    ifname="eth0",
    mac="02:42:0a:09:00:02",
    mtu=1500,
    mark="m",
    bridge="br-1",
    hairpin=True,
)
EVERYTHING = [
    BRIDGE,
    VETH,
    Sysctl(name="net/ipv4/ip_forward", value="1"),
    Address(link="br-1", address="10.9.0.1/24"),
    Address(link="eth0", address="10.9.0.2/24", netns="/run/netns/web"),
    Route(destination="0.0.0.0/0", link="eth0", via="10.9.0.1", netns="/run/netns/web"),
    Route(destination="::/0", link="eth0", via="fd00::1", netns="/run/netns/web"),
    Route(destination="10.1.0.0/16", link="br-1"),
    Isolate(bridge="br-1", subnet="10.9.0.0/24"),
    Isolate(bridge="br-1", subnet="fd00::/64", internal=True),
    Masquerade(bridge="br-1", subnet="10.9.0.0/24", source="192.0.2.1"),
    Publish(bridge="br-1", protocol="tcp", host_ip="0.0.0.0", host_port=8800, address="10.9.0.2", port=80),
    Publish(bridge="br-1", protocol="udp", host_ip="::", host_port=53, address="fd00::2", port=53),
    AllowPort(bridge="br-1", protocol="tcp", address="10.9.0.2", port=80),
    RedirectDns(port=0, netns="/run/netns/web"),
]


def test_every_object_has_its_line():
    assert render.plan(diff((), EVERYTHING)).splitlines() == [
        "+ isolate 10.9.0.0/24 behind br-1, guard nat",
        "+ isolate fd00::/64 behind br-1, internal",
        "+ masquerade 10.9.0.0/24 leaving br-1 as 192.0.2.1",
        "+ bridge br-1 address 02:00:00:00:00:01 mtu 1500",
        "+ veth veth12ab peer eth0 address 02:42:0a:09:00:02 netns web mtu 1500 master br-1 hairpin",
        "+ sysctl net/ipv4/ip_forward = 1",
        "+ address 10.9.0.1/24 dev br-1",
        "+ address 10.9.0.2/24 dev eth0 netns web",
        "+ route 10.1.0.0/16 dev br-1",
        "+ route default via 10.9.0.1 dev eth0 netns web",
        "+ route default (IPv6) via fd00::1 dev eth0 netns web",
        "+ redirect 127.0.0.11:53 -> 127.0.0.11:(any) netns web",
        "+ allow 10.9.0.2:80/tcp behind br-1",
        "+ publish 0.0.0.0:8800/tcp -> 10.9.0.2:80",
        "+ publish [::]:53/udp -> [fd00::2]:53",
    ]


def test_a_state_and_a_removal_say_the_same_things():
    lines = render.state(EVERYTHING).splitlines()
    removed = render.plan(diff(EVERYTHING, ())).splitlines()
    assert removed == [f"- {line}" for line in reversed(lines)]


def test_updates_name_the_fields():
    smaller = Bridge(name="br-1", mac=BRIDGE.mac, mtu=1400, mark="m", up=False)
    assert render.plan(diff([smaller], [BRIDGE])) == "~ bridge br-1: mtu 1400 -> 1500, up off -> on"


def test_nothing_to_do_is_empty():
    assert render.plan(Plan()) == ""
    assert render.drift(Plan()) == []


def test_drift():
    address = Address(link="br-1", address="10.9.0.9/24")
    other = Veth(name="veth12ab", peer_netns="", ifname="", mac="", mtu=1500, mark="m", bridge="br-1", hairpin=True)
    shrunk = Bridge(name="br-1", mac=BRIDGE.mac, mtu=1400, mark="m")
    route = Route(destination="0.0.0.0/0", link="eth0", via="10.9.0.1", netns="/run/netns/web")
    assert render.drift(diff([shrunk, other, address], [BRIDGE, VETH, route])) == [
        "address 10.9.0.9/24 dev br-1: unexpected",
        "bridge br-1: mtu is 1400, should be 1500",
        "veth veth12ab: peer_netns is none, should be /run/netns/web; ifname is none, should be eth0; "
        "mac is none, should be 02:42:0a:09:00:02",
        "route default netns web: missing",
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    RANK: ClassVar[int] = 80
    MUTABLE: ClassVar[frozenset[str]] = frozenset({"text"})
    text: str

    @property
    def key(self) -> Key:
        return Key("rule", "", "r")

    def describe(self) -> str:
        return f"rule r says {self.text}\nand more"


def test_objects_that_describe_themselves():
    one, two = Rule(text="a"), Rule(text="b")
    assert render.plan(Plan((Create(one), Update(one, two), Delete(two)))).splitlines() == [
        "+ rule r says a",
        "~ rule r says b",
        "- rule r says b",
    ]
    assert render.drift(Plan((Update(one, two),))) == ["rule r says a: not as it should be"]


def test_an_object_of_another_kind_under_the_same_key():
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Impostor:
        RANK: ClassVar[int] = 20
        MUTABLE: ClassVar[frozenset[str]] = frozenset()

        @property
        def key(self) -> Key:
            return BRIDGE.key

    assert render.drift(diff([Impostor()], [BRIDGE])) == ["bridge br-1: kind is Impostor, should be Bridge"]
    assert render.plan(Plan((Create(Impostor()),))) == "+ bridge br-1"
