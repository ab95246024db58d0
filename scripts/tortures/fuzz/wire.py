"""Hostile bytes on the daemon's socket: what breaks the rules of HTTP, and what keeps them but wastes its time.

What comes back is a refusal, or nothing but an end. Afterwards an honest request is answered, and threads and
descriptors are back where they were.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Iterable

from scripts.tortures.fuzz.stage import Stage, stage
from scripts.tortures.tally import Tally

PATIENCE = 20.0
PING = b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n"
_POST = b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
_UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED = {
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) + b"\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /_ping\r\n\r\n",
    "a version of tomorrow": b"GET /_ping HTTP/9.9\r\n\r\n",
    "a head of a megabyte": b"GET /_ping HTTP/1.1\r\nX: " + b"a" * (1 << 20) + b"\r\n\r\n",
    "a head without an end": b"GET /_ping HTTP/1.1\r\n" + b"X: y\r\n" * 60_000,
    "a line folded": b"GET /_ping HTTP/1.1\r\nHost: x\r\n folded\r\n\x00: y\r\n\r\n",
    "a NUL in a header": b"GET /_ping HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "a bare line feed": b"GET /_ping HTTP/1.1\nHost: x\n\n",
    "a space before the colon": b"GET /_ping HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc",
    "two lengths": _POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length below nothing": _POST + b"Content-Length: -1\r\n\r\n",
    "a length in hexadecimal": _POST + b"Content-Length: 0x10\r\n\r\n",
    "a length beyond everything": _POST + b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a length and chunks": _POST + b"Content-Length: 3\r\n" + _CHUNKED + b"0\r\n\r\n",
    "chunks twice": _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunks of another coding": _POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "less than was announced": _POST + b"Content-Length: 1000\r\n\r\n{}",
    "a chunk without a length": _POST + _CHUNKED + b"\r\n{}\r\n",
    "a chunk of no number": _POST + _CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n",
    "a chunk below nothing": _POST + _CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond everything": _POST + _CHUNKED + b"fffffffffffffffffffffff\r\n{}",
    "a chunk longer than it said": _POST + _CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "a chunk cut off": _POST + _CHUNKED + b"100\r\n{}",
    "a chunk's extension without an end": _POST + _CHUNKED + b"2;" + b"a" * 100_000,
    "trailers without an end": _POST + _CHUNKED + b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 20_000,
    "a document too large": _POST + b"Content-Length: 5000000\r\n\r\n" + b" " * 5_000_000,
    "a document too deep": _POST + b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000,
    "a path that is no UTF-8": b"GET /containers/%ff%fe/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path with a NUL": b"GET /containers/%00/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path upwards": b"GET /containers/..%2f..%2fetc%2fpasswd/json HTTP/1.1\r\nHost: x\r\n\r\n",
    "a thousand parameters more": b"GET /containers/json?" + b"a=1&" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW /_ping HTTP/1.1\r\nHost: x\r\n\r\n",
    "a proxy's CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an upgrade of nothing": b"POST /containers/none/attach HTTP/1.1\r\n" + _UPGRADE + b"\r\n" + b"\xff" * 999,
    "an upgrade to something else": b"POST /grpc HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nPRI *",
    "an unknown expectation": _POST + b"Expect: 200-everything\r\nContent-Length: 2\r\n\r\n{}",
    "a WebSocket of no key": b"GET /containers/resident/attach/ws HTTP/1.1\r\n" + _UPGRADE + b"\r\n\x81\xff",
}  # fmt: skip


def attack(tally: Tally, *, seed: int, rounds: int, idle: int) -> None:
    """Every attack once, then `rounds` of spoilt requests, then so many connections that say nothing."""
    with stage("wire", tally) as it:
        for name, data in REFUSED.items():
            _expect(it, name, _said(it, [data]), range(400, 600))
        for name, way in PATIENT.items():
            tally.count("attacks on the wire")
            if wrong := way(it):
                it.blame(f"{name}: {wrong}")
        chance = random.Random(seed)
        for number in range(rounds):
            _expect(it, f"round {number} of seed {seed}", _said(it, _spoilt(chance)), range(100, 600))
        _crowd(it, idle)
        it.judge()


def _expect(it: Stage, name: str, answer: bytes | None, allowed: Iterable[int]) -> None:
    """An answer is one of these statuses or none at all; a hang, a traceback or an internal error is a finding."""
    it.tally.count("attacks on the wire")
    if answer is None:
        it.blame(f"{name}: no end within {PATIENCE:.0f} s")
    elif answer and (not answer.startswith(b"HTTP/1.1 ") or int(answer[9:12]) not in allowed):
        it.blame(f"{name}: answered {answer[:80]!r}")
    elif b"internal error" in (answer or b""):
        it.blame(f"{name}: {answer[-200:]!r}")
    for line in it.tracebacks():
        it.blame(f"{name}: traceback in the log: {line}")


def _said(it: Stage, pieces: Iterable[bytes], *, pause: float = 0) -> bytes | None:
    """All that comes back for these pieces, after which the client has no more to say; None when that never ends."""
    got = b""
    with _connected(it) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
            client.shutdown(socket.SHUT_WR)
            while data := client.recv(1 << 16):
                got += data
        except TimeoutError:
            return None
        except OSError:  # refused in the middle: what was said before that counts
            with contextlib.suppress(OSError):
                while data := client.recv(1 << 16):
                    got += data
    return got


def _connected(it: Stage) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))  # holds for connect
    client.connect(str(it.netpy.socket))  # blocks while the queue is full, as a client's does; with a timeout it fails
    client.settimeout(PATIENCE)
    return client


def _spoilt(chance: random.Random) -> list[bytes]:
    """One of the requests above or an honest one, with bytes changed, cut out and repeated, in pieces of any size."""
    data = bytearray(
        chance.choice([PING, PING * 3, _POST + _CHUNKED + b"2\r\n{}\r\n0\r\n\r\n", *REFUSED.values()])[:4000]
    )
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randint(1, 20)]
            case 2:
                data[at:at] = data[at : at + 50]
            case _:
                data[at:at] = chance.choice((b"\r\n", b"\r\n\r\n", b"\0", b":", b" ", b"chunked", b"HTTP/1.1", b"\n"))
        if not data:
            return [b"\r\n"]
    size = chance.choice((1, 7, 100, 5000)) if len(data) < 500 else 5000
    return [bytes(data[start : start + size]) for start in range(0, len(data), size)]


def _byte_by_byte(it: Stage) -> str:
    answer = _said(it, [bytes((byte,)) for byte in PING], pause=0.005)
    return "" if answer and answer.startswith(b"HTTP/1.1 200") else f"answered {answer!r}"


def _pipelined(it: Stage) -> str:
    answer = _said(it, [PING * 500]) or b""
    return "" if answer.count(b"HTTP/1.1 200 ") == 500 else f"{answer.count(b'HTTP/1.1 200 ')} answers to 500 requests"


def _smuggled(it: Stage) -> str:
    """What lies in a body is no request."""
    inner = b"DELETE /containers/resident?force=1 HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = _said(it, [_POST + b"Content-Length: %d\r\n\r\n" % len(inner) + inner + PING]) or b""
    return "" if answer.count(b"HTTP/1.1 ") == 2 else f"answered {answer!r}"


def _deaf(it: Stage) -> str:
    """Asks for much and reads nothing; somebody else is served meanwhile."""
    with _connected(it) as client:
        client.settimeout(1)
        with contextlib.suppress(OSError):
            client.sendall(b"GET /containers/resident/export HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        return "" if (_said(it, [PING]) or b"").startswith(b"HTTP/1.1 200") else "nobody else is served"


def _gone(it: Stage) -> str:
    """Asks and leaves at once, two hundred times, in the middle of heads, bodies and streams."""
    for number in range(200):
        with _connected(it) as client:
            client.sendall((PING, PING[:9], _POST + b"Content-Length: 99\r\n\r\n{", _STREAM, _LOGS)[number % 5])
    return "" if (_said(it, [PING]) or b"").startswith(b"HTTP/1.1 200") else "nobody is served any more"


_STREAM = b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n"
_LOGS = b"GET /containers/resident/logs?follow=1&stdout=1 HTTP/1.1\r\nHost: x\r\n\r\n"
PATIENT: dict[str, Callable[[Stage], str]] = {
    "a request byte by byte": _byte_by_byte,
    "500 requests at once": _pipelined,
    "a request within a body": _smuggled,
    "a client that does not read": _deaf,
    "200 clients that leave": _gone,
}


def _crowd(it: Stage, size: int) -> None:
    """So many connections without a word, and as many with half a head: an honest client is served none the less."""
    with contextlib.ExitStack() as stack:
        for number in range(size):
            client = stack.enter_context(_connected(it))
            if number % 2:
                client.sendall(PING[:20])
        it.tally.count("idle connections", size)
        answer = _said(it, [PING])
        if not (answer or b"").startswith(b"HTTP/1.1 200"):
            it.blame(f"beside {size} idle connections: answered {answer!r}")
