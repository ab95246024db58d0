"""The sandboxes' side of the process: datagrams and connections in, answers out.

A `Server` has one `Listener` per sandbox: the two sockets that were made inside its namespace, its `Asker`, its `Lane`
and its forwarded queries. What the asker's cache knows is answered a batch at a time, at once. Everything else, which
costs ten or a hundred times as much, waits in the sandbox's lane, so that whoever floods us with riddles, names to be
forwarded or connections has the sandbox's share of our time and no more; what does not fit into its queue is dropped.

What to answer is decided by `resolver`; this module only moves octets. I/O: the sandboxes' sockets, by the `Loop`.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netpy.dns.connection import Connection
from netpy.dns.datagrams import Batch, Peer
from netpy.dns.files import EMBEDDED
from netpy.dns.forwarder import Dial, Forwarder, Places, Route
from netpy.dns.loop import READ, Lane, Loop
from netpy.dns.resolver import Asker, Forward, Resolver

_WAITING = 256  # datagrams that wait for a turn, per sandbox; about as many as the kernel keeps for a socket
_CONNECTIONS = 64  # per sandbox
_EXHAUSTED = 0.1  # seconds without new connections after descriptors ran out


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sandbox is served. `netns` is a path, `inode` tells which namespace was there when it was opened."""

    netns: str
    inode: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the composition root lends the server: how to reach others, whom the host asks, and how often at once."""

    dial: Dial
    host_servers: Callable[[], tuple[str, ...]]
    places: Places


class Server:
    """Serves any number of sandboxes from one resolver. Not thread-safe: it lives in the loop."""

    def __init__(self, loop: Loop, resolver: Resolver, world: World) -> None:
        self._loop = loop
        self._resolver = resolver
        self._world = world
        self._batch = Batch()
        self._listeners: dict[str, Listener] = {}

    @property
    def places(self) -> Mapping[str, Place]:
        """Every sandbox that is served, and where."""
        return {sandbox_id: listener.place for sandbox_id, listener in self._listeners.items()}

    def place(self, sandbox_id: str) -> Place | None:
        """Where that sandbox is served, if it is."""
        listener = self._listeners.get(sandbox_id)
        return listener.place if listener else None

    def open(self, sandbox_id: str, place: Place, datagrams: socket.socket, stream: socket.socket) -> None:
        """Serve the sandbox on these two bound sockets, which become the server's; earlier ones are closed."""
        self.close(sandbox_id)
        listener = Listener(Lane(self._loop), self._world, self._resolver.asker(sandbox_id), place)
        self._listeners[sandbox_id] = listener
        listener.listen(datagrams, stream, self._batch)

    def close(self, sandbox_id: str) -> None:
        """Stop serving the sandbox, and let go of its namespace."""
        listener = self._listeners.pop(sandbox_id, None)
        if listener is not None:
            listener.close()

    def close_all(self) -> None:
        for sandbox_id in tuple(self._listeners):
            self.close(sandbox_id)


class Listener:
    """One sandbox's sockets."""

    def __init__(self, lane: Lane, world: World, asker: Asker, place: Place) -> None:
        self.place = place
        self._lane = lane
        self._world = world
        self._asker = asker
        self._forwarder = Forwarder(lane, world.dial, world.places)
        self._sockets: list[socket.socket] = []
        self._connections: set[Connection] = set()

    def listen(self, datagrams: socket.socket, stream: socket.socket, batch: Batch) -> None:
        """Serve these two from now on; `batch` is everybody's."""
        self._sockets = [datagrams, stream]
        for opened in self._sockets:
            opened.setblocking(False)

        def drain(_: int) -> None:
            for packet, peer in batch.exchange(datagrams, self._asker.quick):
                if self._lane.waiting < _WAITING:
                    self._lane.soon(_Late(self, datagrams, packet, peer))

        self._lane.loop.watch(datagrams, READ, drain)
        self._accept_again(stream)

    def close(self) -> None:
        self._forwarder.close()
        for opened in self._sockets:
            self._lane.loop.close(opened)
        for connection in tuple(self._connections):
            connection.close()
        self._lane.end()

    def answer(self, packet: bytes, *, stream: bool, deliver: Callable[[bytes], None]) -> bool:
        """Whether an answer to `packet` was delivered or will be; False where there will be none."""
        outcome = self._asker.answer(packet, stream=stream)
        if outcome is None:
            return False
        if isinstance(outcome, bytes):
            deliver(outcome)
        else:
            self._forwarder.ask(outcome, self._route(outcome), deliver)
        return True

    def _route(self, forward: Forward) -> Route:
        if forward.host:
            return Route(netns="", servers=self._world.host_servers())
        # Seen from the sandbox 127.0.0.11 is ourselves: asking there would go round and round.
        return Route(netns=self.place.netns, servers=tuple(s for s in forward.servers if s != EMBEDDED))

    def _accept(self, stream: socket.socket) -> None:
        try:
            accepted, _ = stream.accept()
        except (BlockingIOError, ConnectionError):
            return  # it gave up
        except OSError:  # we have no descriptors left: wait for some rather than being woken again and again
            loop = self._lane.loop
            loop.forget(stream)
            loop.at(loop.now() + _EXHAUSTED, lambda: self._accept_again(stream))
            return
        if len(self._connections) >= _CONNECTIONS:
            accepted.close()
            return
        self._connections.add(Connection(self._lane, accepted, self.answer, self._connections.discard))

    def _accept_again(self, stream: socket.socket) -> None:
        if stream.fileno() >= 0:
            self._lane.loop.watch(stream, READ, lambda _: self._accept(stream))


class _Late:
    """A datagram that takes more than a look into the cache, to be answered when it is its sandbox's turn."""

    __slots__ = ("_datagrams", "_listener", "_packet", "_peer")

    def __init__(self, listener: Listener, datagrams: socket.socket, packet: bytes, peer: Peer) -> None:
        self._listener = listener
        self._datagrams = datagrams
        self._packet = packet
        self._peer = peer

    def __call__(self) -> None:
        self._listener.answer(self._packet, stream=False, deliver=self._send)

    def _send(self, answer: bytes) -> None:
        with contextlib.suppress(OSError):  # a full buffer, a vanished asker, or the sandbox is no longer served
            self._datagrams.sendto(answer, self._peer)
