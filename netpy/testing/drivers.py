"""The suite that every network driver passes, on the memory kernel: built-in ones and plugins alike. Does no I/O."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network

from netpy.controller import Settings
from netpy.diff import State, by_key, diff
from netpy.drivers import Acquirer, Defaults, Driver, NetworkAcquirer, Option, Traits, answers
from netpy.drivers.guard import Guarded
from netpy.errors import ApplyError, DriverError, InvalidArgument
from netpy.ipam import allocate, mac_for
from netpy.kernel.memory import MemoryKernel
from netpy.model import Endpoint, EndpointSpec, Family, Network, NetworkSpec, Sandbox
from netpy.objects import Given, KernelObject, Key
from netpy.prefixes import Prefixes
from netpy.testing.rules import Broken, is_a, pure, rule

FAMILIES: tuple[Family, ...] = (4, 6)
_NONSENSE = "\x00 bad"


class DriverContract:
    """What every driver has to do. Derive, define `driver`, and override what the driver needs otherwise."""

    netns = "/run/netns/contract"

    def driver(self) -> Driver:
        """A new driver, made with `Defaults()`: its instance is `netpy`."""
        raise NotImplementedError("define driver(): it gives a new driver of yours")

    def spec(self) -> NetworkSpec:
        """A request for a network that the driver accepts."""
        return NetworkSpec(name="contract", driver=self.driver().name, ipv6=self.driver().traits.addressing)

    def host_objects(self) -> State:
        """What the driver expects on the host, such as a parent interface: a `Bridge` can stand for any link."""
        return frozenset()

    # ---- what the suite uses -------------------------------------------------------------------------------------

    def network(self, number: int = 1) -> Network:
        """A network of this driver, with subnets where it has addresses of netpy's, and what it acquires."""
        driver = self.driver()
        spec = driver.normalise(self.spec())
        settings = Settings(host_id="contract")
        taken = [f"172.{16 + number}.0.0/16"] if number > 1 else []
        subnets = ()
        if driver.traits.addressing:
            subnets = allocate(spec, pools=settings.pools(), networks=Prefixes(taken), host=())
        network = Network(id=f"{number:02x}" * 32, spec=spec, subnets=subnets)
        if isinstance(driver, NetworkAcquirer):
            network = answers.with_network(network, answers.acquired_network(driver.acquire_network(network)))
        return network

    def endpoint(self, network: Network, number: int = 1) -> Endpoint:
        """An endpoint as the controller would make it, with what the driver acquires."""
        driver = self.driver()
        endpoint = self.unasked(network, number)
        if isinstance(driver, Acquirer):
            endpoint = answers.with_acquired(endpoint, answers.acquired(driver.acquire(network, endpoint)))
        endpoint = replace(endpoint, routed=driver.traits.routers)
        offered = {f for f in FAMILIES if endpoint.next_hop(f, network.subnet_of(f))}
        return replace(endpoint, gateways=frozenset(f for f in FAMILIES if f in offered and endpoint.address_of(f)))

    def unasked(self, network: Network, number: int = 1) -> Endpoint:
        """The same before the driver was asked, as in a dry run."""
        traits = self.driver().traits
        id = f"{number + 16:02x}" * 32
        plugged = not (traits.host_namespace or traits.single)
        addresses = tuple(f"{ip_network(s.subnet)[number + 1]}/{s.prefix_length}" for s in network.subnets)
        return Endpoint(
            id=id,
            network_id=network.id,
            sandbox=Sandbox(id=f"{number:064x}", netns="" if traits.host_namespace else f"{self.netns}{number}"),
            spec=EndpointSpec(name=f"sandbox{number}"),
            ifname=f"{traits.interface}0" if plugged else "",
            mac=mac_for(id) if plugged else "",
            addresses=addresses,
            gateways=frozenset(f for f in FAMILIES if network.subnet_of(f)),
            phase="active",
        )

    def kernel(self, *endpoints: Endpoint) -> MemoryKernel:
        """A machine with these sandboxes and what the driver expects."""
        kernel = MemoryKernel()
        kernel.objects.update({obj.key: obj for obj in self.host_objects()})
        for endpoint in endpoints:
            kernel.namespaces.add(endpoint.sandbox.netns)
        return kernel

    def wanted(self, network: Network, *endpoints: Endpoint) -> State:
        """What the driver wants for the network and these endpoints, held to the rules as in real life."""
        driver = Guarded(self.driver(), "contract", Defaults().instance)
        states: list[State] = []
        with pure("network_state"):
            states.append(driver.network_state(network))
        with pure("endpoint_state"):
            states += [driver.endpoint_state(network, endpoint) for endpoint in endpoints]
        return frozenset[object]().union(*states)  # pyright: ignore[reportReturnType]

    # ---- the contract --------------------------------------------------------------------------------------------

    def test_it_is_a_driver_with_a_name(self) -> None:
        driver = self.driver()
        rule(is_a(driver, Driver), "it lacks part of the Driver protocol", "netpy calls all of it", driver)
        rule(
            driver.name and driver.name == driver.name.lower(),
            "its name is empty or has capitals",
            "the name is what users type after -d, and has to be the name of the entry point",
            repr(driver.name),
        )
        rule(is_a(driver.traits, Traits), "its traits are no Traits", "the controller decides by them")

    def test_its_options_are_documented_and_accept_their_own_defaults(self) -> None:
        driver = self.driver()
        for options in (driver.options, driver.endpoint_options):
            for name, option in options.items():
                rule(is_a(option, Option), f"option {name} is no Option", "users read it in --help-options")
                rule(option.help, f"option {name} has no help", "users read it in --help-options")
                if option.default:
                    self._check_default(name, option)

    def _check_default(self, name: str, option: Option) -> None:
        try:
            option.check(option.default)
        except ValueError as error:
            raise Broken(
                f"option {name} refuses its own default {option.default!r}",
                "a user who states what --help-options shows must not be refused",
                str(error),
            ) from error

    def test_it_refuses_bad_values_of_its_options(self) -> None:
        driver = Guarded(self.driver(), "contract", Defaults().instance)
        for name, option in driver.options.items():
            try:
                option.check(_NONSENSE)
            except ValueError:
                spec = replace(self.spec(), options={**self.spec().options, name: _NONSENSE})
                refused = _raises(InvalidArgument, lambda spec=spec: driver.normalise(spec))
                rule(refused, f"normalise takes a bad value for {name}", "it would fail later, when nobody can say why")
            except Exception as error:
                raise Broken(
                    f"the check of option {name} raises {type(error).__name__}",
                    "checks raise ValueError with what is wrong, for the user to read",
                ) from error

    def test_normalising_twice_changes_nothing_more(self) -> None:
        driver = Guarded(self.driver(), "contract", Defaults().instance)
        with pure("normalise"):
            once = driver.normalise(self.spec())
            twice = driver.normalise(once)
        rule(
            once == twice,
            "normalise changes what it had normalised",
            "the stored request is normalised again when a network is made anew from it",
            twice,
        )

    def test_the_same_records_give_the_same_state(self) -> None:
        network = self.network()
        endpoint = self.endpoint(network)
        why = "after a restart another instance is asked, and every difference is taken for damage and mended"
        first, second = self.wanted(network, endpoint), self.wanted(network, endpoint)
        rule(first == second, "the same records give another state", why, first ^ second)

    def test_states_keep_to_the_rules(self) -> None:
        network = self.network()
        try:
            self.wanted(network, self.endpoint(network))
        except DriverError as error:
            raise Broken(
                str(error),
                "netpy removes and mends what a driver wants, so that must never be something of somebody else's",
            ) from error

    def test_objects_obey_the_protocol(self) -> None:
        network = self.network()
        for obj in self.wanted(network, self.endpoint(network)):
            names = {each.name for each in dataclasses.fields(obj)}  # pyright: ignore[reportArgumentType]
            is_valid = is_a(obj.key, Key) and 0 <= obj.RANK < 100 and names >= obj.MUTABLE
            rule(is_valid, f"{obj} is no kernel object", "plans are made from keys, ranks and mutable fields")

    def test_every_key_is_unique(self) -> None:
        network = self.network()
        one, two = self.endpoint(network, 1), self.endpoint(network, 2)
        states = [self.driver().endpoint_state(network, each) for each in (one, two)]
        shared = {obj.key for obj in states[0]} & {obj.key for obj in states[1]}
        why = "the first endpoint that leaves would take away what the other still needs; put it in network_state"
        rule(not shared, "two endpoints want the same object", why, sorted(shared))
        try:
            by_key(self.wanted(network, one, two))
        except ValueError as error:
            raise Broken("two different objects have one key", "the kernel can hold only one of them") from error

    def test_it_bears_records_without_facts(self) -> None:
        network = replace(self.network(), facts={})
        try:
            self.wanted(network, self.unasked(network))
        except DriverError as error:
            raise Broken(
                "it does not bear an endpoint without facts",
                "a dry run plans without asking anybody, and what was cut off by a crash is taken down without facts",
                str(error),
            ) from error

    def test_it_comes_up_stays_up_and_goes_away(self) -> None:
        network = self.network()
        one, two = self.endpoint(network, 1), self.endpoint(network, 2)
        kernel = self.kernel(one, two)
        before = _lasting(kernel)
        for wanted in (self.wanted(network), self.wanted(network, one), self.wanted(network, one, two)):
            kernel.objects.update(self._given(wanted))
            kernel.apply(diff(kernel.observe(wanted), wanted))
            left = diff(kernel.observe(wanted), wanted)
            rule(not left, "what was made is not what was wanted", "it would be mended for ever", left)
        everything = self.wanted(network, one, two)
        kernel.apply(diff(kernel.observe(everything), ()))
        left_behind = _lasting(kernel).keys() - before.keys()
        rule(_lasting(kernel) == before, "something is left behind", "nobody would ever remove it", sorted(left_behind))

    def test_a_failure_at_any_point_can_be_undone(self) -> None:
        network = self.network()
        endpoint = self.endpoint(network)
        wanted = self.wanted(network, endpoint)
        plan = diff(self._machine(wanted, endpoint).observe(wanted), wanted)
        for number in range(1, len(plan) + 1):
            kernel = self._machine(wanted, endpoint)
            before = _lasting(kernel)
            kernel.fail_at = number
            error = _raises(ApplyError, lambda k=kernel: k.apply(plan))
            if isinstance(error, ApplyError):
                kernel.apply(error.done.undo())
            why = "a connect that fails half-way must leave the machine as it was"
            rule(_lasting(kernel) == before, f"when change {number} of {len(plan)} fails, not all is undone", why)

    def test_what_was_acquired_can_be_released_twice(self) -> None:
        driver = self.driver()
        network = self.network()
        if isinstance(driver, Acquirer):
            endpoint = self.endpoint(network)
            _twice("release", lambda: driver.release(network, endpoint))
        if isinstance(driver, NetworkAcquirer):
            _twice("release_network", lambda: driver.release_network(network))

    def test_what_never_was_can_be_released(self) -> None:
        driver = self.driver()
        network = self.network()
        if isinstance(driver, Acquirer):
            _twice("release", lambda: driver.release(network, self.unasked(network, 7)))
        if isinstance(driver, NetworkAcquirer):
            _twice("release_network", lambda: driver.release_network(replace(network, id="77" * 32, facts={})))

    def _machine(self, wanted: State, *endpoints: Endpoint) -> MemoryKernel:
        kernel = self.kernel(*endpoints)
        kernel.objects.update(self._given(wanted))
        return kernel

    def _given(self, wanted: State) -> dict[Key, KernelObject]:
        """What somebody else has made by now, if he keeps his word."""
        return {obj.key: obj for obj in wanted if isinstance(obj, Given)}


def _lasting(kernel: MemoryKernel) -> dict[Key, KernelObject]:
    """What is there, apart from settings of the host itself: those stay, since others may rely on them."""
    return {key: obj for key, obj in kernel.objects.items() if key.kind != "sysctl" or key.netns}


def _twice(what: str, call: Callable[[], object]) -> None:
    for number in ("once", "a second time"):
        try:
            call()
        except Exception as error:
            raise Broken(
                f"{what} fails when it is called {number}",
                "it is called after a failure, after a crash and when there is nothing left to give back",
                f"{type(error).__name__}: {error}",
            ) from error


def _raises(kind: type[Exception], call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except kind as error:
        return error
    return None
