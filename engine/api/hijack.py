"""Connections taken over: an attach or exec session and its client, joined until one of them ends.

It decides how frames are put on the wire (multiplexed, or raw with a TTY), what the end of the client's stream
means, and when the detach keys were struck. What a session is, `engine.streams` says; who gives one,
`engine.containers`. It does I/O on the client's socket.

A client without standard input half-closes at once and still waits for output, so the end of its stream must never
end the session by itself. With input, it is the end of standard input where the process is to see it, and otherwise
the client's farewell, as in Docker.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from engine.api.wire import Wire
from engine.streams import Session, encode
from netpy.errors import InvalidArgument

MULTIPLEXED = "application/vnd.docker.multiplexed-stream"
RAW = "application/vnd.docker.raw-stream"
DEFAULT_KEYS = "ctrl-p,ctrl-q"
_PIECE = 32 * 1024
_LINGER = 5.0


class Carrier(Protocol):
    """What carries bytes between a client and us, until one of us has had enough."""

    def receive(self) -> bytes: ...
    def send(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def cut(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Channel:
    """What is left of a connection after its answer: raw bytes both ways."""

    wire: Wire

    def receive(self) -> bytes:
        """Bytes from the client; empty at the end of its stream, and when it has gone."""
        try:
            return self.wire.take(_PIECE)
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        self.wire.sock.sendall(data)

    def finish(self) -> None:
        """No more output. What the client still sends is thrown away for a while, lest a reset eats our output."""
        with contextlib.suppress(OSError):
            self.wire.sock.shutdown(socket.SHUT_WR)
            self.wire.sock.settimeout(_LINGER)

    def cut(self) -> None:
        """Wake up whoever reads."""
        with contextlib.suppress(OSError):
            self.wire.sock.shutdown(socket.SHUT_RDWR)


class DetachKeys:
    """Finds a key sequence in typed input, across pieces; withholds what may be its beginning."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """The bytes to pass on, and whether the sequence was completed (what follows it is dropped)."""
        passed = bytearray()
        for byte in data:
            if self._keys and byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    self._matched = 0
                    return bytes(passed), True
                continue
            passed += self._keys[: self._matched]
            self._matched = int(bool(self._keys) and byte == self._keys[0])
            if not self._matched:
                passed.append(byte)
        return bytes(passed), False


def parse_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` or `a,b` as the bytes that a terminal sends; the default for an empty text."""
    return bytes(_key(key) for key in (text or DEFAULT_KEYS).split(","))


def _key(key: str) -> int:
    if len(key) == 1 and key.isascii():
        return ord(key)
    control = key.removeprefix("ctrl-")
    if control != key and len(control) == 1 and control in "@abcdefghijklmnopqrstuvwxyz[\\]^_":
        return ord(control.upper()) & 0x1F
    raise InvalidArgument(f"invalid detach key {key!r}: a single character or ctrl-<character> is wanted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a session and a client are joined.

    `stdin`: the client's bytes are the process's input. `close_input`: the end of those is the end of that.
    `keys`: the sequence that detaches, empty for none. `framed`: output is multiplexed, with a header per frame.
    """

    stdin: bool
    framed: bool
    close_input: bool = True
    keys: bytes = b""


class Joint:
    """A client and a session, joined until the session's output ends, the client leaves, or it detaches."""

    def __init__(self, begin: Callable[[], Session], terms: Terms) -> None:
        self._begin = begin
        self._session: Session | None = None
        self._terms = terms
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._stopping = False

    def run(self, channel: Carrier) -> None:
        """Begin the session and carry bytes both ways; returns at the end."""
        session = self._begin()
        with self._lock:
            self._session = session
            late = self._over.is_set()
        if late:  # the client left while the session began: see `leave`
            self._part(session)
        feeder = threading.Thread(target=self._feed, args=(channel, session), name="api-stdin", daemon=True)
        feeder.start()
        try:
            while (frame := session.read()) is not None:
                channel.send(encode(frame) if self._terms.framed else frame.data)
        except OSError:  # the client has gone; the container has not
            if not self._stopping:
                self._end_input(session)
        finally:
            patience = 0.0 if self._over.is_set() else _LINGER
            self._over.set()
            session.close()
            channel.finish()
            feeder.join(patience)
            channel.cut()
            feeder.join()

    def leave(self, *, stopping: bool) -> None:
        """The client has gone, which ends a single input; or we stop, which must not: the process goes on."""
        with self._lock:
            self._over.set()
            self._stopping = stopping
            session = self._session
        if session is not None:
            self._part(session)

    def _part(self, session: Session) -> None:
        if not self._stopping:
            self._end_input(session)
        session.close()

    def _feed(self, channel: Carrier, session: Session) -> None:
        keys = DetachKeys(self._terms.keys)
        while data := channel.receive():
            if not self._terms.stdin:
                continue
            data, detached = keys.feed(data)
            if data:
                session.write(data)
            if detached:
                session.close()
                return
        if not self._over.is_set():
            self._end_input(session)

    def _end_input(self, session: Session) -> None:
        if self._terms.stdin:
            session.close_input() if self._terms.close_input else session.close()
