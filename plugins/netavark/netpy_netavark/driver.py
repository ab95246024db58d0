"""A driver whose networks a netavark plugin makes.

| netpy | netavark |
|---|---|
| acquire_network | `create`: the plugin completes the configuration, which is kept with the network |
| release_network | nothing: the protocol has no call for it |
| acquire | `setup NETNS`, with the addresses that netpy chose from the plugin's subnets |
| release | `teardown NETNS`, with the very document of `setup` |

What the plugin made is wanted as `Given`: it is looked at, and not touched, and what it leaves behind is removed. Ports
are the plugin's to publish. The embedded DNS answers as on any network. I/O: processes, in hooks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from netpy.diff import State
from netpy.drivers import Acquired, AcquiredNetwork, Defaults, Option, Traits
from netpy.errors import DriverError, InvalidArgument
from netpy.model import Endpoint, Network, NetworkSpec, SubnetSpec
from netpy.objects import Given
from netpy_netavark import documents
from netpy_netavark.documents import BadDocument, Json
from netpy_netavark.execution import Plugin, Refusal

_MARGIN = 5.0


class NetavarkDriver:
    """The driver of one plugin. See the module's text."""

    options: Mapping[str, Option] = {}
    endpoint_options: Mapping[str, Option] = {}

    def __init__(self, plugin: Plugin, defaults: Defaults) -> None:
        self.name = plugin.name
        self.traits = Traits(
            addressing=False, routers=True, publishes=True, any_option=True, timeout=plugin.limit + _MARGIN
        )
        self._plugin = plugin
        self._defaults = defaults

    # ---- pure ----------------------------------------------------------------------------------------------------

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return replace(spec, subnets=tuple(_checked(spec.name, each) for each in spec.subnets if each != SubnetSpec()))

    def network_state(self, network: Network) -> State:
        return frozenset()

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        if not endpoint.sandbox.netns:
            return frozenset()
        given = Given(
            netns=endpoint.sandbox.netns,
            ifname=endpoint.ifname,
            maker=f"netavark plugin {self.name}",
            mac=endpoint.mac if "call" in endpoint.facts else "",
            addresses=tuple(sorted(endpoint.addresses)),
        )
        return frozenset({given})

    # ---- hooks ---------------------------------------------------------------------------------------------------

    def acquire_network(self, network: Network) -> AcquiredNetwork:
        """`create`."""
        asked = documents.draft(network)
        try:
            config = documents.completed(asked, self._plugin.ask("create", document=asked))
        except Refusal as error:
            raise InvalidArgument(str(error)) from error
        except BadDocument as error:
            raise DriverError(f"netavark plugin {self.name}: create: {error}") from error
        subnets = documents.subnets(config, network.spec)
        return AcquiredNetwork(facts={"config": json.dumps(config)}, subnets=subnets)

    def release_network(self, network: Network) -> None:
        """Plugins are not told."""

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        """`setup`. What goes wrong is taken back by `release`, which is called then."""
        call = documents.call(_config(network), endpoint)
        answer = self._plugin.ask("setup", endpoint.sandbox.netns, document=call)
        try:
            status = documents.status(answer, endpoint.ifname)
        except BadDocument as error:
            raise DriverError(f"netavark plugin {self.name}: setup: {error}") from error
        return Acquired(
            facts={"call": json.dumps(call)},
            addresses=status.addresses,
            mac=status.mac,
            routers=status.routers,
            dns=status.dns,
            search=status.search,
        )

    def release(self, network: Network, endpoint: Endpoint) -> None:
        """`teardown`, also for what was set up half, or never."""
        if "config" in network.facts:
            kept = endpoint.facts.get("call")
            call = json.loads(kept) if kept else documents.call(_config(network), endpoint)
            self._plugin.tell("teardown", endpoint.sandbox.netns, document=call)


def _config(network: Network) -> Json:
    if "config" not in network.facts:
        raise DriverError(f"network {network.name} has no configuration of its plugin: it was never made")
    return json.loads(network.facts["config"])


def _checked(name: str, subnet: SubnetSpec) -> SubnetSpec:
    """The subnet in canonical form, since nobody but the plugin looks at it otherwise."""
    if not subnet.subnet:
        raise InvalidArgument(f"network {name}: a gateway or a range is stated without its subnet")
    try:
        return replace(
            subnet,
            subnet=str(ip_network(subnet.subnet)),
            gateway=str(ip_address(subnet.gateway)) if subnet.gateway else "",
            ip_range=str(ip_network(subnet.ip_range)) if subnet.ip_range else "",
        )
    except ValueError as error:
        raise InvalidArgument(f"network {name}: {error}") from error
