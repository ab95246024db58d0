"""The bridge driver: a Linux bridge per network, a veth pair per endpoint, NAT to the outside.

Pure. For the network it wants the bridge with the gateway's addresses and its isolation; for an endpoint
the pair, the addresses and routes inside, and one Publish per allocated port.

Why port isolation and not a filter rule forbids traffic between containers (`enable_icc=false`): a rule sees bridged
frames only with br_netfilter loaded, a setting of the whole machine that slows every bridge; the flag on the
port costs nothing and needs no firewall.

`route_localnet` lets the host's own 127.0.0.1:PORT reach a container without a proxy process; the firewall drops,
before routing, what comes in from a bridge for 127.0.0.0/8, so the host's loopback services stay out of reach.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address

from netpy.diff import State
from netpy.drivers import Defaults, Option, Traits, boolean, check_options
from netpy.errors import Forbidden, InvalidArgument
from netpy.ipam import link_local
from netpy.model import Endpoint, Family, Network, NetworkSpec, PortBinding, Subnet
from netpy.objects import (
    Address,
    AllowPort,
    Bridge,
    Isolate,
    KernelObject,
    Masquerade,
    Publish,
    Route,
    Source,
    Sysctl,
    Veth,
)

PREFIX = "com.docker.network."
NAME, ICC, MASQUERADE = (
    f"{PREFIX}bridge.name",
    f"{PREFIX}bridge.enable_icc",
    f"{PREFIX}bridge.enable_ip_masquerade",
)
BINDING, DEFAULT_BRIDGE = f"{PREFIX}bridge.host_binding_ipv4", f"{PREFIX}bridge.default_bridge"
INHIBIT4, MTU, IFACE = (
    f"{PREFIX}bridge.inhibit_ipv4",
    f"{PREFIX}driver.mtu",
    f"{PREFIX}container_iface_prefix",
)
MODES: Mapping[Family, str] = {4: f"{PREFIX}bridge.gateway_mode_ipv4", 6: f"{PREFIX}bridge.gateway_mode_ipv6"}
SOURCES: Mapping[Family, str] = {4: f"{PREFIX}host_ipv4", 6: f"{PREFIX}host_ipv6"}
IFNAME, SYSCTLS = f"{PREFIX}endpoint.ifname", f"{PREFIX}endpoint.sysctls"
ANTISPOOF = "netpy.antispoof"
DEFAULT_ROUTE: Mapping[Family, str] = {4: "0.0.0.0/0", 6: "::/0"}
GUARDS = {"nat": "nat", "nat-unprotected": "open", "routed": "routed", "isolated": "nat"}


def _mtu(text: str) -> int:
    value = int(text)
    if not 68 <= value <= 65535:
        raise ValueError("must be between 68 and 65535")
    return value


def _mode(text: str) -> str:
    if text not in GUARDS:
        raise ValueError("must be nat, nat-unprotected, routed or isolated")
    return text


def _ifname(text: str) -> str:
    if not re.fullmatch(r"[^\s/:%]{1,15}", text) or text in {".", ".."}:
        raise ValueError("an interface name has 1 to 15 characters, without blanks, '/', ':' or '%'")
    return text


def _sysctls(text: str) -> list[tuple[str, str]]:
    """`net.ipv4.conf.IFNAME.log_martians=1,…` as pairs of a path with IFNAME in it and a value."""
    pairs: list[tuple[str, str]] = []
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"net\.(ipv4|ipv6|mpls)\.\w+\.IFNAME\.\w+", name):
            raise ValueError(
                f"unrecognised network interface sysctl '{part}'; represent 'net.X.Y.ethN.Z=V' as "
                "'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"
            )
        pairs.append((name.replace(".", "/"), value))
    return pairs


class BridgeDriver:
    """Driver `bridge`; option names and their meanings are Docker's."""

    name = "bridge"
    traits = Traits()
    options: Mapping[str, Option] = {
        NAME: Option(help="name of the bridge on the host", check=_ifname),
        ICC: Option(help="containers on this network may talk to each other", check=boolean, default="true"),
        MASQUERADE: Option(help="hide the containers behind the host's address", check=boolean, default="true"),
        BINDING: Option(help="address that published ports bind to", check=ip_address, default="0.0.0.0"),
        INHIBIT4: Option(help="give the bridge no IPv4 address", check=boolean, default="false"),
        DEFAULT_BRIDGE: Option(help="this is the default network", check=boolean, default="false"),
        MTU: Option(help="MTU of the bridge and the containers' interfaces", check=_mtu, default="1500", type="number"),
        IFACE: Option(help="prefix of the interface names in the container", check=_ifname, default="eth"),
        MODES[4]: Option(help="nat, nat-unprotected, routed or isolated", check=_mode, default="nat"),
        MODES[6]: Option(help="nat, nat-unprotected, routed or isolated", check=_mode, default="nat"),
        ANTISPOOF: Option(
            help="containers send from their own MAC and IP addresses only, and play neither router nor DHCP server",
            check=boolean,
            default="true",
        ),
        SOURCES[4]: Option(help="source address instead of masquerading, IPv4", check=ip_address),
        SOURCES[6]: Option(help="source address instead of masquerading, IPv6", check=ip_address),
    }
    endpoint_options: Mapping[str, Option] = {
        IFNAME: Option(help="name of the interface in the container", check=_ifname),
        SYSCTLS: Option(help="settings of the interface, comma separated", check=_sysctls),
        ANTISPOOF: Option(help="as for the network, for this interface", check=boolean),
    }

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        check_options(spec.options, self.options, f"network {spec.name}")
        if not (spec.ipv4 or spec.ipv6):
            raise InvalidArgument(f"network {spec.name}: IPv4 or IPv6 must be enabled")
        _refuse_several(spec)
        for family in (4, 6):
            mode = spec.options.get(MODES[family], "nat")
            if mode == "isolated" and not spec.internal:
                raise InvalidArgument("gateway mode 'isolated' can only be used for an internal network")
        return replace(spec, options=dict(spec.options))

    def bridge_name(self, network: Network) -> str:
        """The bridge's name: as the option says, else `br-` and the first 12 digits of the network's id."""
        return network.spec.options.get(NAME) or f"br-{network.id[:12]}"

    def network_state(self, network: Network) -> State:
        name = self.bridge_name(network)
        objects: set[KernelObject] = {
            Bridge(
                name=name,
                mac=_stable_mac(f"{self._defaults.instance}/{network.id}"),
                mtu=self._mtu(network),
                mark=f"{self._defaults.instance}/network/{network.id[:12]}",
            ),
            Sysctl(name=f"net/ipv6/conf/{name}/accept_ra", value="0"),
            Sysctl(name=f"net/ipv6/conf/{name}/disable_ipv6", value="0" if network.spec.ipv6 else "1"),
        }
        if not network.spec.internal:
            objects.add(Sysctl(name=f"net/ipv4/conf/{name}/route_localnet", value="1"))
        for subnet in network.subnets:
            objects.update(self._subnet_state(network, subnet, name))
        return frozenset(objects)

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        if not endpoint.sandbox.netns:
            return frozenset()
        netns, ifname = endpoint.sandbox.netns, endpoint.ifname
        name, guarded = f"veth{endpoint.id[:7]}", self._antispoof(network, endpoint)
        objects: set[KernelObject] = {
            Veth(
                name=name,
                peer_netns=netns,
                ifname=ifname,
                mac=endpoint.mac,
                mtu=self._mtu(network),
                mark=f"{self._defaults.instance}/endpoint/{endpoint.id[:12]}",
                bridge=self.bridge_name(network),
                hairpin=True,
                isolated=not self._icc(network),
                locked=guarded,
            ),
            Sysctl(
                netns=netns,
                name=f"net/ipv6/conf/{ifname}/disable_ipv6",
                value="0" if endpoint.address_of(6) else "1",
            ),
        }
        for path, value in _sysctls(endpoint.spec.options.get(SYSCTLS, "")):
            objects.add(Sysctl(netns=netns, name=path.replace("IFNAME", ifname), value=value))
        objects.update(Address(netns=netns, link=ifname, address=a) for a in endpoint.addresses)
        for family in endpoint.gateways:
            subnet = network.subnet_of(family)
            if subnet and subnet.default_gateway:
                route = Route(netns=netns, destination=DEFAULT_ROUTE[family], link=ifname, via=subnet.default_gateway)
                objects.add(route)
        objects.update(self._ports(network, endpoint))
        if guarded:
            objects.update(_sources(endpoint, name))
        return frozenset(objects)

    def _subnet_state(self, network: Network, subnet: Subnet, bridge: str) -> Iterator[KernelObject]:
        options, family = network.spec.options, subnet.family
        mode = options.get(MODES[family], "nat")
        inhibited = mode == "isolated" or (family == 4 and boolean(options.get(INHIBIT4, "false")))
        if subnet.gateway and not inhibited:
            yield Address(link=bridge, address=f"{subnet.gateway}/{subnet.prefix_length}")
        guard = GUARDS[mode]
        if guard == "nat" and self._defaults.direct_routing:
            guard = "routed"
        yield Isolate(
            bridge=bridge,
            subnet=subnet.subnet,
            internal=network.spec.internal,
            icc=self._icc(network),
            guard=guard,  # pyright: ignore[reportArgumentType]
        )
        masquerade = boolean(options.get(MASQUERADE, "true")) and mode.startswith("nat")
        if masquerade and not network.spec.internal:
            yield Masquerade(bridge=bridge, subnet=subnet.subnet, source=options.get(SOURCES[family], ""))

    def _ports(self, network: Network, endpoint: Endpoint) -> Iterator[KernelObject]:
        bridge = self.bridge_name(network)
        for port in endpoint.ports:
            family: Family = 6 if ":" in port.host_ip else 4
            address = endpoint.address_of(family)
            if not address or network.spec.internal:
                continue
            if network.spec.options.get(MODES[family], "nat") == "routed":
                yield AllowPort(bridge=bridge, protocol=port.protocol, address=address, port=port.container_port)
            elif port.host_port:
                yield _publish(bridge, address, port)

    def _mtu(self, network: Network) -> int:
        return int(network.spec.options.get(MTU) or self._defaults.mtu)

    def _icc(self, network: Network) -> bool:
        return boolean(network.spec.options.get(ICC, str(self._defaults.icc)))

    def _antispoof(self, network: Network, endpoint: Endpoint) -> bool:
        of_network = network.spec.options.get(ANTISPOOF) or str(self._defaults.antispoof)
        return bool(endpoint.mac) and boolean(endpoint.spec.options.get(ANTISPOOF) or of_network)


def _sources(endpoint: Endpoint, link: str) -> Iterator[Source]:
    """Every address that the endpoint may send from: its own and, with IPv6, the link-local one that Linux gives it."""
    for address in endpoint.addresses:
        yield Source(link=link, mac=endpoint.mac, address=address.partition("/")[0])
    if endpoint.address_of(6):
        yield Source(link=link, mac=endpoint.mac, address=link_local(endpoint.mac))


def _refuse_several(spec: NetworkSpec) -> None:
    """A bridge gets one address of a family. Docker's refusal, with what it is about."""
    for family, enabled in ((4, spec.ipv4), (6, spec.ipv6)):
        asked = [each.subnet for each in spec.subnets if each.subnet and (":" in each.subnet) == (family == 6)]
        if enabled and len(asked) > 1:
            raise Forbidden(
                f"bridge driver doesn't support multiple subnets: network {spec.name} asks for {' and '.join(asked)}, "
                f"only one of IPv{family} is possible"
            )


def _publish(bridge: str, address: str, port: PortBinding) -> Publish:
    return Publish(
        bridge=bridge,
        protocol=port.protocol,
        host_ip=port.host_ip,
        host_port=port.host_port,
        address=address,
        port=port.container_port,
    )


def _stable_mac(seed: str) -> str:
    """A locally administered unicast MAC that the same network gets again after a restart."""
    digest = hashlib.sha256(seed.encode()).digest()[:6]
    return ":".join(f"{byte:02x}" for byte in (digest[0] & 0xFC | 0x02, *digest[1:]))
