"""Streams between a container and a client: frames and sessions, without I/O.

A frame is a stream number (0 stdin, 1 stdout, 2 stderr) with bytes. Without a TTY, Docker multiplexes frames on one
connection with an 8-byte header: the number, three zero bytes, the payload's length as a big-endian 32-bit number.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Protocol

STDIN, STDOUT, STDERR = 0, 1, 2
_HEADER = struct.Struct(">BxxxI")


@dataclass(frozen=True, slots=True)
class Frame:
    """Some bytes of one stream."""

    stream: int
    data: bytes


class Session(Protocol):
    """A conversation with a process: what attach and exec give. Reading blocks; one thread reads, another writes."""

    tty: bool

    def read(self) -> Frame | None:
        """The next output, or None at its end."""
        ...

    def write(self, data: bytes) -> None:
        """Feed standard input. Dropped silently once the process has gone."""
        ...

    def close_input(self) -> None:
        """End of standard input."""
        ...

    def close(self) -> None:
        """Let go of the process, which goes on without us. Wakes up a blocked `read`."""
        ...


def encode(frame: Frame) -> bytes:
    """The frame as Docker's multiplexed stream has it."""
    return _HEADER.pack(frame.stream, len(frame.data)) + frame.data


class Decoder:
    """Cuts a multiplexed stream back into frames, however it was chunked."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= _HEADER.size:
            stream, length = _HEADER.unpack_from(self._buffer)
            end = _HEADER.size + length
            if len(self._buffer) < end:
                break
            frames.append(Frame(stream, bytes(self._buffer[_HEADER.size : end])))
            del self._buffer[:end]
        return frames
