"""The ptp driver: a routed veth pair for each sandbox, and no bridge.

The sandbox has its address alone (/32, /128) and sends everything to the network's gateway, which every host end of a
pair has as its address; the host routes each address to its pair. So no sandbox sees another's frames, nor broadcasts
nor ARP of the others: all that passes between them passes the host's routing and firewall. To the outside a network is
what a bridge's is: masqueraded, closed, with published ports. Pure.

The host's ends are named `pt`, five digits of the network, six of the endpoint: `Isolate.kin` needs that networks
differ in what their links' names begin with. (Where two should not, in one of a million pairs, their subnets still do.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netpy.diff import State
from netpy.drivers import Defaults, Option, Traits, boolean
from netpy.drivers.parents import MTU, checked_mtu
from netpy.errors import InvalidArgument
from netpy.model import Endpoint, Family, Network, NetworkSpec, Subnet
from netpy.objects import Address, AllowPort, Isolate, KernelObject, Masquerade, Publish, Route, Sysctl, Veth

ICC, MASQUERADE = "icc", "masquerade"
DEFAULT_ROUTE: Mapping[Family, str] = {4: "0.0.0.0/0", 6: "::/0"}
WIDTH: Mapping[Family, int] = {4: 32, 6: 128}


class PtpDriver:
    """Driver `ptp`."""

    name = "ptp"
    traits = Traits()
    options: Mapping[str, Option] = {
        ICC: Option(help="containers on this network may talk to each other", check=boolean, default="true"),
        MASQUERADE: Option(help="hide the containers behind the host's address", check=boolean, default="true"),
        MTU: Option(help="MTU of the pairs", check=checked_mtu, default="1500"),
    }
    endpoint_options: Mapping[str, Option] = {}

    def __init__(self, defaults: Defaults) -> None:
        self._defaults = defaults

    def normalise(self, spec: NetworkSpec) -> NetworkSpec:
        if not (spec.ipv4 or spec.ipv6):
            raise InvalidArgument(f"network {spec.name}: IPv4 or IPv6 must be enabled")
        return spec

    def network_state(self, network: Network) -> State:
        return frozenset()

    def endpoint_state(self, network: Network, endpoint: Endpoint) -> State:
        host = f"pt{network.id[:5]}-{endpoint.id[:6]}"
        objects: set[KernelObject] = {*self._links(network, endpoint, host)}
        for subnet in network.subnets:
            address = endpoint.address_of(subnet.family)
            if address and subnet.gateway:
                objects.update(_routes(subnet, endpoint, host))
                objects.update(self._firewall(network, subnet, address, host))
        if not network.spec.internal:
            objects.update(_ports(endpoint, host))
        return frozenset(objects)

    def _links(self, network: Network, endpoint: Endpoint, host: str) -> Iterator[KernelObject]:
        inside, ifname = endpoint.sandbox.netns, endpoint.ifname
        yield Veth(
            name=host,
            peer_netns=inside,
            ifname=ifname,
            mac=endpoint.mac,
            mtu=int(network.spec.options.get(MTU) or self._defaults.mtu),
            mark=f"{self._defaults.instance}/endpoint/{endpoint.id[:12]}",
        )
        six = "0" if endpoint.address_of(6) else "1"
        yield Sysctl(name=f"net/ipv6/conf/{host}/accept_ra", value="0")
        yield Sysctl(name=f"net/ipv6/conf/{host}/disable_ipv6", value=six)
        yield Sysctl(netns=inside, name=f"net/ipv6/conf/{ifname}/disable_ipv6", value=six)
        if not network.spec.internal:
            yield Sysctl(name=f"net/ipv4/conf/{host}/route_localnet", value="1")

    def _firewall(self, network: Network, subnet: Subnet, address: str, host: str) -> Iterator[KernelObject]:
        options = network.spec.options
        alone = f"{address}/{WIDTH[subnet.family]}"
        open_to_peers = boolean(options.get(ICC, str(self._defaults.icc)))
        peers, kin = (subnet.subnet, f"pt{network.id[:5]}-") if open_to_peers else ("", "")
        yield Isolate(
            bridge=host,
            subnet=alone,
            internal=network.spec.internal,
            guard="routed" if self._defaults.direct_routing else "nat",
            peers=peers,
            kin=kin,
        )
        if boolean(options.get(MASQUERADE, "true")) and not network.spec.internal:
            yield Masquerade(bridge=host, subnet=alone, peers=peers, kin=kin)


def _routes(subnet: Subnet, endpoint: Endpoint, host: str) -> Iterator[KernelObject]:
    family, inside, ifname = subnet.family, endpoint.sandbox.netns, endpoint.ifname
    alone = f"{endpoint.address_of(family)}/{WIDTH[family]}"
    yield Address(link=host, address=f"{subnet.gateway}/{WIDTH[family]}")
    yield Route(destination=alone, link=host)
    yield Address(netns=inside, link=ifname, address=alone)
    yield Route(netns=inside, destination=subnet.subnet, link=ifname, via=subnet.gateway, onlink=True)
    if family in endpoint.gateways:
        yield Route(netns=inside, destination=DEFAULT_ROUTE[family], link=ifname, via=subnet.gateway, onlink=True)


def _ports(endpoint: Endpoint, host: str) -> Iterator[KernelObject]:
    for port in endpoint.ports:
        address = endpoint.address_of(6 if ":" in port.host_ip else 4)
        if not address:
            continue
        if not port.host_port:  # com.docker.network.bridge.gateway_mode_ipv4=routed: reached without translation
            yield AllowPort(bridge=host, protocol=port.protocol, address=address, port=port.container_port)
            continue
        yield Publish(
            bridge=host,
            protocol=port.protocol,
            host_ip=port.host_ip,
            host_port=port.host_port,
            address=address,
            port=port.container_port,
        )
