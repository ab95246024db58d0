"""Streams of numbered datagrams, sent every few milliseconds, that count what does not come back.

A socket belongs to the network namespace that it was made in, wherever its process is: so all of it happens in threads
of this process. `Echo` stands in for a program in a container; `Stream` sends to it, or asks a name server.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

CLONE_NEWNET = 0x40000000
INTERVAL = 0.005  # seconds between datagrams
PATIENCE = 1.0  # seconds after which an answer is late enough to be called lost
ECHO = 7


def udp_socket(net: str) -> socket.socket:
    """A UDP socket in the network namespace at a path. The thread that went there ends."""

    def make() -> socket.socket:
        with open(net) as handle:
            if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), net)
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


class Echo:
    """Sends back what it is sent, at port 7 of a namespace."""

    def __init__(self, net: str) -> None:
        self._socket = udp_socket(net)
        self._socket.bind(("0.0.0.0", ECHO))
        self._socket.settimeout(0.2)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                data, sender = self._socket.recvfrom(2048)
                self._socket.sendto(data, sender)
            except OSError:
                continue

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()


def numbered(number: int) -> bytes:
    return struct.pack("!I", number)


def number_of(datagram: bytes) -> int | None:
    return struct.unpack("!I", datagram[:4])[0]


def question(name: str) -> Callable[[int], bytes]:
    """A query for the A record of a name, with the number as its id."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return lambda number: struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"


def answered(datagram: bytes) -> int | None:
    """The id of a reply that holds an answer; nothing when it holds none."""
    number, flags, _questions, answers = struct.unpack("!4H", datagram[:8])
    return number if answers and not flags & 0xF else None


class Stream:
    """A stream from a namespace to one address; `pack` makes a datagram of a number, `unpack` a number of a reply."""

    def __init__(
        self,
        net: str,
        to: tuple[str, int],
        pack: Callable[[int], bytes] = numbered,
        unpack: Callable[[bytes], int | None] = number_of,
    ) -> None:
        self._socket = udp_socket(net)
        self._socket.setblocking(False)
        self._to, self._pack, self._unpack = to, pack, unpack
        self.sent = 0
        self._came: set[int] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        while not self._over.wait(INTERVAL):
            with contextlib.suppress(OSError):  # unreachable: the number stays unanswered, which is what is counted
                self._socket.sendto(self._pack(self.sent), self._to)
            self.sent += 1
            self._receive()

    def _receive(self) -> None:
        while True:
            try:
                number = self._unpack(self._socket.recv(2048))
            except OSError:
                return
            if number is not None:
                self._came.add(number)

    def end(self) -> tuple[int, int]:
        """How many were sent and how many of them never came back. Ids are of 16 bits: end before 65,536."""
        self._over.set()
        self._thread.join()
        deadline = time.monotonic() + PATIENCE
        while len(self._came) < self.sent and time.monotonic() < deadline:
            time.sleep(0.05)
            self._receive()
        self._socket.close()
        return self.sent, self.sent - len(self._came)
