"""For authors of drivers and of programs on top of netpy: fakes that refuse what the real ones refuse, a suite to pass.

`machine()` is a whole controller on an in-memory kernel. `RecordingNames` stands in for the name server. A driver's
test module derives a class from `DriverContract` and gives it a `driver()`; pytest does the rest, without root:

    class TestMyDriver(DriverContract):
        def driver(self) -> Driver:
            return MyDriver(Defaults())

Does no I/O and needs no pytest itself.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from itertools import count

from netpy.controller import Controller, Settings
from netpy.diff import State, by_key, diff
from netpy.dns import Record, View
from netpy.drivers import Acquirer, Defaults, Driver, answers
from netpy.drivers.addressing import IpamDriver
from netpy.drivers.registry import Registry
from netpy.errors import ApplyError, InvalidArgument, KernelError
from netpy.ipam import allocate
from netpy.kernel.memory import MemoryKernel
from netpy.model import Endpoint, EndpointSpec, Family, Network, NetworkSpec, Sandbox
from netpy.objects import Key
from netpy.store import Store


class RecordingNames:
    """A NameService that keeps what it is told. `fail` names calls that are refused (`{"open"}`). Thread-safe."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.views: dict[str, View] = {}
        self.ports: dict[str, int] = {}
        self.fail: set[str] = set()
        self._lock = threading.Lock()
        self._free = count(40000)

    def open(self, sandbox: Sandbox, port: int = 0) -> int:
        with self._lock:
            self._refuse("open")
            return self.ports.setdefault(sandbox.id, port or next(self._free))

    def close(self, sandbox_id: str) -> None:
        with self._lock:
            self._refuse("close")
            self.ports.pop(sandbox_id, None)
            self.views.pop(sandbox_id, None)

    def update(self, *, put: Iterable[Record] = (), drop: Iterable[str] = (), views: Iterable[View] = ()) -> None:
        with self._lock:
            self._refuse("update")
            for id in drop:
                self.records.pop(id, None)
            self.records.update({record.endpoint_id: record for record in put})
            self.views.update({view.sandbox_id: view for view in views})

    def replace(self, records: Iterable[Record], views: Iterable[View]) -> None:
        with self._lock:
            self._refuse("replace")
            self.records = {record.endpoint_id: record for record in records}
            self.views = {view.sandbox_id: view for view in views}

    def snapshot(self) -> tuple[dict[str, Record], dict[str, View], dict[str, int]]:
        """Everything it knows, to compare."""
        with self._lock:
            return dict(self.records), dict(self.views), dict(self.ports)

    def _refuse(self, what: str) -> None:
        if what in self.fail:
            raise KernelError(f"name server: {what} refused")


@dataclass(slots=True)
class Machine:
    """A controller and the world it works on. Ids and times are counted, so that they are the same in every run."""

    kernel: MemoryKernel = field(default_factory=MemoryKernel)
    names: RecordingNames = field(default_factory=RecordingNames)
    store: Store = field(default_factory=lambda: Store(":memory:"))
    settings: Settings = field(default_factory=Settings)
    plugins: Mapping[str, Callable[[Defaults], Driver]] = field(default_factory=dict[str, Callable[[Defaults], Driver]])
    ipam: Mapping[str, IpamDriver] = field(default_factory=dict[str, IpamDriver])
    controller: Controller = field(init=False)
    _ids: Iterable[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> Controller:
        """Another controller on the same world, as after a crash: what was held by sockets is free."""
        self.kernel.held.clear()
        drivers = Registry(Defaults(instance=self.settings.instance, mtu=self.settings.mtu), plugins=())
        for name, factory in self.plugins.items():
            drivers.add(name, factory(Defaults(instance=self.settings.instance, mtu=self.settings.mtu)))
        for name, driver in self.ipam.items():
            drivers.add_ipam(name, driver)
        ids = iter(self._ids)
        self.controller = Controller(
            store=self.store,
            kernel=self.kernel,
            drivers=drivers,
            names=self.names,
            settings=self.settings,
            clock=lambda: "2024-03-18T09:00:33.692926496Z",
            new_id=lambda: f"{next(ids):04x}" * 16,
        )
        return self.controller

    def sandbox(self, number: int, **more: object) -> Sandbox:
        """A sandbox with a namespace that exists. The same number gives the same one."""
        sandbox = replace(Sandbox(id=f"{number:064x}", netns=f"/run/netns/{number}"), **more)  # pyright: ignore[reportArgumentType]
        if sandbox.netns not in self.kernel.namespaces:
            self.kernel.create_netns(sandbox.netns)
        return sandbox

    def snapshot(self) -> dict[str, object]:
        """The whole world as a value. The host's settings are left out: netpy never takes them back."""
        kinds = ("network", "endpoint", "sandbox", "reservation")
        objects = {key: obj for key, obj in self.kernel.objects.items() if key.kind != "sysctl" or key.netns}
        return {
            "kernel": objects,
            "held": set(self.kernel.held),
            "names": self.names.snapshot(),
            "store": {kind: self.store.all(kind) for kind in kinds},
        }


def machine(*, settings: Settings | None = None) -> Machine:
    """A controller on an empty in-memory machine, with the predefined networks in place."""
    made = Machine(settings=settings or Settings(host_id="test"))
    made.controller.reconcile(lambda sandbox: True)
    made.controller.ensure_predefined()
    return made


class DriverContract:
    """What every driver has to do. Derive, define `driver`, and override what the driver needs otherwise."""

    netns = "/run/netns/contract"

    def driver(self) -> Driver:
        """A new driver."""
        raise NotImplementedError

    def spec(self) -> NetworkSpec:
        """A request for a network that the driver accepts."""
        return NetworkSpec(name="contract", driver=self.driver().name, ipv6=self.driver().traits.addressing)

    def host_objects(self) -> State:
        """What the driver expects on the host, such as a parent interface: put into the in-memory kernel first."""
        return frozenset()

    # ---- what the suite uses -------------------------------------------------------------------------------------

    def network(self, number: int = 1) -> Network:
        spec = self.driver().normalise(self.spec())
        addressed = self.driver().traits.addressing
        settings = Settings(host_id="contract")
        subnets = allocate(spec, pools=settings.pools(), networks=(), host=()) if addressed else ()
        return Network(id=f"{number:02x}" * 32, spec=spec, subnets=subnets)

    def endpoint(self, network: Network, number: int = 1) -> Endpoint:
        traits = self.driver().traits
        families: tuple[Family, ...] = (4, 6)
        addresses = tuple(
            f"{ip_network(subnet.subnet)[number + 1]}/{subnet.prefix_length}" for subnet in network.subnets
        )
        endpoint = Endpoint(
            id=f"{number + 16:02x}" * 32,
            network_id=network.id,
            sandbox=Sandbox(id=f"{number:064x}", netns="" if traits.host_namespace else f"{self.netns}{number}"),
            spec=EndpointSpec(name=f"sandbox{number}"),
            ifname=f"{traits.interface}0" if traits.addressing else "",
            mac=f"02:42:ac:11:00:{number + 1:02x}" if traits.addressing else "",
            addresses=addresses,
            gateways=frozenset(f for f in families if network.subnet_of(f)),
            phase="active",
        )
        driver = self.driver()
        if isinstance(driver, Acquirer):
            endpoint = answers.with_acquired(endpoint, answers.acquired(driver.acquire(network, endpoint)))
        return endpoint

    def kernel(self, *endpoints: Endpoint) -> MemoryKernel:
        kernel = MemoryKernel()
        kernel.objects.update({obj.key: obj for obj in self.host_objects()})
        for endpoint in endpoints:
            kernel.namespaces.add(endpoint.sandbox.netns)
        return kernel

    def wanted(self, network: Network, *endpoints: Endpoint) -> State:
        driver = self.driver()
        states = [driver.endpoint_state(network, endpoint) for endpoint in endpoints]
        return driver.network_state(network).union(*states)

    # ---- the contract --------------------------------------------------------------------------------------------

    def test_it_is_a_driver_with_a_name(self) -> None:
        driver = self.driver()
        assert isinstance(driver, Driver)
        assert driver.name
        assert driver.name == driver.name.lower()

    def test_its_options_accept_their_own_defaults(self) -> None:
        driver = self.driver()
        for options in (driver.options, driver.endpoint_options):
            for name, option in options.items():
                assert option.help, name
                if option.default:
                    option.check(option.default)

    def test_it_refuses_bad_values_of_its_options(self) -> None:
        driver = self.driver()
        for name, option in driver.options.items():
            try:
                option.check("\x00 bad")
            except ValueError:
                spec = self.spec()
                bad = replace(spec, options={**spec.options, name: "\x00 bad"})
                _raises(InvalidArgument, lambda spec=bad: driver.normalise(spec))

    def test_normalising_twice_changes_nothing_more(self) -> None:
        driver = self.driver()
        once = driver.normalise(self.spec())
        assert once.name == self.spec().name
        assert driver.normalise(once) == once

    def test_the_same_records_give_the_same_state(self) -> None:
        network = self.network()
        endpoint = self.endpoint(network)
        assert self.wanted(network, endpoint) == self.wanted(network, endpoint)

    def test_objects_obey_the_protocol(self) -> None:
        network = self.network()
        for obj in self.wanted(network, self.endpoint(network)):
            names = {each.name for each in dataclasses.fields(obj)}  # pyright: ignore[reportArgumentType]
            assert isinstance(obj.key, Key)
            assert 0 <= obj.RANK < 100
            assert names >= obj.MUTABLE
            assert hash(obj) == hash(replace(obj))  # pyright: ignore[reportArgumentType, reportUnknownArgumentType]

    def test_every_key_is_unique(self) -> None:
        network = self.network()
        one, two = self.endpoint(network, 1), self.endpoint(network, 2)
        wanted = self.wanted(network, one, two)
        assert len(by_key(wanted)) == len(wanted)
        states = [self.driver().endpoint_state(network, each) for each in (one, two)]
        assert not ({obj.key for obj in states[0]} & {obj.key for obj in states[1]})

    def test_objects_are_on_the_host_or_in_the_sandbox(self) -> None:
        network = self.network()
        endpoint = self.endpoint(network)
        for obj in self.driver().endpoint_state(network, endpoint):
            assert obj.key.netns in ("", endpoint.sandbox.netns)
        for obj in self.driver().network_state(network):
            assert obj.key.netns == ""

    def test_it_comes_up_stays_up_and_goes_away(self) -> None:
        network = self.network()
        one, two = self.endpoint(network, 1), self.endpoint(network, 2)
        kernel = self.kernel(one, two)
        before = dict(kernel.objects)
        for wanted in (self.wanted(network), self.wanted(network, one), self.wanted(network, one, two)):
            kernel.apply(diff(kernel.observe(wanted), wanted))
            assert not diff(kernel.observe(wanted), wanted)
        everything = self.wanted(network, one, two)
        kernel.apply(diff(kernel.observe(everything), ()))
        assert kernel.objects == before

    def test_a_failure_at_any_point_can_be_undone(self) -> None:
        network = self.network()
        endpoint = self.endpoint(network)
        wanted = self.wanted(network, endpoint)
        plan = diff(self.kernel(endpoint).observe(wanted), wanted)
        for number in range(1, len(plan) + 1):
            kernel = self.kernel(endpoint)
            before = dict(kernel.objects)
            kernel.fail_at = number
            error = _raises(ApplyError, lambda k=kernel: k.apply(plan))
            assert isinstance(error, ApplyError)
            kernel.apply(error.done.undo())
            assert kernel.objects == before

    def test_what_was_acquired_can_be_released_twice(self) -> None:
        driver = self.driver()
        if isinstance(driver, Acquirer):
            network = self.network()
            endpoint = self.endpoint(network)
            driver.release(network, endpoint)
            driver.release(network, endpoint)


def _raises(kind: type[Exception], call: Callable[[], object]) -> Exception:
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")
