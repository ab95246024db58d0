"""Host ports, occupied by sockets for as long as they are published.

The rules alone would not stop another program from listening on a published port and wondering why nobody calls. The
socket is bound and never listens, so a connection that no rule translates is refused at once, as it would be
without us. It is bound without SO_REUSEADDR: with it, a second bind would succeed.

There may be thousands, so they are moved out of the way, to descriptors from 1024 on: below that is all that select(2)
can wait for, and there are libraries that still do (libnftables ends the process when its socket is above).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import threading

from netpy.errors import InvalidArgument, KernelError, PortTaken
from netpy.model import Protocol

logger = logging.getLogger(__name__)
_TYPES = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}
_BEYOND_SELECT = 1024
_NO_SUCH_PROTOCOL = (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)


class Holds:
    """The sockets' descriptors by (protocol, host address, port); -1 where there is none. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str, int], int] = {}

    def hold(self, protocol: Protocol, host_ip: str, host_port: int) -> int:
        """Bind the port (0: any) and keep it. Returns the port; PortTaken when somebody has it."""
        host = f"[{host_ip}]" if ":" in host_ip else host_ip
        what = f"{host}:{host_port}/{protocol}"
        with self._lock:
            if (protocol, host_ip, host_port) in self._held:
                raise PortTaken(f"Bind for {host}:{host_port} failed: port is already allocated")
            opened = _open(protocol, host_ip, what)
            try:
                if opened is not None:
                    opened.bind((host_ip, host_port))
                    host_port = host_port or opened.getsockname()[1]
            except OSError as error:
                if opened is not None:
                    opened.close()
                raise _translated(error, what) from error
            self._held[protocol, host_ip, host_port] = -1 if opened is None else _moved(opened)
            return host_port

    def release(self, protocol: Protocol, host_ip: str, host_port: int) -> None:
        """Let the port go; nothing happens when it is not held."""
        with self._lock:
            held = self._held.pop((protocol, host_ip, host_port), -1)
        if held >= 0:
            os.close(held)


def _open(protocol: Protocol, host_ip: str, what: str) -> socket.socket | None:
    kind, number = _TYPES[protocol]
    family = socket.AF_INET6 if ":" in host_ip else socket.AF_INET
    try:
        opened = socket.socket(family, kind | socket.SOCK_CLOEXEC, number)
    except OSError as error:
        if protocol == "sctp" and error.errno in _NO_SUCH_PROTOCOL:
            logger.warning("port %s is published but not held: this kernel has no SCTP sockets", what)
            return None
        raise _translated(error, what) from error
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return opened


def _moved(opened: socket.socket) -> int:
    """The socket's descriptor, out of the way of others where the limit of this process allows it."""
    low = opened.detach()
    try:
        high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _BEYOND_SELECT)
    except OSError:
        return low
    os.close(low)
    return high


def _translated(error: OSError, what: str) -> PortTaken | InvalidArgument | KernelError:
    reason = (error.strerror or str(error)).lower()
    message = f"failed to bind host port {what}: {reason}"
    if error.errno == errno.EADDRINUSE:
        return PortTaken(message)
    if error.errno == errno.EADDRNOTAVAIL:
        return InvalidArgument(message)
    return KernelError(message)
