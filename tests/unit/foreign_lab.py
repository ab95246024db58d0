"""Foreign drivers for tests: one that does everything right and records it, and ways to make it do wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from netpy.diff import State
from netpy.drivers import Acquired, AcquiredNetwork, Defaults, Option, Traits
from netpy.drivers.addressing import AddressRequest, IpamTraits, PoolGrant, PoolRequest
from netpy.kernel.memory import MemoryKernel
from netpy.model import Endpoint, Network, NetworkSpec
from netpy.objects import Address, Given, KernelObject, Route, Veth
from netpy.testing import Machine


class PairDriver:
    """Routed pairs, without addresses of netpy's own: they come from outside, by `answer`. `said` records every hook."""

    options: Mapping[str, Option] = {"speed": Option(help="in Mbit/s", check=int, default="10")}
    endpoint_options: Mapping[str, Option] = {}

    def __init__(self, defaults: Defaults | None = None, **traits: object) -> None:
        self.name = "pair"
        self.defaults = defaults or Defaults()
        self.traits = Traits(**({"addressing": False, "routers": True, "timeout": 5.0} | traits))  # type: ignore[arg-type]
        self.said: list[str] = []
        self.fail: set[str] = set()
        self.hang: dict[str, threading.Event] = {}
        self.answer: Callable[[Endpoint], object] = given_by_number
        self.extra: frozenset[KernelObject] = frozenset()

    def _say(self, what: str) -> None:
        self.said.append(what)
        if what in self.hang:
            self.hang[what].wait(30)
        if what in self.fail:
            raise RuntimeError(f"{what} is broken")

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        self._say("normalise")
        return spec

    def network_state(self, network: Network) -> State:
        self._say("network_state")
        return frozenset()

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        self._say("endpoint_state")
        inside, name = endpoint.sandbox.netns, f"pair{endpoint.id[:7]}"
        mark = f"{self.defaults.instance}/endpoint/{endpoint.id[:12]}"
        pair = Veth(name=name, peer_netns=inside, ifname=endpoint.ifname, mac=endpoint.mac, mtu=1500, mark=mark)
        objects: set[KernelObject] = {pair}
        for address in endpoint.addresses:
            objects.add(Address(netns=inside, link=endpoint.ifname, address=address))
        if 4 in endpoint.gateways:
            via = endpoint.router_of(4)
            objects.add(Route(netns=inside, destination="0.0.0.0/0", link=endpoint.ifname, via=via))
        return frozenset(objects) | self.extra

    def acquire_network(self, network: Network) -> AcquiredNetwork | Mapping[str, str]:
        self._say("acquire_network")
        return {"made": network.name}

    def release_network(self, network: Network) -> None:
        self._say("release_network")

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        self._say("acquire")
        return self.answer(endpoint)  # type: ignore[return-value]

    def release(self, network: Network, endpoint: Endpoint) -> None:
        self._say(f"release {json.dumps(dict(endpoint.facts))}" if endpoint.facts else "release")

    def connected(self, network: Network, endpoint: Endpoint) -> None:
        self._say("connected")

    def disconnecting(self, network: Network, endpoint: Endpoint) -> None:
        self._say("disconnecting")

    def check(self, network: Network, endpoints: Sequence[Endpoint]) -> Sequence[str]:
        self._say("check")
        return [f"{len(endpoints)} endpoints looked at"]

    def collect(self, network: Network, endpoints: Sequence[Endpoint]) -> None:
        self._say(f"collect {len(endpoints)}")

    def hooks(self) -> list[str]:
        """What was said, without the pure functions."""
        return [what for what in self.said if not what.endswith("_state") and what != "normalise"]


def given_by_number(endpoint: Endpoint) -> Acquired:
    return Acquired(
        facts={"lease": endpoint.spec.name},
        addresses=(f"10.77.0.{endpoint.sequence + 1}/24",),
        routers=("10.77.0.254",),
        dns=("10.77.0.53",),
        search=("example.org",),
    )


class ConfiguringDriver(PairDriver):
    """Configures the sandbox itself, as CNI does: in the memory kernel, by force."""

    def __init__(self, kernel: MemoryKernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.leaves_link = False
        self.makes_link = True

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset({self._given(endpoint)}) if endpoint.facts else frozenset()

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        answer = super().acquire(network, endpoint)
        if self.makes_link:
            given = self._given(endpoint)
            self.kernel.objects[given.key] = given
        return answer

    def release(self, network: Network, endpoint: Endpoint) -> None:
        super().release(network, endpoint)
        if not self.leaves_link:
            self.kernel.objects.pop(self._given(endpoint).key, None)

    def _given(self, endpoint: Endpoint) -> Given:
        return Given(netns=endpoint.sandbox.netns, ifname=endpoint.ifname, maker="pair")


@dataclass
class Outsider:
    """An address manager elsewhere: gives 10.88.N.0/24 and addresses from .10 on; remembers what is out."""

    name: str = "outsider"
    traits: IpamTraits = field(default_factory=IpamTraits)
    options: Mapping[str, Option] = field(default_factory=lambda: {"site": Option(help="which site")})
    pools: set[str] = field(default_factory=set)
    addresses: set[str] = field(default_factory=set)
    seen: list[object] = field(default_factory=list)
    fail: set[str] = field(default_factory=set)
    forgetful: bool = False

    def request_pool(self, request: PoolRequest) -> PoolGrant:
        self._note("request_pool", request)
        number = len(self.pools)
        subnet = request.subnet or f"10.88.{number}.0/24"
        self.pools.add(subnet)
        return PoolGrant(pool=subnet, subnet=subnet)

    def release_pool(self, pool: str) -> None:
        self._note("release_pool", pool)
        self.pools.discard(pool)

    def request_address(self, request: AddressRequest) -> str:
        self._note("request_address", request)
        if request.address:
            address = request.address
        elif request.kind == "gateway":
            address = request.subnet.subnet.replace(".0/24", ".1")
        else:
            base = request.subnet.subnet.removesuffix("0/24")
            taken = () if self.forgetful else self.addresses
            address = next(f"{base}{n}" for n in range(10, 250) if f"{base}{n}" not in taken)
        self.addresses.add(address)
        return address

    def release_address(self, pool: str, address: str) -> None:
        self._note("release_address", address)
        self.addresses.discard(address)

    def _note(self, what: str, about: object) -> None:
        self.seen.append((what, about))
        if what in self.fail:
            raise RuntimeError(f"{what} is broken")


def with_pair(driver: PairDriver | None = None) -> tuple[Machine, PairDriver]:
    """A machine with the driver and a network `p` of it, and two sandboxes."""
    driver = driver or PairDriver()
    m = Machine(plugins={"pair": lambda defaults: driver})
    m.controller.ensure_predefined()
    m.controller.create_network(NetworkSpec(name="p", driver="pair"))
    m.sandbox(1)
    m.sandbox(2)
    return m, driver
