"""Published ports: Docker's `PortBindings` and `ExposedPorts`, read into bindings to be allocated. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from engine.containers.documents import table
from engine.model import Json
from netpy.errors import InvalidArgument
from netpy.model import PortBinding, Protocol

_PROTOCOLS: Mapping[str, Protocol] = {"tcp": "tcp", "udp": "udp", "sctp": "sctp"}
_ORDER = {protocol: number for number, protocol in enumerate(_PROTOCOLS)}


def bindings(config: Json, host_config: Json) -> tuple[PortBinding, ...]:
    """What is to be published, in the order in which host ports are to be chosen: fixed ones, then ranges."""
    asked: Mapping[str, Any] = table(host_config, "PortBindings")
    found = [binding for key, hosts in asked.items() for binding in _of(key, hosts or [])]
    if host_config.get("PublishAllPorts"):
        bound = {(b.protocol, b.container_port) for b in found}
        found += [p for p in exposed(config) if (p.protocol, p.container_port) not in bound]
    unique = dict.fromkeys(found)
    return tuple(sorted(unique, key=lambda b: (b.host_port_end > 0, b.container_port, _ORDER[b.protocol])))


def exposed(config: Json) -> list[PortBinding]:
    """The ports that the configuration names as its own, each without a host port."""
    return [p for key in table(config, "ExposedPorts") for p in _container_ports(key)]


def keys(config: Json, host_config: Json) -> list[str]:
    """Every port that is exposed or published, as `80/tcp`, sorted: what `docker inspect` lists."""
    all_ports = [*exposed(config), *(p for key in table(host_config, "PortBindings") for p in _container_ports(key))]
    unique = sorted({(p.container_port, _ORDER[p.protocol], p.protocol) for p in all_ports})
    return [f"{port}/{protocol}" for port, _, protocol in unique]


def _of(key: str, hosts: Iterable[Mapping[str, str]]) -> Iterator[PortBinding]:
    inside = _container_ports(key)
    for host in hosts:
        address = _host_ip(host.get("HostIp") or "")
        first, last = _host_range(host.get("HostPort") or "")
        for index, port in enumerate(inside):
            yield _bound(port, address, (first, last), (index, len(inside)))


def _bound(port: PortBinding, address: str, span: tuple[int, int], place: tuple[int, int]) -> PortBinding:
    """One container port of `place` = (index, how many) onto the host ports `span`."""
    (first, last), (index, count) = span, place
    if count > 1 and first:
        if last - first + 1 != count:
            raise InvalidArgument(
                f'invalid port specification: "{first}-{last}" does not match {count} container ports'
            )
        return replace(port, host_ip=address, host_port=first + index)
    return replace(port, host_ip=address, host_port=first, host_port_end=last if last > first else 0)


@lru_cache(maxsize=8192)  # each is asked for again and again: as exposed, as published, as a key
def _container_ports(key: str) -> tuple[PortBinding, ...]:
    """`80`, `80/tcp` or `8000-8010/udp`."""
    text, _, protocol = key.partition("/")
    chosen = _PROTOCOLS.get((protocol or "tcp").lower())
    if chosen is None:
        raise InvalidArgument(f'invalid port specification: "{key}": unknown protocol {protocol}')
    first, last = _range(text)
    if first < 1:
        raise InvalidArgument(f'invalid port specification: "{text}"')
    return tuple(PortBinding(protocol=chosen, container_port=port) for port in range(first, last + 1))


def _host_range(text: str) -> tuple[int, int]:
    return _range(text) if text else (0, 0)


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low = _number(first)
        high = _number(last) if dash else low
    except ValueError:
        raise InvalidArgument(f'invalid port specification: "{text}"') from None
    if low > high:
        raise InvalidArgument(f'invalid port specification: "{text}": invalid range: {low} is greater than {high}')
    return low, high


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise ValueError(text)
    return int(text)


def _host_ip(text: str) -> str:
    try:
        return str(ip_address(text.strip("[]"))) if text else ""
    except ValueError:
        raise InvalidArgument(f"invalid IP address: {text}") from None
