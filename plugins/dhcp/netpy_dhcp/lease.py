"""What a DHCP server gave, read from the report of udhcpc's script.

A server on the LAN is a stranger: each value is looked at before it goes anywhere. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, ip_address

_DOMAIN = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_-]+)*\.?")
_NO_LABEL = re.compile(r"[^a-z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One lease. `address` with prefix length; `seconds` is 0 where the server said nothing of the time."""

    event: str = ""
    address: str = ""
    router: str = ""
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    server: str = ""
    seconds: int = 0


def parsed(report: bytes) -> Lease:
    """The lease of a report: `event=…` and the client's environment, separated by NUL. ValueError: no address."""
    said: dict[str, str] = {}
    for entry in report.decode(errors="replace").split("\0"):
        key, _, value = entry.partition("=")
        said.setdefault(key, value)
    address = IPv4Interface(f"{said.get('ip', '')}/{said.get('mask') or said.get('subnet') or 32}")
    return Lease(
        event=said.get("event", ""),
        address=str(address),
        router=next(_addresses(said, "router"), ""),
        dns=tuple(_addresses(said, "dns")),
        search=_search(said),
        server=next(_addresses(said, "serverid"), ""),
        seconds=int(said["lease"]) if said.get("lease", "").isdecimal() else 0,
    )


def label(name: str) -> str:
    """A container's name as a host name that servers take: letters, digits and hyphens, 63 at most."""
    return _NO_LABEL.sub("-", name.lower())[:63].strip("-")


def _addresses(said: Mapping[str, str], key: str) -> Iterator[str]:
    for word in said.get(key, "").split():
        try:
            address = ip_address(word)
        except ValueError:
            continue
        if isinstance(address, IPv4Address) and not address.is_unspecified:
            yield str(address)


def _search(said: Mapping[str, str]) -> tuple[str, ...]:
    words = (said.get("search") or said.get("domain", "")).split()
    return tuple(dict.fromkeys(word for word in words if _DOMAIN.fullmatch(word)))
