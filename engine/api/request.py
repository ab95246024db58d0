"""Requests as values: a head parsed and checked, its query and JSON body decoded on demand.

The grammar of heads is left to llhttp (httptools). This module decides which of the well-formed ones we serve, and
turns queries and filters into typed values; fields of bodies are `engine.api.decode`'s. It does no I/O itself; the
body reads from its wire.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, cast
from urllib.parse import parse_qsl, unquote

import httptools  # pyright: ignore[reportMissingTypeStubs]

from engine.api.decode import as_object, loads
from engine.api.errors import BadRequest
from engine.api.wire import Body, Wire
from engine.model import Json
from netpy.errors import InvalidArgument

JSON_LIMIT = 4 * 1024 * 1024
_FALSE = frozenset({"", "0", "no", "false", "none"})


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters behind the question mark."""

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def text(self, name: str, default: str = "") -> str:
        return self.values.get(name, (default,))[0]

    def texts(self, name: str) -> list[str]:
        return list(self.values.get(name, ()))

    def flag(self, name: str, default: bool = False) -> bool:
        """Docker's reading of truth: anything but nothing, 0, no, false and none."""
        return self.text(name).strip().lower() not in _FALSE if name in self.values else default

    def number(self, name: str) -> int | None:
        """An integer; None where it is absent or empty."""
        given = self.text(name).strip()
        if not given:
            return None
        try:
            return int(given)
        except ValueError:
            raise InvalidArgument(f"invalid value {given!r} for {name}: an integer is wanted") from None

    def seconds(self, name: str) -> float | None:
        """A Unix time with an optional fraction (`1795255355.25`), as clients send for since and until."""
        given = self.text(name).strip()
        if not given or given == "0":
            return None
        try:
            return float(given)
        except ValueError:
            raise InvalidArgument(f"invalid value {given!r} for {name}: a Unix timestamp is wanted") from None

    def document(self, name: str) -> Json:
        """A parameter that is a JSON object in itself; empty where it is absent."""
        given = self.text(name)
        return as_object(loads(given.encode())) if given.strip() else {}

    def filters(self) -> dict[str, list[str]]:
        """The `filters` parameter, in its present form `{"name": {"x": true}}` or the old one `{"name": ["x"]}`."""
        found: dict[str, list[str]] = {}
        for name, choices in self.document("filters").items():
            if isinstance(choices, dict):
                chosen = cast("dict[str, object]", choices)
                found[name] = [value for value, wanted in chosen.items() if wanted]
            elif isinstance(choices, list):
                found[name] = [str(value) for value in cast("list[object]", choices)]
            else:
                raise InvalidArgument(f"invalid filter {name!r}: a list or an object of values is wanted")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request. `path` is decoded and free of the version prefix; `version` is (1, 47) for `/v1.47`."""

    method: str
    path: str
    query: Query
    headers: Mapping[str, str]
    body: Body
    keep_alive: bool = True
    upgrade: bool = False
    http10: bool = False
    version: tuple[int, int] = (0, 0)
    params: Mapping[str, str] = field(default_factory=dict[str, str])

    def stream(self) -> BinaryIO:
        """The body as a buffered binary file."""
        return io.BufferedReader(self.body, 64 * 1024)

    def json(self) -> Json:
        """The body as a JSON object. Raises InvalidArgument, naming what is wrong and where."""
        kind = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        content = self.content()
        if content and kind != "application/json":
            raise InvalidArgument(f"unsupported Content-Type header ({kind}): must be 'application/json'")
        return as_object(loads(content))

    def json_or_empty(self) -> Json:
        """As `json`, for requests that may come without a body."""
        return {} if self.body.complete else self.json()

    def content(self) -> bytes:
        """The whole body, if it is not larger than a document may be."""
        content = self.stream().read(JSON_LIMIT + 1)
        if len(content) > JSON_LIMIT:
            raise BadRequest(f"request body larger than {JSON_LIMIT} bytes", status=413)
        return content


class _Head:
    """What llhttp reports of a head."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1").strip()))


def parse(head: bytes, wire: Wire) -> Request:
    """A request from its head. Raises BadRequest if it is malformed or needs what we do not speak."""
    found = _Head()
    parser = httptools.HttpRequestParser(found)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass  # headers are complete; what the body is, we know ourselves
    except httptools.HttpParserError as error:
        raise BadRequest(f"malformed HTTP request: {error}") from None
    headers = dict(found.headers)
    path, _, query = found.target.decode("latin-1").partition("?")
    connection = [token.strip() for token in headers.get("connection", "").lower().split(",")]
    version = parser.get_http_version()
    if version not in ("1.0", "1.1"):
        raise BadRequest(f"malformed HTTP request: its version is {version}")
    return Request(
        method=parser.get_method().decode("latin-1"),
        path=_decode(path),
        query=_query(query),
        headers=headers,
        body=Body(wire, _length(headers), _go_ahead(headers, wire)),
        keep_alive="close" not in connection and version != "1.0",
        upgrade="upgrade" in connection and headers.get("upgrade", "").lower() == "tcp",
        http10=version == "1.0",
    )


def _decode(path: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise BadRequest("malformed HTTP request: the path is not UTF-8") from None


def _query(text: str) -> Query:
    values: dict[str, tuple[str, ...]] = {}
    try:
        for name, value in parse_qsl(text, keep_blank_values=True, max_num_fields=1000):
            values[name] = (*values.get(name, ()), value)
    except ValueError as error:
        raise BadRequest(f"malformed query: {error}") from None
    return Query(values)


def _length(headers: Mapping[str, str]) -> int | None:
    coding = headers.get("transfer-encoding", "").lower()
    if coding == "chunked":
        return None
    if coding:
        raise BadRequest(f"unsupported transfer encoding {coding!r}", status=501)
    return int(headers.get("content-length") or "0")  # llhttp let digits only through


def _go_ahead(headers: Mapping[str, str], wire: Wire) -> Callable[[], None] | None:
    expected = headers.get("expect", "").lower()
    if expected and expected != "100-continue":
        raise BadRequest(f"unknown expectation {expected!r}", status=417)
    return (lambda: wire.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")) if expected else None
