"""Many datagrams by one system call: what takes the most time of a cheap answer is not the answer.

`recvfrom` and `sendto` cost a transition each, and objects for every address. Here `recvmmsg` puts up to `SIZE`
datagrams into buffers that are made once, the answers are laid beside them, and `sendmmsg` sends them to the very
addresses that the kernel wrote, which are looked at only where an answer has to wait. See recvmmsg(2), sendmmsg(2).
I/O: the sockets that are lent to it. Nothing else in the project lays out memory for the kernel to fill.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import socket
from collections.abc import Callable

SIZE = 32  # datagrams in a batch
_SLOT = 4352  # octets for each of them: more than any query or answer of ours over UDP; longer ones come cut off
_DONTWAIT = socket.MSG_DONTWAIT

Peer = tuple[str, int]


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """`struct msghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.c_void_p),
        ("vector_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Header(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (("message", _Message), ("length", ctypes.c_uint))


_libc = ctypes.CDLL(None)
_receive = _libc.recvmmsg
_receive.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
_send = _libc.sendmmsg
_send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
_ADDRESS = 16  # octets of a sockaddr_in


class Batch:
    """Buffers for `SIZE` IPv4 datagrams each way. One is enough for a thread: it is empty between two calls."""

    def __init__(self) -> None:
        self._inbox, self._outbox = mmap.mmap(-1, SIZE * _SLOT), mmap.mmap(-1, SIZE * _SLOT)
        self._peers = mmap.mmap(-1, SIZE * _ADDRESS)
        self._vectors = (_Vector * (2 * SIZE))()
        self._headers = (_Header * (2 * SIZE))()
        self._lay_out(0, self._inbox)
        self._lay_out(SIZE, self._outbox)
        self._incoming = ctypes.addressof(self._headers)
        self._outgoing = ctypes.addressof(self._headers[SIZE])
        step = ctypes.sizeof(_Header) // 4
        self._received = memoryview(self._headers).cast("B").cast("I")[_Header.length.offset // 4 :: step]
        self._sizes = memoryview(self._vectors).cast("B").cast("L")[2 * SIZE + 1 :: 2]
        self._places = tuple(range(0, SIZE * _SLOT, _SLOT))

    def _lay_out(self, first: int, box: mmap.mmap) -> None:
        peers, octets = (ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (self._peers, box))
        for n in range(SIZE):
            vector, message = self._vectors[first + n], self._headers[first + n].message
            vector.base, vector.length = octets + n * _SLOT, _SLOT
            message.name, message.name_length = peers + n * _ADDRESS, _ADDRESS
            message.vectors, message.vector_count = ctypes.addressof(vector), 1

    def exchange(self, source: socket.socket, answer: Callable[[bytes], bytes | None]) -> list[tuple[bytes, Peer]]:
        """Take what has come in, up to `SIZE` datagrams, and send what `answer` says to each; those for which it
        has nothing to say are returned. An answer that cannot be sent is lost: whoever asked will ask again."""
        fd = source.fileno()
        count: int = _receive(fd, self._incoming, SIZE, _DONTWAIT, None)
        left: list[tuple[bytes, Peer]] = []
        inbox, outbox, sizes = self._inbox, self._outbox, self._sizes
        start = n = 0  # where the present run of answers begins, and the datagram looked at
        for at, length in zip(self._places, self._received[: max(0, count)].tolist(), strict=False):
            packet = inbox[at : at + length]
            said = answer(packet)
            if said is not None and len(said) <= _SLOT:
                outbox[at : at + len(said)] = said
                sizes[n] = len(said)
            else:
                self._flush(fd, start, n)
                start = n + 1
                if said is None:
                    left.append((packet, self._peer(n)))
                else:
                    with contextlib.suppress(OSError):
                        source.sendto(said, self._peer(n))
            n += 1
        self._flush(fd, start, n)
        return left

    def _flush(self, fd: int, start: int, end: int) -> None:
        """Send the answers from `start` up to `end`."""
        while start < end:
            sent: int = _send(fd, self._outgoing + start * ctypes.sizeof(_Header), end - start, _DONTWAIT)
            start += max(1, sent)  # the one that the kernel stopped at cannot be sent

    def _peer(self, n: int) -> Peer:
        """Who sent the datagram of that number: family, port and address of a sockaddr_in."""
        name = self._peers[n * _ADDRESS : (n + 1) * _ADDRESS]
        return socket.inet_ntoa(name[4:8]), int.from_bytes(name[2:4], "big")
