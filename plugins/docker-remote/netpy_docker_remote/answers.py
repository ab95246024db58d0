"""Reads what plugins answer. Pure: WrongAnswer says what is wrong, in words that follow the name of a call.

Names of fields count in any case, as they do in Docker (and in Go). A plugin may fill blanks and nothing else: a field
that was stated in the request must be empty or missing in the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, cast

from netpy_docker_remote.bodies import Interface

_MAC = re.compile(r"[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}")
_LINK = re.compile(r"[^\s/:%]{1,15}")
NEXT_HOP, CONNECTED = 0, 1


class WrongAnswer(ValueError):
    """An answer that may not be."""


class Answered(dict[str, Any]):
    """An object whose fields are found in any case."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)


def folded(document: Mapping[str, Any]) -> Answered:
    """The object, and the objects in it, with names in lower case."""
    return Answered({key.lower(): _folded(value) for key, value in document.items()})


def _folded(value: object) -> object:
    if isinstance(value, dict):
        return folded(cast("dict[str, Any]", value))
    return [_folded(each) for each in cast("list[object]", value)] if isinstance(value, list) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRoute:
    """A route that Join asks for; an empty `via` is on-link."""

    destination: str
    via: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What Join said: the link on the host, the prefix of its name in the sandbox, next hops and routes."""

    source: str
    prefix: str = ""
    routers: tuple[str, ...] = ()
    routes: tuple[StaticRoute, ...] = ()
    no_gateway: bool = False


def interface(answer: Answered, asked: Interface) -> Interface:
    """CreateEndpoint's answer: what it fills in. WrongAnswer where it fills what was stated."""
    given = answer.get("Interface")
    if given is None:
        return Interface()
    if not isinstance(given, Answered):
        raise WrongAnswer(f"answered {given!r} as Interface, not an object")
    got = Interface(
        address=_cidr(given, "Address", 4),
        address6=_cidr(given, "AddressIPv6", 6),
        mac=_mac(_text(given, "MacAddress")),
    )
    for field, was, is_now in (
        ("Address", asked.address, got.address),
        ("AddressIPv6", asked.address6, got.address6),
        ("MacAddress", asked.mac, got.mac),
    ):
        if was and is_now:
            raise WrongAnswer(f"filled in {field} with {is_now}, which it may not: {was} was stated")
    return got


def joined(answer: Answered) -> Joined:
    """Join's answer. DstName is left out of account, as Docker does with remote drivers."""
    names = answer.get("InterfaceName")
    if not isinstance(names, Answered) or not _text(names, "SrcName"):
        raise WrongAnswer("answered no InterfaceName with a SrcName: there is no link to give to the container")
    source, prefix = _text(names, "SrcName"), _text(names, "DstPrefix")
    for name in filter(None, (source, prefix)):
        if not _LINK.fullmatch(name) or name in {".", ".."}:
            raise WrongAnswer(f"answered the interface name {name!r}")
    routers = (_router(answer, "Gateway", 4), _router(answer, "GatewayIPv6", 6))
    return Joined(
        source=source,
        prefix=prefix,
        routers=tuple(filter(None, routers)),
        routes=tuple(_routes(answer.get("StaticRoutes"))),
        no_gateway=answer.get("DisableGatewayService") is True,
    )


def _routes(given: object) -> Iterator[StaticRoute]:
    if given is None:
        return
    if not isinstance(given, list):
        raise WrongAnswer(f"answered {given!r} as StaticRoutes, not a list")
    for each in cast("list[object]", given):
        if not isinstance(each, Answered):
            raise WrongAnswer(f"answered {each!r} among StaticRoutes")
        yield _route(each)


def _route(each: Answered) -> StaticRoute:
    text, kind, via = _text(each, "Destination"), each.get("RouteType", NEXT_HOP), _text(each, "NextHop")
    try:
        destination = ip_network(text, strict=False)
        hop = ip_address(via) if via else None
    except ValueError as error:
        raise WrongAnswer(f"answered the static route {text!r} via {via!r}: {error}") from error
    if kind not in (NEXT_HOP, CONNECTED):
        raise WrongAnswer(f"answered the static route {text} with the route type {kind!r}: it is 0 or 1")
    if kind == NEXT_HOP and hop is None:
        raise WrongAnswer(f"answered the static route {text} of type 0 without a next hop")
    if hop is not None and hop.version != destination.version:
        raise WrongAnswer(f"answered the static route {text} via {via}, which is of the other family")
    return StaticRoute(destination=str(destination), via=str(hop) if hop and kind == NEXT_HOP else "")


def _cidr(given: Answered, field: str, family: int) -> str:
    text = _text(given, field)
    if not text:
        return ""
    try:
        address = ip_interface(text)
    except ValueError as error:
        raise WrongAnswer(f"answered {text!r} as {field}: {error}") from error
    if "/" not in text or address.version != family:
        raise WrongAnswer(f"answered {text!r} as {field}: it has to be an IPv{family} address with its prefix length")
    return str(address)


def _router(answer: Answered, field: str, family: int) -> str:
    text = _text(answer, field).partition("/")[0]
    try:
        address = ip_address(text) if text else None
    except ValueError as error:
        raise WrongAnswer(f"answered {text!r} as {field}: {error}") from error
    if address is not None and address.version != family:
        raise WrongAnswer(f"answered {text} as {field}, which is not of IPv{family}")
    return str(address) if address else ""


def _mac(text: str) -> str:
    if text and not _MAC.fullmatch(text):
        raise WrongAnswer(f"answered {text!r} as MacAddress")
    return text.lower().replace("-", ":")


def _text(given: Answered, field: str) -> str:
    value = given.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise WrongAnswer(f"answered {value!r} as {field}, not text")
    return value
