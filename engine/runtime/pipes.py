"""A conversation with a process over pipes: `streams.Session` where there is no terminal and no monitor.

It ends when the process has ended, which a pidfd tells, and not with the last holder of its output. Reads and writes
pipes; who made them and started the process, `engine.runtime.piped` knows.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Generator
from contextlib import contextmanager

from engine.streams import STDERR, STDOUT, Frame

CAPACITY = 1 << 16
"""Bytes that a pipe holds: one read of as many empties it."""


class PipeSession:
    """A `streams.Session`. Any thread may close it: the descriptors go when the last call that uses them returns."""

    tty = False

    def __init__(self, pidfd: int, stdin: int | None, stdout: int, stderr: int) -> None:
        self._ended = pidfd
        self._stdin = stdin
        self._outputs = {stdout: STDOUT, stderr: STDERR}
        self._descriptors = {pidfd, stdout, stderr, *(() if stdin is None else (stdin,))}
        self._left = os.eventfd(0, os.EFD_CLOEXEC)
        self._descriptors.add(self._left)
        self._lock = threading.Lock()
        self._users = 0
        self._closed = False
        self._writing = False
        self._input_over = False
        self._over = False
        self._readable = select.poll()
        for fd in (self._left, pidfd, stdout, stderr):
            self._readable.register(fd, select.POLLIN)
        if stdin is not None:
            os.set_blocking(stdin, False)

    def read(self) -> Frame | None:
        """The next output, or None at its end."""
        with self._in_use() as usable:
            return self._next() if usable else None

    def _next(self) -> Frame | None:
        while True:
            ready = {fd for fd, _ in self._readable.poll()}
            if self._left in ready:
                return None
            for fd in [fd for fd in self._outputs if fd in ready]:
                data, stream = os.read(fd, CAPACITY), self._outputs[fd]
                if self._over or not data:  # what was in the pipe when the process ended is all there is of it
                    self._readable.unregister(fd)
                    del self._outputs[fd]
                if data:
                    return Frame(stream, data)
            if self._over:
                return None
            # Only a look at the pipes that begins now sees all that was written before the end.
            self._over = self._ended in ready

    def write(self, data: bytes) -> None:
        """Feed standard input; blocks while the process does not read. Dropped once the process has gone."""
        with self._lock:
            stdin = self._stdin
            if stdin is None or self._input_over or self._writing:
                return
            self._writing = True
        with self._in_use() as usable:
            if usable:
                self._feed(stdin, memoryview(data))
        with self._lock:
            self._writing = False
            if self._input_over:
                self._end_input()

    def _feed(self, stdin: int, data: memoryview) -> None:
        writable = select.poll()
        writable.register(stdin, select.POLLOUT)
        for fd in (self._left, self._ended):
            writable.register(fd, select.POLLIN)
        while data:
            ready = {fd for fd, _ in writable.poll()}
            if self._left in ready or self._ended in ready:
                return
            try:
                data = data[os.write(stdin, data) :]
            except BlockingIOError:
                continue
            except OSError:
                return  # it has closed its input

    def close_input(self) -> None:
        """End of standard input, behind what is being written."""
        with self._lock:
            self._input_over = True
            if not self._writing:
                self._end_input()

    def _end_input(self) -> None:
        stdin, self._stdin = self._stdin, None
        if stdin in self._descriptors:
            self._descriptors.discard(stdin)
            os.close(stdin)

    def close(self) -> None:
        """Leave; wakes up a reader and a writer. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            os.eventfd_write(self._left, 1)
            self._release()

    @contextmanager
    def _in_use(self) -> Generator[bool]:
        with self._lock:
            usable = not self._closed
            self._users += usable
        try:
            yield usable
        finally:
            with self._lock:
                self._users -= usable
                self._release()

    def _release(self) -> None:
        if self._closed and not self._users:
            while self._descriptors:
                os.close(self._descriptors.pop())
