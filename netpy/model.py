"""The user's nouns: networks, endpoints, sandboxes and port bindings, as plain immutable values.

This module decides nothing and does no I/O. Addresses are canonical strings, because they are
printed, stored and compared far more often than calculated with: `"10.9.0.2"` is an address,
`"10.9.0.2/24"` an address with its prefix, `"10.9.0.0/24"` a subnet. IPv6 text is in the compressed
lower-case form of RFC 5952, as `str(ipaddress.ip_address(…))` gives it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Family = Literal[4, 6]
Protocol = Literal["tcp", "udp", "sctp"]
Phase = Literal["pending", "active", "deleting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetSpec:
    """What the user asked of one subnet. An empty field means: choose for me."""

    subnet: str = ""
    ip_range: str = ""
    gateway: str = ""
    aux_addresses: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSpec:
    """A request for a network, as `netpy network create` states it."""

    name: str
    driver: str = "bridge"
    subnets: tuple[SubnetSpec, ...] = ()
    ipv4: bool = True
    ipv6: bool = False
    internal: bool = False
    attachable: bool = False
    ipam_driver: str = "default"
    ipam_options: Mapping[str, str] = field(default_factory=dict[str, str])
    ipam_options_stated: bool = False  # none, and none stated: Docker's clients show these differently
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subnet:
    """One allocated subnet of a network. `gateway` is a bare address, or empty where there is none.

    `pool` is what its IPAM driver calls it (`netpy.drivers.addressing`); empty with the built-in one.
    """

    subnet: str
    gateway: str = ""
    ip_range: str = ""
    aux_addresses: Mapping[str, str] = field(default_factory=dict[str, str])
    pool: str = ""

    @property
    def family(self) -> Family:
        return 6 if ":" in self.subnet else 4

    @property
    def prefix_length(self) -> int:
        return int(self.subnet.rpartition("/")[2])

    @property
    def default_gateway(self) -> str:
        """Where the sandboxes' default route leads: to the auxiliary address `DefaultGatewayIPv4` (or `…IPv6`) where
        there is one, as another machine on the bridge may be the router; else to `gateway`.
        """
        return self.aux_addresses.get(f"DefaultGatewayIPv{self.family}") or self.gateway


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network that exists.

    `id` is 64 hex digits; `spec` is what the driver's `normalise` made of the request; `facts` is what
    the driver acquired from outside before planning; `created` is RFC 3339 in UTC with nanoseconds;
    `predefined` networks (bridge, host, none) cannot be removed.
    """

    id: str
    spec: NetworkSpec
    subnets: tuple[Subnet, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    created: str = ""
    predefined: bool = False
    phase: Phase = "active"

    @property
    def name(self) -> str:
        return self.spec.name

    def subnet_of(self, family: Family) -> Subnet | None:
        return next((s for s in self.subnets if s.family == family), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortBinding:
    """One container port and where the host offers it.

    In a request, `host_ip` may be empty (every address of the host), `host_port` 0 (any free port) and
    `host_port_end` the end of a range to choose one port from. In an allocated binding all are settled
    and `host_port_end` is 0.
    """

    protocol: Protocol = "tcp"
    container_port: int
    host_ip: str = ""
    host_port: int = 0
    host_port_end: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """A request to plug a sandbox into a network.

    `name` is the owner's name (the container's); `names` are the DNS names that the network answers for
    this endpoint, the first of which is the PTR name; `aliases` is the part of them that other endpoints
    may share; `links` maps an alias, valid for this sandbox only, to the DNS name it stands for.
    """

    name: str
    names: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict[str, str])
    addresses: tuple[str, ...] = ()
    mac: str = ""
    ports: tuple[PortBinding, ...] = ()
    gateway_priority: int = 0
    options: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A network namespace that can be plugged into networks. `netns` is a path; empty means the host's own.

    `id` is the owner's id (a container's 64 hex digits); `dns` are name servers that this sandbox prefers
    to the host's, asked from inside it; `resolve` is False where the sandbox wants no embedded DNS; `ndots` is that of
    its resolv.conf where somebody asked for one (`netpy.dns.View`). `sealed`: nobody inside is able to change its
    addresses, routes and links, so a change of them is somebody else's doing, and is undone as on the host.
    """

    id: str
    netns: str
    dns: tuple[str, ...] = ()
    resolve: bool = True
    ndots: int = 0
    sealed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A sandbox's plug in a network: everything about it that had to be chosen, chosen.

    `addresses` carry their prefix length; `ports` are allocated bindings; `gateways` are the families whose
    default route goes through this endpoint; `ifname` is the name of the interface in the sandbox.

    What a driver brought back from outside (`netpy.drivers.Acquired`): `facts`, for itself; `routers`, bare addresses
    that the default routes lead to, in place of the subnets' gateways; `routed`, that these alone count, and where
    there is none there is no way out; `dns` and `search`, what resolv.conf of the sandbox is to use where it has no
    servers and domains of its own.
    """

    id: str
    network_id: str
    sandbox: Sandbox
    spec: EndpointSpec
    ifname: str = ""
    mac: str = ""
    addresses: tuple[str, ...] = ()
    ports: tuple[PortBinding, ...] = ()
    gateways: frozenset[Family] = frozenset()
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    routers: tuple[str, ...] = ()
    routed: bool = False
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    phase: Phase = "pending"
    sequence: int = 0

    def address_of(self, family: Family) -> str:
        """The bare address of that family, or an empty string."""
        found = next((a for a in self.addresses if (":" in a) == (family == 6)), "")
        return found.partition("/")[0]

    def router_of(self, family: Family) -> str:
        """The next hop that the driver brought for that family, or an empty string."""
        return next((router for router in self.routers if (":" in router) == (family == 6)), "")

    def next_hop(self, family: Family, subnet: Subnet | None) -> str:
        """Where a default route through this endpoint leads, as the driver or else its subnet has it; or nothing."""
        fallback = "" if self.routed or subnet is None else subnet.default_gateway
        return self.router_of(family) or fallback
