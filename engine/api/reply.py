"""Answers as values: what a route returns and a connection sends.

A reply is whole (`body`), streamed (`stream`) or takes the connection over (`takeover`). This module decides the
shapes of the first two for JSON and leaves the sending to `engine.api.connection`. It does no I/O.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from engine.api.hangup import OnHangup
    from engine.api.hijack import Channel

T = TypeVar("T")
JSON_TYPE = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer. `stream` pieces are sent as they come, each as one chunk, after the headers have gone out at once.

    `on_hangup` is called, from another thread, when the client goes away while the answer is under way; it must end
    what `stream` or `takeover` are waiting for. `handshake` is sent in place of the head that a takeover has otherwise.
    """

    status: int = 200
    content_type: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    stream: Iterator[bytes] | None = None
    takeover: Callable[[Channel], None] | None = None
    handshake: bytes = b""
    on_hangup: OnHangup | None = None


def document(content: Any, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A JSON document, with the newline at its end that Docker's have."""
    return Reply(status=status, content_type=JSON_TYPE, headers=headers, body=dumps(content))


def text(content: str, *, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """Plain text."""
    return Reply(status=status, content_type="text/plain; charset=utf-8", headers=headers, body=content.encode())


def empty(status: int = 200) -> Reply:
    """No body."""
    return Reply(status=status)


def documents(
    items: Iterable[Any], *, on_hangup: OnHangup | None = None, close: Callable[[], None] | None = None
) -> Reply:
    """A stream of JSON documents, one per line and chunk. `close` is called when the answer is over."""
    return Reply(content_type=JSON_TYPE, stream=Pieces(items, dumps, close), on_hangup=on_hangup)


def dumps(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


class Pieces(Iterator[bytes]):
    """Items, encoded one by one. Closing it closes their source, even one that was never asked for an item.

    That is more than a generator does: one that has not begun skips its own clean-up.
    """

    def __init__(
        self, items: Iterable[T], encode: Callable[[T], bytes], close: Callable[[], None] | None = None
    ) -> None:
        self._pieces = map(encode, items)
        self._close = close or getattr(items, "close", None)

    def __next__(self) -> bytes:
        return next(self._pieces)

    def close(self) -> None:
        if self._close is not None:
            self._close()


@contextmanager
def closing_with(items: object) -> Generator[None]:
    """Close what can be closed, such as a generator, when the block ends."""
    try:
        yield
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()
