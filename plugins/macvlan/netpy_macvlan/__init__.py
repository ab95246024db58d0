"""The macvlan driver: every sandbox has a link with a MAC address of its own on an interface of the host, the parent.

The sandboxes are hosts of the LAN that the parent is on: its router is their gateway, nothing is translated, no port is
published, and no rule of this host's firewall sees their packets. The two functions are pure. `acquire_network` looks
whether the parent is there, and decides whether netpy makes it (a VLAN link such as eth0.30); the rest is left to
`netpy.drivers.parents`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from netpy.diff import State
from netpy.drivers import Defaults, Option, Traits
from netpy.drivers.parents import MTU, PARENT, Ground, Parents, checked_mtu, checked_parent, inside, isolated
from netpy.errors import InvalidArgument
from netpy.model import Endpoint, Family, Network, NetworkSpec
from netpy.objects import Child, KernelObject, Route

MODE = "macvlan_mode"
MODES = ("bridge", "private", "vepa", "passthru")
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
        raise ValueError(
            f"requested macvlan mode '{text}' is not valid, 'bridge' mode is the macvlan driver default "
            f"(there are {', '.join(MODES)})"
        )
    return text


class MacvlanDriver:
    """Driver `macvlan`. The options are Docker's."""

    name = "macvlan"
    traits = Traits(ports=False, links=("macvlan",))
    options: Mapping[str, Option] = {
        PARENT: Option(
            help="interface of the host to stand on; eth0.30 is made where it is missing; none: a network to itself",
            check=checked_parent,
            type="interface",
        ),
        MODE: Option(help="bridge, private, vepa or passthru", check=checked_mode, default="bridge", type="mode"),
        MTU: Option(help="MTU of the containers' interfaces; that of the parent if not stated", check=checked_mtu),
    }
    endpoint_options: Mapping[str, Option] = {}

    def __init__(self, defaults: Defaults, exists: Callable[[str], bool] = is_there) -> None:
        self._instance = defaults.instance
        self._ground = Ground(instance=defaults.instance, prefix="dm-")
        self._parents = Parents(self.name, exists, lambda spec: spec.options.get(MODE) == "passthru")

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        if isolated(spec) and spec.options.get(MODE) == "passthru":
            raise InvalidArgument(f"network {spec.name}: macvlan_mode=passthru needs -o parent=")
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
        yield Child(
            kind="macvlan",
            parent=self._ground.name(network),
            netns=endpoint.sandbox.netns,
            ifname=endpoint.ifname,
            mode=network.spec.options.get(MODE) or "bridge",
            mark=f"{self._instance}/endpoint/{endpoint.id[:12]}",
            mac=endpoint.mac,
            mtu=int(network.spec.options.get(MTU, "0")),
        )
        yield from inside(endpoint)
        for family in endpoint.gateways:
            subnet = network.subnet_of(family)
            if subnet and subnet.default_gateway:
                yield Route(
                    netns=endpoint.sandbox.netns,
                    destination=DEFAULT_ROUTE[family],
                    link=endpoint.ifname,
                    via=subnet.default_gateway,
                )
