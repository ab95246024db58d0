"""What hooks answer, checked, and what becomes of the endpoint: a plugin may fill blanks, and nothing else.

Pure. BadAnswer says what is wrong with an answer, in words that follow "driver x: acquire …"; whoever called the hook
makes an error of it that names both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import cast

from netpy.drivers import Acquired, AcquiredNetwork
from netpy.model import Endpoint, Network, Subnet

IFNAME = "com.docker.network.endpoint.ifname"
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_LINK = re.compile(r"[^\s/:%]{1,15}")


class BadAnswer(ValueError):
    """A hook answered what it may not. The message begins with a verb, such as "answered"."""


def acquired(answer: object) -> Acquired:
    """The answer of `acquire` in canonical form. BadAnswer when it is not one."""
    if isinstance(answer, Mapping):
        return Acquired(facts=_facts(cast("Mapping[object, object]", answer)))
    if not isinstance(answer, Acquired):
        raise BadAnswer(f"answered {_short(answer)}, not Acquired or a mapping")
    mac = _text(answer.mac, "mac").lower()
    if mac and not _MAC.fullmatch(mac):
        raise BadAnswer(f"answered the MAC address {mac!r}")
    for name in (_text(answer.ifname, "ifname"), _text(answer.prefix, "prefix")):
        if name and (not _LINK.fullmatch(name) or name in {".", ".."}):
            raise BadAnswer(f"answered the interface name {name!r}")
    return Acquired(
        facts=_facts(answer.facts),
        addresses=tuple(_addresses(answer.addresses, "addresses", prefix=True)),
        mac=mac,
        ifname=answer.ifname,
        prefix=answer.prefix,
        routers=tuple(_addresses(answer.routers, "routers", prefix=False)),
        dns=tuple(_addresses(answer.dns, "dns", prefix=False, single=False)),
        search=tuple(_text(domain, "search") for domain in _sequence(answer.search, "search")),
    )


def acquired_network(answer: object) -> AcquiredNetwork:
    """The answer of `acquire_network` in canonical form. BadAnswer when it is not one."""
    if isinstance(answer, Mapping):
        return AcquiredNetwork(facts=_facts(cast("Mapping[object, object]", answer)))
    if not isinstance(answer, AcquiredNetwork):
        raise BadAnswer(f"answered {_short(answer)}, not AcquiredNetwork or a mapping")
    subnets: list[Subnet] = []
    for subnet in _sequence(answer.subnets, "subnets"):
        if not isinstance(subnet, Subnet):
            raise BadAnswer(f"answered {_short(subnet)} among the subnets")
        try:
            network = ip_network(subnet.subnet)
            outside = bool(subnet.gateway) and ip_address(subnet.gateway) not in network
        except ValueError as error:
            raise BadAnswer(f"answered {_short(subnet)} among the subnets: {error}") from error
        if outside:
            raise BadAnswer(f"answered the gateway {subnet.gateway}, which is not in {network}")
        subnets.append(replace(subnet, subnet=str(network)))
    return AcquiredNetwork(facts=_facts(answer.facts), subnets=tuple(subnets))


def with_network(network: Network, got: AcquiredNetwork) -> Network:
    """The network with what the driver brought. BadAnswer where it answers what was decided already."""
    if got.subnets and network.subnets and got.subnets != network.subnets:
        raise BadAnswer("answered subnets of its own for a network that has them already")
    return replace(network, facts=dict(got.facts), subnets=got.subnets or network.subnets)


def with_acquired(endpoint: Endpoint, got: Acquired, taken: Collection[str] = ()) -> Endpoint:
    """The endpoint with what the driver brought. `taken` are interface names of the sandbox's other endpoints.

    BadAnswer where the driver answers what was decided already: the rule of Docker's remote drivers.
    """
    if got.addresses and endpoint.addresses and set(got.addresses) != set(endpoint.addresses):
        raise BadAnswer(f"answered the addresses {', '.join(got.addresses)} for an endpoint that has its addresses")
    if got.mac and endpoint.spec.mac and got.mac != endpoint.mac:
        raise BadAnswer(f"answered the MAC address {got.mac} where {endpoint.mac} was asked for")
    return replace(
        endpoint,
        facts=dict(got.facts),
        addresses=endpoint.addresses or got.addresses,
        mac=got.mac or endpoint.mac,
        ifname=_ifname(endpoint, got, taken),
        routers=got.routers,
        dns=got.dns,
        search=got.search,
    )


def _ifname(endpoint: Endpoint, got: Acquired, taken: Collection[str]) -> str:
    if endpoint.spec.options.get(IFNAME) or not endpoint.ifname:
        return endpoint.ifname
    if got.ifname:
        if got.ifname in taken:
            raise BadAnswer(f"answered the interface name {got.ifname}, which another network of the sandbox uses")
        return got.ifname
    if not got.prefix or re.fullmatch(re.escape(got.prefix) + r"\d+", endpoint.ifname):
        return endpoint.ifname
    return next(name for number in range(len(taken) + 1) if (name := f"{got.prefix}{number}") not in taken)


def _facts(answer: object) -> dict[str, str]:
    if not isinstance(answer, Mapping):
        raise BadAnswer(f"answered {_short(answer)} as facts, not a mapping")
    items = cast("Mapping[object, object]", answer).items()
    wrong = next((pair for pair in items if not all(isinstance(each, str) for each in pair)), None)
    if wrong:
        raise BadAnswer(f"answered the fact {wrong[0]!r}: {_short(wrong[1])}; facts are text to text")
    return cast("dict[str, str]", dict(items))


def _addresses(answer: object, what: str, *, prefix: bool, single: bool = True) -> Iterable[str]:
    families: set[int] = set()
    for item in _sequence(answer, what):
        text = _text(item, what)
        if prefix and "/" not in text:
            raise BadAnswer(f"answered {text!r} among {what}, which need a prefix length")
        try:
            address = ip_interface(text) if prefix else ip_address(text)
        except ValueError as error:
            raise BadAnswer(f"answered {text!r} among {what}: {error}") from error
        if single and address.version in families:
            raise BadAnswer(f"answered two of IPv{address.version} among {what}")
        families.add(address.version)
        yield str(address)


def _sequence(answer: object, what: str) -> Iterable[object]:
    if isinstance(answer, str) or not isinstance(answer, Iterable):
        raise BadAnswer(f"answered {_short(answer)} as {what}, not a tuple")
    return cast("Iterable[object]", answer)


def _text(answer: object, what: str) -> str:
    if not isinstance(answer, str):
        raise BadAnswer(f"answered {_short(answer)} as {what}, not text")
    return answer


def _short(answer: object) -> str:
    text = repr(answer)
    return text if len(text) <= 80 else f"{text[:77]}..."
