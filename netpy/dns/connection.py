"""One asker's TCP connection: messages with two octets of length before each, any number of them (RFC 7766).

Answers go out as they come. Who asks faster than it listens is not read from until it does; who says nothing whole for
`IDLE` seconds, or announces more than any question needs, is hung up on. Many questions in one piece wait for their
turns in the asker's lane like everything else. I/O: the connection, through the `Lane`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Protocol

from netpy.dns.loop import READ, WRITE, Lane
from netpy.dns.resolver import LONGEST_QUERY

IDLE = 10.0  # seconds without a whole query before a connection is closed
_BACKLOG = 65536  # octets that an asker may leave unread before no more of its queries are read
_CHUNK = 4096


class Answer(Protocol):
    def __call__(self, packet: bytes, *, stream: bool, deliver: Callable[[bytes], None]) -> bool:
        """Whether an answer to `packet` was delivered or will be; False where there will be none."""
        ...


class Connection:
    """Lives until the asker has gone, has been idle for too long, or `close` is called; `closed` is told."""

    def __init__(
        self, lane: Lane, accepted: socket.socket, answer: Answer, closed: Callable[[Connection], None]
    ) -> None:
        self._lane = lane
        self._socket = accepted
        self._answer = answer
        self._closed = closed
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._pending = 0  # queries whose answers are still to come
        self._finished = False  # the asker has sent its last; it may still be listening
        self._busy = False  # a whole query waits for its turn
        self._heard = lane.loop.now()
        self._idle = lane.loop.at(self._heard + IDLE, self._check_idle)
        accepted.setblocking(False)
        lane.watch(accepted, READ, self._ready)

    def close(self) -> None:
        self._idle.cancel()
        self._lane.close(self._socket)
        self._pending = 0
        self._closed(self)

    def _ready(self, events: int) -> None:
        try:
            if events & WRITE and self._outgoing:
                del self._outgoing[: self._socket.send(self._outgoing)]
            if events & READ and self._reading:
                chunk = self._socket.recv(_CHUNK)
                self._incoming += chunk
                self._finished = not chunk
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._settle()

    @property
    def _reading(self) -> bool:
        return not self._finished and not self._busy and len(self._outgoing) < _BACKLOG

    def _work(self) -> None:
        """Answer the first of the whole queries."""
        self._busy = False
        if self._socket.fileno() < 0:
            return
        end = 2 + self._announced
        message = bytes(self._incoming[2:end])
        del self._incoming[:end]
        self._heard = self._lane.loop.now()
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

    @property
    def _announced(self) -> int:
        return int.from_bytes(self._incoming[:2], "big")

    def _settle(self) -> None:
        """Arrange for what is useful now: the next query's turn, room for answers, more queries, or the end."""
        if self._socket.fileno() < 0:
            return
        whole = len(self._incoming) >= 2 and len(self._incoming) >= 2 + self._announced
        if whole and not self._busy and len(self._outgoing) < _BACKLOG:
            self._busy = True
            self._lane.soon(self._work)
        over = self._finished and not (self._pending or self._outgoing or self._busy)
        if over or self._announced > LONGEST_QUERY:
            self.close()
            return
        events = (WRITE if self._outgoing else 0) | (READ if self._reading else 0)
        if events:
            self._lane.watch(self._socket, events, self._ready)
        else:
            self._lane.forget(self._socket)  # nothing to do before an answer comes

    def _check_idle(self) -> None:
        due = self._heard + IDLE
        if due <= self._lane.loop.now():
            self.close()
        else:
            self._idle = self._lane.loop.at(due, self._check_idle)
