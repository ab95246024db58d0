"""A kill at any moment, restarts, and tampering: what reconcile, check and repair make of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest

from netpy.controller import Settings
from netpy.diff import Change
from netpy.kernel.memory import MemoryKernel
from netpy.model import NetworkSpec
from netpy.objects import Address, Bridge, Isolate, Key, Publish, Route, Veth
from netpy.store import Store
from netpy.testing import Machine, RecordingNames, machine
from tests.unit.controller_lab import (
    PORTS,
    busy_machine,
    create,
    join,
    take_over,
    web,
)

# ---- kill -9 at any moment -------------------------------------------------------------------------------------------


class Filming(MemoryKernel):
    """Keeps a copy of the world around each change, if it differs from the last: what a kill at that moment would leave."""

    def __init__(self) -> None:
        super().__init__()
        self.film: list[Machine] = []
        self._machine: Machine | None = None
        self._last: object = None

    def roll(self, m: Machine) -> None:
        """Film that world from now on."""
        self._machine = m
        self.shoot()

    def shoot(self) -> None:
        if self._machine is not None and self._last != (seen := world(self._machine)):
            self._last = seen
            self.film.append(copied(self._machine))

    def _make(self, change: Change) -> None:
        self.shoot()
        super()._make(change)
        self.shoot()


def world(m: Machine) -> object:
    """All that `copied` takes along, to compare."""
    return m.snapshot(), dict(m.kernel.objects), set(m.kernel.namespaces)


def copied(m: Machine) -> Machine:
    """The same kernel, records and names, and no controller that remembers."""
    kernel, names, store = MemoryKernel(), RecordingNames(), Store(":memory:")
    kernel.objects, kernel.namespaces = dict(m.kernel.objects), set(m.kernel.namespaces)
    names.records, names.views, names.ports = m.names.snapshot()
    for kind in ("network", "endpoint", "sandbox", "reservation"):
        for id, body in m.store.all(kind):
            store.put(kind, id, body)
    return Machine(kernel=kernel, names=names, store=store, settings=m.settings)


def filmed(operation: Callable[[Machine], object]) -> list[Machine]:
    kernel = Filming()
    m = Machine(kernel=kernel)
    m.controller.ensure_predefined()
    for name in ("a", "b"):
        m.controller.create_network(NetworkSpec(name=name, ipv6=True))
    m.controller.create_network(NetworkSpec(name="c", internal=True))
    m.controller.attach(m.sandbox(1), [("a", web(ports=PORTS))])
    m.sandbox(2)
    kernel.roll(m)
    operation(m)
    kernel.shoot()
    return kernel.film


@pytest.mark.parametrize(
    "operation",
    [
        take_over,
        join,
        create,
        lambda m: m.controller.remove_network("b"),
        lambda m: m.controller.detach(m.sandbox(1).id),
    ],
)
@pytest.mark.parametrize("survivor", [True, False])
def test_a_kill_at_any_moment_is_mended_at_the_next_start(operation: Callable[[Machine], object], survivor: bool):
    film = filmed(operation)
    assert len(film) > 8
    for m in film:
        m.controller.reconcile(lambda sandbox: survivor)
        m.controller.ensure_predefined()
        assert m.controller.check() == []
        endpoints = m.controller.endpoints()
        assert {each.network_id for each in endpoints} <= {network.id for network in m.controller.networks()}
        assert set(m.names.records) == {e.id for e in endpoints if not m.controller.network(e.network_id).predefined}
        held = {(b.protocol, b.host_ip, b.host_port) for each in endpoints for b in each.ports}
        assert m.kernel.held == held
        if not survivor:
            assert endpoints == []
            assert m.names.snapshot() == ({}, {}, {})
            assert not [obj for obj in m.kernel.objects.values() if isinstance(obj, Veth | Publish)]
        assert [body["phase"] for _, body in (*m.store.all("network"), *m.store.all("endpoint"))].count("active") == (
            len(m.controller.networks()) + len(endpoints)
        )
        for sandbox_id in {each.sandbox.id for each in endpoints}:
            m.controller.detach(sandbox_id)
        join(m)
        assert m.controller.check() == []


def test_a_kill_during_the_very_first_start_is_mended():
    kernel = Filming()
    m = Machine(kernel=kernel)
    kernel.roll(m)
    m.controller.ensure_predefined()
    assert len(kernel.film) > 4
    for after in kernel.film:
        after.controller.ensure_predefined()
        after.controller.reconcile(lambda sandbox: True)
        assert [network.name for network in after.controller.networks()] == ["bridge", "host", "none"]
        assert after.controller.check() == []


def test_the_default_network_follows_the_settings_once_its_users_are_dead():
    m = busy_machine()
    m.controller.attach(m.sandbox(2), [("bridge", web("two"))])
    m.settings = Settings(host_id="test", bip="10.200.0.1/24")
    m.restart().ensure_predefined()
    assert m.controller.network("bridge").subnets[0].subnet == "172.17.0.0/16"
    m.controller.reconcile(lambda sandbox: False)
    assert m.controller.network("bridge").subnets[0].subnet == "10.200.0.0/24"
    assert m.controller.check() == []


def test_a_restart_changes_nothing_that_is_fine():
    m = busy_machine()
    join(m)
    before = m.snapshot()
    m.kernel.applied.clear()
    m.restart().reconcile(lambda sandbox: True)
    assert [len(plan) for plan in m.kernel.applied] == []
    assert m.snapshot() == before


def test_a_restart_brings_everything_back_after_a_reboot():
    m = busy_machine()
    before = m.snapshot()
    m.kernel.objects.clear()
    m.names = RecordingNames()
    m.names._free = iter([40000])  # type: ignore[assignment]
    m.restart().reconcile(lambda sandbox: True)
    assert m.controller.check() == []
    assert m.snapshot()["held"] == before["held"]
    assert m.snapshot()["names"] == before["names"]


def test_orphans_go_at_the_start():
    m = machine()
    orphan = Bridge(name="br-orphan", mac="02:00:00:00:00:01", mtu=1500, mark="netpy/network/orphan")
    foreign = Bridge(name="br-foreign", mac="02:00:00:00:00:02", mtu=1500, mark="netpy-abc/network/x")
    for obj in (orphan, foreign):
        m.kernel.objects[obj.key] = obj
    assert m.controller.check() == ["bridge br-orphan: unexpected"]
    m.restart().reconcile(lambda sandbox: True)
    assert orphan.key not in m.kernel.objects
    assert foreign.key in m.kernel.objects


def test_one_failure_at_the_start_does_not_keep_the_rest_down(caplog: pytest.LogCaptureFixture):
    m = busy_machine()
    join(m)
    m.kernel.objects.clear()
    m.names.fail = {"open", "replace"}
    m.kernel.busy = {("tcp", "0.0.0.0", 8800)}
    m.kernel.fail_at = 3
    with caplog.at_level(logging.WARNING):
        m.restart().reconcile(lambda sandbox: True)
    for text in ("fault injected", "open refused", "replace refused", "address already in use"):
        assert text in caplog.text
    m.names.fail = set()
    m.restart().reconcile(lambda sandbox: True)
    assert m.controller.check() == []


# ---- tampering -------------------------------------------------------------------------------------------------------


def tampered(m: Machine) -> list[str]:
    """Change a bridge, remove addresses and rules, add a rule; what `check` should say of it."""
    (endpoint,) = m.controller.endpoints(sandbox_id=m.sandbox(1).id)
    network = m.controller.network("a")
    bridge = m.kernel.objects[Key("bridge", "", f"br-{network.id[:12]}")]
    m.kernel.objects[bridge.key] = replace(bridge, mtu=1400)  # type: ignore[type-var]
    stray = Isolate(bridge="br-x", subnet="10.1.0.0/24")
    m.kernel.objects[stray.key] = stray
    for key, obj in list(m.kernel.objects.items()):
        inside = isinstance(obj, Address | Route) and obj.netns == m.sandbox(1).netns and "." in key.name
        if inside or (isinstance(obj, Publish) and obj.host_port == 8800 and ":" not in obj.host_ip):
            del m.kernel.objects[key]
    return [
        "isolate 10.1.0.0/24: unexpected",
        f"bridge {bridge.name}: mtu is 1400, should be 1500",  # type: ignore[attr-defined]
        f"address {endpoint.addresses[0]} dev eth0 netns 1: missing",
        "route default netns 1: missing",
        "publish 0.0.0.0:8800/tcp: missing",
    ]


def test_check_names_every_drift_and_repair_mends_it():
    m = busy_machine()
    before = m.snapshot()
    expected = tampered(m)
    assert m.controller.check() == expected
    m.kernel.actions.clear()
    assert m.controller.repair() == expected
    assert m.controller.check() == m.controller.repair() == []
    assert m.snapshot() == before
    assert [type(action).__name__ for action in m.kernel.actions] == ["Announce", "ForgetUnanswered"]


def test_reconcile_mends_it_too():
    m = busy_machine()
    before = m.snapshot()
    tampered(m)
    m.restart().reconcile(lambda sandbox: True)
    assert m.snapshot() == before


def test_repair_reports_only_what_it_mended():
    m = busy_machine()
    expected = tampered(m)
    m.kernel.fail_at = 1
    mended = m.controller.repair()
    assert set(mended) < set(expected)
    assert m.controller.check() == [line for line in expected if line not in mended]


def test_what_goes_with_its_namespace_is_not_mended():
    """A container's namespace is let go of before its records are: nobody has sabotaged anything then."""
    m = busy_machine()
    m.kernel.delete_netns(m.sandbox(1).netns)
    assert m.controller.mend() == []
    m.controller.detach(m.sandbox(1).id)
    assert m.controller.check() == []
