"""Full dumps: which links are ours, which prefixes the host already uses.

The first is asked at every start and whenever somebody may have changed something; only what bears our mark is decoded.
The second is asked for every network that is made, and every such network has a route of its own: so the kernel sends
unicast routes alone, and a route that looks as it did last time is not decoded again.
"""

from __future__ import annotations

import socket
import struct
from functools import lru_cache
from ipaddress import ip_network

from netpy.kernel import rtnetlink as rt
from netpy.kernel.links import DOOMED, described
from netpy.kernel.rtnetlink import Channel, Message, Reply

_ROUTE = struct.Struct("=BBBBBBBBI")
_UNICAST, _DST = 1, 1
_LINK = 16  # bytes of a struct ifinfomsg


def marked_links(prefix: str) -> list[tuple[str, str, str]]:
    """(name, kind, mark) of every link of this namespace whose alias begins with `prefix`. `ip -d link`."""
    sign = prefix.encode()
    with Channel() as channel:
        bodies = channel.bodies(Message(rt.GETLINK, 0, bytes(_LINK)))
    marked = (body for body in bodies if sign in body)
    links = [described(Reply(rt.NEWLINK, body[:_LINK], rt.attributes(body[_LINK:]))) for body in marked]
    return [
        (each.name, each.kind, each.mark) for each in links if each.mark.startswith(prefix) and each.group != DOOMED
    ]


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
