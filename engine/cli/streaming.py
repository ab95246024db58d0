"""Carries a conversation with a container's process: standard input up, output down, signals and window sizes aside.

One thread reads standard input, the caller's reads the connection. Without a TTY the connection carries frames (see
engine.streams); the end of standard input is a half-close, so that output can go on. Does I/O on sockets.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from engine.cli import terminal
from engine.client import Client, ClientError
from engine.streams import STDERR, Decoder

_PIECE = 64 * 1024
_FORWARDED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2,
              signal.SIGALRM, signal.SIGCONT)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """How to talk: with a TTY or in frames, with standard input or without, and what detaches (nothing if empty)."""

    tty: bool
    stdin: bool
    detach_keys: bytes = b""
    stdout: bool = True
    stderr: bool = True


def converse(sock: socket.socket, how: Conversation, source: int = 0) -> bool:
    """Talk until the other side has no more to say. Returns whether the user detached. Closes the socket."""
    detached = threading.Event()
    with sock, ExitStack() as stack:
        if how.stdin:
            if how.tty:
                stack.enter_context(terminal.raw(source))
            threading.Thread(target=_send, args=(sock, how, source, detached), daemon=True).start()
        else:
            _half_close(sock)
        receive(_pieces(sock), how)
    return detached.is_set()


def _pieces(sock: socket.socket) -> Iterator[bytes]:
    try:
        while piece := sock.recv(_PIECE):
            yield piece
    except ConnectionResetError:
        return


def receive(pieces: Iterator[bytes], how: Conversation) -> None:
    """Print what comes: raw with a TTY, else frames on the stream each belongs to."""
    out, err = sys.stdout.buffer, sys.stderr.buffer
    decoder = Decoder()
    for piece in pieces:
        if how.tty:
            _write(out, piece)
            continue
        for frame in decoder.feed(piece):
            if frame.stream == STDERR and how.stderr:
                _write(err, frame.data)
            elif frame.stream != STDERR and how.stdout:
                _write(out, frame.data)


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()


def _send(sock: socket.socket, how: Conversation, source: int, detached: threading.Event) -> None:
    keys = terminal.KeyFilter(how.detach_keys) if how.detach_keys else None
    try:
        while data := os.read(source, _PIECE):
            found = False
            if keys is not None:
                data, found = keys.feed(data)
            sock.sendall(data)
            if found:
                detached.set()
                sock.shutdown(socket.SHUT_RDWR)
                return
    except OSError:
        return  # the other side has gone; whoever reads from it notices
    _half_close(sock)


def _half_close(sock: socket.socket) -> None:
    with suppress(OSError):  # already gone: the reader sees the end
        sock.shutdown(socket.SHUT_WR)


def _post(host: str, path: str, query: Mapping[str, object]) -> None:
    """A request on a connection of its own: it may come in the middle of another."""
    with closing(Client(host)) as client:
        client.request("POST", path, query).read()


@contextmanager
def forwarded_signals(host: str, container: str) -> Generator[None]:
    """Every signal that reaches us goes to the container's process instead."""

    def forward(number: int, _: object) -> None:
        name = signal.Signals(number).name.removeprefix("SIG")
        with suppress(ClientError):  # it has gone already: there is nobody left to tell
            _post(host, f"/containers/{container}/kill", {"signal": name})

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resizer(host: str, path: str) -> Callable[[], None]:
    """A function that tells the daemon the size of our terminal; `path` is /containers/{id} or /exec/{id}."""

    def resize() -> None:
        rows, columns = terminal.size(1)
        if not rows or not columns:
            return
        with suppress(ClientError):  # a process that has gone has no size
            _post(host, f"{path}/resize", {"h": rows, "w": columns})

    return resize
