"""A registry that misbehaves on demand: it speaks the distribution API from a dictionary, and one rule may spoil it.

A rule is a function that gets the request's handler and the proper answer, and sends what it likes. It lives in a
thread of the test, on a socket that was made inside the namespace of whoever is to suffer.
"""

from __future__ import annotations

import gzip
import http.server
import json
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from netpy.kernel import netns
from tests.integration import image_lab as lab

PORT = 5666
ADDRESS = f"127.0.0.1:{PORT}"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER_TYPE = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    kind: str = "application/octet-stream"
    headers: dict[str, str] = field(default_factory=dict[str, str])


Rule = Callable[["Handler", Reply], None]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hostile

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in {
            "Content-Type": reply.kind,
            "Content-Length": str(len(reply.body)),
            **reply.headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    def mute(self, reply: Reply) -> None:
        """Nothing at all until the test is over."""
        del reply
        self.server.over.wait(60)
        self.close_connection = True

    def truncated(self, reply: Reply) -> None:
        """Half of what was promised, and then the end."""
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2])
        self.close_connection = True

    def stalled(self, reply: Reply) -> None:
        """Half of what was promised, and then nothing until the test is over."""
        self.send_response(reply.status)
        self.send_header("Content-Length", str(len(reply.body) or 10))
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2])
        self.wfile.flush()
        self.server.stalling.set()
        self.server.over.wait(60)
        self.close_connection = True

    def _handle(self) -> None:
        self.server.seen.append(f"{self.command} {self.path}")
        length = self.headers.get("Content-Length")
        if length and self.command in ("PUT", "POST", "PATCH"):
            self.rfile.read(int(length))
        rule = next((rule for pattern, rule in self.server.rules.items() if re.search(pattern, self.line())), None)
        reply = self.server.reply(self.path.partition("?")[0].replace("/library/", "/"))
        (rule or Handler.answer)(self, reply)

    def line(self) -> str:
        return f"{self.command} {self.path}"

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = _handle


class Hostile(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(("127.0.0.1", PORT), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = bound
        self.rules: dict[str, Rule] = {}
        self.seen: list[str] = []
        self.stalling, self.over = threading.Event(), threading.Event()
        self.layer = gzip.compress(lab.tar(lab.entry("file", data=b"x" * 100_000)), mtime=0)
        self.config = lab.config(gzip.decompress(self.layer))
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": self._described("application/vnd.docker.container.image.v1+json", self.config),
                "layers": [self._described(LAYER_TYPE, self.layer)],
            }
        ).encode()

    def reply(self, path: str) -> Reply:
        blobs = {lab.digest(data): data for data in (self.layer, self.config)}
        if path == "/v2/":
            return Reply(body=b"{}", kind="application/json")
        if path.startswith("/v2/x/manifests/"):
            return Reply(
                body=self.manifest, kind=MANIFEST, headers={"Docker-Content-Digest": lab.digest(self.manifest)}
            )
        if path.removeprefix("/v2/x/blobs/") in blobs:
            return Reply(body=blobs[path.removeprefix("/v2/x/blobs/")])
        return Reply(status=404, body=b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}')

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that hang up are what this is about

    @staticmethod
    def _described(kind: str, data: bytes) -> dict[str, object]:
        return {"mediaType": kind, "size": len(data), "digest": lab.digest(data)}


@contextmanager
def registry(namespace: str) -> Iterator[Hostile]:
    """A registry at 127.0.0.1:5666 of a namespace, with one image `x:1`; well-behaved until it gets rules."""

    def bind() -> socket.socket:
        return socket.create_server(("127.0.0.1", PORT))

    server = Hostile(netns.run_in(namespace, bind))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join()
        server.server_close()
