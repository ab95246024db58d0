"""Foreign drivers: what they bring, what becomes of it when something fails, and that a stuck one keeps nobody waiting."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from netpy.drivers import Acquired
from netpy.errors import ApplyError, DriverError, NotFound
from netpy.model import NetworkSpec
from netpy.objects import Given, Veth
from netpy.testing import Machine
from tests.unit.controller_lab import default_route, objects, port, web
from tests.unit.foreign_lab import ConfiguringDriver, PairDriver, with_pair


def test_what_a_driver_brings_fills_the_blanks() -> None:
    m, driver = with_pair()
    (endpoint,) = m.controller.attach(m.sandbox(1), [("p", web(ports=(port(80, 8080),)))])
    assert endpoint.addresses == ("10.77.0.2/24",)
    assert endpoint.routers == ("10.77.0.254",)
    assert endpoint.gateways == {4}
    assert endpoint.mac.startswith("02:42:")
    assert [binding.host_port for binding in endpoint.ports] == [8080]
    assert default_route(m, m.sandbox(1)) == "eth0"
    assert m.names.views[endpoint.sandbox.id].upstreams == ("10.77.0.53",)
    assert m.controller.network("p").facts == {"made": "p"}
    m.controller.detach(m.sandbox(1).id)
    m.controller.remove_network("p")
    assert driver.hooks() == [
        *("acquire_network", "acquire", "connected"),
        *("disconnecting", 'release {"lease": "web"}', "release_network"),
    ]


def test_hooks_hear_of_gateways_that_move() -> None:
    m, driver = with_pair()
    m.controller.attach(m.sandbox(1), [("p", web())])
    driver.said.clear()
    m.controller.attach(m.sandbox(1), [("bridge", web(gateway_priority=1, names=()))])
    assert driver.hooks() == ["disconnecting", "connected"]
    assert default_route(m, m.sandbox(1)) == "eth1"
    driver.said.clear()
    m.controller.detach(m.sandbox(1).id, "bridge")
    assert driver.hooks() == ["disconnecting", "connected"]
    assert default_route(m, m.sandbox(1)) == "eth0"


@pytest.mark.parametrize(
    "what", ["normalise", "network_state", "endpoint_state", "acquire_network", "acquire", "connected"]
)
def test_whatever_a_driver_fails_in_is_named_and_undone(what: str) -> None:
    m, driver = with_pair()
    before = m.snapshot()
    driver.fail = {what}
    is_network = what in {"normalise", "network_state", "acquire_network"}
    with pytest.raises(DriverError, match=rf"driver pair.*{what}.*RuntimeError: {what} is broken"):
        if is_network:
            m.controller.create_network(NetworkSpec(name="q", driver="pair"))
        else:
            m.controller.attach(m.sandbox(1), [("bridge", web()), ("p", web())])
    driver.fail = set()
    assert m.snapshot() == before
    released = [hook for hook in driver.hooks() if hook.startswith("release")]
    assert bool(released) == (what in {"acquire_network", "acquire", "connected", "endpoint_state"})
    assert m.controller.attach(m.sandbox(1), [("bridge", web()), ("p", web())])


@pytest.mark.parametrize("what", ["release", "disconnecting", "release_network"])
def test_a_driver_that_fails_in_giving_back_is_named_and_left_behind(what: str) -> None:
    m, driver = with_pair()
    driver.answer = lambda endpoint: Acquired()
    m.controller.attach(m.sandbox(1), [("p", web())])
    driver.fail = {what}
    with pytest.raises(ExceptionGroup) as raised:
        m.controller.detach(m.sandbox(1).id)
        m.controller.remove_network("p")
    assert f"driver pair: {what} failed: RuntimeError: {what} is broken" in str(raised.value.exceptions)
    assert m.controller.endpoints() == []
    assert not objects(m, Veth)


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (None, "answered None"),
        ({"a": 1}, "fact 'a': 1"),
        (Acquired(addresses=("10.0.0.2",)), "need a prefix length"),
        (Acquired(addresses=("10.0.0.256/24",)), "answered '10.0.0.256/24'"),
        (Acquired(addresses=("10.0.0.2/24", "10.0.0.3/24")), "two of IPv4"),
        (Acquired(addresses="10.0.0.2/24"), "not a tuple"),  # type: ignore[arg-type]
        (Acquired(mac="zz"), "the MAC address 'zz'"),
        (Acquired(ifname="a/b"), "interface name 'a/b'"),
        (Acquired(routers=("nowhere",)), "answered 'nowhere' among routers"),
        (Acquired(dns=("8.8.8.8", 5)), "answered 5 as dns"),  # type: ignore[arg-type]
    ],
)
def test_garbage_is_refused_by_name_and_undone(answer: object, complaint: str) -> None:
    m, driver = with_pair()
    before = m.snapshot()
    driver.answer = lambda endpoint: answer
    with pytest.raises(DriverError, match="driver pair: acquire") as raised:
        m.controller.attach(m.sandbox(1), [("p", web())])
    assert complaint in str(raised.value)
    assert m.snapshot() == before
    assert driver.hooks()[-1].startswith("release")


def test_only_blanks_may_be_filled() -> None:
    m, driver = with_pair()
    driver.answer = lambda endpoint: Acquired(mac="02:00:00:00:00:07")
    with pytest.raises(DriverError, match="02:42:0a:00:00:09 was asked for"):
        m.controller.attach(m.sandbox(1), [("p", web(mac="02:42:0a:00:00:09"))])
    (endpoint,) = m.controller.attach(m.sandbox(1), [("p", web())])
    assert endpoint.mac == "02:00:00:00:00:07"


def test_a_driver_may_rename_its_interface_unless_the_user_did() -> None:
    m, driver = with_pair()
    driver.answer = lambda endpoint: Acquired(prefix="ethwe")
    assert m.controller.attach(m.sandbox(1), [("p", web())])[0].ifname == "ethwe0"
    named = web(options={"com.docker.network.endpoint.ifname": "lan"})
    assert m.controller.attach(m.sandbox(2), [("p", named)])[0].ifname == "lan"


# ---- stuck -------------------------------------------------------------------------------------------------------


def test_a_stuck_driver_keeps_nobody_else_waiting() -> None:
    m, driver = with_pair()
    driver.hang["acquire"] = threading.Event()
    failure: list[BaseException] = []

    def attach() -> None:
        try:
            m.controller.attach(m.sandbox(1), [("p", web())])
        except BaseException as error:
            failure.append(error)

    stuck = threading.Thread(target=attach)
    stuck.start()
    while "acquire" not in driver.said:
        threading.Event().wait(0.001)
    assert m.controller.create_network(NetworkSpec(name="other"))
    assert m.controller.attach(m.sandbox(2), [("other", web("two"))])
    assert m.controller.mend() == []
    m.controller.remove_network(m.controller.create_network(NetworkSpec(name="short")).id)
    m.controller.detach(m.sandbox(2).id)
    assert stuck.is_alive()
    driver.hang["acquire"].set()
    stuck.join()
    assert not failure
    assert m.controller.endpoints(sandbox_id=m.sandbox(1).id)


def test_a_call_that_takes_too_long_is_given_up_and_undone_when_it_ends() -> None:
    m, driver = with_pair(PairDriver(timeout=0.05))
    before = m.snapshot()
    driver.hang["acquire"] = threading.Event()
    with pytest.raises(DriverError, match=r"driver pair: acquire did not answer within 0\.05 s"):
        m.controller.attach(m.sandbox(1), [("p", web())])
    assert m.snapshot() == before
    assert driver.hooks()[-1] == "release"
    driver.hang["acquire"].set()
    for thread in threading.enumerate():
        if thread.name == "driver pair: acquire":
            thread.join()
    assert driver.hooks()[-1] == 'release {"lease": "web"}'


def test_a_driver_that_never_answers_is_not_asked_for_ever() -> None:
    m, driver = with_pair(PairDriver(timeout=0.1))
    driver.hang["acquire"] = threading.Event()
    for _ in range(8):
        with pytest.raises(DriverError, match="did not answer"):
            m.controller.attach(m.sandbox(1), [("p", web())])
    with pytest.raises(DriverError, match="acquire is not tried: 8 earlier calls"):
        m.controller.attach(m.sandbox(1), [("p", web())])
    driver.hang["acquire"].set()


# ---- sandboxes that others configure -----------------------------------------------------------------------------


def configuring() -> tuple[Machine, ConfiguringDriver]:
    kernel = Machine().kernel
    driver = ConfiguringDriver(kernel)
    m = Machine(kernel=kernel, plugins={"pair": lambda defaults: driver})
    m.controller.ensure_predefined()
    m.controller.create_network(NetworkSpec(name="p", driver="pair"))
    m.sandbox(1)
    return m, driver


def test_a_sandbox_that_somebody_else_configures() -> None:
    m, _ = configuring()
    before = m.snapshot()
    (endpoint,) = m.controller.attach(m.sandbox(1), [("p", web())])
    assert endpoint.addresses
    lines = m.controller.check()
    assert lines == ["network p: 1 endpoints looked at"]
    key = Given(netns=endpoint.sandbox.netns, ifname="eth0", maker="").key
    given = m.kernel.objects.pop(key)
    assert "link eth0 netns 1: missing" in m.controller.check()
    assert m.controller.repair() == []
    m.kernel.objects[key] = given
    m.controller.detach(m.sandbox(1).id)
    assert m.snapshot() == before


def test_a_link_that_was_promised_and_is_not_there() -> None:
    m, driver = configuring()
    before = m.snapshot()
    driver.makes_link = False
    with pytest.raises(ApplyError, match="only pair can make it"):
        m.controller.attach(m.sandbox(1), [("p", web())])
    assert m.snapshot() == before
    assert driver.hooks()[-1] == 'release {"lease": "web"}'


def test_a_link_that_is_left_behind_is_removed_and_told() -> None:
    m, driver = configuring()
    before = m.snapshot()
    driver.leaves_link = True
    m.controller.attach(m.sandbox(1), [("p", web())])
    with pytest.raises(ExceptionGroup) as raised:
        m.controller.detach(m.sandbox(1).id)
    assert "driver pair: release left eth0 in the sandbox: removed" in str(raised.value.exceptions)
    assert m.snapshot() == before


# ---- starts ------------------------------------------------------------------------------------------------------


def test_after_a_start_drivers_get_back_and_collect() -> None:
    m, driver = with_pair()
    m.controller.attach(m.sandbox(1), [("p", web())])
    m.controller.attach(m.sandbox(2), [("p", web("two"))])
    driver.said.clear()
    m.restart().reconcile(lambda sandbox: sandbox.id == m.sandbox(2).id)
    assert driver.hooks() == ['release {"lease": "web"}', "collect 1"]
    assert m.controller.check() == ["network p: 1 endpoints looked at"]


def test_a_crash_while_a_driver_was_asked_is_made_good() -> None:
    m, driver = with_pair()
    driver.hang["acquire"] = threading.Event()
    thread = threading.Thread(target=lambda: m.controller.attach(m.sandbox(1), [("p", web())]))
    thread.start()
    while "acquire" not in driver.said:
        threading.Event().wait(0.001)
    stored = [body for _, body in m.store.all("endpoint")]
    assert [body["phase"] for body in stored] == ["pending"]
    other = PairDriver()
    after = Machine(store=m.store, plugins={"pair": lambda defaults: other})
    after.controller.reconcile(lambda sandbox: True)
    assert other.hooks() == ["release", "collect 0"]
    assert after.store.all("endpoint") == []
    driver.hang["acquire"].set()
    thread.join()


def test_a_driver_that_is_missing_keeps_its_networks_and_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    m, driver = with_pair()
    m.controller.attach(m.sandbox(1), [("p", web()), ("bridge", web(names=()))])
    links = {obj.name for obj in objects(m, Veth)}
    m.plugins = {}
    m.restart().reconcile(lambda sandbox: True)
    m.controller.ensure_predefined()
    assert 'plugin "pair" not found' in caplog.text
    assert {obj.name for obj in objects(m, Veth)} == links
    assert m.controller.mend() == []
    assert {obj.name for obj in objects(m, Veth)} == links
    assert [n.name for n in m.controller.networks()] == ["bridge", "host", "none", "p"]
    assert any("network p" in line and "not found" in line for line in m.controller.check())
    with pytest.raises(NotFound, match='plugin "pair" not found'):
        m.controller.attach(m.sandbox(2), [("p", web("two"))])
    m.controller.create_network(NetworkSpec(name="more"))
    m.controller.attach(m.sandbox(1), [("more", web())])
    m.plugins = {"pair": lambda defaults: driver}
    m.restart().reconcile(lambda sandbox: True)
    assert m.controller.attach(m.sandbox(2), [("p", web("two"))])


def test_records_without_facts_are_planned_with() -> None:
    m, driver = with_pair()
    plan = m.controller.plan_attach(replace(m.sandbox(1)), [("p", web())])
    assert plan
    assert driver.hooks() == ["acquire_network"]
