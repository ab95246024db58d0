"""The daemon's side of the process: carries out what comes over the control socket (see `control`).

It keeps what it was told when the daemon goes away: the connection ends, the names and the sandboxes stay, and the
next daemon finds them by `list`. A process that serves nobody and has nobody to talk to ends after `_LONELY` seconds.
I/O: the control socket, through the `Loop`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from netpy.dns import control
from netpy.dns.control import Channel, Message
from netpy.dns.loop import READ, Loop, Timer
from netpy.dns.resolver import Resolver
from netpy.dns.server import Place, Server
from netpy.dns.zones import Replacement
from netpy.errors import InvalidArgument, NetpyError

_LONELY = 10.0


class Service:
    """Answers requests on any number of control connections. `settings` are what `ping` tells."""

    def __init__(self, loop: Loop, resolver: Resolver, server: Server, settings: Mapping[str, Any]) -> None:
        self._loop = loop
        self._resolver = resolver
        self._server = server
        self._settings = dict(settings)
        self._peers: set[_Peer] = set()
        self._lonely: Timer | None = None

    def listen(self, listening: socket.socket) -> None:
        """Take connections from this bound and listening Unix socket."""
        listening.setblocking(False)
        self._loop.watch(listening, READ, lambda _: self._accept(listening))
        self._watch_loneliness()

    def close(self) -> None:
        """Part with everybody."""
        for peer in tuple(self._peers):
            self._part(peer)

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return
        peer = _Peer(accepted)
        self._peers.add(peer)
        self._loop.watch(accepted, READ, lambda _: self._serve(peer))

    def _serve(self, peer: _Peer) -> None:
        try:
            alive = peer.channel.read()
            for message in peer.channel.messages():
                peer.send(self._reply(message, peer))
        except BlockingIOError:
            return
        except (OSError, InvalidArgument):
            alive = False
        if not alive:
            self._part(peer)

    def _part(self, peer: _Peer) -> None:
        self._peers.discard(peer)
        peer.channel.drop_fds()
        self._loop.close(peer.socket)
        self._watch_loneliness()

    def _watch_loneliness(self) -> None:
        if self._lonely is not None:
            self._lonely.cancel()
        self._lonely = self._loop.at(self._loop.now() + _LONELY, self._check_loneliness)

    def _check_loneliness(self) -> None:
        if not self._peers and not self._server.places:
            self._loop.stop()

    def _reply(self, message: Message, peer: _Peer) -> Message:
        try:
            return {"ok": True, **self._done(message, peer)}
        except NetpyError as error:
            return {"error": str(error), "kind": type(error).__name__}
        except (KeyError, TypeError, ValueError, OSError) as error:
            return {"error": f"request {message.get('op')!r} makes no sense: {error!r}", "kind": "InvalidArgument"}
        finally:
            peer.channel.drop_fds()

    def _done(self, message: Message, peer: _Peer) -> Message:
        match message.get("op"):
            case "ping":
                return {"protocol": control.PROTOCOL, "settings": self._settings}
            case "open":
                return {"port": self._open(message, peer.channel)}
            case "close":
                self._server.close(message["sandbox"])
                self._resolver.swap(self._resolver.snapshot.changed(forget=[message["sandbox"]]))
            case "update" | "replace":
                self._change(message, peer)
            case "find":
                place = self._server.place(message["sandbox"])
                return {"place": _place_body(place) if place else None}
            case "list":
                return {"places": {id: _place_body(place) for id, place in self._server.places.items()}}
            case "shutdown":
                self._loop.stop()
            case op:
                raise InvalidArgument(f"unknown request {op!r}")
        return {}

    def _change(self, message: Message, peer: _Peer) -> None:
        """Take in an update, or a part of a replacement: with the last of them the whole is in force.

        A message that makes no sense raises, and nothing is changed.
        """
        views = control.views_of(message["views"])
        if message["op"] == "update":
            put = control.records_of(message["put"])
            self._resolver.swap(self._resolver.snapshot.changed(put=put, drop=message["drop"], views=views))
            return
        records = control.records_of(message["records"])
        if message["first"]:
            peer.replacement = Replacement()
        peer.replacement.take(self._resolver.snapshot, records, views)
        if message["last"]:
            self._resolver.swap(peer.replacement.onto(self._resolver.snapshot))
            peer.replacement = Replacement()

    def _open(self, message: Message, channel: Channel) -> int:
        fds = channel.take_fds()
        sockets = [socket.socket(fileno=fd) for fd in fds]
        try:
            place = Place(netns=message["netns"], inode=message["inode"], port=message["port"])
            datagrams, stream = sockets
            self._server.open(message["sandbox"], place, datagrams, stream)
        except (KeyError, ValueError):
            for opened in sockets:
                opened.close()
            raise
        return place.port


class _Peer:
    """A daemon's connection. Replies are small and are written at once, so the socket stays blocking to write."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.settimeout(5.0)
        self.socket = accepted
        self.channel = Channel(accepted)
        self.replacement = Replacement()  # what has come of one

    def send(self, message: Message) -> None:
        self.socket.sendall(control.encoded(message))


def _place_body(place: Place) -> Message:
    return {"netns": place.netns, "inode": place.inode, "port": place.port}
