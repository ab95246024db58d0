"""netpy's records as the documents that netavark plugins read, and what plugins write, read. Pure.

BadDocument says what is wrong with an answer, in words that follow "netavark plugin x: setup: ".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, cast

from netpy.model import Endpoint, Network, NetworkSpec, PortBinding, Subnet, SubnetSpec

Json = dict[str, Any]
MTU, BRIDGE = "com.docker.network.driver.mtu", "com.docker.network.bridge.name"
WILDCARDS = ("0.0.0.0", "::")


class BadDocument(ValueError):
    """What a plugin printed is not what it should have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What `setup` says of the one interface that was asked for."""

    mac: str = ""
    addresses: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


# ---- networks ----------------------------------------------------------------------------------------------------


def draft(network: Network) -> Json:
    """What `create` is given: what the user stated, and nothing chosen."""
    spec = network.spec
    options = dict(spec.options)
    if MTU in options:
        options["mtu"] = options.pop(MTU)
    bridge = options.pop(BRIDGE, "")
    subnets = [_stated(each) for each in spec.subnets if each.subnet]
    return {
        "name": network.name,
        "id": network.id,
        "driver": spec.driver,
        **({"network_interface": bridge} if bridge else {}),
        **({"subnets": subnets} if subnets else {}),
        "ipv6_enabled": spec.ipv6,
        "internal": spec.internal,
        "dns_enabled": False,  # the name server is ours
        "ipam_options": {"driver": "none"} if spec.ipam_driver == "null" else {},
        "options": options,
    }


def completed(asked: Json, answer: Json) -> Json:
    """The answer of `create`, if it is one."""
    for field in ("name", "id", "driver"):
        if answer.get(field) != asked[field]:
            raise BadDocument(f"changed the network's {field} from {asked[field]} to {answer.get(field)}")
    _read(lambda: list(_subnets(answer, NetworkSpec(name=""))), "subnets")
    return answer


def subnets(config: Json, spec: NetworkSpec) -> tuple[Subnet, ...]:
    """The subnets that netpy is to choose addresses from: none where the plugin says that it does so itself."""
    if (config.get("ipam_options") or {}).get("driver") not in (None, "", "host-local"):
        return ()
    return tuple(_subnets(config, spec))


def _stated(subnet: SubnetSpec) -> Json:
    leases = ip_network(subnet.ip_range) if subnet.ip_range else None
    span = {"lease_range": {"start_ip": str(leases[0]), "end_ip": str(leases[-1])}} if leases else {}
    return {"subnet": subnet.subnet, **({"gateway": subnet.gateway} if subnet.gateway else {}), **span}


def _subnets(config: Json, spec: NetworkSpec) -> Iterator[Subnet]:
    stated = {each.subnet: each for each in spec.subnets}
    for each in config.get("subnets") or []:
        prefix = str(ip_network(each["subnet"]))
        asked = stated.get(prefix, SubnetSpec())
        yield Subnet(
            subnet=prefix,
            gateway=str(ip_address(each["gateway"])) if each.get("gateway") else "",
            ip_range=asked.ip_range,
            aux_addresses=asked.aux_addresses,
        )


# ---- endpoints ---------------------------------------------------------------------------------------------------


def call(config: Json, endpoint: Endpoint) -> Json:
    """What `setup` and `teardown` are given."""
    spec = endpoint.spec
    options: Json = {
        "interface_name": endpoint.ifname,
        "aliases": list(spec.aliases),
        "static_ips": [each.partition("/")[0] for each in endpoint.addresses] or list(spec.addresses),
    }
    if spec.mac:
        options["static_mac"] = endpoint.mac
    return {
        "container_id": endpoint.sandbox.id,
        "container_name": spec.name,
        "port_mappings": _ports(endpoint.ports),
        "network": config,
        "network_options": options,
    }


def status(answer: Json, ifname: str) -> Status:
    """What the answer of `setup` says of the interface that was asked for."""
    interfaces = answer.get("interfaces")
    if not isinstance(interfaces, Mapping) or ifname not in interfaces:
        names = ", ".join(cast("Mapping[str, Any]", interfaces)) if isinstance(interfaces, Mapping) else "none"
        raise BadDocument(f"was to make the interface {ifname} and tells of {names or 'none'}")
    return _read(lambda: _status(answer, cast(Json, interfaces[ifname])), "status")


def _status(answer: Json, interface: Json) -> Status:
    nets: Sequence[Json] = interface.get("subnets") or []
    return Status(
        mac=str(interface.get("mac_address") or "").lower(),
        addresses=_one_of_each(str(ip_interface(each["ipnet"])) for each in nets),
        routers=_one_of_each(str(ip_address(each["gateway"])) for each in nets if each.get("gateway")),
        dns=tuple(str(ip_address(each)) for each in answer.get("dns_server_ips") or []),
        search=tuple(str(each) for each in answer.get("dns_search_domains") or []),
    )


def _ports(bindings: Sequence[PortBinding]) -> list[Json]:
    """One mapping for each port, of both families where every address of the host is meant."""
    mappings: list[Json] = []
    for each in bindings:
        mapping = {
            "container_port": each.container_port,
            "host_ip": "" if each.host_ip in WILDCARDS else each.host_ip,
            "host_port": each.host_port,
            "protocol": each.protocol,
            "range": 1,
        }
        if mapping not in mappings:
            mappings.append(mapping)
    return mappings


def _one_of_each(texts: Iterator[str]) -> tuple[str, ...]:
    """The first of each family."""
    found: dict[bool, str] = {}
    for text in texts:
        found.setdefault(":" in text, text)
    return tuple(found.values())


def _read(work: Any, what: str) -> Any:
    try:
        return work()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadDocument(f"answered a {what} that cannot be read: {error!r}") from error
