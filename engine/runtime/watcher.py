"""One thread that notices when processes end, whoever started them.

It waits with poll(2) on a pidfd per process. A pidfd is also the answer to a reused process id: `open_pidfd` makes the
caller prove, after opening, that the process is still the one meant. Each ending is told in a thread of its own, so
that a slow listener does not hold up the others, unless there is no room for a thread: none must go untold.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from contextlib import suppress

from netpy.errors import KernelError
from netpy.threads import aside, started


class Watcher:
    """Starts its thread with the first process; `close` ends it, without telling anybody anything."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._listeners: dict[int, Callable[[], None]] = {}
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.POLLIN)
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, pidfd: int, ended: Callable[[], None]) -> None:
        """Call `ended` once when the process of `pidfd` ends. The descriptor becomes the watcher's."""
        with self._lock:
            if self._closed:
                os.close(pidfd)
                return
            if self._thread is None:
                try:
                    self._thread = started(self._run, "watcher")
                except KernelError:
                    os.close(pidfd)
                    raise
            self._listeners[pidfd] = ended
            self._poll.register(pidfd, select.POLLIN)
        # A poll under way does not see a new descriptor.
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            thread = self._thread
        os.eventfd_write(self._wake, 1)
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        for pidfd in self._listeners:
            os.close(pidfd)
        self._listeners.clear()
        os.close(self._wake)

    def _run(self) -> None:
        while not self._closed:
            for fd, _ in self._poll.poll():
                if fd == self._wake:
                    with suppress(BlockingIOError):
                        os.eventfd_read(self._wake)
                else:
                    self._ended(fd)

    def _ended(self, fd: int) -> None:
        with self._lock:
            self._poll.unregister(fd)
            listener = self._listeners.pop(fd)
        os.close(fd)
        aside(listener, "exit")


def open_pidfd(pid: int, is_it: Callable[[], bool]) -> int | None:
    """A pidfd for the process, or None if it has gone or `is_it`, asked after opening, says that it is another."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    if is_it():
        return pidfd
    os.close(pidfd)
    return None
