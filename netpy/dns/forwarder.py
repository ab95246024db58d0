"""The sockets of forwarded queries: it does what an `Exchange` says and tells it what came back.

Each query has sockets of its own, connected, so that the kernel picks a fresh port for each and drops datagrams from
strangers; together with the random id that is what a forger would have to guess. Sockets are made by the `Dial` that
the composition root gives: it alone knows how to enter a sandbox's namespace. I/O: sockets, through the `Lane`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from netpy.dns import wire
from netpy.dns.loop import READ, WRITE, Lane, Timer
from netpy.dns.resolver import Forward
from netpy.dns.upstream import Ask, Done, Exchange, Transport

# dial(netns, transport, address) → a non-blocking socket connected (TCP: connecting) to port 53 of that server, from
# inside the namespace at the path `netns`, or the process's own for an empty path. Raises OSError or NetpyError.
Dial = Callable[[str, Transport, str], socket.socket]
Deliver = Callable[[bytes], None]

PER_SANDBOX = 1024  # queries in flight at once, as Docker allows; beyond that: REFUSED, at once
_SHARE = 4


class Places:
    """How many queries may be in flight for all sandboxes together, as each takes descriptors and ports of the host.

    A sandbox may have as many as a quarter of the places that are free at the moment. So a single one that floods us
    gets a fifth of all, ten of them a fourteenth each, and there are always some left for one that has none yet.
    """

    def __init__(self, size: int) -> None:
        self._free = size

    def take(self, had: int) -> bool:
        """A place for a sandbox that has `had` already; False where it may have no more."""
        if had >= min(PER_SANDBOX, self._free // _SHARE):
            return False
        self._free -= 1
        return True

    def give_back(self, count: int = 1) -> None:
        self._free += count


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a forwarded query goes: these servers, asked from that namespace."""

    netns: str
    servers: tuple[str, ...]


class Forwarder:
    """The forwarded queries of one sandbox."""

    def __init__(self, lane: Lane, dial: Dial, places: Places) -> None:
        self._lane = lane
        self._dial = dial
        self._places = places
        self._flights: set[_Flight] = set()

    def ask(self, forward: Forward, route: Route, deliver: Deliver) -> None:
        """Ask the servers of `route`; `deliver` gets the reply for the asker, once, unless `close` comes first."""
        if not route.servers:
            deliver(wire.reply(forward.query, rcode=wire.SERVFAIL))
            return
        if not self._places.take(len(self._flights)):
            deliver(wire.reply(forward.query, rcode=wire.REFUSED))
            return

        def landed(flight: _Flight, answer: bytes | None) -> None:
            self._flights.discard(flight)
            self._places.give_back()
            if answer is None:
                deliver(wire.reply(forward.query, rcode=wire.SERVFAIL))
            else:
                deliver(wire.relayed(forward.query, answer, forward.limit))

        flight = _Flight(self._lane, self._dial, forward, route, landed)
        self._flights.add(flight)
        flight.proceed()

    def close(self) -> None:
        """Forget all that is in flight; nobody is told."""
        for flight in self._flights:
            flight.close()
        self._places.give_back(len(self._flights))
        self._flights.clear()


class _Flight:
    """One exchange with its sockets and its timer."""

    def __init__(
        self, lane: Lane, dial: Dial, forward: Forward, route: Route, landed: Callable[[_Flight, bytes | None], None]
    ) -> None:
        self._lane = lane
        self._loop = lane.loop
        self._dial = dial
        self._route = route
        self._landed = landed
        id = os.urandom(2)
        self._message = id + forward.packet[2:]
        self._links: dict[tuple[int, Transport], _Link] = {}
        self._timer: Timer | None = None
        self._exchange = Exchange(
            id=id,
            question=forward.query.question,
            servers=len(route.servers),
            upgrade=forward.limit > wire.PLAIN_LIMIT,
            now=self._loop.now(),
        )

    def proceed(self) -> None:
        """The clock has come to where the exchange wanted to be told."""
        self._act(self._exchange.expired(self._loop.now()))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for link in self._links.values():
            self._lane.close(link.socket)
        self._links.clear()

    def _act(self, actions: Sequence[Ask | Done]) -> None:
        """Carry out; what fails at once is reported back, and its consequences carried out in turn."""
        waiting = list(actions)
        while waiting:
            action = waiting.pop(0)
            if isinstance(action, Done):
                self.close()
                self._landed(self, action.answer)
                return
            if not self._sent(action):
                waiting += self._exchange.failed(action.server, action.transport, self._loop.now())
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.at(self._exchange.due, self.proceed)

    def _sent(self, ask: Ask) -> bool:
        try:
            link = self._links.get((ask.server, ask.transport)) or self._linked(ask)
            link.send(self._message)
        except (
            Exception
        ):  # OSError of any kind, or no such namespace: for the asker it is a server that does not answer
            return False
        return True

    def _linked(self, ask: Ask) -> _Link:
        connected = self._dial(self._route.netns, ask.transport, self._route.servers[ask.server])
        link = _Datagrams(connected) if ask.transport == "udp" else _Stream(connected)
        self._links[ask.server, ask.transport] = link
        self._lane.watch(connected, link.events, lambda _: self._ready(ask, link))
        return link

    def _ready(self, ask: Ask, link: _Link) -> None:
        try:
            answer = link.receive()
        except OSError:
            self._lane.close(link.socket)
            self._links.pop((ask.server, ask.transport), None)
            self._act(self._exchange.failed(ask.server, ask.transport, self._loop.now()))
            return
        if answer is None:
            if not self._exchange.done:
                self._lane.watch(link.socket, link.events, lambda _: self._ready(ask, link))
        else:
            self._act(self._exchange.heard(ask.server, ask.transport, answer, self._loop.now()))


class _Datagrams:
    """A UDP socket to one server."""

    events = READ

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    def send(self, message: bytes) -> None:
        self.socket.send(message)

    def receive(self) -> bytes | None:
        """A datagram; None where there is none after all. OSError where the server's host says: no such port."""
        try:
            return self.socket.recv(wire.STREAM_LIMIT)
        except BlockingIOError:
            return None


class _Stream:
    """A TCP connection to one server, for one message each way (RFC 1035 §4.2.2: two octets of length before it)."""

    def __init__(self, connecting: socket.socket) -> None:
        self.socket = connecting
        self.events = WRITE
        self._unsent = b""
        self._received = bytearray()

    def send(self, message: bytes) -> None:
        self._unsent = len(message).to_bytes(2, "big") + message

    def receive(self) -> bytes | None:
        """Goes on with whatever is possible; the whole message once it is there. OSError for a broken connection."""
        try:
            if self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
                self.events = WRITE if self._unsent else READ
                return None
            chunk = self.socket.recv(65536)
        except BlockingIOError:
            return None
        if not chunk:
            raise ConnectionResetError("the server hung up")
        self._received += chunk
        size = int.from_bytes(self._received[:2], "big") + 2
        return bytes(self._received[2:size]) if len(self._received) >= max(size, 3) else None


_Link = _Datagrams | _Stream
