"""A tiny Docker Engine API on a Unix socket: canned answers, and a record of every request.

It knows no containers; a test says what each `METHOD /path` answers (the version prefix and the query are cut off), and reads
what was asked. Real `docker` speaks to it too, which is how the two clients are compared.
"""

from __future__ import annotations

import json
import re
import socket
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

CONTAINER_ID = "c4f62523a95a8941d2c71d414327232f4441f59222001e2ffc0c645793af8119"
NETWORK_ID = "306419ab57360f6f6f671741254b2c7b7d8e7c257c281bcc7bc9d81cacb8e6d3"
IMAGE_ID = "sha256:ca2b0f26964cf2e80ba3e084d5983dab293fdb87485dc6445f3f7bbfc89d7459"

NETWORK = {
    "Name": "my_app_net",
    "Id": NETWORK_ID,
    "Driver": "bridge",
    "Scope": "local",
    "Labels": {"a": "b"},
    "Created": "",
}
CONTAINER: dict[str, Any] = {
    "Id": CONTAINER_ID,
    "Name": "/web",
    "Config": {"Tty": False, "OpenStdin": False, "Labels": {}},
    "State": {"Running": True, "Paused": False, "Restarting": False},
    "HostConfig": {"AutoRemove": False},
    "NetworkSettings": {
        "IPAddress": "172.17.0.2",
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8800"}, {"HostIp": "::", "HostPort": "8800"}],
            "53/udp": None,
        },
    },
}


@dataclass
class Request:
    """What a client asked. `query` has lists of values, `body` is decoded JSON where it is JSON."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    raw: bytes
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Answer:
    """A canned answer. With `hijack`, the connection is handed to that function after the 101."""

    status: int = 200
    body: Any = None
    raw: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    content_type: str = "application/json"
    hijack: Callable[[socket.socket], None] | None = None
    before: Callable[[], None] | None = None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Daemon

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            whole = b""
            while size := int(self.rfile.readline(), 16):
                whole += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return whole
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _handle(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v[0-9.]+", "", url.path)
        raw = self._body()
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            body = None
        request = Request(
            self.command, path, parse_qs(url.query, keep_blank_values=True), body, raw, dict(self.headers)
        )
        if path == "/_ping":
            self._reply(Answer(raw=b"OK", content_type="text/plain"))
            return
        self.server.requests.append(request)
        self._reply(self.server.answer(request))

    def _reply(self, answer: Answer) -> None:
        if answer.before is not None:
            answer.before()
        if answer.hijack is not None:
            self.wfile.write(
                b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
                b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
            )
            self.close_connection = True
            answer.hijack(self.connection)
            return
        self.send_response(answer.status)
        self.send_header("Api-Version", "1.47")
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", answer.content_type)
        if answer.chunks:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in answer.chunks:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            self.wfile.write(b"0\r\n\r\n")
            return
        content = answer.raw or (b"" if answer.body is None else json.dumps(answer.body).encode() + b"\n")
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = _handle


class Daemon(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Runs in a thread while it is open as a context."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = f"unix://{path}"
        self.requests: list[Request] = []
        self.routes: dict[str, Answer | list[Answer] | Callable[[Request], Answer]] = {}
        self.closing = False
        super().__init__(str(path), Handler)

    def _serve(self) -> None:
        while not self.closing:
            self.handle_request()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """The connection that wakes us at the end asks nothing."""
        return not self.closing

    def answer(self, request: Request) -> Answer:
        route = self.routes.get(request.line)
        if isinstance(route, list):
            return route.pop(0) if len(route) > 1 else route[0]
        if callable(route):
            return route(request)
        if route is not None:
            return route
        name = request.path.split("/")[2] if request.path.count("/") > 1 else request.path
        kind = request.path.split("/")[1]
        words = {"containers": "No such container: ", "networks": "network ", "images": "No such image: "}
        tail = " not found" if kind == "networks" else ""
        return Answer(status=404, body={"message": f"{words.get(kind, 'page not found ')}{name}{tail}"})

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up early are part of the game; anything else is a mistake of a test."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def lines(self) -> list[str]:
        return [request.line for request in self.requests]

    def __enter__(self) -> Daemon:
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing = True
        with socket.socket(socket.AF_UNIX) as waking:
            waking.connect(str(self.path))
            self.thread.join()
        self.server_close()
        self.path.unlink(missing_ok=True)


@contextmanager
def answering(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A daemon that the command line asks, with one container, `web`."""
    with Daemon(path) as found:
        monkeypatch.setenv("NETPY_HOST", found.host)
        found.routes["GET /containers/web/json"] = Answer(body=CONTAINER)
        yield found


def follows(*steps: bytes) -> Answer:
    """An answer that is taken over: sends frames, then waits for the client's end of input."""

    def talk(sock: socket.socket) -> None:
        for step in steps:
            sock.sendall(step)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(4096):
            pass

    return Answer(hijack=talk)


OUT_ERR = follows(b"\x02\0\0\0\0\0\0\x04err\n", b"\x01\0\0\0\0\0\0\x04out\n")


def runnable(daemon: Daemon, code: int = 3) -> None:
    """Let containers be made and run; they say something on both streams and exit with the code."""
    daemon.routes["POST /containers/create"] = Answer(status=201, body={"Id": CONTAINER_ID, "Warnings": ["careful"]})
    daemon.routes[f"POST /containers/{CONTAINER_ID}/attach"] = OUT_ERR
    daemon.routes[f"POST /containers/{CONTAINER_ID}/wait"] = Answer(chunks=[b'{"StatusCode":%d}\n' % code])
    daemon.routes[f"POST /containers/{CONTAINER_ID}/start"] = Answer(status=204)
