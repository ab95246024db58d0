"""Small requests over TCP, in processes of their own: `serve PORT`, or `ask ADDRESS PORT SECONDS [anew]`.

A server gives back every octet that it gets. An asker prints how many times a second it had an octet given back: over
one connection, or `anew` over a new one each time. Connections are ended by a reset, which leaves no port waiting.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
import time
from contextlib import suppress

ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER: on, no time


def connected(address: str, port: int) -> socket.socket:
    made = socket.create_connection((address, port), timeout=10)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABRUPT)
    return made


def once(over: socket.socket) -> None:
    over.send(b"x")
    if not over.recv(1):
        raise ConnectionError("hung up")


def over_one(address: str, port: int, seconds: float) -> float:
    with connected(address, port) as link:
        done, begun = 0, time.perf_counter()
        while time.perf_counter() < begun + seconds:
            once(link)
            done += 1
    return done / seconds


def anew(address: str, port: int, seconds: float) -> float:
    done, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        with connected(address, port) as link:
            once(link)
        done += 1
    return done / (time.perf_counter() - begun)


def echo(link: socket.socket) -> None:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with link, suppress(ConnectionError):
        while data := link.recv(4096):
            link.send(data)


def serve(port: int) -> None:
    """Until killed. One asker at a time is served without a thread: a thread would be half of the time measured."""
    with socket.create_server(("0.0.0.0", port), backlog=1024) as server:
        threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown(socket.SHUT_RDWR)), daemon=True).start()
        print("ready", flush=True)
        with suppress(OSError):
            while True:
                echo(server.accept()[0])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["ask", address, port, seconds, *new]:
            print((anew if new else over_one)(address, int(port), float(seconds)))
