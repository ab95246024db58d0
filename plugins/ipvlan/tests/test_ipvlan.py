"""The driver `ipvlan`: its contract in memory, on the real kernel where it has ipvlan, and its decisions."""

from __future__ import annotations

from unittest import SkipTest

import pytest
from netpy_ipvlan import IpvlanDriver

from netpy.diff import State
from netpy.drivers import Defaults, Driver
from netpy.errors import Conflict, InvalidArgument, Unsupported
from netpy.kernel import devices
from netpy.model import EndpointSpec, NetworkSpec
from netpy.objects import Bridge, Child, Key, Route
from netpy.testing import LinuxContract, Machine, machine

PARENT = Bridge(name="up0", mac="02:00:00:00:00:01", mtu=1500, mark="")


class TestIpvlan(LinuxContract):
    def driver(self) -> Driver:
        return IpvlanDriver(Defaults(), {"up0"}.__contains__)

    def spec(self) -> NetworkSpec:
        return NetworkSpec(name="lan", driver="ipvlan", ipv6=True, options={"parent": "up0"})

    def host_objects(self) -> State:
        return frozenset({PARENT})

    def test_it_works_on_the_real_kernel(self) -> None:
        if missing := devices.lacks("ipvlan"):
            raise SkipTest(missing)
        super().test_it_works_on_the_real_kernel()


@pytest.fixture
def lab() -> Machine:
    made = machine()
    made.kernel.objects[Key("bridge", "", "up0")] = PARENT
    made.plugins = {"ipvlan": lambda defaults: IpvlanDriver(defaults, {"up0"}.__contains__)}
    made.restart()
    return made


def spec(name: str, **options: str) -> NetworkSpec:
    return NetworkSpec(name=name, driver="ipvlan", options=options)


@pytest.mark.parametrize(("mode", "via"), [("l2", "172.18.0.1"), ("l3", ""), ("l3s", "")])
def test_beyond_the_lan_no_next_hop_is_needed(lab: Machine, mode: str, via: str) -> None:
    lab.controller.create_network(spec("lan", parent="up0", ipvlan_mode=mode, ipvlan_flag="private"))
    lab.controller.attach(lab.sandbox(1), [("lan", EndpointSpec(name="web"))])
    made = lab.kernel.objects.values()
    child = next(obj for obj in made if isinstance(obj, Child))
    assert (child.mode, child.flag, child.mac) == (mode, "private", "")
    assert [obj.via for obj in made if isinstance(obj, Route)] == [via]


def test_a_kernel_without_ipvlan_is_told_of_before_anything_is_made(lab: Machine) -> None:
    lab.kernel.missing = {"ipvlan"}
    before = lab.snapshot()
    with pytest.raises(Unsupported, match="driver ipvlan: this kernel has no ipvlan links"):
        lab.controller.create_network(spec("lan", parent="up0"))
    assert lab.snapshot() == before


@pytest.mark.parametrize("option", ["ipvlan_mode", "ipvlan_flag"])
def test_bad_words_are_named(lab: Machine, option: str) -> None:
    with pytest.raises(InvalidArgument, match="'bogus' is not valid"):
        lab.controller.create_network(spec("lan", parent="up0", **{option: "bogus"}))


def test_a_parent_has_one_network(lab: Machine) -> None:
    lab.controller.create_network(spec("one", parent="up0"))
    with pytest.raises(Conflict, match="network one is already using parent interface up0"):
        lab.controller.create_network(spec("two", parent="up0"))
