"""Host ports of a sandbox: which bindings it gets, at which of its endpoints, and the sockets that hold them.

The requests of all endpoints of a sandbox are taken together, since ports are published where the default route is: an
answer has to leave by the way that the question came. So the IPv4 bindings stand at the IPv4 gateway's endpoint, the
IPv6 ones at the IPv6 gateway's, and when a gateway moves they move along, with the host ports that they have. A
sandbox without a gateway publishes nothing, and so does one whose gateway is of a driver that cannot (`Traits.ports`).

The table of what is given is consulted under the records' lock; sockets are opened outside of it. When another program
sits on a port, the next one is tried (ranges and "any port" only), ten times at most.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from netpy.controller.records import Plug, Records
from netpy.drivers.bridge import BINDING, MODES
from netpy.errors import Conflict, Exhausted, InvalidArgument, NetpyError, PortTaken
from netpy.firewall.ports import ANY, family_of, host_ips, ordered
from netpy.kernel import Kernel
from netpy.model import Family, Network, PortBinding, Protocol

logger = logging.getLogger(__name__)
ATTEMPTS = 10
Opener = Literal["netpy", "driver", "nobody"]
Slot = tuple[Protocol, int, str]  # protocol, container port, host address


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The plugs with their bindings; the bindings that are new, and those that are needed no longer."""

    plugs: tuple[Plug, ...]
    opened: tuple[PortBinding, ...]
    closed: tuple[PortBinding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateways:
    """Where the ports of a sandbox are published: by family, and what that means for each of them.

    `binding` is the host address of ports that state none; `theirs` are the families whose driver opens ports itself.
    """

    plugs: Mapping[Family, Plug]
    routed: tuple[Family, ...]
    translated: frozenset[Family]
    binding: str
    theirs: frozenset[Family]

    @property
    def ids(self) -> dict[Family, str]:
        """The endpoints' ids."""
        return {family: plug.endpoint.id for family, plug in self.plugs.items()}


class Publishing:
    """Gives, holds and releases host ports. Thread-safe."""

    def __init__(
        self, kernel: Kernel, records: Records, host_binding: str, opener: Callable[[Network], Opener]
    ) -> None:
        self._kernel = kernel
        self._records = records
        self._host_binding = host_binding
        self._opener = opener

    def settle(self, before: Sequence[Plug], after: Sequence[Plug], *, hold: bool = True) -> Published:
        """Bindings for `after`, keeping those of `before`. With `hold`, sockets are opened for the new ones.

        PortTaken, Exhausted or KernelError when a port cannot be had; then nothing is left open. The closed ones
        are not released yet: that comes after the rules that use them are gone.
        """
        gateways = self._gateways(after)
        if _requests(before) == _requests(after) and gateways.ids == self._gateways(before).ids:
            return Published(plugs=tuple(after), opened=(), closed=())
        existing: dict[Slot, list[PortBinding]] = defaultdict(list)
        for binding in (b for plug in before for b in plug.endpoint.ports):
            existing[_slot(binding, binding.host_ip)].append(binding)
        opened: list[PortBinding] = []
        bindings: dict[str, list[PortBinding]] = defaultdict(list)
        try:
            for request in ordered(r for plug in after for r in plug.endpoint.spec.ports):
                for binding in self._serve(request, gateways, existing, (opened, hold)):
                    bindings[gateways.plugs[family_of(binding.host_ip)].endpoint.id].append(binding)
        except BaseException as error:
            self.close(opened, held=hold)
            if isinstance(error, Conflict | Exhausted | InvalidArgument):
                kind = PortTaken if isinstance(error, Conflict) else type(error)
                raise kind(f"{_failed(gateways.plugs.values())}: {error}") from error
            raise
        closed = tuple(binding for left in existing.values() for binding in left)
        plugs = tuple(_with_ports(plug, bindings[plug.endpoint.id]) for plug in after)
        return Published(plugs=plugs, opened=tuple(opened), closed=closed)

    def close(self, bindings: Iterable[PortBinding], *, held: bool = True) -> None:
        """Let host ports go."""
        for binding in bindings:
            if not binding.host_port:
                continue
            if held:
                self._kernel.release(binding.protocol, binding.host_ip, binding.host_port)
            with self._records.lock:
                self._records.ports.take_back(binding.protocol, binding.host_ip, binding.host_port)

    def hold_again(self, network: Network, binding: PortBinding) -> None:
        """After a restart: a port that the records say is ours. Somebody else may have taken it: logged."""
        if binding.host_port and self._opener(network) == "netpy":
            try:
                self._kernel.hold(binding.protocol, binding.host_ip, binding.host_port)
            except NetpyError as error:
                logger.warning("published port is not held: %s", error)

    def _serve(
        self,
        request: PortBinding,
        gateways: Gateways,
        existing: dict[Slot, list[PortBinding]],
        opening: tuple[list[PortBinding], bool],
    ) -> list[PortBinding]:
        """The bindings of one request: routed ones, kept ones and new ones."""
        served = [replace(request, host_ip=ANY[family], host_port=0, host_port_end=0) for family in gateways.routed]
        ips = host_ips(request, gateways.translated, gateways.binding)
        kept = [found for ip in ips if (found := _take(existing, request, ip))] if existing else []
        missing = [ip for ip in ips if ip not in {binding.host_ip for binding in kept}] if kept else ips
        if missing:
            wanted = replace(request, host_port=kept[0].host_port, host_port_end=0) if kept else request
            opened, hold = opening
            theirs = gateways.theirs and any(family_of(ip) in gateways.theirs for ip in missing)
            fresh = self._open(wanted, missing, hold=hold and not theirs)
            opened += fresh
            kept += fresh
        return served + kept

    def _gateways(self, plugs: Sequence[Plug]) -> Gateways:
        found: dict[Family, Plug] = {
            family: plug
            for plug in plugs
            for family in plug.endpoint.gateways
            if self._opener(plug.network) != "nobody"
        }
        routed: list[Family] = [family for family, plug in found.items() if _is_routed(plug, family)]
        return Gateways(
            plugs=found,
            routed=tuple(sorted(routed)),
            translated=frozenset(found) - set(routed),
            binding=self._default_binding(found.get(4)),
            theirs=frozenset(family for family, plug in found.items() if self._opener(plug.network) == "driver"),
        )

    def _open(self, request: PortBinding, ips: Sequence[str], *, hold: bool) -> list[PortBinding]:
        tried: set[int] = set()
        while True:
            with self._records.lock:
                port = self._records.ports.choose(request, ips, tried)
                for ip in ips:
                    self._records.ports.give(request.protocol, ip, port)
            bindings = [replace(request, host_ip=ip, host_port=port, host_port_end=0) for ip in ips]
            try:
                if hold:
                    self._hold(bindings)
                return bindings
            except BaseException as error:
                self.close(bindings, held=False)
                tried.add(port)
                is_exact = request.host_port and request.host_port_end <= request.host_port
                if not isinstance(error, Conflict) or is_exact or len(tried) == ATTEMPTS:
                    raise

    def _hold(self, bindings: Sequence[PortBinding]) -> None:
        held: list[PortBinding] = []
        try:
            for binding in bindings:
                self._kernel.hold(binding.protocol, binding.host_ip, binding.host_port)
                held.append(binding)
        except BaseException:
            for binding in held:
                self._kernel.release(binding.protocol, binding.host_ip, binding.host_port)
            raise

    def _default_binding(self, gateway: Plug | None) -> str:
        stated = gateway.network.spec.options.get(BINDING, "") if gateway else ""
        return stated if stated not in ("", ANY[4]) else self._host_binding


def _requests(plugs: Iterable[Plug]) -> list[PortBinding]:
    return [request for plug in plugs for request in plug.endpoint.spec.ports]


def _is_routed(plug: Plug, family: Family) -> bool:
    return plug.network.spec.options.get(MODES[family]) == "routed"


def _take(existing: dict[Slot, list[PortBinding]], request: PortBinding, ip: str) -> PortBinding | None:
    """A binding of before that fulfils the request on this host address, removed from `existing`."""
    candidates = existing.get(_slot(request, ip), [])
    for binding in candidates:
        last = max(request.host_port, request.host_port_end)
        if binding.host_port and (not request.host_port or request.host_port <= binding.host_port <= last):
            candidates.remove(binding)
            return binding
    return None


def _slot(binding: PortBinding, host_ip: str) -> Slot:
    return binding.protocol, binding.container_port, host_ip


def _with_ports(plug: Plug, bindings: Sequence[PortBinding]) -> Plug:
    ports = tuple(bindings)
    return plug if ports == plug.endpoint.ports else replace(plug, endpoint=replace(plug.endpoint, ports=ports))


def _failed(gateways: Iterable[Plug]) -> str:
    endpoint = next(iter(gateways)).endpoint
    return f"driver failed programming external connectivity on endpoint {endpoint.spec.name} ({endpoint.id})"
