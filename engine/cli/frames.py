"""What comes from a container's process without a TTY: frames, printed as they come, not when they are complete.

See engine.streams for what a frame is. It is on the fast path of `exec`, and imports next to nothing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from engine.client import Connection

_PIECE = 64 * 1024
_STDERR = 2
_HEADER = 8


def arriving(sock: Connection) -> Iterator[bytes]:
    """What the other side sends, until it has no more to say."""
    try:
        while piece := sock.recv(_PIECE):
            yield piece
    except ConnectionResetError:
        return


def show(pieces: Iterator[bytes], *, stdout: bool = True, stderr: bool = True) -> None:
    """Print each frame on the stream it belongs to, if that is wanted."""
    out, err = sys.stdout.buffer, sys.stderr.buffer
    frames = _Frames()
    for piece in pieces:
        for stream, data in frames.feed(piece):
            if stream == _STDERR and stderr:
                write(err, data)
            elif stream != _STDERR and stdout:
                write(out, data)


def write(stream: BinaryIO, data: bytes) -> None:
    """At once."""
    stream.write(data)
    stream.flush()


class _Frames:
    """Takes frames apart, however they were cut: whose bytes these are, without waiting for the rest of a frame."""

    def __init__(self) -> None:
        self._header = b""
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        while data:
            if not self._left:
                missing = _HEADER - len(self._header)
                self._header, data = self._header + data[:missing], data[missing:]
                if len(self._header) == _HEADER:
                    self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
                    self._header = b""
                continue
            piece, data = data[: self._left], data[self._left :]
            self._left -= len(piece)
            yield self._stream, piece
