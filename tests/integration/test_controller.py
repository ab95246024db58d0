"""The whole controller on the in-memory kernel and on Linux with either firewall: the same bodies, the same outcome.

That they pass on both is what makes the in-memory kernel fit to stand in for the real one in the unit tests.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from netpy.controller import Controller, Settings
from netpy.diff import Delete, Plan, diff
from netpy.drivers import Defaults
from netpy.drivers.registry import Registry
from netpy.errors import ApplyError, Conflict, KernelError
from netpy.kernel import Kernel, netns
from netpy.kernel.linux import LinuxKernel
from netpy.kernel.memory import MemoryKernel
from netpy.kernel.netfilter import choose
from netpy.model import EndpointSpec, NetworkSpec, PortBinding, Sandbox
from netpy.objects import Address, Bridge, Route, Veth
from netpy.store import Store
from netpy.testing import RecordingNames

pytestmark = pytest.mark.root
INSTANCE = "netpy-test"
PORTS = (
    PortBinding(container_port=80, host_port=8800),
    PortBinding(container_port=8080, host_port=8801),
    PortBinding(protocol="udp", container_port=53, host_ip="127.0.0.1", host_port=5353),
)


class Breaking:
    """A kernel in front of another: lets `survive` changes of the next plan pass and refuses the one after."""

    def __init__(self, kernel: Kernel) -> None:
        self.inner = kernel
        self.survive = -1
        self.plans: list[Plan] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def apply(self, plan: Plan) -> None:
        self.plans.append(plan)
        if 0 <= self.survive < len(plan):
            done, failed = Plan(plan.changes[: self.survive]), plan.changes[self.survive]
            self.survive = -1
            self.inner.apply(done)
            raise ApplyError("fault injected", done=done, failed=failed)
        self.inner.apply(plan)


@dataclass
class World:
    """A host of its own, with a controller on it."""

    kernel: Breaking
    directory: str
    names: RecordingNames = field(default_factory=RecordingNames)
    store: Store = field(default_factory=lambda: Store(":memory:"))
    made: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.controller = self.restart()
        self.controller.ensure_predefined()

    def restart(self) -> Controller:
        self.controller = Controller(
            store=self.store,
            kernel=self.kernel,  # type: ignore[arg-type]
            drivers=Registry(Defaults(instance=INSTANCE), plugins=()),
            names=self.names,
            settings=Settings(instance=INSTANCE, default_bridge="netpy-test0", host_id="test"),
        )
        return self.controller

    def sandbox(self, number: int) -> Sandbox:
        path = f"{self.directory}/{number}"
        if path not in self.made:
            self.kernel.create_netns(path)  # type: ignore[operator]
            self.made.append(path)
        return Sandbox(id=f"{number:064x}", netns=path)

    def owned(self) -> list[str]:
        return sorted(str(obj.key) for obj in self.kernel.owned())  # type: ignore[operator]


@pytest.fixture
def host() -> Iterator[str]:
    path = f"/run/netpy-test/{secrets.token_hex(6)}"
    netns.create(path)
    yield path
    netns.delete(path)


@pytest.fixture(params=["memory", "nftables", "iptables"])
def play(request: pytest.FixtureRequest, host: str) -> Callable[[Callable[[World], None]], None]:
    """Runs a body in a world of the parametrised kind."""

    def run(body: Callable[[World], None]) -> None:
        directory = f"{host}-sandboxes"
        if request.param == "memory":
            body(World(Breaking(MemoryKernel(INSTANCE)), directory))
            return
        Path(directory).mkdir(parents=True)
        with closing(LinuxKernel(choose(request.param, INSTANCE), INSTANCE)) as kernel:
            world = World(Breaking(kernel), directory)
            try:
                body(world)
            finally:
                for path in world.made:
                    netns.delete(path)
                Path(directory).rmdir()
                for endpoint in world.controller.endpoints():
                    for port in endpoint.ports:
                        world.kernel.release(port.protocol, port.host_ip, port.host_port)  # type: ignore[operator]

    return lambda body: netns.run_in(host, lambda: run(body))


def web(name: str = "web", **more) -> EndpointSpec:
    return EndpointSpec(name=name, names=(name,), **more)


def populate(world: World) -> None:
    controller = world.controller
    controller.create_network(NetworkSpec(name="a", ipv6=True))
    controller.create_network(NetworkSpec(name="b", ipv6=True))
    controller.create_network(NetworkSpec(name="c", internal=True))
    controller.attach(world.sandbox(1), [("a", web(ports=PORTS))])
    world.sandbox(2)


def take_over(world: World) -> None:
    world.controller.attach(world.sandbox(1), [("b", web(gateway_priority=1)), ("c", web())])


def join(world: World) -> None:
    world.controller.attach(world.sandbox(2), [("bridge", web("two")), ("a", web("two"))])


def create(world: World) -> None:
    world.controller.create_network(NetworkSpec(name="new", ipv6=True))


def test_what_is_made_is_found_and_what_is_removed_is_gone(play) -> None:
    def body(world: World) -> None:
        controller = world.controller
        empty = world.owned()
        populate(world)
        assert controller.check() == []
        for operation in (take_over, join, create):
            operation(world)
            assert controller.check() == []
        controller.detach(world.sandbox(1).id, "b")
        assert controller.check() == []
        for number in (1, 2):
            controller.detach(world.sandbox(number).id)
            assert controller.check() == []
        assert sorted(controller.prune_networks(lambda network: False)) == ["a", "b", "c", "new"]
        assert controller.check() == []
        assert world.owned() == empty

    play(body)


@pytest.mark.parametrize("operation", [take_over, join, create])
def test_a_change_refused_at_any_point_leaves_nothing(play, operation: Callable[[World], None]) -> None:
    def body(world: World) -> None:
        populate(world)
        before = world.owned()
        for survive in range(100):
            world.kernel.survive = survive
            try:
                operation(world)
            except ApplyError as error:
                assert error.left_behind == ()
                assert world.owned() == before
                assert world.controller.check() == []
            else:
                assert survive > 5
                break
        assert world.controller.check() == []

    play(body)


def test_a_restart_finds_everything_as_it_was(play) -> None:
    def body(world: World) -> None:
        populate(world)
        join(world)
        held = [port for endpoint in world.controller.endpoints() for port in endpoint.ports]
        for port in held:
            world.kernel.release(port.protocol, port.host_ip, port.host_port)  # type: ignore[operator]
        world.kernel.plans.clear()
        world.restart().reconcile(lambda sandbox: True)
        assert world.kernel.plans == []
        for port in held:
            with pytest.raises(Conflict):
                world.kernel.hold(port.protocol, port.host_ip, port.host_port)  # type: ignore[operator]

    play(body)


def test_sabotage_is_named_and_mended(play) -> None:
    def body(world: World) -> None:
        populate(world)
        a = world.controller.network("a")
        (endpoint,) = world.controller.endpoints()
        netns_path, bridge = world.sandbox(1).netns, f"br-{a.id[:12]}"
        gone = [
            Route(destination="0.0.0.0/0", link="eth0", via=a.subnets[0].gateway, netns=netns_path),
            Address(link="eth0", address=endpoint.addresses[0], netns=netns_path),
            Address(link=bridge, address=f"{a.subnets[0].gateway}/16"),
        ]
        rules = [o for o in world.kernel.owned() if not isinstance(o, Bridge | Veth) and o.RANK >= 10]  # type: ignore[operator]
        world.kernel.inner.apply(Plan(tuple(Delete(obj) for obj in (*gone, *rules))))
        lines = world.controller.check()
        assert f"address {endpoint.addresses[0]} dev eth0 netns 1: missing" in lines
        assert "route default netns 1: missing" in lines
        assert f"address {a.subnets[0].gateway}/16 dev {bridge}: missing" in lines
        assert len(lines) >= 3 + len(rules)
        assert world.controller.repair() == lines
        assert world.controller.check() == []

    play(body)


def test_a_dead_sandbox_leaves_nothing_behind(play) -> None:
    def body(world: World) -> None:
        empty = world.owned()
        populate(world)
        join(world)
        world.kernel.delete_netns(world.sandbox(1).netns)  # type: ignore[operator]
        world.restart().reconcile(lambda sandbox: sandbox.id == world.sandbox(2).id)
        assert [endpoint.spec.name for endpoint in world.controller.endpoints()] == ["two", "two"]
        assert world.controller.check() == []
        world.controller.detach(world.sandbox(2).id)
        for name in ("a", "b", "c"):
            world.controller.remove_network(name)
        assert world.owned() == empty

    play(body)


def test_a_foreign_bridge_is_not_touched(play) -> None:
    def body(world: World) -> None:
        foreign = Bridge(name="br-foreign", mac="02:00:00:00:00:09", mtu=1400, mark="somebody")
        world.kernel.inner.apply(diff((), [foreign]))
        with pytest.raises(Conflict, match="bridge br-foreign exists"):
            world.controller.create_network(
                NetworkSpec(name="x", options={"com.docker.network.bridge.name": "br-foreign"})
            )
        assert world.kernel.observe(frozenset({foreign})) == {foreign}  # type: ignore[operator]

    play(body)


def test_a_missing_namespace_is_refused(play) -> None:
    def body(world: World) -> None:
        populate(world)
        before = world.owned()
        with pytest.raises(KernelError, match="does not exist"):
            world.controller.attach(Sandbox(id="e" * 64, netns="/run/netpy-test/none"), [("a", EndpointSpec(name="x"))])
        assert world.owned() == before
        assert world.controller.check() == []

    play(body)
