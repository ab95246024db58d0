"""Asking others, without waiting for the slow ones: the state machine of one forwarded query.

Docker asks its servers one after the other and gives each four seconds; a dead first server makes every name slow.
Here the next server is asked after `HEDGE` seconds of silence, or at once when one refuses; the first good answer wins.
A server that stays silent is asked again in the next round, as datagrams get lost. An answer that was cut short is
fetched again over TCP where the asker can take more. An answer counts only if id and question are those that we sent
(and the socket, being connected, takes it from nobody but the server). After `LIES` datagrams that do not, somebody is
guessing: that server is asked over TCP, where guessing does not help, and its datagrams count no more.

Pure: the clock comes in as seconds on any monotonic scale, sockets belong to `forwarder`. Every event returns what
to do next; after `Done` an exchange ignores all further events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from netpy.dns import wire

HEDGE = 0.3  # seconds before the next server is asked as well
ROUND = 1.5  # seconds before the silent ones are asked again
DEADLINE = 4.5  # seconds for all of it: just before the stub resolvers' usual 5
MAX_SERVERS = 3  # as the C library's MAXNS
LIES = 16  # of 65,536 ids

Transport = Literal["udp", "tcp"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Send the query to the server of that index."""

    server: int
    transport: Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """Finished. `answer` is the best that was heard, under our id; None where there was nothing."""

    answer: bytes | None


Action = Ask | Done


class Exchange:
    """One query and its servers, from the first datagram to the answer."""

    def __init__(self, *, id: bytes, question: bytes, servers: int, upgrade: bool, now: float) -> None:
        self._id = id
        self._question = question
        self._upgrade = upgrade  # the asker can take an answer longer than 512 octets
        self._started = now
        self._open = list(range(min(servers, MAX_SERVERS)))  # may still answer well
        self._queue = list(self._open)  # to be asked in this round
        self._round = 0
        self._streams: set[int] = set()  # being asked over TCP
        self._lies = 0
        self._fallback: bytes | None = None  # a poor answer, better than none
        self._next = now
        self.done = False

    @property
    def due(self) -> float:
        """When `expired` wants to be called, whatever happens until then."""
        return min(self._next, self._started + DEADLINE)

    def expired(self, now: float) -> list[Action]:
        """`due` has come: begin, hedge, repeat or give up."""
        if self.done or now < self.due:
            return []
        if now >= self._started + DEADLINE:
            return self._finish(self._fallback)
        if not self._queue:
            self._round += 1
            self._queue = [server for server in self._open if server not in self._streams]
        return self._ask_next(now)

    def heard(self, server: int, transport: Transport, answer: bytes, now: float) -> list[Action]:
        """A message came in from `server`."""
        if self.done or (transport == "udp" and self._lies >= LIES):
            return []
        match wire.verdict(answer, self._id, self._question):
            case "good":
                return self._finish(answer)
            case "truncated" if transport == "udp":
                return self._cut_short(server, answer)
            case "bad" | "truncated":
                if self._fallback is None:
                    self._fallback = answer
                return self._lost(server, now)
            case "foreign":
                return self._doubted() if transport == "udp" else self._lost(server, now)

    def failed(self, server: int, transport: Transport, now: float) -> list[Action]:
        """The socket to `server` reported an error: nothing will come from it."""
        if self.done or (transport == "udp" and server in self._streams):
            return []
        return self._lost(server, now)

    def _cut_short(self, server: int, answer: bytes) -> list[Action]:
        if not self._upgrade:
            return self._finish(answer)
        self._fallback = answer
        if server in self._streams:
            return []
        self._streams.add(server)
        return [Ask(server=server, transport="tcp")]

    def _doubted(self) -> list[Action]:
        """One more datagram that is no answer to us. When it is one too many, all who were asked are asked by TCP."""
        self._lies += 1
        if self._lies < LIES:
            return []
        asked = [server for server in self._open if server not in self._streams]
        self._streams.update(asked)
        self._queue = []
        return [Ask(server=server, transport="tcp") for server in asked]

    def _lost(self, server: int, now: float) -> list[Action]:
        """That server is out. Ask the next at once; without any left, that was it."""
        self._streams.discard(server)
        if server in self._open:
            self._open.remove(server)
        if server in self._queue:
            self._queue.remove(server)
        if not self._open:
            return self._finish(self._fallback)
        return self._ask_next(now) if self._queue else []

    def _ask_next(self, now: float) -> list[Action]:
        if not self._queue:
            self._next = self._started + DEADLINE
            return []
        server = self._queue.pop(0)
        self._next = now + HEDGE if self._queue else max(now + HEDGE, self._started + ROUND * (self._round + 1))
        return [Ask(server=server, transport="udp")]

    def _finish(self, answer: bytes | None) -> list[Action]:
        self.done = True
        return [Done(answer=answer)]
