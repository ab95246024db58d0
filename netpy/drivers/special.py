"""The two drivers that plug nothing in: `host` shares the host's namespace, `null` leaves loopback alone.

Both are pure and wanted state is empty; that their one network exists is all there is to them.
"""

from __future__ import annotations

from collections.abc import Mapping

from netpy.diff import State
from netpy.drivers import Defaults, Option, Traits
from netpy.errors import Forbidden
from netpy.model import Endpoint, Network, NetworkSpec


class _Special:
    options: Mapping[str, Option] = {}
    endpoint_options: Mapping[str, Option] = {}
    name: str
    traits: Traits

    def __init__(self, defaults: Defaults) -> None:
        del defaults

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        if spec.subnets:
            raise Forbidden(f'network {spec.name}: driver "{self.name}" takes no subnets')
        return spec

    def network_state(self, network: Network) -> State:
        del network
        return frozenset()

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        del network, endpoint
        return frozenset()


class HostDriver(_Special):
    """The sandbox is the host's own namespace: no interface, no address, no name of its own."""

    name = "host"
    traits = Traits(addressing=False, names=False, single=True, host_namespace=True)


class NullDriver(_Special):
    """The sandbox has a loopback interface and nothing else."""

    name = "null"
    traits = Traits(addressing=False, names=False, single=True)
