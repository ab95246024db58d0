"""The listening side of the API: sockets, one thread per connection, and an orderly end.

It decides how clients are let in and sent away; what they may ask is in the routes. It does I/O: it accepts on the
sockets that it is given, Unix or TCP (`engine.listening` makes them), and closes them at the end.
"""

from __future__ import annotations

import errno
import logging
import selectors
import socket
import threading
import time
from collections.abc import Sequence

from engine.api.connection import Connection, Handler
from engine.api.hangup import Hangups

log = logging.getLogger("netpy.api")

_BREATH = 0.1
"""Seconds to wait when descriptors or threads have run out: connections that end will free some."""


class Server:
    """Accepts until told to stop. `grace` is how long, in seconds, requests under way may take to finish then."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        handler: Handler,
        *,
        banner: tuple[tuple[str, str], ...] = (),
        grace: float = 5.0,
    ) -> None:
        self._sockets = list(sockets)
        self._handler = handler
        self._banner = banner
        self._grace = grace
        self._hangups = Hangups()
        self._open: dict[threading.Thread, Connection] = {}
        self._lock = threading.Lock()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set; returns when the last connection has ended."""
        heard, told = socket.socketpair()
        waiter = threading.Thread(target=_tell, args=(stop, told), name="api-stop", daemon=True)
        waiter.start()
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(heard, selectors.EVENT_READ)
                for listener in self._sockets:
                    listener.setblocking(False)
                    selector.register(listener, selectors.EVENT_READ)
                while not stop.is_set():
                    for key, _ in selector.select():
                        if key.fileobj is not heard:
                            self._accept(key.fileobj, stop)  # pyright: ignore[reportArgumentType]
        finally:
            for listener in self._sockets:
                listener.close()
            heard.close()
            self._finish()

    def _accept(self, listener: socket.socket, stop: threading.Event) -> None:
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            log.error("cannot accept a connection: %s", error)
            stop.wait(_BREATH)
            return
        sock.setblocking(True)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._serve(sock, stop)

    def _serve(self, sock: socket.socket, stop: threading.Event) -> None:
        connection = Connection(sock, self._handler, self._hangups, banner=self._banner)
        thread = threading.Thread(target=self._run, args=(connection,), name="api-connection", daemon=True)
        with self._lock:
            self._open[thread] = connection
        try:
            thread.start()
        except RuntimeError as error:
            log.error("cannot serve a connection: %s", error)
            with self._lock:
                del self._open[thread]
            sock.close()
            stop.wait(_BREATH)

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def _finish(self) -> None:
        """Idle connections end at once, streams are told, requests under way get their grace."""
        for connection in self._connections().values():
            connection.stop()
        self._hangups.close()
        deadline = time.monotonic() + self._grace
        for thread in self._connections():
            thread.join(max(0.0, deadline - time.monotonic()))
        for thread, connection in self._connections().items():
            connection.cut()
            thread.join(1.0)

    def _connections(self) -> dict[threading.Thread, Connection]:
        with self._lock:
            return dict(self._open)


def _tell(stop: threading.Event, told: socket.socket) -> None:
    stop.wait()
    told.close()
