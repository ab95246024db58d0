"""Progress as an answer: a stream of JSON lines whose failures go to where the client still looks for them.

A stream that has begun cannot take its status back: a failure before the first progress is an ordinary error, one
after it is a line `{"errorDetail": …, "error": …}`, as Docker's clients expect. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from engine.api.errors import message_of
from engine.api.reply import Reply, closing_with, documents
from engine.model import Json


def progress(items: Iterator[Json], *, close: Callable[[], None] | None = None) -> Reply:
    """A stream of progress whose first item is there already. `close` is called when it is over, however it ends."""
    try:
        first = next(items, None)
    except BaseException:
        if close is not None:
            close()
        raise
    return documents(_continued(first, items), close=_both(items, close))


def told_within(items: Iterator[Json]) -> Reply:
    """A stream of progress that says all of its failures itself, as Docker's load does: the status is 200 always."""
    return documents(_continued(None, items), close=_both(items, None))


def _continued(first: Json | None, items: Iterator[Json]) -> Iterator[Json]:
    with closing_with(items):
        try:
            if first is not None:
                yield first
            yield from items
        except Exception as error:
            message = message_of(error)
            yield {"errorDetail": {"message": message}, "error": message}


def _both(items: Iterator[Json], close: Callable[[], None] | None) -> Callable[[], None]:
    def end() -> None:
        with closing_with(items):
            if close is not None:
                close()

    return end
