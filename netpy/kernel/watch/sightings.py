"""Reads the events of route netlink: has something happened to a link of ours?

A link of ours bears our mark (its alias). What counts is one that goes or loses its mark, and one that is known and now
has another bridge, MTU, address or flag, and the loss of an address or a route that it carried. A link that is new only
becomes known: so what an operation creates is no news. What an operation removes is, but it is not wanted any more,
which is for others to know. `ip monitor link address route`.

The same socket hears of the namespaces that our pairs lead to (NETLINK_LISTEN_ALL_NSID; the kernel numbers them, and a
pair's near end tells the number): there, of the far ends alone, that one is down, or lost an address or a route. A far
end is known by namespace and index, so that a pair that goes with its container's network is no news by the time when
all has been read. And it hears of forwarding that is switched off, for the whole host or one of our links.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace
from typing import Self

from netpy.kernel import rtnetlink as rt
from netpy.kernel.links import DOOMED, Link, described, port_flags
from netpy.kernel.rtnetlink import Channel, Message, Reply, attributes, number
from netpy.kernel.watch.news import News

logger = logging.getLogger(__name__)
# links, addresses and routes of both families; settings of interfaces of both families (RTNLGRP_IPV4_NETCONF, 24)
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400 | 1 << 23 | 1 << 24
_HEADER = struct.Struct("=IHHII")
_INDEX = struct.Struct("=4xi")
_FLAGS = struct.Struct("=8xI")
_SIGNED = struct.Struct("=i")
_SO_RCVBUFFORCE, _BUFFER = 33, 1 << 20
_SOL_NETLINK, _ALL_NSID = 270, 8
_NEWNETCONF, _CONF_INDEX, _CONF_FORWARDING, _CONF_ALL = 80, 1, 2, -1
_BRIDGE_FAMILY, _LINK_SCOPE = 7, 253
_STATIC, _MAIN, _OIF, _PROTINFO = 4, 254, 4, 12
Far = tuple[int, int]  # a namespace's number and an index in it


class Sightings:
    """A socket that hears of every link, and what is known of ours."""

    def __init__(self, instance: str) -> None:
        self._mark = f"{instance}/"
        self._sign = self._mark.encode()
        self._known: dict[int, Link] = {}
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        try:
            self._socket.setsockopt(_SOL_NETLINK, _ALL_NSID, 1)
        except OSError as error:
            logger.warning("changes inside of containers go unnoticed: %s", error)
        self._socket.bind((0, _GROUPS))
        self._learn()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def changed(self) -> News:
        """What happened to our links since the last time."""
        names: set[str] = set()
        far: set[Far] = set()
        down: set[Far] = set()
        rules = False
        while True:
            try:
                data, ancillary, _, _ = self._socket.recvmsg(1 << 17, 64)
            except BlockingIOError:
                return News(rules=rules, links=frozenset(names), inside=frozenset(self._near(far | down)))
            except OSError as error:  # ENOBUFS: more happened than fits
                logger.debug("events of links were lost: %s", error)
                self._learn()
                return News(rules=True)
            if ancillary:
                _heard_inside(_SIGNED.unpack(ancillary[0][2])[0], data, far, down)
                continue
            for kind, body in _messages(data):
                if kind == _NEWNETCONF:
                    rules = rules or self._forwards_no_more(body)
                else:
                    names |= set(self._seen(kind, body))

    def _learn(self) -> None:
        with Channel() as channel:
            replies = channel.dump(Message(rt.GETLINK, 0, bytes(16)))
        self._known = {link.index: link for each in replies if self._is_ours(link := _lasting(each))}

    def _is_ours(self, link: Link) -> bool:
        return link.mark.startswith(self._mark) and link.group != DOOMED

    def _near(self, far: set[Far]) -> Iterator[str]:
        """The near ends of the pairs of ours whose far ends these are."""
        if far:
            for link in self._known.values():
                if (link.place, link.peer) in far:
                    yield link.name

    def _forwards_no_more(self, body: bytes) -> bool:
        """Whether a message about settings says that the host or a link of ours has ceased to forward."""
        found = attributes(body[4:])
        if number(found.get(_CONF_FORWARDING, b"\1")):
            return False
        index = _SIGNED.unpack(found[_CONF_INDEX])[0]
        return index == _CONF_ALL or index in self._known

    def _seen(self, kind: int, body: bytes) -> Iterator[str]:
        match kind:
            case rt.NEWLINK | rt.DELLINK:
                index = _INDEX.unpack_from(body)[0]
                # Nearly all that happens while containers start ends here.
                if index in self._known or self._sign in body:
                    yield from self._link(kind, body, index)
            case rt.DELADDR:
                index = _INDEX.unpack_from(body)[0]
                if index in self._known and body[3] != _LINK_SCOPE:
                    yield self._known[index].name
            case rt.DELROUTE if body[4:6] == bytes((_MAIN, _STATIC)):
                link = self._known.get(number(attributes(body[12:]).get(_OIF, b"")))
                if link:
                    yield link.name
            case _:
                pass

    def _link(self, kind: int, body: bytes, index: int) -> Iterator[str]:
        before = self._known.get(index)
        reply = Reply(kind, body[:16], attributes(body[16:]))
        if body[0] == _BRIDGE_FAMILY:
            if kind != rt.NEWLINK or before is None:
                return  # it left its bridge: the link itself says so as well
            flags = port_flags(reply.attributes.get(_PROTINFO, b""))
            link = replace(before, hairpin=flags[0], isolated=flags[1], locked=flags[2])
        else:
            link = _lasting(reply)
        if kind == rt.DELLINK or not self._is_ours(link):
            self._known.pop(index, None)
        else:
            self._known[index] = link
        if before and link.group != DOOMED and (kind == rt.DELLINK or link != before):
            yield before.name


def _lasting(reply: Reply) -> Link:
    """The link without what its kind says of itself: a bridge's timers are among that, other ones in every message."""
    return replace(described(reply), data=b"")


def _heard_inside(place: int, data: bytes, far: set[Far], down: set[Far]) -> None:
    """Note which links of the namespace with that number lost something, and which are down by now."""
    for kind, body in _messages(data):
        match kind:
            case rt.NEWLINK if body[0] != _BRIDGE_FAMILY:
                end = place, _INDEX.unpack_from(body)[0]
                (down.discard if _FLAGS.unpack_from(body)[0] & rt.IFF_UP else down.add)(end)
            case rt.DELADDR if body[3] != _LINK_SCOPE:
                far.add((place, _INDEX.unpack_from(body)[0]))
            case rt.DELROUTE if body[4:6] == bytes((_MAIN, _STATIC)):
                far.add((place, number(attributes(body[12:]).get(_OIF, b""))))
            case _:
                pass


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += max(length + (-length % 4), _HEADER.size)
