"""A driver whose interfaces are handed over to somebody else, who moves them into the sandbox and configures them.

Pure. What the driver wants on the host stays; the pair that it wants into the sandbox gets both ends on the host; what
it wants inside (addresses, routes) becomes the answer to whoever takes the far end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from netpy.diff import State
from netpy.drivers import Acquirer, Attendant, Driver, NetworkAcquirer, Option, Traits
from netpy.drivers.guard import Guarded
from netpy.errors import Unsupported
from netpy.model import Endpoint, Network, NetworkSpec
from netpy.objects import KernelObject, Route, Veth

DEFAULTS = ("0.0.0.0/0", "::/0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    """What the taker is told: the link on the host, next hops of the default routes, other routes (on-link: empty)."""

    source: str
    gateways: Mapping[int, str]
    routes: tuple[tuple[str, str], ...]


class HandedOver:
    """The driver `inner` under a name of its own, with the far ends of its pairs left on the host."""

    def __init__(self, inner: Driver) -> None:
        hooks = inner.inner if isinstance(inner, Guarded) else inner
        if isinstance(hooks, Acquirer | NetworkAcquirer | Attendant) or inner.traits.host_namespace:
            raise Unsupported(f"driver {inner.name} cannot be offered to Docker: it has to see the container itself")
        self.inner = inner
        self.name = handed_name(inner.name)
        self.traits: Traits = replace(inner.traits, names=False, single=False)
        self.options: Mapping[str, Option] = inner.options
        self.endpoint_options: Mapping[str, Option] = inner.endpoint_options

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return replace(self.inner.normalise(replace(spec, driver=self.inner.name)), driver=self.name)

    def network_state(self, network: Network) -> State:
        return self.inner.network_state(network)

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset(
            _loose(obj, endpoint)
            for obj in self.inner.endpoint_state(network, endpoint)
            if not obj.key.netns or isinstance(obj, Veth)
        )

    def handed(self, network: Network, endpoint: Endpoint) -> Handed:
        """What to tell whoever takes the endpoint's far end. Unsupported where there is no pair to hand over."""
        state = self.inner.endpoint_state(network, endpoint)
        if not any(isinstance(obj, Veth) for obj in state):
            raise Unsupported(f"driver {self.inner.name} makes no pair that could be handed over to Docker")
        inside = [obj for obj in state if isinstance(obj, Route) and obj.netns]
        return Handed(
            source=far_end(endpoint.id),
            gateways={6 if ":" in r.destination else 4: r.via for r in inside if r.destination in DEFAULTS and r.via},
            routes=tuple(sorted((r.destination, r.via) for r in inside if r.destination not in DEFAULTS)),
        )


def handed_name(driver: str) -> str:
    """What `HandedOver` calls a driver in records."""
    return f"docker-{driver}"


def far_end(endpoint_id: str) -> str:
    """The link on the host that Docker takes."""
    return f"np{endpoint_id[:12]}"


def near_end(endpoint_id: str) -> str:
    """The link that stays, as the built-in drivers name it."""
    return f"veth{endpoint_id[:7]}"


def _loose(obj: KernelObject, endpoint: Endpoint) -> KernelObject:
    return replace(obj, peer_netns="", ifname=far_end(endpoint.id)) if isinstance(obj, Veth) else obj
