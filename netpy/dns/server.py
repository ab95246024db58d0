"""The sandboxes' side of the process: datagrams and connections in, answers out.

A `Server` has one `Listener` per sandbox: the two sockets that were made inside its namespace, its `Asker` and its
forwarded queries. A wake-up drains up to `_DRAIN` datagrams, because asking the selector costs as much as two answers.
TCP connections carry any number of queries, answered as the answers come (RFC 7766), and are closed when idle.

What to answer is decided by `resolver`; this module only moves octets. I/O: the sandboxes' sockets, by the `Loop`.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from netpy.dns.files import EMBEDDED
from netpy.dns.forwarder import Dial, Forwarder, Route
from netpy.dns.loop import READ, WRITE, Loop
from netpy.dns.resolver import LONGEST_QUERY, Asker, Forward, Resolver

_DRAIN = 32  # datagrams per wake-up: after so many, others get their turn
_CONNECTIONS = 64  # per sandbox
_IDLE = 10.0  # seconds without a query before a connection is closed
_EXHAUSTED = 0.1  # seconds without new connections after descriptors ran out
_BACKLOG = 65536  # octets that an asker may leave unread before no more of its queries are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sandbox is served. `netns` is a path, `inode` tells which namespace was there when it was opened."""

    netns: str
    inode: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What the composition root lends the server: how to reach others, and whom the host asks."""

    dial: Dial
    host_servers: Callable[[], tuple[str, ...]]


class Server:
    """Serves any number of sandboxes from one resolver. Not thread-safe: it lives in the loop."""

    def __init__(self, loop: Loop, resolver: Resolver, world: World) -> None:
        self._loop = loop
        self._resolver = resolver
        self._world = world
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
        listener = Listener(self._loop, self._world, self._resolver.asker(sandbox_id), place)
        self._listeners[sandbox_id] = listener
        listener.listen(datagrams, stream)

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

    def __init__(self, loop: Loop, world: World, asker: Asker, place: Place) -> None:
        self.place = place
        self._loop = loop
        self._world = world
        self._asker = asker
        self._forwarder = Forwarder(loop, world.dial)
        self._sockets: list[socket.socket] = []
        self._connections: set[Connection] = set()

    def listen(self, datagrams: socket.socket, stream: socket.socket) -> None:
        self._sockets = [datagrams, stream]
        for opened in self._sockets:
            opened.setblocking(False)
        self._loop.watch(datagrams, READ, lambda _: self._drain(datagrams))
        self._accept_again(stream)

    def close(self) -> None:
        self._forwarder.close()
        for opened in self._sockets:
            self._loop.close(opened)
        for connection in tuple(self._connections):
            connection.close()

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

    def _drain(self, datagrams: socket.socket) -> None:
        answer, receive, send = self._asker.answer, datagrams.recvfrom, datagrams.sendto
        for _ in range(_DRAIN):
            try:
                packet, peer = receive(LONGEST_QUERY + 1)
            except OSError:
                return  # drained
            outcome = answer(packet)
            if isinstance(outcome, bytes):
                with contextlib.suppress(OSError):  # a full buffer or a vanished asker: it will ask again
                    send(outcome, peer)
            elif outcome is not None:
                self._forwarder.ask(outcome, self._route(outcome), _sender(datagrams, peer))

    def _accept(self, stream: socket.socket) -> None:
        try:
            accepted, _ = stream.accept()
        except (BlockingIOError, ConnectionError):
            return  # it gave up
        except OSError:  # we have no descriptors left: wait for some rather than being woken again and again
            self._loop.forget(stream)
            self._loop.at(self._loop.now() + _EXHAUSTED, lambda: self._accept_again(stream))
            return
        if len(self._connections) >= _CONNECTIONS:
            accepted.close()
            return
        self._connections.add(Connection(self._loop, accepted, self.answer, self._connections.discard))

    def _accept_again(self, stream: socket.socket) -> None:
        if stream.fileno() >= 0:
            self._loop.watch(stream, READ, lambda _: self._accept(stream))


def _sender(datagrams: socket.socket, peer: object) -> Callable[[bytes], None]:
    def send(answer: bytes) -> None:
        with contextlib.suppress(OSError):  # as above; or the sandbox is no longer served
            datagrams.sendto(answer, peer)  # pyright: ignore[reportArgumentType]

    return send


class Connection:
    """One asker's TCP connection: messages with two octets of length before each."""

    def __init__(
        self, loop: Loop, accepted: socket.socket, answer: Callable[..., bool], closed: Callable[[Connection], None]
    ) -> None:
        self._loop = loop
        self._socket = accepted
        self._answer = answer
        self._closed = closed
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._pending = 0  # queries whose answers are still to come
        self._finished = False  # the asker has sent its last; it may still be listening
        self._heard = loop.now()
        self._idle = loop.at(self._heard + _IDLE, self._check_idle)
        accepted.setblocking(False)
        loop.watch(accepted, READ, self._ready)

    def close(self) -> None:
        self._idle.cancel()
        self._loop.close(self._socket)
        self._pending = 0
        self._closed(self)

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE and self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
            if events & READ:
                self._receive()
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._work()

    def _receive(self) -> None:
        chunk = self._socket.recv(65536)
        self._incoming += chunk
        self._finished = not chunk

    def _work(self) -> None:
        """Answer the complete messages, as long as the asker takes the answers; then wait for what is useful."""
        while len(self._outgoing) < _BACKLOG and len(self._incoming) >= 2:
            end = 2 + int.from_bytes(self._incoming[:2], "big")
            if len(self._incoming) < end:
                break
            message = bytes(self._incoming[2:end])
            del self._incoming[:end]
            self._heard = self._loop.now()
            self._pending += 1
            if not self._answer(message, stream=True, deliver=self._deliver):
                self._pending -= 1
        self._settle()

    def _deliver(self, answer: bytes) -> None:
        if self._socket.fileno() < 0:
            return
        self._pending -= 1
        self._outgoing += len(answer).to_bytes(2, "big") + answer
        self._settle()

    def _settle(self) -> None:
        if self._socket.fileno() < 0:
            return
        if self._finished and not self._pending and not self._outgoing:
            self.close()
            return
        events = WRITE if self._outgoing else 0
        if not self._finished and len(self._outgoing) < _BACKLOG:
            events |= READ
        if events:
            self._loop.watch(self._socket, events, self._ready)
        else:
            self._loop.forget(self._socket)  # nothing to do before a forwarded answer comes

    def _check_idle(self) -> None:
        due = self._heard + _IDLE
        if due <= self._loop.now():
            self.close()
        else:
            self._idle = self._loop.at(due, self._check_idle)
