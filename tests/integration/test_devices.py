"""Links on a parent, links of others: what a plan makes is what is observed, on the real kernel and in memory alike."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

from netpy.diff import Delete, Plan, State, diff
from netpy.errors import ApplyError
from netpy.kernel import netns
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.memory import MemoryKernel
from netpy.objects import Address, Adopt, Bridge, Child, Device, Given, Key, Route, Veth
from tests.integration.test_links import NoRules

pytestmark = pytest.mark.root
T = TypeVar("T")
MARK = "netpy-test/endpoint/1"


class World:
    """A host with a link `up0` that is nobody's, and a sandbox. Everything is done in the host's namespace."""

    def __init__(self, kernel: LinuxKernel | MemoryKernel, host: str, sandbox: str) -> None:
        self.kernel, self.host, self.sandbox = kernel, host, sandbox

    def on_host(self, work: Callable[[], T]) -> T:
        return netns.run_in(self.host, work)

    def reach(self, wanted: State) -> None:
        self.on_host(lambda: self.kernel.apply(diff(self.kernel.observe(wanted), wanted)))
        assert not self.missing(wanted)

    def missing(self, wanted: State) -> Plan:
        return self.on_host(lambda: diff(self.kernel.observe(wanted), wanted))

    def remove(self, wanted: State) -> None:
        self.on_host(lambda: self.kernel.apply(diff(self.kernel.observe(wanted), ())))
        assert not self.on_host(lambda: self.kernel.observe(wanted))

    def ip(self, words: str, where: str = "") -> str:
        command = ["nsenter", f"--net={where or self.host}", "ip", *words.split()]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(params=["memory", "linux"])
def world(request: pytest.FixtureRequest, namespace: str) -> Iterator[World]:
    if request.param == "memory":
        kernel = MemoryKernel("netpy-test")
        kernel.create_netns("/run/netns/x")
        up = Bridge(name="up0", mac="02:00:00:00:00:01", mtu=1500, mark="")
        kernel.objects[Key("bridge", "", "up0")] = up
        yield World(kernel, "", "/run/netns/x")
        return
    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    made = World(LinuxKernel(NoRules(), "netpy-test"), namespace, path)
    made.ip("link add up0 type veth peer name up1")
    yield made
    netns.delete(path)


def macvlan(world: World, **more) -> Child:
    values = {"mtu": 1400, "mac": "02:42:0a:00:00:02", "mode": "bridge"} | more
    return Child(kind="macvlan", parent="up0", netns=world.sandbox, ifname="eth0", mark=MARK, **values)


def test_a_macvlan_link_comes_changes_and_goes(world: World) -> None:
    address = Address(netns=world.sandbox, link="eth0", address="10.0.0.2/24")
    route = Route(netns=world.sandbox, destination="0.0.0.0/0", link="eth0", via="10.0.0.1")
    world.reach(frozenset({macvlan(world), address, route}))
    world.reach(frozenset({macvlan(world, mtu=1300), address, route}))
    world.remove(frozenset({macvlan(world, mtu=1300), address, route}))


def test_a_missing_parent_is_named(world: World) -> None:
    child = Child(kind="macvlan", parent="nope0", netns=world.sandbox, ifname="eth0", mode="bridge", mark=MARK)
    with pytest.raises(ApplyError, match="link nope0 does not exist"):
        world.reach(frozenset({child}))


def test_a_link_of_somebody_is_adopted_and_given_back(world: World) -> None:
    before = dict(world.kernel.objects) if isinstance(world.kernel, MemoryKernel) else {}
    adopt = Adopt(source="up0", netns=world.sandbox, ifname="eth0", mark=MARK, mac="02:42:0a:00:00:09", mtu=1350)
    address = Address(netns=world.sandbox, link="eth0", address="10.0.0.2/24")
    world.reach(frozenset({adopt, address}))
    world.remove(frozenset({adopt, address}))
    world.reach(frozenset({adopt, address}))  # so it was back under its old name
    world.remove(frozenset({adopt, address}))
    if isinstance(world.kernel, MemoryKernel):
        assert world.kernel.objects == before
    else:
        assert "up0" in world.ip("link show up0")


def test_what_somebody_else_configured_is_looked_at_and_never_made(world: World) -> None:
    given = Given(
        netns=world.sandbox,
        ifname="eth0",
        maker="cni",
        addresses=("10.0.0.2/24",),
        routes=(("0.0.0.0/0", "10.0.0.1"),),
    )
    with pytest.raises(ApplyError, match="only cni can make it"):
        world.reach(frozenset({given}))
    if isinstance(world.kernel, MemoryKernel):
        return
    world.ip("link add eth0 type veth peer name other", world.sandbox)
    for words in ("addr add 10.0.0.2/24 dev eth0", "link set eth0 up", "link set other up"):
        world.ip(words, world.sandbox)
    assert [type(change).__name__ for change in world.missing(frozenset({given}))] == ["Update"]  # the route
    world.ip("route add default via 10.0.0.1", world.sandbox)
    world.reach(frozenset({given}))
    world.remove(frozenset({given}))


def test_a_sandbox_that_is_gone_holds_nothing(world: World) -> None:
    child = macvlan(world)
    world.reach(frozenset({child}))
    world.kernel.delete_netns(world.sandbox)
    assert not world.on_host(lambda: world.kernel.observe(frozenset({child})))
    world.on_host(lambda: world.kernel.apply(Plan((Delete(child),))))


def test_devices_of_the_host(world: World) -> None:
    vlan = Device(kind="vlan", name="up0.7", parent="up0", vlan=7, mark="netpy-test/network/1")
    dummy = Device(kind="dummy", name="dm-1", mtu=1400, mark="netpy-test/network/2")
    for device in (vlan, dummy):
        try:
            world.reach(frozenset({device}))
        except ApplyError as error:
            assert "this kernel has no" in str(error)
            continue
        assert device.key in {found.key for found in world.on_host(world.kernel.owned)}
        world.remove(frozenset({device}))


def test_ipvlan_works_or_names_what_the_kernel_lacks(world: World) -> None:
    child = Child(kind="ipvlan", parent="up0", netns=world.sandbox, ifname="eth0", mode="l2", mark=MARK)
    try:
        world.reach(frozenset({child}))
    except ApplyError as error:
        assert "this kernel has no ipvlan links" in str(error)
        return
    world.remove(frozenset({child}))


def test_a_pair_in_the_way_is_not_replaced(world: World) -> None:
    pair = Veth(name="host0", peer_netns=world.sandbox, ifname="eth0", mac="02:42:0a:00:00:03", mtu=1500, mark=MARK)
    world.reach(frozenset({pair}))
    with pytest.raises(ApplyError):
        world.on_host(lambda: world.kernel.apply(diff((), {macvlan(world)})))
    world.remove(frozenset({pair}))
