"""The fast path: a few exact command lines that only read, answered without click, json, re or the socket module.

Each of those imports costs as much as the whole answer. Anything unusual (another flag, no daemon, an error, a host
that is not a Unix socket) returns None, and the ordinary path does it again with all its care. Does I/O on one socket.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DEFAULT = "unix:///run/netpy/netpy.sock"
_TARGETS: dict[tuple[str, ...], str] = {
    ("network", "ls"): "/networks",
    ("ps",): "/containers/json",
    ("ps", "-a"): "/containers/json?all=1",
    ("images",): "/images/json",
}


def attempt(arguments: list[str]) -> str | None:
    """What the command line prints, if it is one of ours and all goes well."""
    key = tuple(arguments)
    target = _TARGETS.get(key)
    if target is not None:
        body = _get(target)
        return None if body is None else _listing(key[0], body)
    if len(key) == 2 and key[0] == "inspect":
        return _inspected(_plain(key[1]) and f"/containers/{key[1]}/json")
    if len(key) == 3 and key[:2] == ("network", "inspect"):
        return _inspected(_plain(key[2]) and f"/networks/{key[2]}")
    return None


def _plain(name: str) -> str:
    """The name, if it needs no quoting and is no flag; else empty."""
    return name if name.replace("_", "a").replace("-", "a").replace(".", "a").isalnum() and name[0] != "-" else ""


def _inspected(target: str) -> str | None:
    body = _get(target) if target.isascii() and target else None
    if body is None:
        return None
    from engine.cli.indent import indented_list

    return indented_list([body.decode()]) + "\n"


def _listing(kind: str, body: bytes) -> str:
    import time

    from engine.cli import rows

    found = _decoded(body.decode())
    if kind == "network":
        return rows.rendered(rows.network_rows(found), rows.NETWORK_COLUMNS, "network")
    now = time.time()
    if kind == "images":
        return rows.rendered(rows.image_rows(found, now), rows.IMAGE_COLUMNS, "image")
    return rows.rendered([rows.container_row(each, now) for each in found], rows.CONTAINER_COLUMNS, "container")


class _Settings:
    """What json.JSONDecoder hands to the C scanner."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def _decoded(text: str) -> Any:
    """What json.loads gives, by the scanner that it uses."""
    import _json

    settings: Any = _Settings()
    return _json.make_scanner(settings)(text, 0)[0]


def _get(target: str) -> bytes | None:
    """The body of a GET, or None if it was not answered with 200."""
    host = os.environ.get("NETPY_HOST") or _DEFAULT
    if not host.startswith("unix:///"):
        return None
    answer = _exchange(host[7:], f"GET /v1.47{target} HTTP/1.1\r\nHost: netpy\r\nConnection: close\r\n\r\n".encode())
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        return None
    return _dechunked(body) if b"transfer-encoding: chunked" in head.lower() else body


def _exchange(path: str, request: bytes) -> bytes:
    import _socket

    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        sock.connect(path)
        sock.sendall(request)
        pieces: list[bytes] = []
        while piece := sock.recv(65536):
            pieces.append(piece)
        return b"".join(pieces)
    except OSError:
        return b""
    finally:
        sock.close()


def _dechunked(body: bytes) -> bytes | None:
    whole = b""
    while True:
        line, found, body = body.partition(b"\r\n")
        if not found:
            return None
        length = int(line.partition(b";")[0], 16)
        if not length:
            return whole
        whole += body[:length]
        body = body[length + 2 :]
