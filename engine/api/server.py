"""The listening side of the API: sockets, one thread per connection, and an orderly end.

It decides how clients are let in and sent away; what they may ask is in the routes. It does I/O: it accepts on the
sockets that it is given, Unix or TCP, and closes them at the end.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import logging
import os
import selectors
import socket
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from engine.api.connection import Connection, Handler
from engine.api.hangup import Hangups
from netpy.errors import Conflict, InvalidArgument, KernelError

log = logging.getLogger("netpy.api")

_BACKLOG = 1024
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


def listen(host: str, *, group: str = "") -> socket.socket:
    """A listening socket for `unix:///path` or `tcp://address:port`, ready for `serve`.

    A Unix socket is 0660 and belongs to the group, as Docker's does to `docker`. What a dead daemon left at the path
    is replaced; a living one is a Conflict.
    """
    scheme, _, rest = host.partition("://")
    try:
        if scheme == "unix" and rest.startswith("/"):
            return _listen_unix(Path(rest), group)
        name, _, port = rest.rpartition(":")
        if scheme == "tcp" and port.isdigit():
            family = socket.AF_INET6 if ":" in name else socket.AF_INET
            return socket.create_server((name.strip("[]"), int(port)), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise KernelError(f"cannot listen on {host}: {error.strerror or error}") from error
    raise InvalidArgument(f"cannot listen on {host!r}: write unix:///path/to/socket or tcp://address:port")


def _listen_unix(path: Path, group: str) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # nobody may connect before the owner is right; bind() takes it over
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    with contextlib.suppress(KeyError):  # as dockerd: without the group, root alone may connect
        os.chown(path, -1, grp.getgrnam(group).gr_gid if group else os.getgid())
    path.chmod(0o660)
    listener.listen(_BACKLOG)
    return listener


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"cannot listen on unix://{path}: a file that is not a socket is there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise Conflict(f"cannot listen on unix://{path}: another daemon is serving there")
