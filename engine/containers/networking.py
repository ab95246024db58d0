"""Which networks a container is plugged into, and with what: from Docker's documents to endpoint requests. Pure.

`HostConfig.NetworkMode` names the first network or a special mode; `EndpointsConfig` says more about it and adds
others. The order is kept: interfaces are numbered in it. What Docker refuses in this corner is refused here, in its
words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

from engine.containers import ports
from engine.containers.documents import items, table
from engine.model import Attachment, Container, Json
from netpy.errors import Forbidden, InvalidArgument
from netpy.model import EndpointSpec, Network

_SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
_HOST = "container cannot be disconnected from host network or connected to host network"
_NONE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_UNDEFINED = "This would result in undefined behavior"
Lookup = Callable[[str], Network]


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The container that the endpoints are for, as far as they need it."""

    id: str
    name: str
    config: Json
    host_config: Json


def owner_of(container: Container) -> Owner:
    """The same, of a container that exists."""
    return Owner(id=container.id, name=container.name, config=container.config, host_config=container.host_config)


def shared_with(host_config: Json) -> str:
    """The container whose network namespace is used (`--network container:REF`), or an empty string."""
    mode: str = host_config.get("NetworkMode") or ""
    return mode.removeprefix("container:") if mode.startswith("container:") else ""


def is_host(host_config: Json) -> bool:
    """Whether the container runs in the host's network namespace."""
    return host_config.get("NetworkMode") == "host"


def attachments(owner: Owner, endpoints: Json, lookup: Lookup) -> tuple[Attachment, ...]:
    """The networks to plug into, in order. NotFound for one that does not exist; InvalidArgument."""
    mode: str = owner.host_config["NetworkMode"]
    asked = {("bridge" if name == "default" else name): table(endpoints, name) for name in endpoints}
    if shared_with(owner.host_config):
        if set(asked) - {mode}:
            raise InvalidArgument(_SHARED)
        return ()
    first = lookup(mode)
    chosen: dict[str, tuple[Network, Json]] = {first.name: (first, {})}
    for reference, settings in asked.items():
        network = lookup(reference)
        chosen[network.name] = (network, settings)
    if len(chosen) > 1:
        _check_mixed(network for network, _ in chosen.values())
    legacy_mac = owner.config.get("MacAddress") or ""
    return tuple(
        attachment(owner, network, _with_mac(settings, legacy_mac if network is first else ""))
        for network, settings in chosen.values()
    )


def attachment(owner: Owner, network: Network, settings: Json) -> Attachment:
    """One network with its settings, checked. `settings` is Docker's EndpointSettings."""
    addresses = _addresses(settings)
    aliases = [str(alias) for alias in items(settings, "Aliases")]
    if network.predefined:
        if addresses:
            raise InvalidArgument("user specified IP address is supported on user defined networks only")
        if aliases:
            raise InvalidArgument("network-scoped alias is supported only for containers in user defined networks")
    spec = EndpointSpec(
        name=owner.name,
        names=names(owner, aliases),
        aliases=tuple(dict.fromkeys(aliases)),
        links=_links(items(settings, "Links")),
        addresses=addresses,
        mac=_mac(settings.get("MacAddress") or ""),
        ports=() if network.spec.driver in ("host", "null") else ports.bindings(owner.config, owner.host_config),
        gateway_priority=int(settings.get("GwPriority") or 0),
        options={str(key): str(value) for key, value in table(settings, "DriverOpts").items()},
    )
    return Attachment(network=network.name, spec=spec, settings=_kept(settings, aliases))


def names(owner: Owner, aliases: list[str]) -> tuple[str, ...]:
    """The DNS names of an endpoint: the container's name first, as PTR queries get that one."""
    hostname = owner.config.get("Hostname") or ""
    return tuple(dict.fromkeys(filter(None, [owner.name, *aliases, owner.id[:12], hostname])))


def renamed(attached: Attachment, owner: Owner) -> Attachment:
    """The attachment after its owner took another name."""
    spec = replace(attached.spec, name=owner.name, names=names(owner, list(attached.spec.aliases)))
    return replace(attached, spec=spec)


def check_connect(container: Container, network: Network) -> None:
    """Whether a container may be plugged into one more network. Docker's refusals."""
    if shared_with(container.host_config):
        raise InvalidArgument(_SHARED)
    if is_host(container.host_config) or network.spec.driver == "host":
        raise InvalidArgument(_HOST)
    attached = [a.network for a in container.attachments]
    if network.spec.driver == "null" or "none" in attached:
        raise InvalidArgument(_NONE)
    if network.name in attached:
        raise Forbidden(f"endpoint with name {container.name} already exists in network {network.name}")


def check_disconnect(container: Container, network: Network) -> None:
    """Whether a container may be unplugged from that network."""
    if is_host(container.host_config) or network.spec.driver == "host":
        raise InvalidArgument(_HOST)


def check_options(config: Json, host_config: Json) -> list[str]:
    """Refuses what contradicts the network mode (`config` as requested, without defaults); returns warnings."""
    warnings: list[str] = []
    links, publishes = host_config.get("Links"), host_config.get("PortBindings") or host_config.get("PublishAllPorts")
    if shared_with(host_config):
        _refuse(config.get("Hostname"), "hostname and the network mode")
        _refuse(links, f"container type network can't be used with links. {_UNDEFINED}")
        _refuse(host_config.get("Dns"), "dns and the network mode")
        _refuse(host_config.get("ExtraHosts"), "custom host-to-IP mapping and the network mode")
        _refuse(config.get("MacAddress"), "mac-address and the network mode")
        _refuse(publishes, "port publishing and the container type network mode")
        _refuse(config.get("ExposedPorts"), "port exposing and the container type network mode")
    if is_host(host_config):
        _refuse(links, f"host type networking can't be used with links. {_UNDEFINED}")
        _refuse(config.get("MacAddress"), "mac-address and the network mode")
        if publishes:
            warnings.append("Published ports are discarded when using host network mode")
    if host_config.get("UTSMode") == "host":
        _refuse(config.get("Hostname"), "hostname and the UTS mode")
    return warnings


def _refuse(given: Any, what: str) -> None:
    if given:
        raise InvalidArgument(f"conflicting options: {what}")


def _check_mixed(networks: Any) -> None:
    for network in networks:
        if network.spec.driver == "host":
            raise InvalidArgument(_HOST)
        if network.spec.driver == "null":
            raise InvalidArgument(_NONE)


def _addresses(settings: Json) -> tuple[str, ...]:
    ipam: Mapping[str, str] = table(settings, "IPAMConfig")
    found: list[str] = []
    for key, version in (("IPv4Address", 4), ("IPv6Address", 6)):
        text = ipam.get(key) or ""
        if not text:
            continue
        try:
            address = ip_address(text)
        except ValueError:
            raise InvalidArgument(f"invalid IPv{version} address: {text}") from None
        if address.version != version:
            raise InvalidArgument(f"invalid IPv{version} address: {text}")
        found.append(str(address))
    return tuple(found)


def _mac(text: str) -> str:
    normal = text.lower().replace("-", ":")
    if normal and not _MAC.fullmatch(normal):
        raise InvalidArgument(f"invalid MAC address: {text}")
    if normal and int(normal[:2], 16) & 1:
        raise InvalidArgument(f"invalid MAC address: {text} is a multicast address")
    return normal


def _links(texts: list[str]) -> dict[str, str]:
    """`name:alias`, or `name` alone, by alias."""
    found: dict[str, str] = {}
    for text in texts:
        target, _, alias = text.lstrip("/").partition(":")
        if not target or ":" in alias:
            raise InvalidArgument(f"invalid links: bad format for links: {text}")
        found[alias or target] = target
    return found


def _with_mac(settings: Json, mac: str) -> Json:
    return settings if settings.get("MacAddress") or not mac else settings | {"MacAddress": mac}


def _kept(settings: Json, aliases: list[str]) -> Json:
    """The part of EndpointSettings that was asked for; the rest is of the running endpoint, and the controller's.

    An empty object comes back as one, and an absent one as null: Docker's clients tell them apart.
    """
    return {
        "IPAMConfig": settings.get("IPAMConfig"),
        "Links": settings.get("Links") or None,
        "Aliases": aliases or None,
        "DriverOpts": settings.get("DriverOpts"),
        "GwPriority": int(settings.get("GwPriority") or 0),
        "MacAddress": _mac(settings.get("MacAddress") or ""),
    }
