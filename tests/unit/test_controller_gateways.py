"""Several networks of one sandbox, published ports, and many operations at once."""

from __future__ import annotations

import threading

import pytest

from netpy.errors import (
    Conflict,
    Unsupported,
)
from netpy.kernel import FlushConntrack
from netpy.objects import Publish
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


# ---- several networks ------------------------------------------------------------------------------------------------


def test_the_gateway_is_the_first_network_with_a_way_out(m: Machine):
    m.controller.create_network(spec("inside", internal=True))
    m.controller.create_network(spec("z"))
    m.controller.create_network(spec("a", ipv6=True))
    sandbox = m.sandbox(1)
    m.controller.attach(sandbox, [("inside", web()), ("z", web()), ("a", web())])
    assert default_route(m, sandbox) == "eth1"
    assert default_route(m, sandbox, "::/0") == "eth2"
    assert [name for _, name in m.names.views[sandbox.id].networks] == ["z", "a", "inside"]
    m.controller.detach(sandbox.id, "z")
    assert default_route(m, sandbox) == "eth2"
    m.controller.detach(sandbox.id, "a")
    assert default_route(m, sandbox) == default_route(m, sandbox, "::/0") == ""
    assert m.controller.check() == []


def test_a_higher_priority_takes_the_gateway_and_the_ports_follow(m: Machine):
    m.controller.create_network(spec("a"))
    m.controller.create_network(spec("b"))
    sandbox = m.sandbox(1)
    m.controller.attach(sandbox, [("a", web(ports=(port(80, 8800), port(53, protocol="udp"))))])
    m.kernel.actions.clear()
    m.controller.attach(sandbox, [("b", web(gateway_priority=1))])
    assert default_route(m, sandbox) == "eth1"
    ends = m.controller.endpoints(sandbox_id=sandbox.id)
    assert [len(endpoint.ports) for endpoint in ends] == [0, 2]
    assert {publish.address for publish in objects(m, Publish)} == {"172.19.0.2"}
    flushed = [action for action in m.kernel.actions if isinstance(action, FlushConntrack)]
    assert {(action.host_port, action.address) for action in flushed} == {(32768, "172.18.0.2"), (32768, "172.19.0.2")}
    assert m.kernel.held == {("tcp", "0.0.0.0", 8800), ("udp", "0.0.0.0", 32768)}
    m.controller.detach(sandbox.id, "b")
    assert {publish.address for publish in objects(m, Publish)} == {"172.18.0.2"}
    assert m.kernel.held == {("tcp", "0.0.0.0", 8800), ("udp", "0.0.0.0", 32768)}
    assert m.controller.check() == []


def test_a_later_network_does_not_take_the_gateway(m: Machine):
    m.controller.create_network(spec("b"))
    m.controller.create_network(spec("a"))
    sandbox = m.sandbox(1)
    m.controller.attach(sandbox, [("b", web())])
    m.controller.attach(sandbox, [("a", web())])
    assert default_route(m, sandbox) == "eth0"


# ---- ports -----------------------------------------------------------------------------------------------------------


def test_ports_of_both_families_get_one_number(m: Machine):
    m.controller.create_network(spec("a", ipv6=True))
    (endpoint,) = m.controller.attach(m.sandbox(1), [("a", web(ports=(port(80), port(81, 8081, "127.0.0.1"))))])
    assert [(b.host_ip, b.host_port) for b in endpoint.ports] == [
        ("127.0.0.1", 8081),
        ("0.0.0.0", 32768),
        ("::", 32768),
    ]
    assert len(m.kernel.held) == 3


def test_the_same_ports_stated_for_every_network_are_published_once(m: Machine):
    m.controller.create_network(spec("a"))
    ports = (port(80, 8800),)
    made = m.controller.attach(m.sandbox(1), [("bridge", web(ports=ports)), ("a", web(ports=ports))])
    assert [len(endpoint.ports) for endpoint in made] == [1, 0]


def test_a_busy_host_port(m: Machine):
    m.controller.create_network(spec("a"))
    m.kernel.busy = {("tcp", "0.0.0.0", 8080), ("tcp", "127.0.0.1", 8000), ("tcp", "0.0.0.0", 8001)}
    before = m.snapshot()
    with pytest.raises(Conflict) as caught:
        m.controller.attach(m.sandbox(1), [("a", web(ports=(port(79, 8079), port(80, 8080))))])
    assert "driver failed programming external connectivity on endpoint web (" in str(caught.value)
    assert "failed to bind host port 0.0.0.0:8080/tcp: address already in use" in str(caught.value)
    assert m.snapshot() == before
    (endpoint,) = m.controller.attach(m.sandbox(1), [("a", web(ports=(port(80, 8000, end=8003),)))])
    assert [binding.host_port for binding in endpoint.ports] == [8002]
    with pytest.raises(Conflict, match=r"Bind for 0\.0\.0\.0:8002 failed: port is already allocated"):
        m.controller.attach(m.sandbox(2), [("a", web(ports=(port(80, 8002),)))])


def test_no_more_than_ten_ports_are_tried(m: Machine):
    m.kernel.busy = {("tcp", "0.0.0.0", number) for number in range(8000, 8020)}
    before = m.snapshot()
    with pytest.raises(Conflict, match="8009/tcp: address already in use"):
        m.controller.attach(m.sandbox(1), [("bridge", web(ports=(port(80, 8000, end=8030),)))])
    assert m.snapshot() == before


def test_internal_networks_publish_nothing(m: Machine):
    m.controller.create_network(spec("a", internal=True))
    (endpoint,) = m.controller.attach(m.sandbox(1), [("a", web(ports=(port(80, 8800),)))])
    assert endpoint.ports == ()
    assert m.kernel.held == set()


def test_routed_networks_take_no_host_port(m: Machine):
    routed = {"com.docker.network.bridge.gateway_mode_ipv4": "routed"}
    m.controller.create_network(spec("a", options=routed))
    (endpoint,) = m.controller.attach(m.sandbox(1), [("a", web(ports=(port(80, 8800),)))])
    assert [(b.container_port, b.host_port) for b in endpoint.ports] == [(80, 0)]
    assert m.kernel.held == set()
    assert "allow" in {key.kind for key in m.kernel.objects}
    m.restart().reconcile(lambda sandbox: True)
    m.controller.detach(m.sandbox(1).id)
    assert "allow" not in {key.kind for key in m.kernel.objects}


def test_the_networks_own_binding_address(m: Machine):
    m.controller.create_network(spec("a", options={"com.docker.network.bridge.host_binding_ipv4": "127.0.0.1"}))
    (endpoint,) = m.controller.attach(m.sandbox(1), [("a", web(ports=(port(80, 8800),)))])
    assert [b.host_ip for b in endpoint.ports] == ["127.0.0.1"]


# ---- many at once ----------------------------------------------------------------------------------------------------


def in_threads(count: int, work) -> list[BaseException]:
    """Run work(0) … work(count - 1) at once; returns what they raised."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_attaches_from_many_threads(m: Machine):
    for name in ("a", "b"):
        m.controller.create_network(spec(name))
    before = m.snapshot()

    def work(number: int) -> None:
        for turn in range(4):
            sandbox = m.sandbox(number * 10 + turn)
            order = ["a", "b"] if number % 2 else ["b", "a"]
            m.controller.attach(sandbox, [(name, web(ports=(port(80),))) for name in order])
            assert m.controller.check() == []
            if turn % 2:
                m.controller.detach(sandbox.id)

    assert in_threads(8, work) == []
    endpoints = m.controller.endpoints()
    assert len(endpoints) == 32
    addresses = [(endpoint.network_id, endpoint.addresses) for endpoint in endpoints]
    assert len(set(addresses)) == len(addresses)
    ports = [binding.host_port for endpoint in endpoints for binding in endpoint.ports]
    assert len(set(ports)) == len(ports) == len(m.kernel.held) == 16
    for endpoint in endpoints:
        m.controller.detach(endpoint.sandbox.id)
    after = m.snapshot()
    assert {**after, "kernel": 0} == {**before, "kernel": 0}


def test_one_network_created_by_many_is_created_once(m: Machine):
    failures = in_threads(6, lambda number: m.controller.create_network(spec("a")))
    assert [type(failure) for failure in failures] == [Conflict] * 5
    assert [network.name for network in m.controller.networks()].count("a") == 1


def test_a_driver_that_does_not_load_harms_no_other(m: Machine):
    class Broken:
        group, name, value = "netpy.drivers", "broken", "nowhere:Driver"

        def load(self):
            raise ImportError("no such module")

    m.controller._context.drivers._plugins = [Broken()]  # type: ignore[attr-defined, assignment]
    with pytest.raises(Unsupported, match="driver broken"):
        m.controller.create_network(spec("x", driver="broken"))
    assert m.controller.create_network(spec("y"))
