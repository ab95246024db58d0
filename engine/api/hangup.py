"""Clients that go away while we have nothing to send them.

A thread that waits for the next event, log line or exit cannot notice that its client has left; without help it would
wait for ever. One thread watches all such connections with epoll and calls back. It does I/O on epoll only; what to
end, the callback decides.
"""

from __future__ import annotations

import logging
import select
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

log = logging.getLogger("netpy.api")


class OnHangup(Protocol):
    """What is called when a client has gone, or, with `stopping`, when the server ends the conversation."""

    def __call__(self, *, stopping: bool) -> None: ...


class Hangups:
    """Calls back when the other side of a socket has gone, or when the server stops.

    A Unix client that merely ended its own stream (`shutdown(SHUT_WR)`) has not gone: its kernel tells us the
    difference. TCP has no such sign before we write, so there the end of the client's stream counts.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._wake, self._woken = socket.socketpair()
        self._epoll.register(self._woken, select.EPOLLIN)
        self._watched: dict[int, tuple[int, OnHangup]] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="api-hangups", daemon=True)
        self._thread.start()

    @contextmanager
    def watch(self, sock: socket.socket, callback: OnHangup) -> Generator[None]:
        """Call back, at most once and from another thread, if the client leaves within the `with` block."""
        gone = select.EPOLLHUP | (0 if sock.family == socket.AF_UNIX else select.EPOLLRDHUP)
        with self._lock:
            late = self._epoll.closed
            if not late:
                self._watched[sock.fileno()] = (gone, callback)
                self._epoll.register(sock, gone | select.EPOLLONESHOT)
        if late:
            _call(callback, stopping=True)
        try:
            yield
        finally:
            with self._lock:
                if self._watched.pop(sock.fileno(), None) is not None and not self._epoll.closed:
                    self._epoll.unregister(sock)

    def close(self) -> None:
        """Tell every watcher that it is over, and end the thread."""
        self._wake.close()
        self._thread.join()
        with self._lock:
            self._epoll.close()
            callbacks = [callback for _, callback in self._watched.values()]
        for callback in callbacks:
            _call(callback, stopping=True)

    def _run(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._woken.fileno():
                    self._woken.close()
                    return
                self._gone(fd)

    def _gone(self, fd: int) -> None:
        with self._lock:
            wanted, callback = self._watched.get(fd, (0, None))
            # Between epoll's word and this lock the descriptor may have been closed and given to somebody else.
            poll = select.poll()
            poll.register(fd, wanted)
            if callback is None or not any(event & wanted for _, event in poll.poll(0)):
                return
        _call(callback, stopping=False)


def _call(callback: OnHangup, *, stopping: bool) -> None:
    try:
        callback(stopping=stopping)
    except Exception:
        log.exception("could not end the stream of a client that went away")
