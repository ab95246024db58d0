"""Subnets and addresses that an IPAM driver gives: asked with a time limit, and never believed blindly.

The built-in one is not here: `networks` and `records` decide in its place, under their lock. What others grant is held
against the records: a pool must not overlap another network, an address must lie in its pool and be nobody's. A grant
that clashes is kept while the next one is asked for, so that the driver does not give the same again, and then
released; after sixteen of them we give up.

A `pure` IPAM driver is asked under the records' lock and never told to release; the others are asked outside of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Literal, TypeVar

from netpy.controller.calls import Calls, named
from netpy.controller.records import Plug, Records
from netpy.drivers import check_options
from netpy.drivers.addressing import AddressRequest, IpamDriver, PoolGrant, PoolRequest
from netpy.drivers.answers import BadAnswer
from netpy.drivers.guard import refuse_unknown
from netpy.drivers.registry import BUILT_IN_IPAM, Registry
from netpy.errors import Exhausted, Forbidden, NetpyError
from netpy.ipam import OVERLAP, narrow, unsized, validate
from netpy.model import Endpoint, Family, Network, NetworkSpec, Subnet, SubnetSpec

T = TypeVar("T")
ATTEMPTS = 16
Kind = Literal["endpoint", "gateway", "auxiliary"]
logger = logging.getLogger(__name__)


class Pools:
    """What IPAM drivers other than the built-in ones give. Thread-safe."""

    def __init__(self, drivers: Registry, records: Records, calls: Calls) -> None:
        self._drivers = drivers
        self._records = records
        self._calls = calls

    @staticmethod
    def is_built_in(name: str) -> bool:
        return not name or name in BUILT_IN_IPAM

    def of(self, network: Network) -> IpamDriver | None:
        """The IPAM driver of a network that has one of its own."""
        name = network.spec.ipam_driver
        return None if self.is_built_in(name) else self._drivers.ipam(name)

    def check(self, spec: NetworkSpec) -> None:
        """InvalidArgument for subnets or options that the IPAM driver cannot take."""
        validate(spec)
        driver = self._drivers.ipam(spec.ipam_driver)
        check_options(spec.ipam_options, driver.options, f"ipam driver {driver.name}")
        refuse_unknown(driver.name, spec.ipam_options, driver.options, any_option=driver.traits.any_option)

    # ---- pools ---------------------------------------------------------------------------------------------------

    def open(self, network: Network, undo: ExitStack, host: Callable[[], Sequence[str]]) -> Network:
        """The network with subnets of its IPAM driver, if that is not a built-in one. `undo` gives them back."""
        driver = self.of(network)
        if driver is None or network.subnets or not self._drivers.get(network.spec.driver).traits.addressing:
            return network
        routed = narrow(host())
        with self._records.lock if driver.traits.pure else nullcontext():
            made: list[Subnet] = []
            for family, stated in _wanted(network.spec):
                beside = [*self._others(network), *(subnet.subnet for subnet in made)]
                request = PoolRequest(
                    network_id=network.id,
                    network=network.name,
                    family=family,
                    subnet=stated.subnet,
                    ip_range=stated.ip_range,
                    avoid=tuple(beside if stated.subnet else [*beside, *routed]),
                    options=network.spec.ipam_options,
                )
                grant = self._pool(driver, request, undo)
                made.append(self._furnished(driver, network, grant, stated, undo))
            return self.settle(replace(network, subnets=tuple(made)))

    def settle(self, network: Network) -> Network:
        """Write down the subnets of a pending network. Forbidden when somebody was faster and has one of them."""
        with self._records.lock:
            others = self._others(network)
            if any(_overlapping(subnet.subnet, others) for subnet in network.subnets):
                raise Forbidden(OVERLAP)
            self._records.save_network(network)
        return network

    def _others(self, network: Network) -> list[str]:
        with self._records.lock:
            return [s.subnet for each in self._records.networks() if each.id != network.id for s in each.subnets]

    def close(self, network: Network) -> list[NetpyError]:
        """Give the network's pools back, with what was reserved in them."""
        errors: list[NetpyError] = []
        if self.is_built_in(network.spec.ipam_driver):
            return errors
        for subnet in network.subnets:
            reserved = [address for address in (subnet.gateway, *subnet.aux_addresses.values()) if address]
            for address in reserved:
                errors += self._released(
                    network, "release_address", lambda d, s=subnet, a=address: d.release_address(s.pool, a)
                )
            errors += self._released(network, "release_pool", lambda d, s=subnet: d.release_pool(s.pool))
        return errors

    def _pool(self, driver: IpamDriver, request: PoolRequest, undo: ExitStack) -> PoolGrant:
        with ExitStack() as held:
            for _ in range(ATTEMPTS):
                grant = self._ask(
                    driver,
                    "request_pool",
                    lambda: _checked_pool(driver.request_pool(request), request),
                    lambda late: driver.release_pool(late.pool),
                )
                clash = _overlapping(grant.subnet, request.avoid)
                if not clash:
                    undo.callback(self._give_up, driver, "release_pool", lambda g=grant: driver.release_pool(g.pool))
                    return grant
                held.callback(self._give_up, driver, "release_pool", lambda g=grant: driver.release_pool(g.pool))
                if request.subnet and not unsized(request.subnet):
                    raise Forbidden(OVERLAP)
            raise Exhausted(f"ipam driver {driver.name}: request_pool gave {ATTEMPTS} pools that are all in use")

    def _furnished(
        self, driver: IpamDriver, network: Network, grant: PoolGrant, stated: SubnetSpec, undo: ExitStack
    ) -> Subnet:
        """The subnet with its gateway and its auxiliary addresses, all of them requested."""
        subnet = Subnet(subnet=grant.subnet, ip_range=stated.ip_range, pool=grant.pool)
        gateway = str(ip_address(stated.gateway)) if stated.gateway else ""
        if gateway or not grant.gateway:
            request = AddressRequest(
                network_id=network.id, subnet=subnet, address=gateway, kind="gateway", options=network.spec.ipam_options
            )
            gateway = self._address(driver, request, undo)
        aux: dict[str, str] = {}
        for name, address in stated.aux_addresses.items():
            request = AddressRequest(
                network_id=network.id,
                subnet=subnet,
                address=str(ip_address(address)),
                kind="auxiliary",
                options=network.spec.ipam_options,
            )
            aux[name] = self._address(driver, request, undo)
        return replace(subnet, gateway=gateway or grant.gateway, aux_addresses=aux)

    # ---- addresses -----------------------------------------------------------------------------------------------

    def lease(self, plug: Plug, undo: ExitStack) -> Plug:
        """The plug with addresses of its network's own IPAM driver, if there is one. `undo` gives them back."""
        driver = self.of(plug.network)
        if driver is None or plug.endpoint.addresses or not plug.endpoint.sandbox.netns:
            return plug
        stated = {ip_address(text).version: str(ip_address(text)) for text in plug.endpoint.spec.addresses}
        addresses: list[str] = []
        for family in (4, 6):
            subnets = [subnet for subnet in plug.network.subnets if subnet.family == family]
            if subnets:
                addresses.append(self._leased(driver, plug, subnets, stated.get(family, ""), undo))
        return replace(plug, endpoint=replace(plug.endpoint, addresses=tuple(addresses)))

    def give_back(self, plug: Plug) -> list[NetpyError]:
        """The endpoint is gone: the IPAM driver has its addresses back."""
        errors: list[NetpyError] = []
        if self.is_built_in(plug.network.spec.ipam_driver):
            return errors
        for cidr in plug.endpoint.addresses:
            bare = cidr.partition("/")[0]
            subnet = _subnet_of(plug.network, bare)
            if subnet:
                errors += self._released(
                    plug.network, "release_address", lambda d, s=subnet, a=bare: d.release_address(s.pool, a)
                )
        return errors

    def _leased(self, driver: IpamDriver, plug: Plug, subnets: Sequence[Subnet], stated: str, undo: ExitStack) -> str:
        failure: Exhausted | None = None
        for subnet in subnets:
            if stated and ip_address(stated) not in ip_network(subnet.subnet):
                continue
            try:
                return self._leased_in(driver, plug, subnet, stated, undo)
            except Exhausted as error:
                failure = failure or error
        raise failure or Exhausted(f"no available addresses on this pool: {subnets[0].subnet}")

    def _leased_in(self, driver: IpamDriver, plug: Plug, subnet: Subnet, stated: str, undo: ExitStack) -> str:
        network, endpoint = plug.network, plug.endpoint
        leases = self._records.leases
        request = AddressRequest(
            network_id=network.id,
            subnet=subnet,
            address=stated,
            mac=endpoint.mac,
            name=endpoint.spec.name,
            taken=leases.taken(network.id),
            options=network.spec.ipam_options,
        )
        take = self._taken_purely if driver.traits.pure else self._taken
        with ExitStack() as held:
            for _ in range(ATTEMPTS):
                cidr = take(driver, request, endpoint.sandbox.id, (held, undo))
                if cidr:
                    undo.callback(self._end_lease, network.id, cidr)
                    return cidr
            raise Exhausted(f"ipam driver {driver.name}: request_address gave {ATTEMPTS} addresses that are all in use")

    def _taken_purely(
        self, driver: IpamDriver, request: AddressRequest, holder: str, stacks: tuple[ExitStack, ExitStack]
    ) -> str:
        del stacks
        with self._records.lock:
            bare = self._ask(
                driver, "request_address", lambda: _checked_address(driver.request_address(request), request), None
            )
            return self._records.leases.lease(request.network_id, request.subnet.family, holder, bare)

    def _taken(
        self, driver: IpamDriver, request: AddressRequest, holder: str, stacks: tuple[ExitStack, ExitStack]
    ) -> str:
        """An address that is nobody's, with its prefix length; empty for one that is somebody's, which is held."""
        held, undo = stacks
        with ExitStack() as granted:
            bare = self._address(driver, request, granted)
            try:
                with self._records.lock:
                    cidr = self._records.leases.lease(request.network_id, request.subnet.family, holder, bare)
            except Forbidden:
                if request.address:
                    raise
                held.push(granted.pop_all())
                return ""
            undo.push(granted.pop_all())
            return cidr

    def _address(self, driver: IpamDriver, request: AddressRequest, undo: ExitStack) -> str:
        def work() -> str:
            return _checked_address(driver.request_address(request), request)

        bare = self._ask(driver, "request_address", work, lambda late: driver.release_address(request.pool, late))
        undo.callback(self._give_up, driver, "release_address", lambda: driver.release_address(request.pool, bare))
        return bare

    def _end_lease(self, network_id: str, cidr: str) -> None:
        with self._records.lock:
            self._records.leases.give_back(network_id, cidr)

    # ---- after a restart -----------------------------------------------------------------------------------------

    def replay(self, network: Network, endpoints: Iterable[Endpoint]) -> None:
        """Ask again for everything that the network has, where the IPAM driver wants that. Failures are logged."""
        try:
            driver = self.of(network)
            if driver is None or not driver.traits.replay:
                return
            for subnet in network.subnets:
                self._replay_subnet(driver, network, subnet, endpoints)
        except NetpyError as error:
            logger.warning("network %s: %s", network.name, error)

    def _replay_subnet(
        self, driver: IpamDriver, network: Network, subnet: Subnet, endpoints: Iterable[Endpoint]
    ) -> None:
        pool = PoolRequest(
            network_id=network.id,
            network=network.name,
            family=subnet.family,
            subnet=subnet.subnet,
            ip_range=subnet.ip_range,
            options=network.spec.ipam_options,
        )
        self._ask(driver, "request_pool", lambda: driver.request_pool(pool), None)
        wanted: list[tuple[str, Kind, Endpoint | None]] = [(subnet.gateway, "gateway", None)] if subnet.gateway else []
        for address in subnet.aux_addresses.values():
            wanted.append((address, "auxiliary", None))
        for each in endpoints:
            if each.address_of(subnet.family):
                wanted.append((each.address_of(subnet.family), "endpoint", each))
        for address, kind, endpoint in wanted:
            request = AddressRequest(
                network_id=network.id,
                subnet=subnet,
                address=address,
                kind=kind,
                mac=endpoint.mac if endpoint else "",
                name=endpoint.spec.name if endpoint else "",
                options=network.spec.ipam_options,
            )
            self._ask(driver, "request_address", lambda r=request: driver.request_address(r), None)

    # ---- calls ---------------------------------------------------------------------------------------------------

    def _ask(self, driver: IpamDriver, what: str, work: Callable[[], T], late: Callable[[T], object] | None) -> T:
        who = f"ipam driver {driver.name}"
        if not driver.traits.pure:
            return self._calls.ask(who, what, driver.traits.timeout, work, late)
        try:
            return work()
        except Exception as error:
            raise named(who, what, error) from error

    def _released(self, network: Network, what: str, call: Callable[[IpamDriver], object]) -> list[NetpyError]:
        try:
            driver = self._drivers.ipam(network.spec.ipam_driver)
            if not driver.traits.pure:
                self._ask(driver, what, lambda: call(driver), None)
        except NetpyError as error:
            logger.warning("network %s: %s", network.name, error)
            return [error]
        return []

    def _give_up(self, driver: IpamDriver, what: str, call: Callable[[], object]) -> None:
        try:
            if not driver.traits.pure:
                self._ask(driver, what, call, None)
        except NetpyError as error:
            logger.warning("taking back: %s", error)


def _wanted(spec: NetworkSpec) -> Iterator[tuple[Family, SubnetSpec]]:
    families: list[Family] = [*([4] if spec.ipv4 else []), *([6] if spec.ipv6 else [])]
    for family in families:
        stated = [s for s in spec.subnets if s.subnet and (":" in s.subnet) == (family == 6)]
        for subnet in stated or [SubnetSpec()]:
            yield family, subnet


def _checked_pool(answer: object, request: PoolRequest) -> PoolGrant:
    if not isinstance(answer, PoolGrant):
        raise BadAnswer(f"answered {answer!r}, not a PoolGrant")
    try:
        subnet = ip_network(answer.subnet)
        gateway = ip_address(answer.gateway) if answer.gateway else None
    except ValueError as error:
        raise BadAnswer(f"answered {answer.subnet!r} with gateway {answer.gateway!r}: {error}") from error
    if subnet.version != request.family or (gateway and gateway not in subnet):
        raise BadAnswer(f"answered {subnet} with gateway {answer.gateway!r} for IPv{request.family}")
    if request.subnet and not unsized(request.subnet) and str(subnet) != request.subnet:
        raise BadAnswer(f"answered {subnet} where {request.subnet} was asked for")
    return replace(answer, subnet=str(subnet), gateway=str(gateway) if gateway else "")


def _checked_address(answer: object, request: AddressRequest) -> str:
    try:
        address = ip_interface(answer).ip if isinstance(answer, str) else None
    except ValueError:
        address = None
    if address is None:
        raise BadAnswer(f"answered {answer!r}, which is no address")
    if address not in ip_network(request.subnet.subnet):
        raise BadAnswer(f"answered {address}, which is not in {request.subnet.subnet}")
    if request.address and str(address) != request.address:
        raise BadAnswer(f"answered {address} where {request.address} was asked for")
    return str(address)


def _overlapping(subnet: str, avoid: Iterable[str]) -> bool:
    mine = ip_network(subnet)
    return any(mine.version == other.version and mine.overlaps(other) for other in map(ip_network, avoid))


def _subnet_of(network: Network, bare: str) -> Subnet | None:
    return next((subnet for subnet in network.subnets if ip_address(bare) in ip_network(subnet.subnet)), None)
