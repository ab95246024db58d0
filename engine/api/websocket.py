"""Attach over a WebSocket, for clients that live in a browser: the handshake, and a channel of messages.

wsproto speaks the protocol (RFC 6455) and does no I/O; this module carries its bytes over the client's connection.
Output is not framed by stream, as in Docker: it comes in binary messages, standard output and error alike.
"""

from __future__ import annotations

import contextlib
import threading

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from engine.api.errors import BadRequest
from engine.api.hijack import Carrier
from engine.api.request import Request

_NEEDED = ("connection", "upgrade", "sec-websocket-key", "sec-websocket-version")


class Messages:
    """A `Carrier` that puts what it carries into messages. Made by `accept`."""

    def __init__(self, connection: WSConnection, below: Carrier) -> None:
        self._connection = connection
        self._below = below
        self._lock = threading.Lock()

    def receive(self) -> bytes:
        """What the next message holds; empty when the client has said farewell, or has gone."""
        while True:
            data = self._below.receive()
            try:
                self._connection.receive_data(data or None)
                found = b"".join(map(self._content, self._connection.events()))
            except (RemoteProtocolError, LocalProtocolError):
                return b""
            if found or not data:
                return found

    def send(self, data: bytes) -> None:
        self._say(BytesMessage(data=data))

    def finish(self) -> None:
        with contextlib.suppress(OSError, LocalProtocolError):
            self._say(CloseConnection(code=1000))
        self._below.finish()

    def cut(self) -> None:
        self._below.cut()

    def _content(self, event: Event) -> bytes:
        match event:
            case TextMessage():
                return event.data.encode()
            case BytesMessage():
                return bytes(event.data)
            case Ping() | CloseConnection():
                with contextlib.suppress(OSError, LocalProtocolError):
                    self._say(event.response())
                return b""
            case _:
                return b""

    def _say(self, event: Event) -> None:
        with self._lock:
            self._below.send(self._connection.send(event))


def accept(request: Request) -> tuple[bytes, WSConnection]:
    """The head that takes the client's handshake, and the connection that it begins. BadRequest where it is none."""
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
    if any(name not in request.headers for name in _NEEDED):
        raise BadRequest("a WebSocket handshake is wanted: Upgrade, Sec-WebSocket-Key and Sec-WebSocket-Version")
    connection = WSConnection(ConnectionType.SERVER)
    try:
        connection.initiate_upgrade_connection(headers, request.path)
        for _ in connection.events():
            pass
        return connection.send(AcceptConnection()), connection
    except (RemoteProtocolError, LocalProtocolError) as error:
        raise BadRequest(f"malformed WebSocket handshake: {error}") from None
