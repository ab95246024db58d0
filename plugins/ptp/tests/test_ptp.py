"""The driver `ptp`: its contract in memory and on the real kernel, and its decisions."""

from __future__ import annotations

import pytest
from netpy_ptp import PtpDriver

from netpy.drivers import Defaults, Driver
from netpy.errors import InvalidArgument
from netpy.model import EndpointSpec, NetworkSpec, PortBinding
from netpy.objects import Address, Isolate, Masquerade, Publish, Route, Sysctl, Veth
from netpy.testing import LinuxContract, Machine, machine


class TestPtp(LinuxContract):
    def driver(self) -> Driver:
        return PtpDriver(Defaults())


class TestInternalPtp(LinuxContract):
    def driver(self) -> Driver:
        return PtpDriver(Defaults())

    def spec(self) -> NetworkSpec:
        return NetworkSpec(name="contract", driver="ptp", internal=True, options={"icc": "false"})


@pytest.fixture
def lab() -> Machine:
    made = machine()
    made.plugins = {"ptp": PtpDriver}
    made.restart()
    return made


def attached(lab: Machine, **options: str) -> set[object]:
    lab.controller.create_network(NetworkSpec(name="p", driver="ptp", options=options))
    ports = (PortBinding(container_port=80, host_port=8080),)
    lab.controller.attach(lab.sandbox(1), [("p", EndpointSpec(name="web", ports=ports))])
    return set(lab.kernel.objects.values())


def test_a_sandbox_has_its_address_alone_and_the_host_a_route_to_it(lab: Machine) -> None:
    made = attached(lab)
    pair = next(obj for obj in made if isinstance(obj, Veth))
    assert pair.bridge == "" and pair.name.startswith("pt")
    inside = pair.peer_netns
    assert Address(netns=inside, link="eth0", address="172.18.0.2/32") in made
    assert Address(link=pair.name, address="172.18.0.1/32") in made
    assert Route(destination="172.18.0.2/32", link=pair.name) in made
    assert Route(netns=inside, destination="0.0.0.0/0", link="eth0", via="172.18.0.1", onlink=True) in made
    assert Sysctl(name="net/ipv4/ip_forward", value="1") in made


def test_it_is_isolated_masqueraded_and_published_as_a_bridge(lab: Machine) -> None:
    made = attached(lab)
    pair = next(obj for obj in made if isinstance(obj, Veth))
    kin = pair.name[:8]
    assert Isolate(bridge=pair.name, subnet="172.18.0.2/32", peers="172.18.0.0/16", kin=kin) in made
    assert Masquerade(bridge=pair.name, subnet="172.18.0.2/32", peers="172.18.0.0/16", kin=kin) in made
    assert {obj.bridge for obj in made if isinstance(obj, Publish)} == {pair.name}


def test_options_take_away_neighbours_and_masquerading(lab: Machine) -> None:
    made = attached(lab, icc="false", masquerade="false", **{"com.docker.network.driver.mtu": "1400"})
    assert {obj.peers for obj in made if isinstance(obj, Isolate)} >= {""}
    assert not [obj for obj in made if isinstance(obj, Masquerade) and obj.subnet.startswith("172.18.")]
    assert {obj.mtu for obj in made if isinstance(obj, Veth)} == {1400}


def test_a_bad_option_is_named(lab: Machine) -> None:
    with pytest.raises(InvalidArgument, match="invalid network p option icc=maybe: must be true or false"):
        attached(lab, icc="maybe")


def test_a_failure_at_any_point_leaves_nothing(lab: Machine) -> None:
    lab.controller.create_network(NetworkSpec(name="p", driver="ptp"))
    lab.sandbox(1)
    before = lab.snapshot()
    for number in range(1, 100):
        lab.kernel.fail_at = number
        try:
            lab.controller.attach(lab.sandbox(1), [("p", EndpointSpec(name="web"))])
        except Exception:
            assert lab.snapshot()["kernel"] == before["kernel"], number
            assert lab.snapshot()["store"] == before["store"], number
            continue
        break
    assert 5 < number < 99
