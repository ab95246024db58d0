"""The client's side of the Docker Engine API: requests, streamed answers and hijacked connections over a socket.

It decides how bytes go out and come back, and nothing about what they mean: commands and formats belong to
`engine.cli`. It does I/O on sockets only. It stands in the path of every command, so it imports next to nothing, knows
no HTTP library, and keeps finished connections for the next request.
"""

from __future__ import annotations

import posix
import sys
from _socket import MSG_PEEK

from engine.client.codec import dumps, loads
from engine.client.dialling import Connection, address
from engine.client.dialling import alive as _alive
from engine.client.dialling import connect as _connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any, BinaryIO

API_VERSION = "1.47"
DEFAULT_HOST = "unix:///run/netpy/netpy.sock"
_PIECE = 64 * 1024
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/:@,")


class ClientError(Exception):
    """A request could not be made, or was refused."""


class DaemonUnavailable(ClientError):
    """Nobody answers at the address, or the connection broke before the answer was complete."""


class ApiError(ClientError):
    """The daemon refused. `status` is the HTTP status code, `message` the daemon's own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Client:
    """Speaks to one daemon. An empty `host` means $NETPY_HOST, else the default socket.

    Hosts are `unix:///path`, a bare `/path`, or `tcp://name:port` (port 2375 if none is given). `timeout` bounds, in
    seconds, the making of a connection; answers are waited for without end, as `wait` and `logs -f` must.
    """

    def __init__(self, host: str = "", *, timeout: float = 10.0) -> None:
        self.host = host or own_variables().get("NETPY_HOST") or DEFAULT_HOST
        self._address = _address(self.host)
        self._name = "netpy" if isinstance(self._address, str) else self._address[0]
        self._timeout = timeout
        self._idle: list[Connection] = []

    def request(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """Make a request and return once its headers have come; the answer's body is read from the Response.

        `path` comes without a version. In `query`, None is left out, booleans become 1 or 0, lists repeat the key and
        mappings become JSON. `body` may be a JSON document (dict or list), bytes, a binary file or an iterable of
        bytes (both are streamed). Raises ApiError for a status of 400 and above, DaemonUnavailable without a daemon.
        """
        lines = dict(headers or {})
        sock = self._send(method, target(path, query), body, lines)
        response = Response(self, sock, method, _read_head(sock, self.host))
        if response.status >= 400:
            raise ApiError(response.status, _message(response))
        return response

    def hijack(self, path: str, query: Mapping[str, object] | None = None, body: object = None) -> Connection:
        """POST, and take over the connection: what it carries from then on is the stream of an attach or an exec.

        The socket stands exactly behind the answer's headers. `shutdown(SHUT_WR)` is the end of standard input;
        closing it is the caller's duty.
        """
        headers = {"Connection": "Upgrade", "Upgrade": "tcp"}
        sock = self._send("POST", target(path, query), body, headers)
        head = _read_head(sock, self.host)
        if _status(head) in (101, 200):
            return sock
        response = Response(self, sock, "POST", head)
        raise ApiError(response.status, _message(response))

    def reachable(self) -> bool:
        """Whether somebody listens at the address. The connection that tells is kept for the first request."""
        try:
            self.keep(_connect(self._address, self._timeout))
        except OSError as error:
            return not isinstance(error, (FileNotFoundError, ConnectionRefusedError))
        return True

    def close(self) -> None:
        """Close the connections that are kept for reuse."""
        while self._idle:
            self._idle.pop().close()

    def keep(self, sock: Connection) -> None:
        """Take back a connection whose answer was read to its end."""
        self._idle.append(sock)

    def _send(self, method: str, where: str, body: object, headers: dict[str, str]) -> Connection:
        content, stream = _content(body, headers)
        lines = [f"{method} {where} HTTP/1.1", f"Host: {self._name}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        sock = self._connection()
        try:
            sock.sendall("\r\n".join([*lines, "", ""]).encode() + content)
            if stream is not None:
                _send_chunked(sock, stream)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the daemon may have answered and hung up before it had read everything: the answer says why
        except BaseException:
            sock.close()
            raise
        return sock

    def _connection(self) -> Connection:
        while self._idle:
            sock = self._idle.pop()
            if _alive(sock):
                return sock
            sock.close()
        try:
            return _connect(self._address, self._timeout)
        except OSError as error:
            raise DaemonUnavailable(_unreachable(self.host, error)) from error


class Response:
    """An answer: `status`, `headers` (names in lower case), and a body that is read once, whole or as it arrives."""

    def __init__(self, client: Client, sock: Connection, method: str, head: bytes) -> None:
        self.status = _status(head)
        self.headers = _headers(head)
        self._client = client
        self._sock: Connection | None = sock
        self._buffer = b""
        self._bodyless = method == "HEAD" or self.status in (204, 304)
        if self._bodyless or self.headers.get("content-length") == "0":
            self._finish()

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece, as it arrives."""
        if self._sock is None:
            return
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunked()
        elif "content-length" in self.headers:
            yield from self._counted(int(self.headers["content-length"]))
        else:
            while piece := self._receive():
                yield piece
            self.close()
            return
        self._finish()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks())

    def json(self) -> Any:
        """The whole body as a JSON document; None if it is empty."""
        text = self.read()
        return loads(text) if text.strip() else None

    def objects(self) -> Iterator[Any]:
        """The JSON documents of a stream of lines, each as soon as its line is complete."""
        rest = b""
        for piece in self.chunks():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield loads(line)
        if rest.strip():
            yield loads(rest)

    def close(self) -> None:
        """Give the answer up, whether or not it was read to its end."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def __enter__(self) -> Response:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chunked(self) -> Iterator[bytes]:
        while size := int(self._line().split(b";")[0], 16):
            yield from self._counted(size)
            self._line()
        while self._line():
            pass  # trailers

    def _counted(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._receive(size) or self._broken()
            size -= len(piece)
            yield piece

    def _line(self) -> bytes:
        while b"\n" not in self._buffer:
            self._buffer = self._buffer + (self._pull() or self._broken())
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.rstrip(b"\r")

    def _receive(self, most: int = _PIECE) -> bytes:
        if not self._buffer:
            return self._pull(min(most, _PIECE))
        piece, self._buffer = self._buffer[:most], self._buffer[most:]
        return piece

    def _pull(self, most: int = _PIECE) -> bytes:
        if self._sock is None:
            return b""
        try:
            return self._sock.recv(most)
        except ConnectionResetError:
            return b""

    def _broken(self) -> bytes:
        self.close()
        raise DaemonUnavailable(f"the netpy daemon at {self._client.host} hung up in the middle of an answer")

    def _finish(self) -> None:
        if self._sock is None:
            return
        if self.headers.get("connection", "").lower() == "close" or self.status == 101:
            self._sock.close()
        else:
            self._client.keep(self._sock)
        self._sock = None


def own_variables() -> Mapping[str, str]:
    """As os.environ has it, which may have been changed, if somebody has that: importing it takes a millisecond."""
    if os := sys.modules.get("os"):
        return os.environ
    return {_text(name): _text(value) for name, value in posix.environ.items()}


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def target(path: str, query: Mapping[str, object] | None) -> str:
    """The request target: version prefix, path and query, percent-encoded."""
    pairs: list[str] = []
    for name, value in (query or {}).items():
        pairs += [f"{_quote(name)}={_quote(text)}" for text in _values(value)]
    return f"/v{API_VERSION}{_quote(path)}" + ("?" + "&".join(pairs) if pairs else "")


def _values(value: object) -> list[str]:
    match value:
        case None:
            return []
        case bool():
            return ["1" if value else "0"]
        case list() | tuple():
            return [str(item) for item in value]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case dict():
            return [dumps(value).decode()]  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return [str(value)]


def _quote(text: str) -> str:
    return "".join(chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in text.encode())


def _content(body: object, headers: dict[str, str]) -> tuple[bytes, Iterable[bytes] | None]:
    """The bytes that go with the head, or the stream that follows it; sets the headers that say which."""
    if body is None:
        content = b""
    elif isinstance(body, (bytes, bytearray)):
        content = bytes(body)
    elif isinstance(body, (dict, list)):
        content = dumps(body)  # pyright: ignore[reportUnknownArgumentType]
        headers.setdefault("Content-Type", "application/json")
    else:
        headers["Transfer-Encoding"] = "chunked"
        headers.setdefault("Content-Type", "application/x-tar")
        return b"", _pieces(body)  # pyright: ignore[reportArgumentType]
    headers["Content-Length"] = str(len(content))
    return content, None


def _pieces(body: BinaryIO | Iterable[bytes]) -> Iterable[bytes]:
    read = getattr(body, "read", None)
    return body if read is None else iter(lambda: read(_PIECE), b"")


def _send_chunked(sock: Connection, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        if piece:
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    sock.sendall(b"0\r\n\r\n")


def _read_head(sock: Connection, host: str) -> bytes:
    """The status line and headers, and not a byte more: what follows may be somebody's stream."""
    head = b""
    try:
        while not head or _status(head) == 100:
            head = _next_head(sock)
    except (ConnectionResetError, EOFError):
        sock.close()
        raise DaemonUnavailable(f"the netpy daemon at {host} hung up without an answer") from None
    except BaseException:
        sock.close()
        raise
    return head


def _next_head(sock: Connection) -> bytes:
    head = b""
    while seen := sock.recv(_PIECE, MSG_PEEK):
        end = (head + seen).find(b"\r\n\r\n")
        head += sock.recv(len(seen) if end < 0 else end + 4 - len(head))
        if end >= 0:
            return head
    raise EOFError


def _status(head: bytes) -> int:
    parts = head.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise ClientError("the answer is not HTTP: is this the socket of the netpy daemon?")
    return int(parts[1])


def _headers(head: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.lower()] = value.strip()
    return headers


def _message(response: Response) -> str:
    text = response.read().decode(errors="replace").strip()
    try:
        document: Any = loads(text)
        return str(document["message"])
    except (ValueError, KeyError, TypeError):
        return text or f"request returned status {response.status}"


def _address(host: str) -> str | tuple[str, int]:
    try:
        return address(host)
    except ValueError as error:
        raise ClientError(str(error)) from error


def _unreachable(host: str, error: OSError) -> str:
    if isinstance(error, PermissionError):
        return f"permission denied while trying to connect to the netpy daemon socket at {host}"
    return f"Cannot connect to the netpy daemon at {host}. Is the netpy daemon running?"
