"""The driver `macvlan`: its contract in memory and on the real kernel, and its decisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from netpy_macvlan import MacvlanDriver

from netpy.diff import State
from netpy.drivers import Defaults, Driver
from netpy.errors import ApplyError, Conflict, Forbidden, InvalidArgument, NotFound, Unsupported
from netpy.model import EndpointSpec, NetworkSpec, PortBinding, SubnetSpec
from netpy.objects import Bridge, Child, Device, Key, Route
from netpy.testing import DriverContract, LinuxContract, Machine, machine

PARENT = Bridge(name="up0", mac="02:00:00:00:00:01", mtu=1500, mark="")
LAN = (SubnetSpec(subnet="192.168.7.0/24", gateway="192.168.7.1"),)


class TestOnAParent(LinuxContract):
    def driver(self) -> Driver:
        return MacvlanDriver(Defaults(), {"up0"}.__contains__)

    def spec(self) -> NetworkSpec:
        return NetworkSpec(name="lan", driver="macvlan", ipv6=True, options={"parent": "up0"})

    def host_objects(self) -> State:
        return frozenset({PARENT})


class TestWithoutAParent(DriverContract):
    def driver(self) -> Driver:
        return MacvlanDriver(Defaults(), lambda name: False)


@pytest.fixture
def lab() -> Machine:
    made = machine()
    made.kernel.objects[Key("bridge", "", "up0")] = PARENT
    made.plugins = {"macvlan": lambda defaults: MacvlanDriver(defaults, {"up0"}.__contains__)}
    made.restart()
    return made


def spec(name: str, **options: str) -> NetworkSpec:
    return NetworkSpec(name=name, driver="macvlan", options=options)


def test_the_lans_router_is_the_gateway_and_no_port_is_published(lab: Machine) -> None:
    network = lab.controller.create_network(replace(spec("lan", parent="up0"), subnets=LAN))
    ports = (PortBinding(container_port=80, host_port=8080),)
    (endpoint,) = lab.controller.attach(lab.sandbox(1), [("lan", EndpointSpec(name="web", ports=ports))])
    assert endpoint.ports == () and not lab.kernel.held
    assert endpoint.addresses == ("192.168.7.2/24",)
    state = lab.kernel.objects
    child = next(obj for obj in state.values() if isinstance(obj, Child))
    assert (child.parent, child.mode, child.mac) == ("up0", "bridge", endpoint.mac)
    assert any(isinstance(obj, Route) and obj.via == "192.168.7.1" for obj in state.values())
    assert network.facts == {"parent": "found"}


def test_a_network_without_parent_is_a_dummy_that_leads_nowhere(lab: Machine) -> None:
    network = lab.controller.create_network(spec("alone"))
    assert network.spec.internal
    (endpoint,) = lab.controller.attach(lab.sandbox(1), [("alone", EndpointSpec(name="web"))])
    assert not endpoint.gateways
    assert Key("device", "", f"dm-{network.id[:12]}") in lab.kernel.objects
    lab.controller.detach(lab.sandbox(1).id)
    lab.controller.remove_network("alone")
    assert Key("device", "", f"dm-{network.id[:12]}") not in lab.kernel.objects


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"parent": "lo"}, InvalidArgument, "the loopback interface is not a valid parent"),
        ({"parent": "nope"}, InvalidArgument, "invalid subinterface vlan name nope, example formatting is eth0.10"),
        ({"parent": "nope.30"}, NotFound, "-o parent interface was not found on the host: nope"),
        ({"parent": "up0.9999"}, InvalidArgument, "vlan id must be between 1-4094, received: 9999"),
        ({"parent": "up0.x"}, InvalidArgument, "unable to parse a valid vlan id from: x"),
        ({"parent": "a name"}, InvalidArgument, "an interface name has 1 to 15 characters"),
        ({"parent": "up0", "macvlan_mode": "bogus"}, InvalidArgument, "requested macvlan mode 'bogus' is not valid"),
        ({"macvlan_mode": "passthru"}, InvalidArgument, "macvlan_mode=passthru needs -o parent="),
        ({"parent": "up0", "com.docker.network.driver.mtu": "7"}, InvalidArgument, "must be between 68 and 65535"),
        ({"parent": "up0", "parrot": "1"}, InvalidArgument, "driver macvlan has no option parrot"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(lab: Machine, options, kind, said: str) -> None:
    before = lab.snapshot()
    with pytest.raises(kind, match=said):
        lab.controller.create_network(spec("x", **options))
    assert lab.snapshot() == before


def test_a_vlan_parent_is_made_and_goes_with_its_network(lab: Machine) -> None:
    before = lab.snapshot()["kernel"]
    lab.controller.create_network(spec("v30", parent="up0.30"))
    device = lab.kernel.objects[Key("device", "", "up0.30")]
    assert isinstance(device, Device) and (device.parent, device.vlan) == ("up0", 30)
    lab.controller.attach(lab.sandbox(1), [("v30", EndpointSpec(name="web"))])
    with pytest.raises(
        Forbidden, match=r"network v30 is already using parent interface up0\.30, which was made for it"
    ):
        lab.controller.create_network(spec("again", parent="up0.30"))
    lab.controller.detach(lab.sandbox(1).id)
    lab.controller.remove_network("v30")
    assert lab.snapshot()["kernel"] == before


def test_a_parent_may_be_shared_except_in_passthru_also_after_a_restart(lab: Machine) -> None:
    for name in ("one", "two"):
        lab.controller.create_network(spec(name, parent="up0"))
    lab.restart().reconcile(lambda sandbox: True)
    with pytest.raises(Conflict, match="is already using parent interface up0"):
        lab.controller.create_network(spec("alone", parent="up0", macvlan_mode="passthru"))
    for name in ("one", "two"):
        lab.controller.remove_network(name)
    lab.controller.create_network(spec("alone", parent="up0", macvlan_mode="passthru"))
    with pytest.raises(Conflict, match="network alone is already using parent interface up0"):
        lab.controller.create_network(spec("one", parent="up0"))


def test_a_kernel_without_macvlan_is_told_of_before_anything_is_made(lab: Machine) -> None:
    lab.kernel.missing = {"macvlan"}
    before = lab.snapshot()
    with pytest.raises(Unsupported, match="driver macvlan: this kernel has no macvlan links"):
        lab.controller.create_network(spec("lan", parent="up0"))
    assert lab.snapshot() == before


def test_a_parent_that_went_is_an_error_at_connect_and_nothing_stays(lab: Machine) -> None:
    lab.controller.create_network(spec("lan", parent="up0"))
    del lab.kernel.objects[Key("bridge", "", "up0")]
    before = lab.snapshot()
    with pytest.raises(ApplyError, match="link up0 does not exist"):
        lab.controller.attach(lab.sandbox(1), [("lan", EndpointSpec(name="web"))])
    assert lab.snapshot()["kernel"] == before["kernel"] and lab.snapshot()["store"] == before["store"]
