"""A conversation with a process through its monitor: `streams.Session` over conmon's attach socket.

The socket keeps message borders: what conmon sends is one byte that names the stream (2 standard output, 3 standard
error) and the data; what we send is bare data, no more at once than conmon reads. Its path may be longer than the 108
bytes of a socket address, so that it is named by way of the open directory in /proc/self/fd. Each session has one
reader and one writer thread.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

from engine.runtime.conmon import ATTACH_SOCKET, MONITOR_PIDFILE
from engine.streams import STDERR, STDOUT, Frame
from netpy.errors import NotFound

_OUT, _ERR = 2, 3
_LARGEST_MESSAGE = 1 << 16
_INPUT_CHUNK = 8192
_MOMENT, _PATIENCE = 0.0002, 5.0  # seconds


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
    """Attach to the monitor whose files are in `directory`. Raises NotFound when it has gone.

    It returns once the monitor has taken us in: until then, what the process says is not for us, and a program that
    says one thing and ends is let go right after this.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        monitor = int((directory / MONITOR_PIDFILE).read_text())
        before = _sockets(monitor)
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/{ATTACH_SOCKET}")
        finally:
            os.close(folder)
    except (OSError, ValueError) as error:
        connection.close()
        raise NotFound(f"cannot attach to {directory.name}: its monitor has gone ({error})") from None
    _be_taken_in(connection, monitor, before)
    return AttachSession(connection, tty=tty, stdin=stdin)


def _be_taken_in(connection: socket.socket, monitor: int, before: set[str]) -> None:
    """Wait until the monitor has one socket more, or something has come, be it the end."""
    heard = select.poll()
    heard.register(connection, select.POLLIN)
    deadline = time.monotonic() + _PATIENCE
    while not _sockets(monitor) - before and not heard.poll(0) and time.monotonic() < deadline:
        time.sleep(_MOMENT)


def _sockets(monitor: int) -> set[str]:
    """The sockets that a monitor holds: one more for everybody whom it has taken in."""
    found: set[str] = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{monitor}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return {link for link in found if link.startswith("socket:")}
