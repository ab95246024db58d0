"""Networks as `docker network inspect` and `ls` show them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.model import Json
from netpy.model import Endpoint, Network, Subnet


def inspect(network: Network, endpoints: Iterable[Endpoint] = ()) -> Json:
    """The document of one network, with those plugged into it. Keys and their order are Docker's at API 1.47.

    `EnableIPv4` came later; it is shown only where it says something, on networks without IPv4.
    """
    spec = network.spec
    return {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": spec.driver,
        **({} if spec.ipv4 else {"EnableIPv4": False}),
        "EnableIPv6": spec.ipv6,
        "IPAM": {
            "Driver": spec.ipam_driver,
            "Options": ordered(spec.ipam_options) if spec.ipam_options_stated else None,
            "Config": [_subnet(subnet) for subnet in network.subnets],
        },
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {e.sandbox.id: _member(e) for e in sorted(endpoints, key=lambda e: e.sandbox.id)},
        "Options": ordered(spec.options),
        "Labels": ordered(spec.labels),
    }


def ordered(table: Mapping[str, str]) -> dict[str, str]:
    """Sorted by key, as Go prints its maps."""
    return dict(sorted(table.items()))


def _subnet(subnet: Subnet) -> Json:
    document = {
        "Subnet": subnet.subnet,
        "IPRange": subnet.ip_range,
        "Gateway": subnet.gateway,
        "AuxiliaryAddresses": ordered(subnet.aux_addresses),
    }
    return {key: value for key, value in document.items() if value}


def _member(endpoint: Endpoint) -> Json:
    by_family = {":" in address: address for address in reversed(endpoint.addresses)}
    return {
        "Name": endpoint.spec.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": by_family.get(False, ""),
        "IPv6Address": by_family.get(True, ""),
    }
