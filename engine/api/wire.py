"""Bytes of one connection: heads, counted and chunked bodies, and the raw rest after a hijack.

It decides where one part of the stream ends and the next begins, and leaves the meaning of a head to
`engine.api.request`. It does I/O on its socket. All framing stands on our own buffer instead of the parser's,
because a parser that has been fed too much cannot give back what followed an Upgrade request: those bytes are
a container's standard input.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.api.errors import BadRequest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_LIMIT = 256 * 1024
_LINE_LIMIT = 4 * 1024
_PIECE = 64 * 1024


class Wire:
    """A socket with what was read from it and not yet used."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()

    def head(self) -> bytes:
        """The next request's head with its blank line; empty at a clean end of the stream."""
        end, searched = -1, 0
        while end < 0:
            while self._buffer.startswith(b"\r\n"):  # old clients send a stray line end after a body: RFC 9112, 2.2
                del self._buffer[:2]
            end = self._buffer.find(b"\r\n\r\n", max(0, searched - 3), HEAD_LIMIT + 4)
            searched = len(self._buffer)
            if end < 0 and searched > HEAD_LIMIT:
                raise BadRequest(f"request header larger than {HEAD_LIMIT} bytes", status=431)
            if end < 0 and not self._fill():
                if not self._buffer.strip():
                    return b""
                raise BadRequest("malformed HTTP request: the header is incomplete")
        return self._cut(end + 4)

    def take(self, most: int) -> bytes:
        """Some bytes, at most `most`; empty at the end of the stream."""
        if not self._buffer:
            return self.sock.recv(min(most, _PIECE))
        return self._cut(min(most, len(self._buffer)))

    def line(self) -> bytes:
        """A line without its CRLF, as chunked bodies are framed with."""
        while (end := self._buffer.find(b"\r\n", 0, _LINE_LIMIT)) < 0:
            if len(self._buffer) >= _LINE_LIMIT or not self._fill():
                raise BadRequest("malformed chunked encoding: no line end where one is due")
        return self._cut(end + 2)[:-2]

    def _fill(self) -> bool:
        piece = self.sock.recv(_PIECE)
        self._buffer += piece
        return bool(piece)

    def _cut(self, size: int) -> bytes:
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece


class Body(io.RawIOBase):
    """A request's body as a raw binary stream. `length` is None for a chunked one.

    `before` is called once, before the first read that waits for the client: an `Expect: 100-continue` is answered
    there, so that a refused request is never uploaded.
    """

    def __init__(self, wire: Wire, length: int | None, before: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._wire = wire
        self._chunked = length is None
        self._left = length or 0
        self._done = length == 0
        self._before = before
        self._broken = False

    @property
    def broken(self) -> bool:
        """Whether its framing made no sense, so that its end cannot be found."""
        return self._broken

    @property
    def complete(self) -> bool:
        """Whether it was read to its end."""
        return self._done

    @property
    def withheld(self) -> bool:
        """Whether the client still waits for our go-ahead before it sends anything."""
        return self._before is not None and not self._done

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        try:
            piece = self._piece(len(view))
        except BadRequest:
            self._broken = True
            raise
        view[: len(piece)] = piece
        return len(piece)

    def _piece(self, most: int) -> bytes:
        if self._done or not most:
            return b""
        if self._before is not None:
            self._before()
            self._before = None
        if self._chunked and not self._left and not self._next_chunk():
            return b""
        piece = self._wire.take(min(most, self._left))
        if not piece:
            raise BadRequest("the connection ended in the middle of the request's body")
        self._left -= len(piece)
        if self._chunked and not self._left and self._wire.line():
            raise BadRequest("malformed chunked encoding: a chunk is longer than it said")
        self._done = not self._chunked and not self._left
        return piece

    def _next_chunk(self) -> bool:
        digits = self._wire.line().partition(b";")[0].strip()
        if not digits or len(digits) > 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise BadRequest("malformed chunked encoding: a chunk's length is not a hexadecimal number")
        self._left = int(digits, 16)
        if not self._left:
            while self._wire.line():
                pass  # trailers carry nothing that we use
            self._done = True
        return not self._done
