"""A conversation with a process through its monitor: `streams.Session` over conmon's attach socket.

The socket keeps message borders: what conmon sends is one byte that names the stream (2 standard output, 3 standard
error) and the data; what we send is bare data, no more at once than conmon reads. Its path may be longer than the 108
bytes of a socket address, so that it is named by way of the open directory in /proc/self/fd. Each session has one
reader and one writer thread.
"""

from __future__ import annotations

import os
import socket
import threading
from contextlib import suppress
from pathlib import Path

from engine.runtime.conmon import ATTACH_SOCKET
from engine.streams import STDERR, STDOUT, Frame
from netpy.errors import NotFound

_OUT, _ERR = 2, 3
_LARGEST_MESSAGE = 1 << 16
_INPUT_CHUNK = 8192


class AttachSession:
    """A `streams.Session`. `stdin` False means that `write` and `close_input` do nothing."""

    def __init__(self, connection: socket.socket, *, tty: bool, stdin: bool) -> None:
        self.tty = tty
        self._connection = connection
        self._stdin = stdin
        self._lock = threading.Lock()
        self._closed = False

    def read(self) -> Frame | None:
        """The next output, or None at its end."""
        while True:
            try:
                message = self._connection.recv(_LARGEST_MESSAGE)
            except OSError:
                return None
            if not message:
                return None
            if len(message) > 1:
                return Frame(STDERR if message[0] == _ERR else STDOUT, message[1:])

    def write(self, data: bytes) -> None:
        """Feed standard input; blocks while the process does not read. Dropped once the process has gone."""
        if not self._stdin:
            return
        view = memoryview(data)
        with suppress(OSError):
            for start in range(0, len(view), _INPUT_CHUNK):
                self._connection.send(view[start : start + _INPUT_CHUNK])

    def close_input(self) -> None:
        """End of standard input, where the container was made to have one end (see `conmon.Launch.stdin`)."""
        if self._stdin:
            with suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leave; wakes up a reader. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()


def connect(directory: Path, *, tty: bool, stdin: bool) -> AttachSession:
    """Attach to the monitor whose files are in `directory`. Raises NotFound when it has gone."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{ATTACH_SOCKET}")
        finally:
            os.close(folder)
    except OSError as error:
        connection.close()
        raise NotFound(f"cannot attach to {directory.name}: its monitor has gone ({error.strerror})") from None
    return AttachSession(connection, tty=tty, stdin=stdin)
