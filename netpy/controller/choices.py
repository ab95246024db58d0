"""What has to be chosen among the networks of one sandbox: order, gateways, interface names, views, and who may join.

Pure. Endpoints are ranked as Docker ranks them, except that the last resort is not the network's name but the order of
attachment, so that the networks asked for first count first: gateway priority (high first), networks with a way out
before internal ones, earlier before later. The rank decides both the default gateways, IPv4 and IPv6 each for itself,
and the order in which networks are searched for a name. An internal network is never a gateway.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from netpy.controller.records import Plug
from netpy.dns import Record, View
from netpy.drivers import Driver, check_options
from netpy.drivers.bridge import IFACE, IFNAME
from netpy.errors import Conflict, Forbidden, InvalidArgument
from netpy.firewall import ports
from netpy.model import EndpointSpec, Family, Network, PortBinding, Sandbox

FAMILIES: tuple[Family, ...] = (4, 6)
SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
HOST = "container cannot be disconnected from host network or connected to host network"
NONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def ranked(plugs: Sequence[Plug]) -> list[Plug]:
    """The plugs in order of importance."""
    return sorted(
        plugs, key=lambda p: (-p.endpoint.spec.gateway_priority, p.network.spec.internal, p.endpoint.sequence)
    )


def with_gateways(plugs: Sequence[Plug], hopeful: Collection[str] = ()) -> tuple[Plug, ...]:
    """The plugs with `gateways` of every endpoint as it should be; the same objects where nothing changes.

    `hopeful` are ids of endpoints that count as a way out before their driver has said so.
    """
    chosen: dict[Family, str] = {}
    for plug in ranked(plugs):
        for family in FAMILIES:
            if family not in chosen and (_offers_gateway(plug, family) or _hopes(plug, family, hopeful)):
                chosen[family] = plug.endpoint.id
    settled: list[Plug] = []
    for plug in plugs:
        gateways = frozenset(family for family, id in chosen.items() if id == plug.endpoint.id)
        same = gateways == plug.endpoint.gateways
        settled.append(plug if same else replace(plug, endpoint=replace(plug.endpoint, gateways=gateways)))
    return tuple(settled)


def _offers_gateway(plug: Plug, family: Family) -> bool:
    router = plug.endpoint.next_hop(family, plug.network.subnet_of(family))
    return bool(router and plug.endpoint.address_of(family) and not plug.network.spec.internal)


def _hopes(plug: Plug, family: Family, hopeful: Collection[str]) -> bool:
    spec = plug.network.spec
    return plug.endpoint.id in hopeful and not spec.internal and (spec.ipv4 if family == 4 else spec.ipv6)


def interface_name(network: Network, spec: EndpointSpec, driver: Driver, taken: set[str]) -> str:
    """The name asked for, else the network's prefix and the lowest free number. Conflict when it is taken."""
    wanted = spec.options.get(IFNAME, "")
    if wanted:
        if wanted in taken:
            raise Conflict(f"interface name {wanted} is already used by another network of {spec.name}")
        return wanted
    prefix = network.spec.options.get(IFACE) or driver.traits.interface
    return next(name for number in range(len(taken) + 1) if (name := f"{prefix}{number}") not in taken)


def record(plug: Plug) -> Record:
    """What the name server is told of an endpoint."""
    endpoint = plug.endpoint
    bare = tuple(address.partition("/")[0] for address in endpoint.addresses)
    return Record(endpoint_id=endpoint.id, network_id=endpoint.network_id, names=endpoint.spec.names, addresses=bare)


def view(sandbox: Sandbox, plugs: Sequence[Plug], named: set[str]) -> View:
    """What the sandbox may ask; `named` are the ids of those of its networks that the name server knows."""
    order = ranked(plugs)
    links: dict[str, str] = {}
    for plug in reversed(order):
        links.update(plug.endpoint.spec.links)
    return View(
        sandbox_id=sandbox.id,
        networks=tuple((plug.network.id, plug.network.name) for plug in order if plug.network.id in named),
        links=links,
        upstreams=sandbox.dns or next((plug.endpoint.dns for plug in order if plug.endpoint.dns), ()),
        external=any(not plug.network.spec.internal for plug in plugs),
        ndots=sandbox.ndots,
    )


# ---- who may join ------------------------------------------------------------------------------------------------


def check_request(network: Network, spec: EndpointSpec, driver: Driver) -> None:
    """InvalidArgument with every problem of the request, a line each."""
    problems = list(_problems(network, spec, driver))
    if problems:
        raise InvalidArgument("\n".join(("invalid endpoint settings:", *problems)))


def check_ports(asked: Sequence[PortBinding]) -> None:
    """InvalidArgument for ports that cannot be published."""
    problems = list(ports.problems(asked))
    if problems:
        raise InvalidArgument("\n".join(problems))


def check_company(sandbox: Sandbox, networks: Sequence[Network], drivers: Mapping[str, Driver]) -> None:
    """Whether the sandbox may be in all these networks at once: Forbidden or InvalidArgument if not.

    Networks without an entry in `drivers` are those whose driver is missing; they are not looked at.
    """
    networks = [network for network in networks if network.id in drivers]
    for network in networks:
        traits = drivers[network.id].traits
        if traits.host_namespace != (not sandbox.netns):
            raise Forbidden(HOST) if traits.host_namespace else InvalidArgument(SHARED)
    alone = [n for n in networks if drivers[n.id].traits.single and not drivers[n.id].traits.host_namespace]
    if alone and len(networks) > 1:
        raise Forbidden(NONE)


def _problems(network: Network, spec: EndpointSpec, driver: Driver) -> Iterator[str]:
    if network.predefined and spec.addresses:
        yield "user-specified IP address is supported on user-defined networks only"
    if network.predefined and spec.aliases:
        yield "network-scoped aliases are only supported for user-defined networks"
    if not network.predefined:
        yield from _address_problems(network, spec, driver)
    if spec.mac and not _MAC.fullmatch(spec.mac.lower()):
        yield f"invalid MAC address: {spec.mac}"
    elif spec.mac and int(spec.mac[:2], 16) & 1:
        yield f"invalid MAC address: {spec.mac} is a multicast address"
    yield from ports.problems(spec.ports)
    try:
        check_options(spec.options, driver.endpoint_options, f"endpoint {spec.name}")
    except InvalidArgument as error:
        yield str(error)


def _address_problems(network: Network, spec: EndpointSpec, driver: Driver) -> Iterator[str]:
    families: set[int] = set()
    for text in spec.addresses:
        address = parsed(text)
        if address is None:
            yield f"invalid IPv{6 if ':' in text else 4} address: {text}"
            continue
        if address.version in families:
            yield f"more than one IPv{address.version} address: {text}"
        families.add(address.version)
        given_by_driver = not network.subnets and not driver.traits.addressing
        if not given_by_driver and not any(address in ip_network(subnet.subnet) for subnet in network.subnets):
            yield f"no configured subnet contains IP address {text}"


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """The address, or None for what is none (or has a scope, which no endpoint's address can have)."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
