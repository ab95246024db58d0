"""Full dumps, for what is asked seldom: which links are ours, which prefixes the host already uses.

This is where pyroute2 serves: it knows every table and attribute. Each call has a socket of its own, in the calling
thread and closed at the end, because pyroute2 binds a socket to its thread and its look-ups by name (which are not used
here) leave replies behind.
"""

# pyright: basic
from __future__ import annotations

from ipaddress import ip_network

from netpy.kernel.links import DOOMED


def marked_links(prefix: str) -> list[tuple[str, str, str]]:
    """(name, kind, mark) of every link of this namespace whose alias begins with `prefix`. `ip -d link`."""
    from pyroute2 import IPRoute  # 150 ms that a short-lived process (a CNI plugin) spends only when it dumps

    found: list[tuple[str, str, str]] = []
    with IPRoute() as route:
        for link in route.get_links():
            mark = link.get_attr("IFLA_IFALIAS") or ""
            if mark.startswith(prefix) and link.get_attr("IFLA_GROUP") != DOOMED:
                info = link.get_attr("IFLA_LINKINFO")
                kind = info.get_attr("IFLA_INFO_KIND") if info else ""
                found.append((link.get_attr("IFLA_IFNAME"), kind or "", mark))
    return found


def prefixes() -> list[str]:
    """Every unicast prefix in the host's routing tables, both families, default routes among them."""
    from pyroute2 import IPRoute

    found: set[str] = set()
    with IPRoute() as route:
        for entry in route.get_routes():
            if entry["type"] != 1:
                continue
            anywhere = "::" if entry["family"] == 10 else "0.0.0.0"
            network = ip_network(f"{entry.get_attr('RTA_DST') or anywhere}/{entry['dst_len']}")
            if not (network.is_link_local or network.is_multicast or network.is_loopback):
                found.add(str(network))
    return sorted(found)
