"""Carries a conversation with a container's process: standard input up, output down, signals and window sizes aside.

One thread reads standard input, the caller's reads the connection. Without a TTY the connection carries frames (see
engine.streams), which are printed as they come, not when they are complete; the end of standard input is a half-close,
so that output can go on. Does I/O on sockets. Its imports are few, as every attached command has it in its path.
"""

from __future__ import annotations

import posix
import sys
from _socket import SHUT_RDWR, SHUT_WR

from engine.cli import terminal
from engine.cli.frames import arriving, show, write
from engine.cli.records import record
from engine.cli.scopes import Ignored, Scopes, scoped
from engine.client import Client, ClientError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Generator, Iterator, Mapping

    from engine.client import Connection
else:
    import _signal as signal  # the same functions and numbers, without the enumerations

_PIECE = 64 * 1024
_FORWARDED: dict[int, str] = {
    signal.SIGHUP: "HUP",
    signal.SIGINT: "INT",
    signal.SIGQUIT: "QUIT",
    signal.SIGTERM: "TERM",
    signal.SIGUSR1: "USR1",
    signal.SIGUSR2: "USR2",
    signal.SIGALRM: "ALRM",
    signal.SIGCONT: "CONT",
}


@record
class Conversation:
    """How to talk: with a TTY or in frames, with standard input or without, and what detaches (nothing if empty)."""

    tty: bool
    stdin: bool
    detach_keys: bytes = b""
    stdout: bool = True
    stderr: bool = True


def converse(sock: Connection, how: Conversation, source: int = 0) -> bool:
    """Talk until the other side has no more to say. Returns whether the user detached. Closes the socket."""
    with sock, Scopes() as stack:
        if not how.stdin:
            _half_close(sock)
            receive(arriving(sock), how)
            return False
        import threading

        if how.tty:
            stack.enter_context(terminal.raw(source))
        typed = _Input(sock, how, source)
        threading.Thread(target=typed.pump, daemon=True).start()
        receive(arriving(sock), how)
        return typed.detached


def receive(pieces: Iterator[bytes], how: Conversation) -> None:
    """Print what comes: raw with a TTY, else frames on the stream each belongs to."""
    if not how.tty:
        show(pieces, stdout=how.stdout, stderr=how.stderr)
        return
    for piece in pieces:
        write(sys.stdout.buffer, piece)


class _Input:
    """Carries what is typed to the other side, in a thread of its own, until its end or the keys that detach."""

    def __init__(self, sock: Connection, how: Conversation, source: int) -> None:
        self.detached = False
        self._sock = sock
        self._source = source
        self._keys = terminal.KeyFilter(how.detach_keys) if how.detach_keys else None

    def pump(self) -> None:
        try:
            while data := posix.read(self._source, _PIECE):
                found = False
                if self._keys is not None:
                    data, found = self._keys.feed(data)
                self._sock.sendall(data)
                if found:
                    self.detached = True
                    self._sock.shutdown(SHUT_RDWR)
                    return
        except OSError:
            return  # the other side has gone; whoever reads from it notices
        _half_close(self._sock)


def _half_close(sock: Connection) -> None:
    with Ignored(OSError):  # already gone: the reader sees the end
        sock.shutdown(SHUT_WR)


def _post(host: str, path: str, query: Mapping[str, object]) -> None:
    """A request on a connection of its own: it may come in the middle of another."""
    client = Client(host)
    try:
        client.request("POST", path, query).read()
    finally:
        client.close()


@scoped
def forwarded_signals(host: str, container: str) -> Generator[None]:
    """Every signal that reaches us goes to the container's process instead."""

    def forward(number: int, _: object) -> None:
        with Ignored(ClientError):  # it has gone already: there is nobody left to tell
            _post(host, f"/containers/{container}/kill", {"signal": _FORWARDED[number]})

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
        with Ignored(ClientError):  # a process that has gone has no size
            _post(host, f"{path}/resize", {"h": rows, "w": columns})

    return resize
