"""Results of ADD, of every version of CNI, as one value; and which of it is the sandbox's.

Until 0.2.0 a result had `ip4` and `ip6`; from 0.3.0 `ips` with a `version` each, which 1.0.0 dropped; 1.1.0 added
details that are not looked at here. Pure. BadResult says what is wrong with a result, in words that
follow the plugin's name.
"""

# pyright: basic
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, cast

Json = Mapping[str, Any]
_DEFAULTS = ("0.0.0.0/0", "::/0")
_MAIN = 254


class BadResult(ValueError):
    """What a plugin printed is no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the plugins made of the sandbox: `addresses` with prefix, `routes` as (destination, next hop)."""

    mac: str = ""
    addresses: tuple[str, ...] = ()
    routers: tuple[str, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


def outcome(result: Json, netns: str, ifname: str) -> Outcome:
    """What the result says of the interface `ifname` in the sandbox `netns`."""
    try:
        return _outcome(result, netns, ifname)
    except (AttributeError, TypeError, ValueError, KeyError) as error:
        raise BadResult(f"returned a result that cannot be read: {error}") from error


def _outcome(result: Json, netns: str, ifname: str) -> Outcome:
    interfaces: list[Json] = list(result.get("interfaces") or [])
    number = _place(interfaces, netns, ifname)
    if interfaces and number is None:
        names = ", ".join(str(each.get("name")) for each in interfaces)
        raise ValueError(f"the interface {ifname} of the sandbox is not among {names}")
    ips = [each for each in _ips(result) if not interfaces or each.get("interface", number) == number]
    addresses = _first_of_each(str(ip_interface(each["address"])) for each in ips)
    hops = {
        ip_address(each["gateway"]).version: str(ip_address(each["gateway"])) for each in ips if each.get("gateway")
    }
    routes = tuple(_routes(result, hops))
    dns: Json = result.get("dns") or {}
    domain = [str(dns["domain"])] if dns.get("domain") else []
    return Outcome(
        mac=str(interfaces[number].get("mac") or "").lower() if number is not None else "",
        addresses=addresses,
        routers=_first_of_each(
            [via for destination, via in routes if destination in _DEFAULTS and via] or hops.values()
        ),
        routes=tuple(dict(routes).items()),
        dns=tuple(str(ip_address(each)) for each in dns.get("nameservers") or []),
        search=tuple(str(each) for each in (dns.get("search") or domain)),
    )


def _place(interfaces: list[Json], netns: str, ifname: str) -> int | None:
    """Where the sandbox's interface is in the list: under its name and in a sandbox, ours rather than any."""
    named = [n for n, each in enumerate(interfaces) if each.get("name") == ifname and each.get("sandbox")]
    return next((n for n in named if interfaces[n].get("sandbox") == netns), named[0] if named else None)


def _ips(result: Json) -> list[Json]:
    if "ips" in result:
        return list(result["ips"] or [])
    old = [result[key] for key in ("ip4", "ip6") if result.get(key)]
    return [{"address": each["ip"], "gateway": each.get("gateway", "")} for each in old]


def _routes(result: Json, hops: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """Those of the main table; where no next hop is stated, it is the gateway of the same family's address."""
    old = [route for key in ("ip4", "ip6") for route in (result.get(key) or {}).get("routes") or []]
    for route in [*(result.get("routes") or []), *old]:
        if route.get("table") in (None, 0, _MAIN):
            destination = ip_network(route["dst"], strict=False)
            via = str(route.get("gw") or "")
            yield str(destination), str(ip_address(via)) if via else hops.get(destination.version, "")


def _first_of_each(texts: Any) -> tuple[str, ...]:
    """The first of each family."""
    found: dict[bool, str] = {}
    for text in cast("list[str]", list(texts)):
        found.setdefault(":" in text, text)
    return tuple(found.values())
