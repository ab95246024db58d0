"""What goes wrong: any change refused, the name server or the store failing, drivers that ask somebody outside."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest

from netpy.diff import Change, State
from netpy.drivers import Defaults
from netpy.drivers.bridge import BridgeDriver
from netpy.errors import (
    ApplyError,
    KernelError,
    NetpyError,
)
from netpy.kernel.memory import MemoryKernel
from netpy.model import Endpoint, Network, NetworkSpec, Sandbox, SubnetSpec
from netpy.objects import Publish, Veth
from netpy.store import Store, Transaction
from netpy.testing import Machine
from tests.unit.controller_lab import (
    PORTS,
    busy_machine,
    create,
    join,
    take_over,
    web,
)

OPERATIONS = [take_over, join, create]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_any_refused_change_leaves_the_world_as_it_was(operation: Callable[[Machine], None]):
    number = 0
    while True:
        number += 1
        m = busy_machine()
        before = m.snapshot()
        m.kernel.fail_at = number
        try:
            operation(m)
        except ApplyError as error:
            assert "fault injected" in str(error)
            assert error.left_behind == ()
            assert m.snapshot() == before
            assert m.controller.check() == []
            operation(m)
        else:
            break
        assert m.controller.check() == []
    assert number > 8


@pytest.mark.parametrize(("operation", "call"), [(take_over, "update"), (join, "open"), (join, "update")])
def test_a_failing_name_server_leaves_the_world_as_it_was(operation: Callable[[Machine], None], call: str):
    m = busy_machine()
    before = m.snapshot()
    m.names.fail = {call}
    with pytest.raises(KernelError, match=f"name server: {call} refused"):
        operation(m)
    m.names.fail = set()
    assert m.snapshot() == before


class FailingStore(Store):
    """Refuses the n-th write from now on, once."""

    fail_at = 0

    def transaction(self):
        self._count_down()
        return super().transaction()

    def put(self, kind, id, body):
        self._count_down()
        super().put(kind, id, body)

    def _count_down(self):
        if self.fail_at:
            self.fail_at -= 1
            if not self.fail_at:
                raise KernelError("writing the store: disk full")


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_leaves_the_world_as_it_was(operation: Callable[[Machine], None], number: int):
    store = FailingStore(":memory:")
    m = Machine(store=store)
    m.controller.ensure_predefined()
    for name in ("a", "b", "c"):
        m.controller.create_network(NetworkSpec(name=name))
    m.controller.attach(m.sandbox(1), [("a", web(ports=PORTS))])
    m.sandbox(2)
    before = m.snapshot()
    store.fail_at = number
    with pytest.raises(KernelError, match="disk full"):
        operation(m)
    assert m.snapshot() == before
    operation(m)
    assert m.controller.check() == []


class Full(Store):
    """A store with room for so many more transactions, less one."""

    room = 1 << 20

    @contextmanager
    def transaction(self) -> Generator[Transaction]:
        self.room -= 1
        if self.room <= 0:
            raise KernelError("writing the store: database or disk is full")
        with super().transaction() as inside:
            yield inside


def test_what_a_full_disk_would_not_let_go_goes_with_the_next_change():
    store = Full(":memory:")
    m = Machine(store=store)
    m.controller.create_network(NetworkSpec(name="front"))
    store.room = 2  # the pending record is written, and neither the active one nor its end
    with pytest.raises(KernelError, match="full"):
        m.controller.attach(m.sandbox(1), [("front", web())])
    assert len(store.all("endpoint")) == 1
    store.room = 1 << 20
    [made] = m.controller.attach(m.sandbox(2), [("front", web())])
    assert [id for id, _ in store.all("endpoint")] == [made.id]
    assert m.controller.check() == []


def test_a_network_that_neither_came_to_be_nor_could_be_dropped_is_in_nobodys_way():
    store = Full(":memory:")
    m = Machine(store=store)
    store.room = 2  # that it is pending is written, and nothing after that
    with pytest.raises(KernelError, match="full"):
        m.controller.create_network(NetworkSpec(name="front"))
    assert m.controller.networks() == []
    store.room = 1 << 20
    made = m.controller.create_network(NetworkSpec(name="front"))
    assert [id for id, _ in store.all("network")] == [made.id]
    assert m.controller.check() == []


def test_a_removal_that_met_a_full_disk_can_be_asked_for_again():
    store = FailingStore(":memory:")
    m = Machine(store=store)
    network = m.controller.create_network(NetworkSpec(name="front"))
    store.fail_at = 2  # that it is leaving is written, that it has left is not
    with pytest.raises(KernelError, match="disk full"):
        m.controller.remove_network("front")
    assert m.controller.network("front").id == network.id
    m.controller.remove_network("front")
    assert store.get("network", network.id) is None
    m.controller.create_network(NetworkSpec(name="front"))
    assert m.controller.check() == []


def test_what_cannot_be_undone_is_named():
    m = busy_machine()

    class Stubborn(MemoryKernel):
        def _make(self, change: Change) -> None:
            if change.key.kind == "publish":
                raise KernelError("refused")
            if change.key.kind == "veth" and type(change).__name__ == "Delete":
                raise KernelError("stuck")
            super()._make(change)

    m.kernel.__class__ = Stubborn
    with pytest.raises(ApplyError, match=r"publish .*: refused") as caught:
        join(m)
    assert len(caught.value.left_behind) == 2
    assert all("stuck" in line for line in caught.value.left_behind)
    m.kernel.__class__ = MemoryKernel
    assert [line.split(":")[1] for line in m.controller.check()] == [" unexpected", " unexpected"]
    assert len(m.controller.repair()) == 2
    assert m.controller.check() == []


# ---- detach and removal never stop -----------------------------------------------------------------------------------


def test_a_detach_goes_on_after_any_failure():
    for number in range(1, 12):
        m = busy_machine()
        m.kernel.fail_at = number
        try:
            m.controller.detach(m.sandbox(1).id)
        except* ApplyError as errors:
            assert "fault injected" in str(errors.exceptions[0])
        m.kernel.fail_at = 0
        assert m.controller.endpoints() == []
        assert m.kernel.held == set()
        assert m.names.snapshot() == ({}, {}, {})
        m.controller.repair()
        assert m.controller.check() == []
        assert not [obj for obj in m.kernel.objects.values() if isinstance(obj, Veth | Publish)]


def test_a_detach_goes_on_when_the_name_server_is_gone():
    m = busy_machine()
    m.names.fail = {"update", "close"}
    with pytest.raises(ExceptionGroup) as caught:
        m.controller.detach(m.sandbox(1).id)
    assert len(caught.value.exceptions) == 2
    assert m.controller.endpoints() == []
    assert m.kernel.held == set()


def test_a_removal_goes_on_after_any_failure():
    for number in range(1, 8):
        m = busy_machine()
        m.kernel.fail_at = number
        try:
            m.controller.remove_network("b")
        except* ApplyError as errors:
            assert "fault injected" in str(errors.exceptions[0])
        m.kernel.fail_at = 0
        assert [network.name for network in m.controller.networks()] == ["bridge", "host", "none", "a", "c"]
        m.controller.repair()
        assert m.controller.check() == []


@pytest.mark.parametrize("error", [KernelError("entering: no memory"), OSError(24, "no descriptors")])
def test_a_removal_that_cannot_look_at_the_kernel_changes_nothing(error: Exception):
    class Blind(MemoryKernel):
        def observe(self, like: State, *, cursory: bool = False) -> State:
            raise error

    m = busy_machine()
    before = m.snapshot()
    m.kernel.__class__ = Blind
    with pytest.raises(type(error), match="no "):
        m.controller.remove_network("b")
    m.kernel.__class__ = MemoryKernel
    assert m.snapshot() == before
    assert m.restart().network("b").phase == "active"
    m.controller.remove_network("b")
    assert m.controller.check() == []


def test_a_namespace_that_is_gone_is_no_failure():
    m = busy_machine()
    m.kernel.delete_netns(m.sandbox(1).netns)
    m.controller.detach(m.sandbox(1).id)
    assert m.controller.check() == []
    assert m.kernel.held == set()


# ---- drivers that ask somebody outside -------------------------------------------------------------------------------


class Leasing(BridgeDriver):
    """Asks for a lease, which is noted; `refuse` makes it fail."""

    name = "leasing"

    def __init__(self, defaults: Defaults) -> None:
        super().__init__(defaults)
        self.leased: set[str] = set()
        self.refuse = False

    def acquire(self, network: Network, endpoint: Endpoint) -> Mapping[str, str]:
        if self.refuse:
            raise KernelError("no lease to be had")
        self.leased.add(endpoint.id)
        return {"lease": endpoint.id[:4]}

    def release(self, network: Network, endpoint: Endpoint) -> None:
        self.leased.discard(endpoint.id)


def leasing_machine() -> tuple[Machine, Leasing]:
    driver = Leasing(Defaults())
    m = Machine(plugins={"leasing": lambda defaults: driver})
    m.controller.create_network(NetworkSpec(name="l", driver="leasing"))
    m.sandbox(1)
    return m, driver


def test_what_is_acquired_is_stored_and_released():
    m, driver = leasing_machine()
    (endpoint,) = m.controller.attach(m.sandbox(1), [("l", web())])
    assert endpoint.facts == {"lease": endpoint.id[:4]}
    assert driver.leased == {endpoint.id}
    assert m.restart().endpoints() == [endpoint]
    m.controller.detach(m.sandbox(1).id)
    assert driver.leased == set()


def test_what_is_acquired_is_released_after_a_failure_or_a_death():
    m, driver = leasing_machine()
    before = m.snapshot()
    m.kernel.fail_at = 1
    with pytest.raises(ApplyError):
        m.controller.attach(m.sandbox(1), [("l", web())])
    assert driver.leased == set()
    driver.refuse = True
    with pytest.raises(NetpyError, match="no lease to be had"):
        m.controller.attach(m.sandbox(1), [("l", web())])
    assert m.snapshot() == before
    driver.refuse = False
    m.controller.attach(m.sandbox(1), [("l", web())])
    m.restart().reconcile(lambda sandbox: False)
    assert driver.leased == set()


def test_a_driver_that_is_gone_does_not_keep_the_daemon_down(caplog: pytest.LogCaptureFixture):
    m, _ = leasing_machine()
    m.controller.attach(m.sandbox(1), [("l", web())])
    m.plugins = {}
    m.restart().reconcile(lambda sandbox: True)
    m.controller.ensure_predefined()
    assert 'plugin "leasing" not found' in caplog.text
    assert m.controller.create_network(NetworkSpec(name="other"))
    with pytest.raises(ExceptionGroup, match="detaching web"):
        m.controller.detach(m.sandbox(1).id)
    assert m.controller.endpoints() == []
    with pytest.raises(ExceptionGroup, match="removing network l"):
        m.controller.remove_network("l")
    assert "l" not in {network.name for network in m.controller.networks()}
    assert m.kernel.doubted  # so that somebody looks for what its driver had made


def test_wanted_state_is_a_value():
    driver = BridgeDriver(Defaults())
    network = Network(id="ab" * 32, spec=NetworkSpec(name="n", subnets=(SubnetSpec(subnet="10.9.0.0/24"),)))
    state: State = driver.network_state(network)
    assert state == driver.network_state(replace(network))
    assert (
        driver.endpoint_state(network, Endpoint(id="e", network_id="n", sandbox=Sandbox(id="s", netns=""), spec=web()))
        == frozenset()
    )
