"""Answers as values: what a route returns and a connection sends.

A reply is whole (`body`), streamed (`stream`) or takes the connection over (`takeover`). This module decides the
shapes of the first two for JSON and leaves the sending to `engine.api.connection`. It does no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.api.hijack import Channel

JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer. `stream` pieces are sent as they come, each as one chunk, after the headers have gone out at once.

    `on_hangup` is called, from another thread, when the client goes away while the answer is under way; it must end
    what `stream` or `takeover` are waiting for.
    """

    status: int = 200
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: Iterator[bytes] | None = None
    takeover: Callable[[Channel], None] | None = None
    on_hangup: Callable[[], None] | None = None


def document(content: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A JSON document, with the newline at its end that Docker's have."""
    return Reply(status=status, content_type=JSON_TYPE, headers=headers, body=dumps(content))


def text(content: str, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Plain text."""
    return Reply(status=status, content_type="text/plain; charset=utf-8", headers=headers, body=content.encode())


def empty(status: int = 200) -> Reply:
    """No body."""
    return Reply(status=status)


def documents(items: Iterable[Any], *, on_hangup: Callable[[], None] | None = None) -> Reply:
    """A stream of JSON documents, one per line and chunk."""
    return Reply(content_type=JSON_TYPE, stream=map(dumps, items), on_hangup=on_hangup)


def dumps(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"
