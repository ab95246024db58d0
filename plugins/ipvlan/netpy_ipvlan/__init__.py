"""The ipvlan driver: every sandbox has a link on an interface of the host, the parent, and shares its MAC address.

In mode l2 the sandboxes are hosts of the parent's LAN; in l3 and l3s the host routes to them and the LAN's router has
to know, no broadcast passes, and the default route needs no next hop. Nothing is translated, no port is published. The
two functions are pure; `acquire_network` looks whether the parent is there and decides whether netpy makes it. A kernel
without ipvlan is told of by the controller, by `Traits.links`, before a network is made.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from netpy.diff import State
from netpy.drivers import Defaults, Option, Traits
from netpy.drivers.parents import MTU, PARENT, Ground, Parents, checked_mtu, checked_parent, inside, isolated
from netpy.model import Endpoint, Family, Network, NetworkSpec
from netpy.objects import Child, KernelObject, Route

MODE, FLAG = "ipvlan_mode", "ipvlan_flag"
MODES, FLAGS = ("l2", "l3", "l3s"), ("bridge", "private", "vepa")
DEFAULT_ROUTE: Mapping[Family, str] = {4: "0.0.0.0/0", 6: "::/0"}


def is_there(name: str) -> bool:
    """Whether the host has a link of that name."""
    try:
        return bool(socket.if_nametoindex(name))
    except OSError:
        return False


def checked_mode(text: str) -> str:
    """One of `MODES`; empty is the default."""
    if text not in ("", *MODES):
        raise ValueError(f"requested ipvlan mode '{text}' is not valid, 'l2' mode is the ipvlan driver default")
    return text


def checked_flag(text: str) -> str:
    """One of `FLAGS`; empty is the default."""
    if text not in ("", *FLAGS):
        raise ValueError(
            f"requested ipvlan flag '{text}' is not valid, 'bridge' is the ipvlan driver default "
            f"(there are {', '.join(FLAGS)})"
        )
    return text


class IpvlanDriver:
    """Driver `ipvlan`. The options are Docker's."""

    name = "ipvlan"
    traits = Traits(ports=False, links=("ipvlan",))
    options: Mapping[str, Option] = {
        PARENT: Option(
            help="interface of the host to stand on; eth0.30 is made where it is missing; none: a network to itself",
            check=checked_parent,
            type="interface",
        ),
        MODE: Option(help="l2, l3 or l3s", check=checked_mode, default="l2", type="mode"),
        FLAG: Option(
            help="who may talk over the parent: bridge (all), private (none), vepa (by the switch)",
            check=checked_flag,
            default="bridge",
            type="flag",
        ),
        MTU: Option(help="MTU of the containers' interfaces; that of the parent if not stated", check=checked_mtu),
    }
    endpoint_options: Mapping[str, Option] = {}

    def __init__(self, defaults: Defaults, exists: Callable[[str], bool] = is_there) -> None:
        self._instance = defaults.instance
        self._ground = Ground(instance=defaults.instance, prefix="di-")
        # The mode is the parent's, not the link's: networks of different modes cannot share one (`Parents` compares).
        self._parents = Parents(self.name, exists, lambda spec: bool(spec.options.get(PARENT)))

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        # Nothing leads out of a network without a parent, so it is no way out for its sandboxes either.
        return replace(spec, internal=spec.internal or isolated(spec))

    def acquire_network(self, network: Network) -> Mapping[str, str]:
        return self._parents.claim(network)

    def release_network(self, network: Network) -> None:
        self._parents.drop(network)

    def collect(self, network: Network, endpoints: Sequence[Endpoint]) -> None:
        """After a restart: which networks there are is known to their driver again."""
        self._parents.remember(network)

    def network_state(self, network: Network) -> State:
        return frozenset(self._ground.state(network))

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        return frozenset(self._objects(network, endpoint))

    def _objects(self, network: Network, endpoint: Endpoint) -> Iterator[KernelObject]:
        options, inside_of = network.spec.options, endpoint.sandbox.netns
        mode, flag = options.get(MODE) or "l2", options.get(FLAG, "")
        yield Child(
            kind="ipvlan",
            parent=self._ground.name(network),
            netns=inside_of,
            ifname=endpoint.ifname,
            mode=mode,
            flag="" if flag == "bridge" else flag,
            mark=f"{self._instance}/endpoint/{endpoint.id[:12]}",
            mtu=int(options.get(MTU, "0")),
        )
        yield from inside(endpoint)
        for family in endpoint.gateways:
            subnet = network.subnet_of(family)
            if subnet and subnet.default_gateway:
                via = subnet.default_gateway if mode == "l2" else ""
                yield Route(netns=inside_of, destination=DEFAULT_ROUTE[family], link=endpoint.ifname, via=via)
