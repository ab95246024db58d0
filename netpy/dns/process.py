"""The daemon's grip on the name server process: starting it, talking to it, knowing when it ends.

A `Link` is a connection to the control socket and a pidfd of the process behind it, so that its end is an event and
a process that hangs can be ended without fear of a reused process id. The process is started with posix_spawn, in a
session of its own; it need not be a child of whoever talks to it. When to do all this is `netpy.nameserver`'s
decision. I/O: processes, the Unix socket, files under the exec root (see there).
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from netpy import errors
from netpy.dns import control
from netpy.dns.control import Channel, Message
from netpy.errors import KernelError, NetpyError
from netpy.faults import point

READY, TAKEN = b"ready", b"taken"  # what the process says on its standard output when it has come up
_PROGRAM = "netpy.nameserver"
_PATIENCE = 10.0  # seconds for the process to start, to answer, or to end
_KINDS = {kind.__name__: kind for kind in (errors.InvalidArgument, errors.NotFound, errors.Conflict)}


class Link:
    """A connection to a process, and a hold on the process itself. Requests raise OSError when it is gone."""

    def __init__(self, root: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(str(socket_path(root)))
            credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            self.pid: int = struct.unpack("3i", credentials)[0]
            self._process = os.pidfd_open(self.pid)
        except BaseException:
            self._socket.close()
            raise
        self._closed = os.eventfd(0, os.EFD_CLOEXEC)
        self._channel = Channel(self._socket)
        self.born = time.monotonic()

    def request(self, message: Message, sockets: Sequence[socket.socket] = ()) -> Message:
        """The reply to `message`, with which `sockets` travel. Raises the error that a reply tells of."""
        data = control.encoded(message)
        point("before telling the name server")
        sent = socket.send_fds(self._socket, [data], [opened.fileno() for opened in sockets]) if sockets else 0
        self._socket.sendall(memoryview(data)[sent:])
        while True:
            if not self._channel.read():
                raise ConnectionResetError("connection closed")
            for reply in self._channel.messages():
                if "error" in reply:
                    raise _KINDS.get(reply["kind"], KernelError)(reply["error"])
                point("after telling the name server")
                return reply

    def end(self) -> None:
        """End the process, by force if it does not want to; returns when it is gone."""
        with contextlib.suppress(OSError, NetpyError):
            self.request({"op": "shutdown"})
            if _readable([self._process], _PATIENCE):
                _reap(self.pid)
                return
        self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        _readable([self._process], _PATIENCE)
        _reap(self.pid)

    def end_watch(self) -> Callable[[], bool]:
        """A function for another thread: True when the process has ended, False when this link is closed first."""
        process, closed = os.dup(self._process), os.dup(self._closed)

        def ended() -> bool:
            try:
                if closed in _readable([process, closed], None):
                    return False
                _reap(self.pid)
                return True
            finally:
                os.close(process)
                os.close(closed)

        return ended

    def close(self) -> None:
        os.eventfd_write(self._closed, 1)
        os.close(self._closed)
        os.close(self._process)
        self._channel.drop_fds()
        self._socket.close()


def _readable(fds: Sequence[int], seconds: float | None) -> list[int]:
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)]


def _reap(pid: int) -> None:
    """Take leave of a process that has ended; it may be a child of this one or not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _bury(pid: int) -> None:
    """Wait for a child that said that it would not serve."""
    with contextlib.suppress(ChildProcessError, ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def suitable(root: Path, wanted: Message) -> Link | None:
    """A connection to a running process that has these settings. One with others is ended."""
    try:
        link = Link(root)
    except OSError:
        return None
    greeting: Message = {}
    with contextlib.suppress(OSError, NetpyError):
        greeting = link.request({"op": "ping"})
    if (greeting.get("protocol"), greeting.get("settings")) == (control.PROTOCOL, wanted):
        return link
    link.end()
    link.close()
    return None


def settings(host_resolv_conf: Path, ttl: int) -> Message:
    """What a process is started with; one that was started with something else is replaced."""
    return {"resolv_conf": str(host_resolv_conf), "ttl": ttl}


def socket_path(root: Path) -> Path:
    """The control socket of the name server of that exec root."""
    return root / "dns.sock"


def started(root: Path, wanted: Message) -> Link:
    """A connection to a new process; or to one that another daemon of this exec root has just started."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        _spawn(root, wanted)
        link = suitable(root, wanted)
        if link is not None:
            return link
        if time.monotonic() > deadline:
            raise KernelError(f"the name server of {root} does not come up; see {root / 'dns.log'}")
        time.sleep(0.02)  # somebody holds the lock and does not listen: it is coming up, or going down


def _spawn(root: Path, wanted: Message) -> None:
    """Start the process and wait until it listens, or has found that another one does."""
    root.mkdir(parents=True, exist_ok=True)
    here = str(Path(__file__).parents[2])
    arguments = [sys.executable, "-m", _PROGRAM, str(root), wanted["resolv_conf"], str(wanted["ttl"])]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": here}
    reading, writing = os.pipe()
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, writing, 1),
            (os.POSIX_SPAWN_OPEN, 2, str(root / "dns.log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        ]
        point("before starting the name server")
        pid = os.posix_spawn(sys.executable, arguments, environment, file_actions=actions, setsid=True, setsigmask=())
        os.close(writing)
        writing = -1
        point("after starting the name server")
        word = os.read(reading, 16) if _readable([reading], _PATIENCE) else b""
    except OSError as error:
        raise KernelError(f"starting the name server of {root}: {error}") from error
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if word != READY:
        _bury(pid)
    if word not in (READY, TAKEN):
        raise KernelError(f"the name server of {root} did not start; see {root / 'dns.log'}")
