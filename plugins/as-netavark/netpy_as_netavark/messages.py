"""netavark's documents as netpy's values, and back. Pure.

What netavark sends is held against what netavark's plugin API describes; InvalidArgument names the field that is not
as described. Unknown fields pass: newer versions of podman add some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from netpy import Endpoint, EndpointSpec, InvalidArgument, Network, NetworkSpec, PortBinding, SubnetSpec, Unsupported

Json = dict[str, Any]
T = TypeVar("T")
DRIVER = "driver"
MTU = "com.docker.network.driver.mtu"
BRIDGE = "com.docker.network.bridge.name"
IFNAME = "com.docker.network.endpoint.ifname"
RESOLVER = "127.0.0.11"
_LAST_PORT = 65535
_PROTOCOLS = ("tcp", "udp", "sctp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What `setup` and `teardown` are about: one container and one network of it."""

    container: str
    network: Json
    spec: EndpointSpec
    dns: tuple[str, ...] = ()

    @property
    def resolve(self) -> bool:
        """Whether the container is to be told of the name server."""
        return bool(self.network.get("dns_enabled"))


def call(document: object) -> Call:
    """The document of `setup` and `teardown`."""
    body = _object(document, "the input")
    options = _object(body.get("network_options"), "network_options")
    container = _text(body, "container_id", needed=True)
    name = _text(body, "container_name") or container[:12]
    aliases = tuple(_texts(options, "aliases"))
    network = checked_network(body.get("network"))
    spec = EndpointSpec(
        name=name,
        names=tuple(dict.fromkeys((name, *aliases))),
        aliases=aliases,
        addresses=tuple(_texts(options, "static_ips")),
        mac=_text(options, "static_mac"),
        ports=tuple(_ports(_list(body, "port_mappings"))),
        options={IFNAME: _text(options, "interface_name", needed=True)},
    )
    return Call(container=container, network=network, spec=spec, dns=tuple(_texts(network, "network_dns_servers")))


def checked_network(document: object) -> Json:
    """The document of a network, with name, id and driver for certain."""
    network = _object(document, "network")
    for field in ("name", "id", "driver"):
        _text(network, field, needed=True)
    return network


def network_name(network: Json) -> str:
    """What netpy calls a network of podman's: networks of two stores may have one name, but not one id."""
    return f"{network['name']}-{network['id'][:12]}"


def network_spec(network: Json) -> NetworkSpec:
    """The request for netpy. Which subnets there are, `create` has settled."""
    if _list(network, "routes"):
        raise Unsupported(f"network {network['name']}: netpy has no static routes (--route)")
    subnets = tuple(_subnet(each) for each in _list(network, "subnets"))
    families = {6 if ":" in each.subnet else 4 for each in subnets}
    options, driver = driver_options(network)
    return NetworkSpec(
        name=network_name(network),
        driver=driver,
        subnets=subnets,
        ipv4=4 in families or not families,
        ipv6=6 in families or (not families and bool(network.get("ipv6_enabled"))),
        internal=bool(network.get("internal")),
        ipam_driver="null" if ipam_driver(network) == "none" else "default",
        options=options,
        labels={"podman.network": network["name"], "podman.id": network["id"]},
    )


def driver_options(network: Json) -> tuple[dict[str, str], str]:
    """netpy's options, and the name of the driver of netpy that serves the network."""
    options = {
        key: _string(value, f"option {key}") for key, value in _object(network.get("options"), "options").items()
    }
    driver = options.pop(DRIVER, "bridge")
    if "mtu" in options:
        options[MTU] = options.pop("mtu")
    link = _text(network, "network_interface")
    if link and driver == "bridge":
        options.setdefault(BRIDGE, link)
    elif link and not options.get("parent"):
        options["parent"] = link
    return options, driver


def ipam_driver(network: Json) -> str:
    """Who gives the addresses: empty for whoever can, `host-local` (podman) or `none` (nobody, or the driver)."""
    name = _text(_object(network.get("ipam_options"), "ipam_options"), "driver")
    if name not in ("", "host-local", "none"):
        raise Unsupported(f"network {network['name']}: ipam driver {name} is not supported by the driver netpy")
    return name


def status(network: Network, endpoint: Endpoint, *, names: bool) -> Json:
    """What `setup` answers, and `podman inspect` shows."""
    subnets: list[Json] = []
    for address in endpoint.addresses:
        family = 6 if ":" in address else 4
        subnet = network.subnet_of(family)
        gateway = endpoint.router_of(family) or (subnet.default_gateway if subnet else "")
        subnets.append({"ipnet": address, **({"gateway": gateway} if gateway else {})})
    return {
        "dns_search_domains": list(endpoint.search),
        "dns_server_ips": [RESOLVER] if names else list(endpoint.dns),
        "interfaces": {endpoint.ifname: {"mac_address": endpoint.mac, "subnets": subnets}},
    }


def _subnet(document: object) -> SubnetSpec:
    subnet = _object(document, "subnets")
    return SubnetSpec(subnet=_text(subnet, "subnet", needed=True), gateway=_text(subnet, "gateway"))


def _ports(mappings: Sequence[object]) -> list[PortBinding]:
    found: list[PortBinding] = []
    for document in mappings:
        mapping = _object(document, "port_mappings")
        inside, outside, count = (_number(mapping, field) for field in ("container_port", "host_port", "range"))
        if inside < 1 or outside < 0 or max(inside, outside) + max(1, count) - 1 > _LAST_PORT:
            raise InvalidArgument(f"port_mappings: no ports: {_short(mapping)}")
        for protocol in (_text(mapping, "protocol") or "tcp").lower().split(","):
            if protocol not in _PROTOCOLS:
                raise InvalidArgument(f"port_mappings: unknown protocol {protocol!r}")
            for step in range(max(1, count)):
                found.append(
                    PortBinding(
                        protocol=protocol,
                        container_port=inside + step,
                        host_ip=_text(mapping, "host_ip"),
                        host_port=outside + step if outside else 0,
                    )
                )
    return found


def _object(value: object, what: str) -> Json:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidArgument(f"{what} is {_short(value)}, not a JSON object")
    return dict(cast("Mapping[str, Any]", value))


def _list(document: Json, field: str) -> list[object]:
    return _of_type(document, field, list, [])


def _texts(document: Json, field: str) -> list[str]:
    return [_string(each, field) for each in _list(document, field)]


def _text(document: Json, field: str, *, needed: bool = False) -> str:
    text = _of_type(document, field, str, "")
    if needed and not text:
        raise InvalidArgument(f"{field} is missing")
    return text


def _number(document: Json, field: str) -> int:
    return _of_type(document, field, int, 0)


def _of_type(document: Json, field: str, kind: type[T], absent: T) -> T:
    value = document.get(field)
    if value is None:
        return absent
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidArgument(f"{field} is {_short(value)}, which is no {kind.__name__}")
    return value


def _string(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidArgument(f"{what} is {_short(value)}, which is no text")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
