"""Endpoints through the whole controller: addresses, names, interfaces, static addresses, and every refusal."""

from __future__ import annotations

import pytest

from netpy.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    InvalidArgument,
    NetpyError,
    NotFound,
)
from netpy.kernel import Announce
from netpy.model import EndpointSpec, Sandbox, SubnetSpec
from netpy.objects import RedirectDns, Source, Veth
from netpy.testing import Machine, machine
from tests.unit.controller_lab import (
    default_route,
    objects,
    port,
    spec,
    web,
)


@pytest.fixture
def m() -> Machine:
    return machine()


def test_first_container(m: Machine):
    network = m.controller.create_network(spec("my_app_net"))
    sandbox = m.sandbox(1)
    (endpoint,) = m.controller.attach(sandbox, [("my_app_net", web())])
    assert endpoint.addresses == ("172.18.0.2/16",)
    assert endpoint.mac == "02:42:ac:12:00:02"
    assert (endpoint.ifname, endpoint.phase, endpoint.gateways) == ("eth0", "active", frozenset({4}))
    assert default_route(m, sandbox) == "eth0"
    assert m.names.records[endpoint.id].names == ("web", "we")
    assert m.names.records[endpoint.id].addresses == ("172.18.0.2",)
    assert m.names.views[sandbox.id].networks == ((network.id, "my_app_net"),)
    assert objects(m, RedirectDns) == [RedirectDns(port=m.names.ports[sandbox.id], netns=sandbox.netns)]
    assert m.kernel.actions == [
        Announce(netns=sandbox.netns, link="eth0", address="172.18.0.2", mac="02:42:ac:12:00:02")
    ]
    assert m.controller.endpoints(sandbox_id=sandbox.id) == [endpoint]
    assert m.controller.endpoints(network_id=network.id) == m.controller.endpoints() == [endpoint]
    assert m.controller.check() == []


def test_detach_leaves_nothing_and_is_idempotent(m: Machine):
    m.controller.create_network(spec("a", ipv6=True))
    before = m.snapshot()
    sandbox = m.sandbox(1)
    m.controller.attach(sandbox, [("a", web(ports=(port(80, 8080), port(53, protocol="udp")))), ("bridge", web())])
    m.controller.detach(sandbox.id)
    m.controller.detach(sandbox.id)
    m.controller.detach(sandbox.id, "a")
    after = m.snapshot()
    assert {k: o for k, o in after["kernel"].items() if k.kind != "sysctl"} == before["kernel"]  # type: ignore[union-attr]
    assert {**after, "kernel": 0} == {**before, "kernel": 0}
    with pytest.raises(NotFound):
        m.controller.detach(sandbox.id, "nope")


def test_a_freed_address_is_not_handed_out_at_once(m: Machine):
    m.controller.create_network(spec("a"))
    m.controller.attach(m.sandbox(1), [("a", web())])
    m.controller.detach(m.sandbox(1).id)
    (endpoint,) = m.controller.attach(m.sandbox(2), [("a", web())])
    assert endpoint.addresses == ("172.18.0.3/16",)
    m.controller.detach(m.sandbox(2).id)
    m.controller.attach(m.sandbox(3), [("a", web())])
    m.restart()
    assert m.controller.attach(m.sandbox(4), [("a", web())])[0].addresses == ("172.18.0.5/16",)


def test_the_default_bridge_knows_no_names(m: Machine):
    sandbox = m.sandbox(1)
    m.controller.attach(sandbox, [("bridge", web())])
    assert m.names.snapshot() == ({}, {}, {})
    assert objects(m, RedirectDns) == []
    m.controller.create_network(spec("a"))
    m.controller.attach(sandbox, [("a", web())])
    assert [name for _, name in m.names.views[sandbox.id].networks] == ["a"]
    assert len(m.names.records) == len(objects(m, RedirectDns)) == 1
    m.controller.detach(sandbox.id, "a")
    assert m.names.snapshot() == ({}, {}, {})
    assert objects(m, RedirectDns) == []


def test_a_sandbox_may_do_without_embedded_dns(m: Machine):
    m.controller.create_network(spec("a"))
    m.controller.attach(m.sandbox(1, resolve=False), [("a", web())])
    assert m.names.ports == {}
    assert len(m.names.records) == 1


def test_host_and_none(m: Machine):
    host = Sandbox(id="f" * 64, netns="")
    (endpoint,) = m.controller.attach(host, [("host", web())])
    assert (endpoint.addresses, endpoint.ifname, endpoint.mac) == ((), "", "")
    alone = m.sandbox(1)
    m.controller.attach(alone, [("none", web())])
    assert objects(m, Veth) == []
    with pytest.raises(InvalidArgument, match="cannot be connected to any other network"):
        m.controller.attach(host, [("bridge", web())])
    with pytest.raises(Forbidden, match="connected to host network"):
        m.controller.attach(m.sandbox(2), [("host", web())])
    with pytest.raises(Forbidden, match=r"private \(none\) mode"):
        m.controller.attach(alone, [("bridge", web())])
    m.controller.detach(host.id)
    m.controller.detach(alone.id)
    assert m.controller.endpoints() == []


def test_links_and_upstreams_reach_the_view(m: Machine):
    m.controller.create_network(spec("a", internal=True))
    sandbox = m.sandbox(1, dns=("192.0.2.53",))
    m.controller.attach(sandbox, [("a", web(links={"db": "postgres"}))])
    view = m.names.views[sandbox.id]
    assert (dict(view.links), view.upstreams, view.external) == ({"db": "postgres"}, ("192.0.2.53",), False)


def test_rename(m: Machine):
    m.controller.create_network(spec("a"))
    (endpoint,) = m.controller.attach(m.sandbox(1), [("a", web(names=("web", "alias")))])
    m.controller.rename(m.sandbox(1).id, "web", "new")
    assert m.names.records[endpoint.id].names == ("new", "alias")
    assert m.controller.endpoints()[0].spec.name == "new"
    m.restart()
    assert m.controller.endpoints()[0].spec.name == "new"


def test_names_of_interfaces(m: Machine):
    for name in ("a", "b", "c"):
        m.controller.create_network(spec(name))
    m.controller.create_network(spec("d", options={"com.docker.network.container_iface_prefix": "lan"}))
    ifname = {"com.docker.network.endpoint.ifname": "eth1"}
    sandbox = m.sandbox(1)
    made = m.controller.attach(sandbox, [("b", web()), ("a", web(options=ifname)), ("c", web()), ("d", web())])
    assert [endpoint.ifname for endpoint in made] == ["eth0", "eth1", "eth2", "lan0"]
    m.controller.detach(sandbox.id, "b")
    assert m.controller.attach(sandbox, [("b", web())])[0].ifname == "eth0"
    m.controller.detach(sandbox.id, "b")
    with pytest.raises(Conflict, match="interface name eth1 is already used"):
        m.controller.attach(sandbox, [("b", web(options=ifname))])


@pytest.mark.parametrize(
    ("network", "request_", "error", "text"),
    [
        ("nope", web(), NotFound, "^network nope not found$"),
        ("a", web(), Forbidden, "^endpoint with name web already exists in network a$"),
        ("b", web(addresses=("10.8.0.9",)), InvalidArgument, "no configured subnet contains IP address 10.8.0.9"),
        ("b", web(addresses=("nonsense",)), InvalidArgument, "invalid IPv4 address: nonsense"),
        ("b", web(addresses=("fe80::1%eth0",)), InvalidArgument, "invalid IPv6 address: fe80::1%eth0"),
        ("b", web(addresses=("10.9.0.8", "10.9.0.9")), InvalidArgument, "more than one IPv4 address: 10.9.0.9"),
        ("b", web(addresses=("10.9.0.1",)), Forbidden, "^Address already in use: 10.9.0.1$"),
        ("b", web(addresses=("10.9.0.5",)), Forbidden, "^Address already in use: 10.9.0.5$"),
        ("b", web(addresses=("10.9.0.2",)), Forbidden, "^Address already in use: 10.9.0.2$"),
        ("b", web(addresses=("10.9.0.255",)), Forbidden, "Address already in use"),
        ("b", web(mac="02:42"), InvalidArgument, "invalid MAC address: 02:42"),
        ("b", web(mac="03:42:00:00:00:01"), InvalidArgument, "multicast"),
        ("b", web(ports=(port(0),)), InvalidArgument, "invalid container port 0"),
        ("b", web(ports=(port(80, 70000),)), InvalidArgument, "invalid host port 70000"),
        ("b", web(ports=(port(80, 90, end=80),)), InvalidArgument, "invalid port range: 90-80"),
        ("b", web(ports=(port(80, 80, ip="x"),)), InvalidArgument, "invalid host address x"),
        ("b", web(options={"com.docker.network.endpoint.ifname": "a/b"}), InvalidArgument, "endpoint.ifname=a/b"),
        ("b", web(options={"com.docker.network.endpoint.sysctls": "x"}), InvalidArgument, "sysctl 'x'"),
        ("bridge", web(addresses=("172.17.0.9",)), InvalidArgument, "supported on user-defined networks only"),
        ("bridge", web(aliases=("x",)), InvalidArgument, "aliases are only supported for user-defined networks"),
    ],
)
def test_refused_endpoints_leave_nothing(
    m: Machine, network: str, request_: EndpointSpec, error: type[NetpyError], text: str
):
    aux = {"router": "10.9.0.5"}
    m.controller.create_network(spec("a"))
    m.controller.create_network(spec("b", subnets=(SubnetSpec(subnet="10.9.0.0/24", aux_addresses=aux),)))
    m.controller.attach(m.sandbox(1), [("a", web())])
    m.controller.attach(m.sandbox(2), [("b", web())])
    before = m.snapshot()
    for call in (m.controller.plan_attach, m.controller.attach):
        with pytest.raises(error, match=text):
            call(m.sandbox(1), [("bridge", web(names=())), (network, request_)][network == "bridge" :])
        assert m.snapshot() == before


def test_twice_in_one_request_is_refused(m: Machine):
    m.controller.create_network(spec("a"))
    with pytest.raises(Forbidden, match="already exists in network a"):
        m.controller.attach(m.sandbox(1), [("a", web()), ("a", web())])
    assert m.controller.attach(m.sandbox(1), []) == []


def test_an_exhausted_subnet(m: Machine):
    m.controller.create_network(spec("tiny", subnets=(SubnetSpec(subnet="10.9.0.0/30"),)))
    m.controller.attach(m.sandbox(1), [("tiny", web())])
    before = m.snapshot()
    with pytest.raises(Exhausted, match="no available addresses on this pool"):
        m.controller.attach(m.sandbox(2), [("tiny", web())])
    assert m.snapshot() == before


def test_a_missing_namespace_leaves_nothing(m: Machine):
    before = m.snapshot()
    with pytest.raises(NetpyError, match="does not exist"):
        m.controller.attach(Sandbox(id="e" * 64, netns="/run/netns/none"), [("bridge", web(ports=(port(80, 80),)))])
    assert m.snapshot() == before


def test_a_plan_changes_nothing_and_tells_the_truth(m: Machine):
    m.controller.create_network(spec("a"))
    sandbox = m.sandbox(1)
    m.controller.attach(sandbox, [("bridge", web())])
    request = [("a", web(ports=(port(80, 8800), port(81)), gateway_priority=5))]
    before = m.snapshot()
    plan = m.controller.plan_attach(sandbox, request)
    assert m.snapshot() == before
    (endpoint,) = m.controller.attach(sandbox, request)
    for change in plan:
        wanted = change.after  # type: ignore[union-attr]
        if not isinstance(wanted, RedirectDns | Source | Veth):
            assert m.kernel.objects[wanted.key] == wanted
    assert endpoint.addresses == ("172.18.0.2/16",)
    assert [binding.host_port for binding in endpoint.ports] == [8800, 32768]


# ---- static addresses ------------------------------------------------------------------------------------------------


def test_a_reserved_address_is_never_given_to_another(m: Machine):
    m.controller.create_network(spec("a", subnets=(SubnetSpec(subnet="10.9.0.0/29"),)))
    owner = m.sandbox(1)
    m.controller.reserve("a", owner.id, ["10.9.0.3"])
    for _ in range(2):
        given = [m.controller.attach(m.sandbox(n), [("a", web())])[0].addresses[0] for n in (2, 3, 4)]
        assert "10.9.0.3/29" not in given
        with pytest.raises(Forbidden, match=r"Address already in use: 10\.9\.0\.3"):
            m.controller.attach(m.sandbox(5), [("a", web(addresses=("10.9.0.3",)))])
        with pytest.raises(Forbidden, match=r"Address already in use: 10\.9\.0\.3"):
            m.controller.reserve("a", "other", ["10.9.0.3"])
        (mine,) = m.controller.attach(owner, [("a", web(addresses=("10.9.0.3",)))])
        assert mine.addresses == ("10.9.0.3/29",)
        for n in (1, 2, 3, 4):
            m.controller.detach(m.sandbox(n).id)
        m.restart()
    m.controller.unreserve(owner.id)
    m.controller.unreserve(owner.id)
    assert m.controller.attach(m.sandbox(5), [("a", web(addresses=("10.9.0.3",)))])
    with pytest.raises(Forbidden, match="Address already in use"):
        m.controller.reserve("a", owner.id, ["10.9.0.3"])


def test_a_reservation_is_all_or_nothing(m: Machine):
    m.controller.create_network(spec("a", ipv6=True, subnets=(SubnetSpec(subnet="fd00:9::/64"),)))
    m.controller.attach(m.sandbox(1), [("a", web(addresses=("fd00:9::9",)))])
    with pytest.raises(Forbidden, match="Address already in use: fd00:9::9"):
        m.controller.reserve("a", "x", ["172.18.0.9", "FD00:9::9"])
    m.controller.reserve("a", "y", ["172.18.0.9", "fd00:9::8"])


def test_reservations_can_be_replaced_and_go_with_their_network(m: Machine):
    m.controller.create_network(spec("a"))
    m.controller.reserve("a", "x", ["172.18.0.9"])
    m.controller.reserve("a", "x", ["172.18.0.8"])
    m.controller.reserve("a", "y", ["172.18.0.9"])
    with pytest.raises(InvalidArgument, match="no configured subnet"):
        m.controller.reserve("a", "x", ["10.1.1.1"])
    with pytest.raises(InvalidArgument, match="user-defined networks only"):
        m.controller.reserve("bridge", "x", ["172.17.0.9"])
    m.controller.unreserve("y", "a")
    m.controller.remove_network("a")
    assert m.store.all("reservation") == []


def test_a_reservation_made_while_in_use_outlives_the_endpoint(m: Machine):
    m.controller.create_network(spec("a"))
    m.controller.attach(m.sandbox(1), [("a", web(addresses=("172.18.0.9",)))])
    m.controller.reserve("a", m.sandbox(1).id, ["172.18.0.9"])
    m.controller.detach(m.sandbox(1).id)
    with pytest.raises(Forbidden):
        m.controller.attach(m.sandbox(2), [("a", web(addresses=("172.18.0.9",)))])
