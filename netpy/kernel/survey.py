"""Full dumps: which links are ours, which prefixes the host already uses.

The first is asked seldom, and this is where pyroute2 serves: it knows every attribute. Each call has a socket of its
own, in the calling thread and closed at the end, because pyroute2 binds a socket to its thread and its look-ups by name
(which are not used here) leave replies behind.

The second is asked for every network that is made, and every such network has a route of its own: so the kernel sends
unicast routes alone, and a route that looks as it did last time is not decoded again.
"""

# pyright: basic
from __future__ import annotations

import socket
import struct
from functools import lru_cache
from ipaddress import ip_network

from netpy.kernel import rtnetlink as rt
from netpy.kernel.links import DOOMED
from netpy.kernel.rtnetlink import Channel, Message

_ROUTE = struct.Struct("=BBBBBBBBI")
_UNICAST, _DST = 1, 1


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
    found: set[str] = set()
    with Channel() as channel:
        for family in (socket.AF_INET, socket.AF_INET6):
            wanted = Message(rt.GETROUTE, 0, _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, _UNICAST, 0))
            found.update(map(_prefix, channel.bodies(wanted)))
    return sorted(found - {""})


@lru_cache(maxsize=8192)
def _prefix(body: bytes) -> str:
    """The prefix of a route; empty for what does not count."""
    family, length, _, _, _, _, _, kind, _ = _ROUTE.unpack_from(body)
    if kind != _UNICAST:
        return ""
    everything = bytes(16 if family == socket.AF_INET6 else 4)
    network = ip_network((rt.attributes(body[_ROUTE.size :]).get(_DST, everything), length))
    unimportant = network.is_link_local or network.is_multicast or network.is_loopback
    return "" if unimportant else str(network)
