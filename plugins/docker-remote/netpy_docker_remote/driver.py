"""A Docker network plugin behind netpy's driver protocol.

CreateNetwork is called when a network is made, CreateEndpoint and Join when a sandbox is plugged in; from then on
planning is pure: the link that Join named is adopted into the sandbox, with its addresses and routes. External
connectivity is programmed when the endpoint is the sandbox's way out. Whatever fails half-way is taken back at the
plugin: DeleteEndpoint after a Join that failed, Leave and DeleteEndpoint after anything later.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from netpy.diff import State
from netpy.drivers import Acquired, AcquiredNetwork, Defaults, Option, Traits
from netpy.errors import DriverError
from netpy.model import Endpoint, Family, Network, NetworkSpec
from netpy.objects import Address, Adopt, KernelObject, Route
from netpy_docker_remote import answers, bodies, hostlinks
from netpy_docker_remote.answers import Joined, WrongAnswer
from netpy_docker_remote.bodies import Interface
from netpy_docker_remote.plugin import Absent, Plugin, Refused

T = TypeVar("T")
DEFAULT: Mapping[Family, str] = {4: "0.0.0.0/0", 6: "::/0"}
REMEMBERED = 4096  # networks and endpoints that are known to be gone, so that nobody is asked for them twice
SCOPES = ("", "local", "global")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What GetCapabilities said. A network is of this machine whatever the scope; it is kept for messages."""

    scope: str = "local"
    connectivity: str = "local"
    checks_gateways: bool = False


def capabilities(plugin: Plugin) -> Capabilities:
    """Ask for them. DriverError for scopes that do not exist, as Docker refuses them."""
    answer = plugin.ask("NetworkDriver.GetCapabilities")
    scope, connectivity = answer.get("Scope") or "", answer.get("ConnectivityScope") or ""
    for given in (scope, connectivity):
        if given not in SCOPES:
            raise DriverError(f"plugin {plugin.name}: NetworkDriver.GetCapabilities: invalid capability: {given!r}")
    return Capabilities(
        scope=scope or "local",
        connectivity=connectivity or scope or "local",
        checks_gateways=answer.get("GwAllocChecker") is True,
    )


class RemoteDriver:
    """A network driver, its networks and endpoints kept by a plugin."""

    options: Mapping[str, Option] = {}
    endpoint_options: Mapping[str, Option] = {}

    def __init__(self, plugin: Plugin, able: Capabilities, defaults: Defaults) -> None:
        self.name = plugin.name
        self.capabilities = able
        limits = plugin.limits
        # Two calls in one hook at most, each of which may have to be tried again; and one to take back.
        self.traits = Traits(
            any_option=True, routers=True, publishes=True, timeout=3 * limits.answer + limits.retry + limits.farewell
        )
        self._plugin = plugin
        self._instance = defaults.instance
        self._undone: deque[str] = deque(maxlen=REMEMBERED)

    # ---- pure ----------------------------------------------------------------------------------------------------

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        return spec

    def network_state(self, network: Network) -> State:
        del network  # the plugin's business
        return frozenset()

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        del network
        facts, inside, ifname = endpoint.facts, endpoint.sandbox.netns, endpoint.ifname
        if "source" not in facts or not inside:
            return frozenset()
        objects: set[KernelObject] = {
            Adopt(
                source=facts["source"],
                netns=inside,
                ifname=ifname,
                mac=endpoint.mac,
                mark=f"{self._instance}/endpoint/{endpoint.id[:12]}",
            )
        }
        objects.update(Address(netns=inside, link=ifname, address=address) for address in endpoint.addresses)
        for destination, via in json.loads(facts["routes"]):
            objects.add(Route(netns=inside, destination=destination, link=ifname, via=via))
        for family in endpoint.gateways:
            if router := endpoint.router_of(family):
                objects.add(Route(netns=inside, destination=DEFAULT[family], link=ifname, via=router))
        return frozenset(objects)

    # ---- networks ------------------------------------------------------------------------------------------------

    def acquire_network(self, network: Network) -> AcquiredNetwork:
        self._begin(network.id)
        self._call("CreateNetwork", bodies.create_network(network, self._without_gateway(network)))
        return AcquiredNetwork(facts={"created": "true"})

    def release_network(self, network: Network) -> None:
        if self._is_undone(network.id):
            return
        failure = self._attempt("DeleteNetwork", {"NetworkID": network.id})
        if failure is not None and ("created" in network.facts or not isinstance(failure, Refused)):
            raise failure
        self._undone.append(network.id)

    def _without_gateway(self, network: Network) -> frozenset[int]:
        if not self.capabilities.checks_gateways:
            return frozenset()
        answer = self._call("GwAllocCheck", {"Options": bodies.network_options(network)})
        return frozenset(family for family in (4, 6) if answer.get(f"SkipIPv{family}") is True)

    # ---- endpoints -----------------------------------------------------------------------------------------------

    def acquire(self, network: Network, endpoint: Endpoint) -> Acquired:
        self._begin(endpoint.id)
        undo = ["DeleteEndpoint"]
        try:
            got = self._made(network, endpoint, undo)
            joined = self._joined(network, endpoint, undo)
            if not (got.mac or endpoint.spec.mac):
                got = replace(got, mac=_reading(self._who("Join"), lambda: hostlinks.mac_of(joined.source)))
            return _acquired(endpoint, got, joined)
        except DriverError:
            self._take_back(network, endpoint, undo)
            raise

    def release(self, network: Network, endpoint: Endpoint) -> None:
        if self._is_undone(endpoint.id):
            return
        asked = bodies.ids(network, endpoint)
        errors = [self._attempt(call, asked) for call in ("Leave", "DeleteEndpoint")]
        failed = [error for error in errors if error is not None]
        if failed and ("source" in endpoint.facts or any(not isinstance(error, Refused) for error in failed)):
            raise DriverError("; ".join(map(str, failed)))
        self._undone.append(endpoint.id)

    def _made(self, network: Network, endpoint: Endpoint, undo: list[str]) -> Interface:
        stated = bodies.interface(endpoint)
        try:
            answer = self._call("CreateEndpoint", bodies.create_endpoint(network, endpoint))
        except (Refused, Absent) as error:
            if not isinstance(error, Refused) or error.in_order:
                undo.clear()  # there is nothing to take back
            raise
        return _reading(self._who("CreateEndpoint"), lambda: answers.interface(answer, stated))

    def _joined(self, network: Network, endpoint: Endpoint, undo: list[str]) -> Joined:
        try:
            answer = self._call("Join", bodies.join(network, endpoint))
        except (Refused, Absent):
            raise
        except DriverError:
            undo.insert(0, "Leave")  # it may have joined
            raise
        undo.insert(0, "Leave")
        return _reading(self._who("Join"), lambda: answers.joined(answer))

    def _take_back(self, network: Network, endpoint: Endpoint, calls: Sequence[str]) -> None:
        failures = [self._attempt(call, bodies.ids(network, endpoint)) for call in calls]
        if all(failure is None or isinstance(failure, Refused) for failure in failures):
            self._undone.append(endpoint.id)

    # ---- connectivity --------------------------------------------------------------------------------------------

    def connected(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.gateways and not network.spec.internal:
            self._optional("ProgramExternalConnectivity", bodies.program(network, endpoint))

    def disconnecting(self, network: Network, endpoint: Endpoint) -> None:
        if endpoint.gateways and not network.spec.internal:
            self._optional("RevokeExternalConnectivity", bodies.ids(network, endpoint), leaving=True)

    def check(self, network: Network, endpoints: Sequence[Endpoint]) -> list[str]:
        """A line for each endpoint that the plugin does not tell about."""
        lines: list[str] = []
        for endpoint in endpoints:
            failure = self._attempt("EndpointOperInfo", bodies.ids(network, endpoint))
            if failure is not None:
                lines.append(f"endpoint {endpoint.spec.name}: {failure}")
            if isinstance(failure, Absent):
                break
        return lines

    def _begin(self, id: str) -> None:
        with suppress(ValueError):
            self._undone.remove(id)

    def _is_undone(self, id: str) -> bool:
        """Whether the plugin has let go of it before."""
        return id in tuple(self._undone)

    # ---- calls ---------------------------------------------------------------------------------------------------

    def _call(self, name: str, body: Mapping[str, Any], *, leaving: bool = False) -> answers.Answered:
        retry = self._plugin.limits.farewell if leaving else None
        return self._plugin.ask(f"NetworkDriver.{name}", body, retry=retry)

    def _attempt(self, name: str, body: Mapping[str, Any]) -> DriverError | None:
        try:
            self._call(name, body, leaving=True)
        except DriverError as error:
            return error
        return None

    def _optional(self, name: str, body: Mapping[str, Any], *, leaving: bool = False) -> None:
        """Calls that came later than the protocol: a plugin that answers 404 does without."""
        try:
            self._call(name, body, leaving=leaving)
        except Refused as error:
            if error.status != 404:
                raise

    def _who(self, call: str) -> str:
        return f"plugin {self.name}: NetworkDriver.{call}"


def _acquired(endpoint: Endpoint, got: Interface, joined: Joined) -> Acquired:
    routes = [(route.destination, route.via) for route in joined.routes]
    return Acquired(
        facts={"source": joined.source, "routes": json.dumps(routes)},
        addresses=() if endpoint.addresses else tuple(filter(None, (got.address, got.address6))),
        mac=got.mac,
        prefix=joined.prefix,
        routers=() if joined.no_gateway else joined.routers,
    )


def _reading(who: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except WrongAnswer as error:
        raise DriverError(f"{who}: {error}") from error
