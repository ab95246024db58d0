"""Networks in corners: several subnets of a family, another default gateway, ndots, order of interfaces, busy ports."""

from __future__ import annotations

import pytest

from netpy.controller import Settings
from netpy.drivers import Defaults
from netpy.drivers.bridge import BridgeDriver
from netpy.errors import Conflict, Forbidden, InvalidArgument, PortTaken
from netpy.model import NetworkSpec, PortBinding, Sandbox, Subnet, SubnetSpec
from netpy.objects import Address, Bridge, Route
from netpy.testing import Machine, machine
from tests.unit.controller_lab import objects, port, spec, web


def subnets(*texts: str) -> tuple[SubnetSpec, ...]:
    return tuple(SubnetSpec(subnet=text) for text in texts)


# ---- subnets -----------------------------------------------------------------------------------------------------


def test_a_bridge_has_one_subnet_of_a_family() -> None:
    m = machine()
    with pytest.raises(Forbidden, match=r"^bridge driver doesn't support multiple subnets") as caught:
        m.controller.create_network(spec("n", subnets=subnets("10.9.0.0/24", "10.9.1.0/24")))
    assert str(caught.value).endswith("network n asks for 10.9.0.0/24 and 10.9.1.0/24, only one of IPv4 is possible")
    assert [network.name for network in m.controller.networks()] == ["bridge", "host", "none"]


def test_one_of_each_family_is_fine_and_a_disabled_family_does_not_count() -> None:
    driver = BridgeDriver(Defaults())
    both = NetworkSpec(name="n", ipv6=True, subnets=subnets("10.9.0.0/24", "fd00:9::/64"))
    assert driver.normalise(both).subnets == both.subnets
    driver.normalise(NetworkSpec(name="n", subnets=subnets("10.9.0.0/24", "fd00:9::/64", "fd00:8::/64")))
    with pytest.raises(Forbidden, match="only one of IPv6"):
        driver.normalise(NetworkSpec(name="n", ipv6=True, subnets=subnets("fd00:9::/64", "fd00:8::/64")))


@pytest.mark.parametrize("text", ["10.9.0.0/33", "10.9.0.0/-1", "10.9.0/24", "10.9.0.0", "fd00::/129", "/24", "a/b"])
def test_a_malformed_subnet_is_named(text: str) -> None:
    m = machine()
    with pytest.raises(InvalidArgument) as caught:
        m.controller.create_network(spec("n", ipv6=True, subnets=subnets(text)))
    assert str(caught.value) == f"invalid network config:\ninvalid subnet {text}: invalid CIDR block notation"
    assert not [obj for obj in objects(m, Bridge) if obj.name != "netpy0"]


def test_without_a_subnet_ipv6_comes_from_the_hosts_own_prefix() -> None:
    def prefix(host_id: str) -> str:
        m = machine(settings=Settings(host_id=host_id))
        subnet = m.controller.create_network(spec("n", ipv6=True)).subnet_of(6)
        assert subnet is not None
        assert subnet.subnet.startswith("fd")
        assert subnet.prefix_length == 64
        return subnet.subnet

    assert prefix("one") == prefix("one")
    assert prefix("one") != prefix("two")


# ---- the default gateway -----------------------------------------------------------------------------------------


def vias(m: Machine, sandbox: Sandbox) -> dict[str, str]:
    return {route.destination: route.via for route in objects(m, Route) if route.netns == sandbox.netns}


def test_containers_take_the_auxiliary_default_gateway() -> None:
    m = machine()
    wanted = (
        SubnetSpec(subnet="10.9.0.0/24", aux_addresses={"DefaultGatewayIPv4": "10.9.0.9"}),
        SubnetSpec(subnet="fd00:9::/64", aux_addresses={"DefaultGatewayIPv6": "fd00:9::9"}),
    )
    m.controller.create_network(spec("n", ipv6=True, subnets=wanted))
    sandbox = m.sandbox(1)
    m.controller.attach(sandbox, [("n", web())])
    assert vias(m, sandbox) == {"0.0.0.0/0": "10.9.0.9", "::/0": "fd00:9::9"}
    bridge = {obj.address for obj in objects(m, Address) if not obj.netns}
    assert {"10.9.0.1/24", "fd00:9::1/64"} <= bridge
    assert not m.controller.check()


def test_an_auxiliary_gateway_of_the_other_family_means_nothing() -> None:
    subnet = Subnet(subnet="10.9.0.0/24", gateway="10.9.0.1", aux_addresses={"DefaultGatewayIPv6": "10.9.0.9"})
    assert subnet.default_gateway == "10.9.0.1"
    assert Subnet(subnet="10.9.0.0/24").default_gateway == ""


# ---- names -------------------------------------------------------------------------------------------------------


def test_the_view_carries_ndots_also_after_a_restart() -> None:
    m = machine()
    m.controller.create_network(spec("n"))
    sandbox = m.sandbox(1, ndots=3)
    m.controller.attach(sandbox, [("n", web())])
    assert m.names.views[sandbox.id].ndots == 3
    m.names.views.clear()
    m.restart().reconcile(lambda sandbox: True)
    assert m.names.views[sandbox.id].ndots == 3


# ---- the order of interfaces -------------------------------------------------------------------------------------


def test_eth0_is_the_network_asked_for_first_wherever_the_gateway_is() -> None:
    m = machine()
    for name in ("zeta", "alpha", "inner"):
        m.controller.create_network(spec(name, internal=name == "inner"))
    sandbox = m.sandbox(1)
    requests = [("inner", web()), ("zeta", web()), ("alpha", web(gateway_priority=7))]
    endpoints = m.controller.attach(sandbox, requests)
    names = {network.id: network.name for network in m.controller.networks()}
    assert [(e.ifname, names[e.network_id]) for e in endpoints] == [
        ("eth0", "inner"),
        ("eth1", "zeta"),
        ("eth2", "alpha"),
    ]
    assert [e.ifname for e in endpoints if e.gateways] == ["eth2"]
    defaults = [route.link for route in objects(m, Route) if route.destination == "0.0.0.0/0"]
    assert defaults == ["eth2"]


# ---- ports -------------------------------------------------------------------------------------------------------


def test_a_taken_host_port_is_told_as_docker_does() -> None:
    m = machine()
    m.controller.attach(m.sandbox(1), [("bridge", web(ports=(port(80, 8800),)))])
    with pytest.raises(PortTaken) as caught:
        m.controller.attach(m.sandbox(2), [("bridge", web("two", ports=(port(80, 8800),)))])
    start = r"^driver failed programming external connectivity on endpoint two \([0-9a-f]{64}\): "
    assert caught.match(start + r"Bind for 0\.0\.0\.0:8800 failed: port is already allocated$")
    assert isinstance(caught.value, Conflict)
    assert not m.controller.endpoints(sandbox_id=m.sandbox(2).id)


def test_a_host_port_of_another_program_is_told_too() -> None:
    m = machine()
    m.kernel.hold("tcp", "0.0.0.0", 8800)
    with pytest.raises(PortTaken, match=r"driver failed programming external connectivity on endpoint web \("):
        m.controller.attach(m.sandbox(1), [("bridge", web(ports=(PortBinding(container_port=80, host_port=8800),)))])


# ---- failures ----------------------------------------------------------------------------------------------------


def test_pruning_goes_on_after_a_network_that_the_kernel_keeps(caplog: pytest.LogCaptureFixture) -> None:
    m = machine()
    for name in ("one", "two"):
        m.controller.create_network(spec(name))
    m.kernel.fail_at = 1
    assert m.controller.prune_networks(lambda network: False) == ["one", "two"]
    assert [network.name for network in m.controller.networks()] == ["bridge", "host", "none"]
    assert "one" in caplog.text
