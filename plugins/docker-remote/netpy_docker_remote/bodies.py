"""The bodies that Docker's engine sends to a network plugin, made from netpy's records. Pure.

Blanks are empty strings, absent addresses and pools are left out, a user's `-o` options are in the generic part, and
ports are numbers of IP protocols: field by field what libnetwork writes.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from netpy.model import Endpoint, Network, PortBinding, Subnet

Json = dict[str, Any]
LABEL = "com.docker.network."
GENERIC, PORTS, EXPOSED = f"{LABEL}generic", f"{LABEL}portmap", f"{LABEL}endpoint.exposedports"
MAC = f"{LABEL}endpoint.macaddress"
PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """An endpoint's interface as CreateEndpoint has it: addresses with their prefix length, blanks empty."""

    address: str = ""
    address6: str = ""
    mac: str = ""


def network_options(network: Network) -> Json:
    """The options of CreateNetwork, and of GwAllocCheck."""
    spec = network.spec
    options: Json = {f"{LABEL}enable_ipv4": spec.ipv4, f"{LABEL}enable_ipv6": spec.ipv6, GENERIC: dict(spec.options)}
    return {**options, f"{LABEL}internal": True} if spec.internal else options


def create_network(network: Network, skip: frozenset[int] = frozenset()) -> Json:
    """CreateNetwork. `skip`: families whose gateway the plugin does without."""
    pools = {family: [_pool(s, skip) for s in network.subnets if s.family == family] for family in (4, 6)}
    if not network.subnets:  # as Docker's IPAM driver `null` has it
        pools[4] = [{"AddressSpace": "null", "Pool": "0.0.0.0/0"}]
    return {
        "NetworkID": network.id,
        "Options": network_options(network),
        "IPv4Data": pools[4],
        "IPv6Data": pools[6],
    }


def _pool(subnet: Subnet, skip: frozenset[int]) -> Json:
    data: Json = {"AddressSpace": "LocalDefault", "Pool": subnet.subnet}
    if subnet.gateway and subnet.family not in skip:
        data["Gateway"] = f"{subnet.gateway}/{subnet.prefix_length}"
    if subnet.aux_addresses:
        data["AuxAddresses"] = {
            name: f"{address}/{subnet.prefix_length}" for name, address in subnet.aux_addresses.items()
        }
    return data


def interface(endpoint: Endpoint) -> Interface:
    """What is stated of an endpoint's interface. The MAC only if the user stated it: else it is the plugin's."""
    given = {6 if ":" in address else 4: address for address in endpoint.addresses}
    return Interface(address=given.get(4, ""), address6=given.get(6, ""), mac=endpoint.spec.mac.lower())


def create_endpoint(network: Network, endpoint: Endpoint) -> Json:
    """CreateEndpoint."""
    stated = interface(endpoint)
    options = {**endpoint.spec.options, **ports(endpoint)}
    if stated.mac:
        options[MAC] = base64.b64encode(bytes.fromhex(stated.mac.replace(":", ""))).decode()
    return {
        **ids(network, endpoint),
        "Interface": {"Address": stated.address, "AddressIPv6": stated.address6, "MacAddress": stated.mac},
        "Options": options,
    }


def join(network: Network, endpoint: Endpoint) -> Json:
    """Join."""
    return {**ids(network, endpoint), "SandboxKey": endpoint.sandbox.netns, "Options": ports(endpoint)}


def program(network: Network, endpoint: Endpoint) -> Json:
    """ProgramExternalConnectivity: the ports as they were allocated."""
    return {**ids(network, endpoint), "Options": ports(endpoint, allocated=True)}


def ids(network: Network, endpoint: Endpoint) -> Json:
    """What all calls about an endpoint begin with."""
    return {"NetworkID": network.id, "EndpointID": endpoint.id}


def ports(endpoint: Endpoint, *, allocated: bool = False) -> Json:
    """Published and exposed ports. netpy knows of no others than published ones, so both lists tell of the same."""
    asked = endpoint.ports if allocated else endpoint.spec.ports
    exposed = dict.fromkeys((PROTOCOLS[port.protocol], port.container_port) for port in asked)
    return {
        PORTS: list(_bindings(asked)),
        EXPOSED: [{"Proto": protocol, "Port": port} for protocol, port in exposed],
    }


def _bindings(asked: Iterable[PortBinding]) -> Iterable[Json]:
    for port in asked:
        yield {
            "Proto": PROTOCOLS[port.protocol],
            "IP": "",
            "Port": port.container_port,
            "HostIP": port.host_ip,
            "HostPort": port.host_port,
            "HostPortEnd": port.host_port_end or port.host_port,
        }
