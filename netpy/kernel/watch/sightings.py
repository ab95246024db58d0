"""Reads the events of route netlink: has something happened to a link of ours?

A link of ours bears our mark (its alias). What counts is one that goes or loses its mark, and one that is known and now
has another bridge, MTU, address or flag, and the loss of an address or a route that it carried. A link that is new only
becomes known: so what an operation creates is no news. What an operation removes is, but it is not wanted any more,
which is for others to know. `ip monitor link address route`.
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

logger = logging.getLogger(__name__)
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, addresses and routes of both families
_HEADER = struct.Struct("=IHHII")
_INDEX = struct.Struct("=4xi")
_SO_RCVBUFFORCE, _BUFFER = 33, 1 << 20
_BRIDGE_FAMILY, _LINK_SCOPE = 7, 253
_STATIC, _MAIN, _OIF, _PROTINFO = 4, 254, 4, 12


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
        self._socket.bind((0, _GROUPS))
        self._learn()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def changed(self) -> set[str] | None:
        """Names of our links that something happened to since the last time; None when that is not known."""
        names: set[str] = set()
        while True:
            try:
                data = self._socket.recv(1 << 17)
            except BlockingIOError:
                return names
            except OSError as error:  # ENOBUFS: more happened than fits
                logger.debug("events of links were lost: %s", error)
                self._learn()
                return None
            for kind, body in _messages(data):
                names |= set(self._seen(kind, body))

    def _learn(self) -> None:
        with Channel() as channel:
            replies = channel.dump(Message(rt.GETLINK, 0, bytes(16)))
        self._known = {link.index: link for each in replies if self._is_ours(link := described(each))}

    def _is_ours(self, link: Link) -> bool:
        return link.mark.startswith(self._mark) and link.group != DOOMED

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
            link = replace(before, hairpin=flags[0], isolated=flags[1])
        else:
            link = described(reply)
        if kind == rt.DELLINK or not self._is_ours(link):
            self._known.pop(index, None)
        else:
            self._known[index] = link
        if before and link.group != DOOMED and (kind == rt.DELLINK or link != before):
            yield before.name


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += max(length + (-length % 4), _HEADER.size)
