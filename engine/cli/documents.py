"""The API's JSON documents: looking into them where a field may be absent or null, and one that is always sent whole.

Pure, and free of imports.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def section(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The object under a name; empty where there is none."""
    return found.get(name) or {}


def entries(found: Mapping[str, Any], name: str) -> list[Any]:
    """The list under a name; empty where there is none."""
    return found.get(name) or []


def endpoint_settings(
    ipam: dict[str, Any] | None,
    *,
    links: list[str] | None,
    aliases: list[str] | None,
    driver_opts: dict[str, str] | None,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """EndpointSettings with everything that only the daemon fills in left empty, as Docker's client sends it."""
    return {
        "IPAMConfig": ipam,
        "Links": links,
        "Aliases": aliases,
        "MacAddress": extra.get("MacAddress", ""),
        "DriverOpts": driver_opts,
        "GwPriority": extra.get("GwPriority", 0),
        "NetworkID": "",
        "EndpointID": "",
        "Gateway": "",
        "IPAddress": "",
        "IPPrefixLen": 0,
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": None,
    }
