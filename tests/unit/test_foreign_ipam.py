"""Address managers that are not the built-in one: what they grant is used, checked, stored and given back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from netpy.drivers.addressing import AddressRequest, IpamTraits, PoolGrant
from netpy.errors import DriverError, Exhausted, Forbidden, InvalidArgument, NotFound
from netpy.model import NetworkSpec, SubnetSpec
from netpy.objects import Bridge
from netpy.testing import Machine
from tests.unit.controller_lab import objects, web
from tests.unit.foreign_lab import Outsider


def with_outsider(driver: Outsider | None = None) -> tuple[Machine, Outsider]:
    driver = driver or Outsider()
    m = Machine(ipam={driver.name: driver})
    m.controller.ensure_predefined()
    m.sandbox(1)
    m.sandbox(2)
    return m, driver


def spec(name: str = "o", **more) -> NetworkSpec:
    return NetworkSpec(name=name, ipam_driver="outsider", **more)


def test_pools_and_addresses_come_from_outside_and_go_back() -> None:
    m, driver = with_outsider()
    before = m.snapshot()
    network = m.controller.create_network(spec(ipam_options={"site": "a"}))
    assert [(s.subnet, s.gateway, s.pool) for s in network.subnets] == [("10.88.0.0/24", "10.88.0.1", "10.88.0.0/24")]
    (one,) = m.controller.attach(m.sandbox(1), [("o", web())])
    (two,) = m.controller.attach(m.sandbox(2), [("o", web("two"))])
    assert (one.addresses, two.addresses) == (("10.88.0.10/24",), ("10.88.0.11/24",))
    asked = [about for what, about in driver.seen if what == "request_address"]  # type: ignore[misc]
    assert [(r.kind, r.name, bool(r.mac), r.options) for r in asked] == [
        ("gateway", "", False, {"site": "a"}),
        ("endpoint", "web", True, {"site": "a"}),
        ("endpoint", "two", True, {"site": "a"}),
    ]
    m.controller.detach(m.sandbox(1).id)
    m.controller.detach(m.sandbox(2).id)
    m.controller.remove_network("o")
    assert (driver.pools, driver.addresses) == (set(), set())
    assert m.snapshot() == before


def test_what_the_user_states_is_passed_on() -> None:
    m, driver = with_outsider()
    subnet = SubnetSpec(subnet="10.99.0.0/24", gateway="10.99.0.9", aux_addresses={"printer": "10.99.0.8"})
    network = m.controller.create_network(spec(subnets=(subnet,)))
    assert network.subnets[0].gateway == "10.99.0.9"
    assert driver.addresses == {"10.99.0.9", "10.99.0.8"}
    (endpoint,) = m.controller.attach(m.sandbox(1), [("o", web(addresses=("10.99.0.77",)))])
    assert endpoint.addresses == ("10.99.0.77/24",)
    with pytest.raises(Forbidden, match=r"Address already in use: 10\.99\.0\.77"):
        m.controller.attach(m.sandbox(2), [("o", web("two", addresses=("10.99.0.77",)))])


@pytest.mark.parametrize("what", ["request_pool", "request_address"])
def test_a_failure_is_named_and_undone(what: str) -> None:
    m, driver = with_outsider()
    before = m.snapshot()
    driver.fail = {what}
    with pytest.raises(DriverError, match=f"ipam driver outsider: {what} failed: RuntimeError"):
        m.controller.create_network(spec())
    assert m.snapshot() == before
    assert (driver.pools, driver.addresses) == (set(), set())


def test_a_later_failure_gives_the_address_back() -> None:
    m, driver = with_outsider()
    m.controller.create_network(spec())
    before = m.snapshot(), set(driver.addresses)
    m.kernel.fail_at = 1
    with pytest.raises(Exception, match="fault injected"):
        m.controller.attach(m.sandbox(1), [("o", web())])
    assert (m.snapshot(), driver.addresses) == before


@dataclass
class Answering(Outsider):
    """Gives these answers and no others."""

    pool: object = None
    address: object = None

    def request_pool(self, request: object) -> PoolGrant:
        return self.pool or super().request_pool(request)  # type: ignore[arg-type, return-value]

    def request_address(self, request: AddressRequest) -> str:
        return self.address if self.address and request.kind == "endpoint" else super().request_address(request)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ("10.0.0.0/24", "request_pool answered '10.0.0.0/24', not a PoolGrant"),
        (PoolGrant(pool="x", subnet="10.0.0.5/24"), "has host bits set"),
        (PoolGrant(pool="x", subnet="fd00::/64"), "for IPv4"),
        (PoolGrant(pool="x", subnet="10.0.0.0/24", gateway="10.1.0.1"), "for IPv4"),
    ],
)
def test_a_bad_pool_is_refused(answer: object, complaint: str) -> None:
    m, _ = with_outsider(Answering(pool=answer))
    before = m.snapshot()
    with pytest.raises(DriverError, match="ipam driver outsider") as raised:
        m.controller.create_network(spec())
    assert complaint in str(raised.value)
    assert m.snapshot() == before


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [("x", "answered 'x', which is no address"), ("10.1.2.3", "which is not in 10.88.0.0/24"), (7, "answered 7")],
)
def test_a_bad_address_is_refused(answer: object, complaint: str) -> None:
    m, _ = with_outsider(Answering(address=answer))
    m.controller.create_network(spec())
    before = m.snapshot()
    with pytest.raises(DriverError, match="ipam driver outsider: request_address") as raised:
        m.controller.attach(m.sandbox(1), [("o", web())])
    assert complaint in str(raised.value)
    assert m.snapshot() == before


def test_an_address_that_is_given_twice_is_not_used_twice() -> None:
    m, _ = with_outsider(Outsider(forgetful=True))
    m.controller.create_network(spec())
    m.controller.attach(m.sandbox(1), [("o", web())])
    with pytest.raises(Exhausted, match="gave 16 addresses that are all in use"):
        m.controller.attach(m.sandbox(2), [("o", web("two"))])
    assert len(m.controller.endpoints()) == 1


def test_a_pool_that_overlaps_is_held_while_another_is_asked_for() -> None:
    m, driver = with_outsider()
    m.controller.create_network(NetworkSpec(name="a", subnets=(SubnetSpec(subnet="10.88.0.0/24"),)))
    assert m.controller.create_network(spec()).subnets[0].subnet == "10.88.1.0/24"
    assert driver.pools == {"10.88.1.0/24"}
    with pytest.raises(Forbidden, match="Pool overlaps"):
        m.controller.create_network(spec("p", subnets=(SubnetSpec(subnet="10.88.0.0/16"),)))


def test_options_and_names_are_checked() -> None:
    m, _ = with_outsider()
    with pytest.raises(InvalidArgument, match="driver outsider has no option sight: it knows site"):
        m.controller.create_network(spec(ipam_options={"sight": "a"}))
    with pytest.raises(NotFound, match='could not find plugin nobody in ipam registry: plugin "nobody" not found'):
        m.controller.create_network(NetworkSpec(name="o", ipam_driver="nobody"))


def test_null_gives_nothing() -> None:
    m, _ = with_outsider()
    network = m.controller.create_network(NetworkSpec(name="n", ipam_driver="null"))
    assert network.subnets == ()
    (endpoint,) = m.controller.attach(m.sandbox(1), [("n", web())])
    assert (endpoint.addresses, endpoint.ifname) == ((), "eth0")
    assert len(objects(m, Bridge)) == 2
    assert m.controller.check() == []
    with pytest.raises(InvalidArgument, match='ipam driver "null" gives no addresses and takes no subnets'):
        m.controller.create_network(
            NetworkSpec(name="x", ipam_driver="null", subnets=(SubnetSpec(subnet="10.0.0.0/24"),))
        )


def test_requests_are_repeated_after_a_start_where_that_is_wanted() -> None:
    m, driver = with_outsider(Outsider(traits=IpamTraits(replay=True)))
    m.controller.create_network(spec())
    (endpoint,) = m.controller.attach(m.sandbox(1), [("o", web())])
    fresh = Outsider(traits=IpamTraits(replay=True))
    m.ipam = {"outsider": fresh}
    m.restart().reconcile(lambda sandbox: True)
    assert (fresh.pools, fresh.addresses) == (driver.pools, driver.addresses)
    assert m.controller.endpoints() == [endpoint]


class Last(Outsider):
    """Pure: the highest address that is free."""

    def request_address(self, request: AddressRequest) -> str:
        base = request.subnet.subnet.removesuffix("0/24")
        return request.address or next(f"{base}{n}" for n in range(254, 1, -1) if f"{base}{n}" not in request.taken)


def test_a_pure_one_needs_no_memory() -> None:
    m, driver = with_outsider(Last(traits=IpamTraits(pure=True)))
    m.controller.create_network(spec())
    (one,) = m.controller.attach(m.sandbox(1), [("o", web())])
    assert one.addresses == ("10.88.0.253/24",)
    m.controller.detach(m.sandbox(1).id)
    assert m.controller.attach(m.sandbox(2), [("o", web())])[0].addresses == ("10.88.0.253/24",)
    m.controller.detach(m.sandbox(2).id)
    m.controller.remove_network("o")
    assert not [what for what, _ in driver.seen if what.startswith("release")]  # type: ignore[misc]
