"""Networks through the whole controller, on the in-memory machine: what users ask and what they get."""

from __future__ import annotations

import pytest

from netpy.controller import Settings
from netpy.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    InvalidArgument,
    NetpyError,
    NotFound,
)
from netpy.ipam import Pool
from netpy.model import NetworkSpec, SubnetSpec
from netpy.objects import Bridge, Sysctl
from netpy.testing import Machine, machine
from tests.unit.controller_lab import (
    objects,
    spec,
    web,
)


@pytest.fixture
def m() -> Machine:
    return machine()


def test_the_first_start_brings_the_three_networks(m: Machine):
    named = {network.name: network for network in m.controller.networks()}
    assert [(n, named[n].spec.driver, named[n].predefined) for n in named] == [
        ("bridge", "bridge", True),
        ("host", "host", True),
        ("none", "null", True),
    ]
    assert named["bridge"].subnets[0].subnet == "172.17.0.0/16"
    assert dict(named["bridge"].spec.options) == {
        "com.docker.network.bridge.default_bridge": "true",
        "com.docker.network.bridge.enable_icc": "true",
        "com.docker.network.bridge.enable_ip_masquerade": "true",
        "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
        "com.docker.network.bridge.name": "netpy0",
        "com.docker.network.driver.mtu": "1500",
    }
    assert [bridge.name for bridge in objects(m, Bridge)] == ["netpy0"]
    assert Sysctl(name="net/ipv4/ip_forward", value="1") in m.kernel.objects.values()
    assert m.controller.check() == []
    m.controller.ensure_predefined()
    assert len(m.controller.networks()) == 3


def test_the_default_network_follows_the_settings_when_nobody_uses_it(m: Machine):
    id = m.controller.network("bridge").id
    m.settings = Settings(host_id="test", bip="10.200.0.1/24", mtu=1400)
    m.restart().ensure_predefined()
    bridge = m.controller.network("bridge")
    assert (bridge.id, bridge.subnets[0].subnet, bridge.subnets[0].gateway) == (id, "10.200.0.0/24", "10.200.0.1")
    assert objects(m, Bridge)[0].mtu == 1400
    m.controller.attach(m.sandbox(1), [("bridge", web())])
    m.settings = Settings(host_id="test", bip="10.201.0.1/24")
    m.restart().ensure_predefined()
    assert m.controller.network("bridge").subnets[0].subnet == "10.200.0.0/24"


def test_a_malformed_bip_or_pool_is_refused():
    with pytest.raises(InvalidArgument, match="invalid --bip nonsense"):
        machine(settings=Settings(bip="nonsense"))
    with pytest.raises(InvalidArgument, match="invalid default address pool"):
        machine(settings=Settings(default_pools=(Pool(base="10.0.0.0/8", size=4),)))


def test_create_find_and_remove(m: Machine):
    network = m.controller.create_network(spec("my_app_net", labels={"a": "b"}))
    assert network.subnets[0].subnet == "172.18.0.0/16"
    assert network.phase == "active"
    for ref in (network.id, "my_app_net", network.id[:5]):
        assert m.controller.network(ref) == network
    assert f"br-{network.id[:12]}" in {bridge.name for bridge in objects(m, Bridge)}
    before = m.controller.network("bridge")
    assert m.controller.remove_network("my_app_net").id == network.id
    assert [obj for obj in m.kernel.objects.values() if network.id[:12] in str(obj)] == []
    assert m.controller.check() == []
    assert m.controller.networks()[0] == before
    with pytest.raises(NotFound, match=r"^network my_app_net not found$"):
        m.controller.network("my_app_net")
    assert m.controller.create_network(spec("next")).subnets[0].subnet == "172.18.0.0/16"


def test_a_name_wins_over_the_beginning_of_an_id(m: Machine):
    first = m.controller.create_network(spec("one"))
    second = m.controller.create_network(spec(first.id[:6]))
    assert m.controller.network(first.id[:6]) == second
    with pytest.raises(InvalidArgument, match=r"network 0 is ambiguous \(5 matches found based on ID prefix\)"):
        m.controller.network("0")
    with pytest.raises(NotFound):
        m.controller.network("")


@pytest.mark.parametrize(
    ("request_", "error", "text"),
    [
        (spec("taken"), Conflict, "^network with name taken already exists$"),
        (spec("bridge"), Forbidden, "^operation is not permitted on predefined bridge network $"),
        (spec("default"), Forbidden, "operation is not permitted on predefined default network "),
        (spec(""), InvalidArgument, 'invalid network name ""'),
        (spec("a b "), InvalidArgument, 'invalid network name "a b "'),
        (spec(" "), InvalidArgument, "invalid network name"),
        (spec("a/b"), InvalidArgument, "invalid network name"),
        (spec("a\n"), InvalidArgument, "invalid network name"),
        (spec("x", driver="host"), Forbidden, '^only one instance of "host" network is allowed$'),
        (spec("x", driver="null"), Forbidden, '^only one instance of "null" network is allowed$'),
        (spec("x", driver="nope"), NotFound, 'plugin "nope" not found'),
        (spec("x", ipam_driver="nope"), NotFound, 'plugin "nope" not found'),
        (spec("x", subnets=(SubnetSpec(subnet="10.0.0.1/8"),)), InvalidArgument, "it should be 10.0.0.0/8"),
        (spec("x", subnets=(SubnetSpec(subnet="172.17.9.0/24"),)), Forbidden, "Pool overlaps with other one"),
        (spec("x", subnets=(SubnetSpec(subnet="10.9.0.0/24", gateway="10.8.0.1"),)), InvalidArgument, "gateway"),
        (spec("x", subnets=(SubnetSpec(subnet="10.9.0.0/24", ip_range="10.8.0.0/25"),)), InvalidArgument, "ip-range"),
        (spec("x", options={"com.docker.network.driver.mtu": "many"}), InvalidArgument, "mtu=many"),
        (spec("x", options={"com.docker.network.bridge.name": "netpy0"}), Forbidden, "networks have same bridge name"),
        (spec("x", options={"com.docker.network.bridge.name": "docker0"}), Conflict, "bridge docker0 exists"),
        (spec("x", ipv4=False), InvalidArgument, "IPv4 or IPv6 must be enabled"),
    ],
)
def test_refused_networks_leave_nothing(m: Machine, request_: NetworkSpec, error: type[NetpyError], text: str):
    m.controller.create_network(spec("taken"))
    foreign = Bridge(name="docker0", mac="02:42:00:00:00:01", mtu=1500, mark="")
    m.kernel.objects[foreign.key] = foreign
    before = m.snapshot()
    for call in (m.controller.plan_network, m.controller.create_network):
        with pytest.raises(error, match=text):
            call(request_)
        assert m.snapshot() == before


def test_pools_run_out_and_host_routes_are_avoided():
    m = machine(settings=Settings(default_pools=(Pool(base="10.20.0.0/22", size=24),)))
    m.kernel.prefixes = ["10.20.1.0/24", "0.0.0.0/1"]
    assert m.controller.create_network(spec("a")).subnets[0].subnet == "10.20.2.0/24"
    assert m.controller.create_network(spec("b")).subnets[0].subnet == "10.20.3.0/24"
    before = m.snapshot()
    with pytest.raises(Exhausted, match="all predefined address pools have been fully subnetted"):
        m.controller.create_network(spec("c"))
    assert m.snapshot() == before


def test_ipv6_network_wants_forwarding(m: Machine):
    network = m.controller.create_network(spec("six", ipv6=True))
    assert [subnet.family for subnet in network.subnets] == [4, 6]
    assert Sysctl(name="net/ipv6/conf/all/forwarding", value="1") in m.kernel.objects.values()
    m.controller.remove_network("six")
    assert Sysctl(name="net/ipv6/conf/all/forwarding", value="1") in m.kernel.objects.values()


def test_forwarding_can_be_left_alone():
    m = machine(settings=Settings(ip_forward=False))
    assert not [o for o in objects(m, Sysctl) if o.name == "net/ipv4/ip_forward"]


def test_a_network_in_use_or_predefined_cannot_be_removed(m: Machine):
    m.controller.create_network(spec("back"))
    (endpoint,) = m.controller.attach(m.sandbox(1), [("back", web("c"))])
    before = m.snapshot()
    with pytest.raises(Forbidden) as caught:
        m.controller.remove_network("back")
    assert str(caught.value) == f'network back has active endpoints (name:"c" id:"{endpoint.id[:12]}")'
    with pytest.raises(Forbidden, match=r"^bridge is a pre-defined network and cannot be removed$"):
        m.controller.remove_network("bridge")
    with pytest.raises(NotFound):
        m.controller.remove_network("nope")
    assert m.snapshot() == before


def test_prune(m: Machine):
    for name in ("used", "kept", "idle1", "idle2"):
        m.controller.create_network(spec(name))
    m.controller.attach(m.sandbox(1), [("used", web())])
    assert m.controller.prune_networks(lambda network: network.name == "kept") == ["idle1", "idle2"]
    assert [n.name for n in m.controller.networks()] == ["bridge", "host", "none", "used", "kept"]


def test_a_dry_run_of_create_changes_nothing_and_says_what_would_be(m: Machine):
    before = m.snapshot()
    plan = m.controller.plan_network(spec("x"))
    assert m.snapshot() == before
    assert "isolate" in {change.key.kind for change in plan}
    assert "bridge" in {change.key.kind for change in plan}
