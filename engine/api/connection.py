"""One client's connection: requests in order, each answered before the next is read.

It decides framing of answers, keep-alive, and what happens to a client that breaks the rules; routes decide what an
answer says. It does I/O on its socket, in a thread of its own. A client is bounded in time only while it owes us a
request's head: within a request, logs, waits and uploads take as long as they take.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http import HTTPStatus

from engine.api.errors import BadRequest, reply_to
from engine.api.hangup import Hangups
from engine.api.hijack import RAW, Channel
from engine.api.reply import Reply, closing_with
from engine.api.request import Request, parse
from engine.api.wire import Wire

log = logging.getLogger("netpy.api")

Handler = Callable[[Request], Reply]
IDLE = 300.0
"""Seconds that a connection may be without a request."""
_LINGER = 2.0
_DRAIN = 1024 * 1024


class Connection:
    """Serves one socket until its client leaves, breaks the rules, or takes the connection over."""

    def __init__(
        self,
        sock: socket.socket,
        handler: Handler,
        hangups: Hangups,
        *,
        banner: tuple[tuple[str, str], ...] = (),
        idle: float = IDLE,
    ) -> None:
        self._wire = Wire(sock)
        self._sock = sock
        self._handler = handler
        self._hangups = hangups
        self._banner = banner
        self._idle_limit = idle
        self._waiting = True
        self._stopping = False

    def run(self) -> None:
        """Serve until the end. Never raises."""
        try:
            while not self._stopping and self._serve_one():
                pass
        except OSError as error:  # TimeoutError among them
            log.debug("connection ended: %s", error)
        except Exception:
            log.exception("a connection failed")
        finally:
            self._sock.close()

    def stop(self) -> None:
        """Take no further request. A waiting connection ends now, a busy one after its answer."""
        self._stopping = True
        if self._waiting:
            self._shutdown(socket.SHUT_RD)

    def cut(self) -> None:
        """End now, whatever is under way."""
        self._shutdown(socket.SHUT_RDWR)

    def _serve_one(self) -> bool:
        """One request and its answer; whether another may follow."""
        request: Request | None = None
        try:
            request = self._next()
            if request is None:
                return False
            reply = self._handler(request)
        except BadRequest as error:
            reply = reply_to(error)
        if request is None:
            self._send(reply, "GET", http10=False, close=True)
            return self._linger()
        if reply.takeover is not None:
            self._hand_over(request, reply)
            return False
        # A streamed answer may still be reading the body (load reads while it reports): drain behind it then.
        keep = request.keep_alive and not self._stopping and (reply.stream is not None or _drained(request))
        sound = self._send(reply, request.method, http10=request.http10, close=not keep)
        return sound if keep and _drained(request) else self._linger()

    def _next(self) -> Request | None:
        self._waiting = True
        self._sock.settimeout(self._idle_limit)
        head = self._wire.head()
        self._waiting = False
        self._sock.settimeout(None)
        return parse(head, self._wire) if head else None

    def _send(self, reply: Reply, method: str, *, http10: bool, close: bool) -> bool:
        """Send an answer; whether the connection is still in step afterwards."""
        headers = [*self._banner, ("Date", formatdate(usegmt=True))]
        if reply.content_type:
            headers.append(("Content-Type", reply.content_type))
        headers += reply.headers
        streamed = reply.stream is not None and method != "HEAD"
        if streamed and not http10:
            headers.append(("Transfer-Encoding", "chunked"))
        elif not streamed and reply.status not in (204, 304):
            headers.append(("Content-Length", str(len(reply.body))))
        if close or (streamed and http10):
            headers.append(("Connection", "close"))
        body = b"" if method == "HEAD" or streamed else reply.body
        self._sock.sendall(_head(reply.status, headers) + body)
        if reply.stream is None:
            return True
        with closing_with(reply.stream):
            return not streamed or self._stream(reply, reply.stream, chunked=not http10)

    def _stream(self, reply: Reply, pieces: Iterator[bytes], *, chunked: bool) -> bool:
        watching = self._hangups.watch(self._sock, reply.on_hangup) if reply.on_hangup else contextlib.nullcontext()
        with watching:
            try:
                for piece in pieces:
                    if piece:
                        self._sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            except OSError:
                raise
            except Exception:
                # The status has gone out; a missing last chunk is the one way left to say that this is not all.
                log.exception("a streamed answer broke off")
                return False
        if chunked:
            self._sock.sendall(b"0\r\n\r\n")
        return True

    def _hand_over(self, request: Request, reply: Reply) -> None:
        assert reply.takeover is not None
        _drained(request)  # what follows an Upgrade request's head is its body first, and only then the stream
        headers = [("Content-Type", reply.content_type or RAW)]
        headers += [("Connection", "Upgrade"), ("Upgrade", "tcp")] if request.upgrade else []
        watching = self._hangups.watch(self._sock, reply.on_hangup) if reply.on_hangup else contextlib.nullcontext()
        with watching:
            self._sock.sendall(reply.handshake or _head(101 if request.upgrade else 200, headers))
            reply.takeover(Channel(self._wire))

    def _linger(self) -> bool:
        """Let the client read its answer: closing a socket with unread input would reset the connection."""
        self._shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + _LINGER
        with contextlib.suppress(OSError):
            while (left := deadline - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._wire.take(_DRAIN):
                    break
        return False

    def _shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(how)


def _drained(request: Request) -> bool:
    """Read the rest of the body, so that the next request is found behind it; False if it is not worth it."""
    left = _DRAIN
    if request.body.withheld or request.body.broken:
        return False
    try:
        while not request.body.complete and left > 0:
            left -= len(request.body.read(64 * 1024) or b"")
    except BadRequest:
        return False
    return request.body.complete


def _head(status: int, headers: list[tuple[str, str]]) -> bytes:
    phrase = "UPGRADED" if status == 101 else HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1", errors="replace")
