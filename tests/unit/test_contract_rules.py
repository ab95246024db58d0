"""Every rule of the suites can be broken, and then says what is wrong and why: one bad driver for each of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from netpy.diff import State
from netpy.drivers import Acquired, Option, Traits, boolean
from netpy.drivers.addressing import AddressRequest, IpamDriver, IpamTraits, PoolGrant, PoolRequest
from netpy.drivers.builtin import DefaultIpam
from netpy.model import Endpoint, Network, NetworkSpec
from netpy.objects import Address, Bridge, Device, Given, Route, Veth
from netpy.testing import DriverContract, IpamContract, LinuxContract, Outcome, run


class Good:
    """A pair for each endpoint. What is bad about the drivers below is in one place each."""

    name = "good"
    traits = Traits()
    options: Mapping[str, Option] = {"loud": Option(help="says more", check=boolean, default="false")}
    endpoint_options: Mapping[str, Option] = {}

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return spec

    def network_state(self, network: Network) -> State:
        return frozenset()

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset({self.pair(endpoint)})

    def pair(self, endpoint: Endpoint, **more) -> Veth:
        values = {"name": f"good{endpoint.id[:7]}", "mark": f"netpy/endpoint/{endpoint.id[:12]}"} | more
        inside, mac = endpoint.sandbox.netns, endpoint.mac
        return Veth(peer_netns=inside, ifname=endpoint.ifname, mac=mac, mtu=1500, **values)  # type: ignore[arg-type]


class Capital(Good):
    name = "Good"


class WithoutHelp(Good):
    options: Mapping[str, Option] = {"loud": Option(help="")}


class BadDefault(Good):
    options: Mapping[str, Option] = {"loud": Option(help="says more", check=boolean, default="perhaps")}


class BadCheck(Good):
    options: Mapping[str, Option] = {"loud": Option(help="says more", check=lambda text: {}[text])}


class Growing(Good):
    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return replace(spec, labels={**spec.labels, str(len(spec.labels)): "more"})


class Renaming(Good):
    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return replace(spec, name="mine")


class Dice(Good):
    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset({self.pair(endpoint, name=f"x{random.random()}"[:15])})


class Clock(Good):
    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        time.time()
        return super().endpoint_state(network, endpoint)


class Reader(Good):
    def network_state(self, network: Network) -> State:
        with open("/proc/uptime") as file:
            file.read()
        return frozenset()


class ListMaker(Good):
    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return [self.pair(endpoint)]  # type: ignore[return-value]


class Unmarked(Good):
    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset({self.pair(endpoint, mark="mine")})


class Intruder(Good):
    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return super().endpoint_state(network, endpoint) | {Route(destination="0.0.0.0/0", link="eth0", via="10.0.0.1")}


class Sharing(Good):
    def network_state(self, network: Network) -> State:
        return frozenset({self.bridge(network)})

    def bridge(self, network: Network) -> Bridge:
        return Bridge(name="b", mac="02:00:00:00:00:01", mtu=1500, mark=f"netpy/network/{network.id[:12]}")

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return super().endpoint_state(network, endpoint) | {Address(link="b", address="10.9.9.9/32")}


class TwoOfOneKey(Good):
    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset({self.pair(endpoint), self.pair(endpoint, hairpin=True)})


class Raising(Good):
    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        raise KeyError("lease")


class Factual(Good):
    """Needs a fact that a dry run does not have."""

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        return Acquired(facts={"lease": "1"})

    def release(self, network: Network, endpoint: Endpoint) -> None: ...

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        assert endpoint.facts["lease"]
        return super().endpoint_state(network, endpoint)


class OnceOnly(Good):
    def __init__(self) -> None:
        self.leases: set[str] = set()

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        self.leases.add(endpoint.id)
        return Acquired()

    def release(self, network: Network, endpoint: Endpoint) -> None:
        self.leases.remove(endpoint.id)


class NoParent(Good):
    def network_state(self, network: Network) -> State:
        mark = f"netpy/network/{network.id[:12]}"
        return frozenset({Device(kind="vlan", name="v", parent="nowhere", vlan=1, mark=mark)})


class Promising(Good):
    """Says that somebody else makes the link, but it has no hook that would."""

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        given = Given(netns=endpoint.sandbox.netns, ifname=endpoint.ifname, maker="good")
        return frozenset({given, self.pair(endpoint, name=f"good{endpoint.id[:6]}")})


def broken(suite: type[DriverContract] | type[IpamContract], driver: Callable[[], object]) -> dict[str, Outcome]:
    made = type("Suite", (suite,), {"driver": lambda self: driver()})
    return {outcome.test: outcome for outcome in run(made) if outcome.problem}


@pytest.mark.parametrize(
    ("driver", "test", "words"),
    [
        (Capital, "it_is_a_driver_with_a_name", "has capitals"),
        (object, "it_is_a_driver_with_a_name", "lacks part of the Driver protocol"),
        (WithoutHelp, "its_options_are_documented_and_accept_their_own_defaults", "has no help"),
        (BadDefault, "its_options_are_documented_and_accept_their_own_defaults", "refuses its own default 'perhaps'"),
        (BadCheck, "it_refuses_bad_values_of_its_options", "raises KeyError"),
        (Growing, "normalising_twice_changes_nothing_more", "changes what it had normalised"),
        (Renaming, "normalising_twice_changes_nothing_more", "changed the network's name"),
        (Dice, "the_same_records_give_the_same_state", "give another state"),
        (Clock, "the_same_records_give_the_same_state", "calls time.time"),
        (Reader, "the_same_records_give_the_same_state", "calls builtins.open"),
        (ListMaker, "states_keep_to_the_rules", "not a frozenset"),
        (Unmarked, "states_keep_to_the_rules", "with the mark 'mine'"),
        (Intruder, "states_keep_to_the_rules", "a link of the host that is not its own"),
        (TwoOfOneKey, "states_keep_to_the_rules", "two objects with one key"),
        (Raising, "states_keep_to_the_rules", "endpoint_state failed: KeyError"),
        (Sharing, "every_key_is_unique", "two endpoints want the same object"),
        (Factual, "it_bears_records_without_facts", "does not bear an endpoint without facts"),
        (OnceOnly, "what_was_acquired_can_be_released_twice", "release fails when it is called once"),
        (OnceOnly, "what_never_was_can_be_released", "release fails"),
        (NoParent, "it_comes_up_stays_up_and_goes_away", "link nowhere does not exist"),
        (Promising, "it_comes_up_stays_up_and_goes_away", "file exists"),
    ],
)
def test_a_bad_driver_is_found_out(driver: Callable[[], object], test: str, words: str) -> None:
    outcome = broken(DriverContract, driver).get(f"test_{test}")
    assert outcome, f"{driver.__name__} passes"
    assert words in outcome.problem


def test_a_rule_says_why_it_is_there() -> None:
    outcome = broken(DriverContract, Dice)["test_the_same_records_give_the_same_state"]
    assert "\n  why:   after a restart another instance is asked" in outcome.problem
    assert outcome.title == "the same records give the same state"


def test_a_good_driver_passes() -> None:
    assert broken(DriverContract, Good) == {}


def test_the_real_kernel_is_not_tried_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    made = type("Suite", (LinuxContract,), {"driver": lambda self: Good()})
    assert [outcome.skipped for outcome in run(made) if outcome.skipped] == ["the real kernel needs root"]


def test_a_suite_without_a_driver_says_what_to_do() -> None:
    with pytest.raises(NotImplementedError, match="define driver"):
        DriverContract().driver()
    with pytest.raises(NotImplementedError, match="define driver"):
        IpamContract().driver()


# ---- address managers --------------------------------------------------------------------------------------------


@dataclass
class Ipam(DefaultIpam):
    """The built-in one, with one thing spoiled by `spoil`: a function from (method, request, answer) to an answer."""

    spoil: Callable[[str, object, object], object] = lambda what, request, answer: answer

    name: str = "spoiled"
    traits: IpamTraits = field(default_factory=lambda: IpamTraits(pure=True))

    def __post_init__(self) -> None:
        super().__init__()

    def request_pool(self, request: PoolRequest) -> PoolGrant:
        return self.spoil("pool", request, super().request_pool(request))  # type: ignore[return-value]

    def request_address(self, request: AddressRequest) -> str:
        return self.spoil("address", request, super().request_address(request))  # type: ignore[return-value]


def spoiled(**answers: Callable[[object, object], object]) -> Callable[[], IpamDriver]:
    def spoil(what: str, request: object, answer: object) -> object:
        return answers[what](request, answer) if what in answers else answer

    return lambda: Ipam(spoil=spoil)


def fails(request: object, answer: object) -> object:
    raise RuntimeError("out of order")


class Loose(Ipam):
    def request_address(self, request: AddressRequest) -> str:
        return super().request_address(replace(request, taken=()))


class Endless(Ipam):
    """Begins again at .1 when all is given."""

    def request_address(self, request: AddressRequest) -> str:
        try:
            return super().request_address(request)
        except Exception:
            if request.address:
                raise
            return "10.123.0.1"


class Forgetting(Ipam):
    traits = IpamTraits()

    def release_address(self, pool: str, address: str) -> None:
        raise KeyError(address)


class Counting(Ipam):
    count = 1

    def request_address(self, request: AddressRequest) -> str:
        if request.address:
            return super().request_address(request)
        self.count += 1
        return f"10.123.0.{self.count}"


@pytest.mark.parametrize(
    ("driver", "test", "words"),
    [
        (object, "it_is_an_ipam_driver_with_a_name", "lacks part of the IpamDriver protocol"),
        (lambda: Ipam(name="Big"), "it_is_an_ipam_driver_with_a_name", "has capitals"),
        (spoiled(pool=lambda r, a: a.subnet), "it_gives_the_pool_that_was_asked_for", "answers no PoolGrant"),  # type: ignore[attr-defined]
        (
            spoiled(pool=lambda r, a: PoolGrant(pool="x", subnet="10.5.0.0/24")),
            "it_gives_the_pool_that_was_asked_for",
            "another pool",
        ),
        (
            spoiled(pool=lambda r, a: PoolGrant(pool="x", subnet="10.5.0.0/24")),
            "pools_are_canonical_and_do_not_overlap_what_is_to_be_avoided",
            "overlaps one that was to be avoided",
        ),
        (Loose, "no_address_is_given_twice", "given twice"),
        (spoiled(address=lambda r, a: "10.0.0.1"), "no_address_is_given_twice", "is not in its pool"),
        (spoiled(address=fails), "no_address_is_given_twice", "raises RuntimeError: out of order"),
        (spoiled(address=lambda r, a: 5), "no_address_is_given_twice", "answers no text"),
        (spoiled(address=lambda r, a: "10.123.0.6"), "it_gives_the_address_that_was_asked_for", "another address"),
        (Loose, "an_address_in_use_is_refused", "given again"),
        (Endless, "an_empty_pool_says_so", "goes on giving"),
        (Forgetting, "what_was_released_can_be_had_again_and_be_released_again", "nothing left to release"),
        (Counting, "a_pure_one_answers_by_the_request_alone", "two answers"),
    ],
)
def test_a_bad_address_manager_is_found_out(driver: Callable[[], object], test: str, words: str) -> None:
    outcome = broken(IpamContract, driver).get(f"test_{test}")
    assert outcome, "it passes"
    assert words in outcome.problem
