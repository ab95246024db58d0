"""How the daemon and the name server talk: JSON messages on a Unix stream, each with four octets of length before it.

A request is an object with `op`; sockets for `open` travel with its first octet (SCM_RIGHTS). A reply is an object
with `ok`, or with `error` (a message) and `kind` (the class in `netpy.errors`). One reply per request, in order.

    ping                                        → protocol, settings
    open     sandbox, netns, inode, port + 2 fds → port
    close    sandbox
    update   put, drop, views                     as one step
    replace  records, views, first, last          as one step, in as many messages as it takes
    find     sandbox                             → place: {netns, inode, port} or null
    list                                         → places: {sandbox: place}
    shutdown

This module decides the shapes and nothing else. Pure, but for `Channel.read`, which receives.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from netpy.dns import Record, View
from netpy.errors import InvalidArgument

PROTOCOL = 2
FDS = 2  # that come with an open
_LONGEST = 1 << 28
_PART = 128  # records or views in a message of a replacement: between two messages queries are answered

Message = dict[str, Any]


def encoded(message: Mapping[str, Any]) -> bytes:
    """The message as it goes over the wire."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return len(body).to_bytes(4, "big") + body


def record_body(record: Record) -> Message:
    return {
        "endpoint": record.endpoint_id,
        "network": record.network_id,
        "names": list(record.names),
        "addresses": list(record.addresses),
    }


def view_body(view: View) -> Message:
    return {
        "sandbox": view.sandbox_id,
        "networks": [list(network) for network in view.networks],
        "links": dict(view.links),
        "upstreams": list(view.upstreams),
        "external": view.external,
        "ndots": view.ndots,
    }


def replacement(records: Iterable[Record], views: Iterable[View]) -> Iterator[Message]:
    """The messages that make these all that there is."""
    bodies = {"records": [record_body(each) for each in records], "views": [view_body(each) for each in views]}
    size = max(len(bodies["records"]), len(bodies["views"]), 1)
    for at in range(0, size, _PART):
        part = {kind: all_of_it[at : at + _PART] for kind, all_of_it in bodies.items()}
        yield {"op": "replace", **part, "first": at == 0, "last": at + _PART >= size}


def records_of(bodies: Iterable[Message]) -> list[Record]:
    """The opposite of `record_body`. Raises InvalidArgument for bodies that are none."""
    return [_record(body) for body in bodies]


def views_of(bodies: Iterable[Message]) -> list[View]:
    """The opposite of `view_body`. Raises InvalidArgument for bodies that are none."""
    return [_view(body) for body in bodies]


def _record(body: Message) -> Record:
    try:
        return Record(
            endpoint_id=body["endpoint"],
            network_id=body["network"],
            names=tuple(body["names"]),
            addresses=tuple(body["addresses"]),
        )
    except (KeyError, TypeError) as error:
        raise InvalidArgument(f"not a record: {error}") from error


def _view(body: Message) -> View:
    try:
        return View(
            sandbox_id=body["sandbox"],
            networks=tuple((id, name) for id, name in body["networks"]),
            links=dict(body["links"]),
            upstreams=tuple(body["upstreams"]),
            external=bool(body["external"]),
            ndots=int(body["ndots"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(f"not a view: {error}") from error


class Channel:
    """The receiving half of a connection: octets and descriptors in, whole messages out."""

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._buffer = bytearray()
        self._fds: list[int] = []

    def read(self) -> bool:
        """Take in what is there; False at the end of the stream. Raises OSError, and BlockingIOError for nothing."""
        data, fds, _, _ = socket.recv_fds(self._socket, 1 << 18, FDS, socket.MSG_CMSG_CLOEXEC)
        self._fds += fds
        self._buffer += data
        return bool(data)

    def messages(self) -> Iterator[Message]:
        """The messages that are complete. Raises InvalidArgument for what is none: the stream is beyond repair."""
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > _LONGEST:
                raise InvalidArgument(f"a message of {size} octets is too long")
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            yield _object(body)

    def take_fds(self) -> list[int]:
        """The descriptors that came since the last call. They are the caller's from now on."""
        taken, self._fds = self._fds, []
        return taken

    def drop_fds(self) -> None:
        """Close the descriptors that nobody has taken."""
        for fd in self.take_fds():
            os.close(fd)


def _object(body: bytes) -> Message:
    try:
        value: object = json.loads(body)
    except ValueError as error:
        raise InvalidArgument(f"not a message: {error}") from error
    if not isinstance(value, dict):
        raise InvalidArgument("not a message: an object was expected")
    return value  # pyright: ignore[reportUnknownVariableType]
