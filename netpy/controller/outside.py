"""The drivers' other side: hooks called with a time limit, their answers checked and put into the records.

Decides nothing about when: `attachment`, `networks` and `truth` call here, outside of the gate and of the records'
lock, under the lock of the one sandbox or network at most. So a driver that is stuck keeps nobody waiting but its own
callers.

What gives back is called whatever became of what it gives back; its failures are returned or logged, since they must
not hide why. A link that a driver should have taken out of a sandbox, and has not, is removed here and reported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar

from netpy.controller.calls import Calls
from netpy.controller.pools import Pools
from netpy.controller.records import Plug, Records
from netpy.controller.wiring import Wiring
from netpy.diff import State, diff
from netpy.drivers import Acquired, AcquiredNetwork, Acquirer, Attendant, Checker, Collector, Driver, NetworkAcquirer
from netpy.drivers import answers as checked
from netpy.drivers.guard import Guarded
from netpy.drivers.registry import BUILT_IN, Registry
from netpy.errors import DriverError, NetpyError
from netpy.kernel import Kernel
from netpy.model import Endpoint, Network
from netpy.objects import Given

T = TypeVar("T")
_KINDS: tuple[type, ...] = (NetworkAcquirer, Acquirer, Attendant, Checker, Collector)
Step = Callable[[], object]
LOADING, LOOKING = 20.0, 3.0
logger = logging.getLogger(__name__)


class Outside:
    """Calls to drivers that may block. Thread-safe."""

    def __init__(self, drivers: Registry, records: Records, wiring: Wiring, kernel: Kernel) -> None:
        self._drivers = drivers
        self._wiring = wiring
        self._kernel = kernel
        self._hooks: dict[str, tuple[Driver, frozenset[type]]] = {}
        self.calls = Calls()
        self.pools = Pools(drivers, records, self.calls)

    # ---- finding -------------------------------------------------------------------------------------------------

    def seek(self, driver: str, ipam: str = "") -> None:
        """Load these drivers as far as they are not loaded; the error says what is missing or broken."""
        if driver not in BUILT_IN and not self._drivers.has(driver):
            self._load(f"driver {driver}", lambda: self._drivers.seek(driver))
        if not self.pools.is_built_in(ipam) and not self._drivers.has_ipam(ipam):
            self._load(f"ipam driver {ipam}", lambda: self._drivers.seek_ipam(ipam))

    def _load(self, who: str, load: Callable[[], object]) -> None:
        failures: list[NetpyError] = []

        def attempt() -> None:
            try:
                load()
            except NetpyError as error:  # in the registry's own words, which name the driver
                failures.append(error)

        self.calls.ask(who, "loading", LOADING, attempt)
        if failures:
            raise failures[0]

    def names(self) -> list[str]:
        """The network drivers that could be asked for. Without those of finders when they do not answer."""
        try:
            return self.calls.ask("finders of drivers", "names", LOOKING, self._drivers.names, None)
        except NetpyError as error:
            logger.warning("%s", error)
            return self._drivers.installed()

    def asks(self, plugs: Iterable[Plug]) -> bool:
        """Whether any of these endpoints needs something from outside."""
        return any(self._asks(plug.network) for plug in plugs)

    def _asks(self, network: Network) -> bool:
        if network.spec.driver in BUILT_IN and self.pools.is_built_in(network.spec.ipam_driver):
            return False
        return self._has(network, Acquirer) or self.pools.of(network) is not None

    def attends(self, plugs: Iterable[Plug]) -> bool:
        """Whether any of these has a driver that acts beyond kernel objects."""
        return any(plug.network.spec.driver not in BUILT_IN and self._has(plug.network, Attendant) for plug in plugs)

    def concerns(self, plug: Plug) -> bool:
        """Whether somebody outside has to hear of it when the endpoint goes. True where the driver is missing."""
        try:
            return self._asks(plug.network) or self.attends([plug])
        except NetpyError:
            return True

    def _has(self, network: Network, kind: type) -> bool:
        """Whether the network's driver has these hooks. Asking a Protocol costs 15 microseconds, so that is kept."""
        driver = self._driver(network)
        known = self._hooks.get(driver.name)
        if known is None or known[0] is not driver:
            inner = _inner(driver)
            known = driver, frozenset(each for each in _KINDS if isinstance(inner, each))
            self._hooks[driver.name] = known
        return kind in known[1]

    def hopeful(self, network: Network) -> bool:
        """Whether endpoints of the network may turn out to be a way out when their driver has been asked."""
        return self._driver(network).traits.routers

    # ---- networks ------------------------------------------------------------------------------------------------

    def acquire_network(self, network: Network, undo: ExitStack) -> Network:
        """The network with its pools and with what its driver brought. `undo` takes it all back."""
        network = self.pools.open(network, undo, self._kernel.host_prefixes)
        driver = self._driver(network)
        hooks = _inner(driver)
        if not isinstance(hooks, NetworkAcquirer):
            return network
        undo.callback(self.release_network, network)

        def work() -> AcquiredNetwork:
            return checked.acquired_network(hooks.acquire_network(network))

        got = self._ask(driver, "acquire_network", work, lambda _: hooks.release_network(network))
        return _fitting(driver, "acquire_network", lambda: checked.with_network(network, got))

    def release_network(self, network: Network) -> list[NetpyError]:
        """Give back what the driver got for the network."""

        def release(hooks: object) -> Step | None:
            return (lambda: hooks.release_network(network)) if isinstance(hooks, NetworkAcquirer) else None

        return self._tell(network, "release_network", release)

    def removed(self, network: Network) -> list[NetpyError]:
        """The network is gone from the kernel: its driver and its IPAM driver let go of it."""
        return [*self.release_network(network), *self.pools.close(network)]

    # ---- endpoints -----------------------------------------------------------------------------------------------

    def acquire(self, plug: Plug, taken: Collection[str], undo: ExitStack) -> Plug:
        """The plug with its addresses and what its driver brought. `undo` takes it all back."""
        plug = self.pools.lease(plug, undo)
        driver = self._driver(plug.network)
        hooks = _inner(driver)
        if not isinstance(hooks, Acquirer):
            return plug
        network, endpoint = plug.network, plug.endpoint
        got: list[Endpoint] = [endpoint]
        undo.callback(lambda: self._release(Plug(network=network, endpoint=got[0])))

        def work() -> Acquired:
            return checked.acquired(hooks.acquire(network, endpoint))

        answer = self._ask(driver, "acquire", work, lambda late: _undo_late(hooks, network, endpoint, late))
        got[0] = replace(endpoint, facts=dict(answer.facts))
        got[0] = _fitting(driver, "acquire", lambda: checked.with_acquired(endpoint, answer, taken))
        return replace(plug, endpoint=replace(got[0], routed=driver.traits.routers))

    def release(self, plug: Plug) -> list[NetpyError]:
        """Give back what an endpoint got: from its driver, and its addresses."""
        return [*self._release(plug), *self.pools.give_back(plug)]

    def _release(self, plug: Plug) -> list[NetpyError]:
        def release(hooks: object) -> Step | None:
            return (lambda: hooks.release(plug.network, plug.endpoint)) if isinstance(hooks, Acquirer) else None

        return [*self._tell(plug.network, "release", release), *self._swept(plug)]

    def connected(self, plugs: Sequence[Plug], undo: ExitStack) -> None:
        """These endpoints are up, or have other gateways or ports now."""
        for plug in plugs:
            driver = self._driver(plug.network)
            hooks = _inner(driver)
            if isinstance(hooks, Attendant):
                undo.callback(self.disconnecting, [plug])
                network, endpoint = plug.network, plug.endpoint
                self._ask(driver, "connected", lambda h=hooks, n=network, e=endpoint: h.connected(n, e), None)

    def connected_again(self, plugs: Sequence[Plug]) -> list[NetpyError]:
        """The same where nothing is to be taken back any more: what fails is logged and returned."""
        errors: list[NetpyError] = []
        for plug in plugs:

            def enter(hooks: object, n: Network = plug.network, e: Endpoint = plug.endpoint) -> Step | None:
                return (lambda: hooks.connected(n, e)) if isinstance(hooks, Attendant) else None

            errors += self._tell(plug.network, "connected", enter)
        return errors

    def disconnecting(self, plugs: Sequence[Plug]) -> list[NetpyError]:
        """These endpoints are about to go, or to get other gateways or ports."""
        errors: list[NetpyError] = []
        for plug in plugs:

            def leave(hooks: object, n: Network = plug.network, e: Endpoint = plug.endpoint) -> Step | None:
                return (lambda: hooks.disconnecting(n, e)) if isinstance(hooks, Attendant) else None

            errors += self._tell(plug.network, "disconnecting", leave)
        return errors

    # ---- looking after -------------------------------------------------------------------------------------------

    def check(self, network: Network, endpoints: Sequence[Endpoint]) -> list[str]:
        """What the driver says is wrong with the network, a line each; that it cannot be asked is one as well."""
        try:
            driver = self._driver(network)
            hooks = _inner(driver)
            if not isinstance(hooks, Checker):
                return []
            lines = self._ask(driver, "check", lambda: [str(line) for line in hooks.check(network, endpoints)], None)
        except NetpyError as error:
            return [f"network {network.name}: {error}"]
        return [f"network {network.name}: {line}" for line in lines]

    def collect(self, network: Network, endpoints: Sequence[Endpoint]) -> list[NetpyError]:
        """Tell the driver all that there is, so that it may drop the rest."""

        def collect(hooks: object) -> Step | None:
            return (lambda: hooks.collect(network, endpoints)) if isinstance(hooks, Collector) else None

        return self._tell(network, "collect", collect)

    # ---- steps ---------------------------------------------------------------------------------------------------

    def _swept(self, plug: Plug) -> list[NetpyError]:
        """What the driver should have taken out of the sandbox and did not: removed, and an error."""
        try:
            state = self._driver(plug.network).endpoint_state(plug.network, plug.endpoint)
            given: State = frozenset(obj for obj in state if isinstance(obj, Given))
            left = diff(self._kernel.observe(given), ()) if given else None
        except NetpyError:
            return []
        if not left:
            return []
        names = ", ".join(sorted(change.key.name for change in left))
        error = DriverError(f"driver {plug.network.spec.driver}: release left {names} in the sandbox: removed")
        logger.warning("%s", error)
        return [error, *self._wiring.dismantle(left)]

    def _tell(self, network: Network, what: str, step: Callable[[object], Step | None]) -> list[NetpyError]:
        """Call a hook that gives back, or tells, if the driver has it; what fails is logged and returned."""
        try:
            driver = self._driver(network)
            work = step(_inner(driver))
            if work:
                self._ask(driver, what, work, None)
        except NetpyError as error:
            logger.warning("network %s: %s", network.name, error)
            return [error]
        return []

    def _ask(self, driver: Driver, what: str, work: Callable[[], T], late: Callable[[T], object] | None) -> T:
        return self.calls.ask(f"driver {driver.name}", what, driver.traits.timeout, work, late)

    def _driver(self, network: Network) -> Driver:
        return self._wiring.driver(network)


def _inner(driver: Driver) -> object:
    return driver.inner if isinstance(driver, Guarded) else driver


def _undo_late(hooks: Acquirer, network: Network, endpoint: Endpoint, late: Acquired) -> None:
    hooks.release(network, replace(endpoint, facts=dict(late.facts)))


def _fitting(driver: Driver, what: str, join: Callable[[], T]) -> T:
    try:
        return join()
    except checked.BadAnswer as error:
        raise DriverError(f"driver {driver.name}: {what} {error}") from error
