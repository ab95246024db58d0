"""Where the daemon is, and connecting to it: Unix sockets, and TCP for those who ask. Does I/O on sockets.

It uses the C module beneath `socket`, whose import costs 5 ms; a TCP address needs more and imports the real one.
"""

from __future__ import annotations

import _socket

Address = str | tuple[str, int]
DEFAULT_PORT = 2375


class Connection(_socket.socket):
    """A connected socket that is closed at the end of a `with`."""

    __slots__ = ()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def address(host: str) -> Address:
    """The path of a Unix socket, or a name and a port. Raises ValueError for what is neither."""
    scheme, separator, rest = host.partition("://")
    if not separator and host.startswith("/"):
        return host
    if scheme == "unix" and rest.startswith("/"):
        return rest
    name, _, port = rest.rstrip("/").rpartition(":") if not rest.endswith("]") else (rest, "", "")
    name, port = (name, port) if name else (port, "")
    if scheme == "tcp" and name and (not port or port.isdigit()):
        return name.strip("[]"), int(port or DEFAULT_PORT)
    raise ValueError(f"unable to parse netpy host `{host}`: write unix:///path/to/socket or tcp://address:port")


def connect(where: Address, timeout: float) -> Connection:
    """Raises OSError. `timeout` bounds the connecting alone."""
    if not isinstance(where, str):
        from socket import create_connection

        sock = Connection(fileno=create_connection(where, timeout).detach())
    else:
        sock = Connection(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(where)
        except BaseException:
            sock.close()
            raise
    sock.settimeout(None)
    return sock


def alive(sock: Connection) -> bool:
    """Whether an idle connection is still open: nothing to read, not even its end."""
    try:
        sock.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
