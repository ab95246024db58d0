"""The streams of containers: attach, logs, stats, and the answer to wait.

Decides their framing and when they end; where their content comes from, `engine.containers` knows. No I/O of its own:
connections send what is returned here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from engine.api import hijack
from engine.api.backend import Daemon, Waiter
from engine.api.exec import MULTIPLEXED_SINCE, taken_over
from engine.api.hangup import OnHangup
from engine.api.reply import Pieces, Reply, document, documents
from engine.api.request import Request
from engine.api.router import Route
from engine.model import NEVER, Json
from engine.streams import Frame, Session, encode
from netpy.errors import InvalidArgument, NotFound

_STREAMS = ("stdin", "stdout", "stderr")
_CONDITIONS = ("not-running", "next-exit", "removed")
_PERIOD = 1.0
"""Seconds between two documents of a stats stream, as Docker has it."""


class Streams:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/containers/{id}/wait", self.wait),
            Route("POST", "/containers/{id}/attach", self.attach),
            Route("GET", "/containers/{id}/attach/ws", self.attach_by_messages),
            Route("GET", "/containers/{id}/logs", self.logs),
            Route("GET", "/containers/{id}/stats", self.stats),
        ]

    def wait(self, request: Request) -> Reply:
        """Equivalent: `docker wait`. The status goes out at once, when the waiter stands: `docker run` counts on it."""
        condition = request.query.text("condition") or "not-running"
        if condition not in _CONDITIONS:
            raise InvalidArgument(f'invalid condition: "{condition}"')
        waiter = self._daemon.containers.wait(request.params["id"], condition)
        gone = threading.Event()

        def give_up(*, stopping: bool) -> None:
            gone.set()
            waiter.settle((0, ""))

        return documents(_verdict(waiter, gone), on_hangup=give_up, close=waiter.close)

    def attach(self, request: Request) -> Reply:
        """Equivalent: `docker attach`, and the foreground of `docker run`."""
        query = request.query
        streams = {name: query.flag(name) for name in _STREAMS}
        session, terms = self._attached(request, streams)
        return taken_over(request, lambda: session, terms)

    def attach_by_messages(self, request: Request) -> Reply:
        """Attach over a WebSocket, as web pages do. Before API 1.42 all streams were taken, whatever was asked."""
        from engine.api import websocket  # few clients want it

        head, connection = websocket.accept(request)
        every = request.version < MULTIPLEXED_SINCE
        streams = {name: every or request.query.flag(name) for name in _STREAMS}
        session, terms = self._attached(request, streams)
        joint = hijack.Joint(lambda: session, replace(terms, framed=False))
        return Reply(
            takeover=lambda channel: joint.run(websocket.Messages(connection, channel)),
            handshake=head,
            on_hangup=joint.leave,
        )

    def _attached(self, request: Request, streams: Mapping[str, bool]) -> tuple[Session, hijack.Terms]:
        query, id = request.query, request.params["id"]
        container = self._daemon.containers.get(id)
        tty = bool(container.config.get("Tty"))
        keys = hijack.parse_keys(query.text("detachKeys")) if tty else b""
        logs, stream = query.flag("logs"), query.flag("stream")
        session = self._daemon.containers.attach(id, **streams, logs=logs, stream=stream)
        # Who leaves an interactive container must not end its shell: only a single input (StdinOnce) ends with us.
        close_input = bool(container.config.get("StdinOnce")) and not tty
        return session, hijack.Terms(stdin=streams["stdin"], framed=not tty, close_input=close_input, keys=keys)

    def logs(self, request: Request) -> Reply:
        """Equivalent: `docker logs`."""
        query, id = request.query, request.params["id"]
        if not (query.flag("stdout") or query.flag("stderr")):
            raise InvalidArgument("Bad parameters: you must choose at least one stream")
        tty = bool(self._daemon.containers.get(id).config.get("Tty"))
        frames = self._daemon.containers.logs(
            id,
            stdout=query.flag("stdout"),
            stderr=query.flag("stderr"),
            since=query.seconds("since"),
            until=query.seconds("until"),
            tail=_tail(query.text("tail")),
            follow=query.flag("follow"),
            timestamps=query.flag("timestamps"),
            details=query.flag("details"),
        )
        kind = "" if request.version < MULTIPLEXED_SINCE else hijack.RAW if tty else hijack.MULTIPLEXED
        return Reply(content_type=kind, stream=Pieces(frames, _raw if tty else encode), on_hangup=_closer(frames))

    def stats(self, request: Request) -> Reply:
        """Equivalent: `docker stats`. One document, or one a second until the client or the container has gone."""
        id = self._daemon.containers.get(request.params["id"]).id
        gone = threading.Event()
        if request.query.flag("stream", default=True):
            return documents(self._samples(id, gone), on_hangup=lambda stopping: gone.set())
        first = self._daemon.containers.stats(id)
        if request.query.flag("one-shot") or first["read"] == NEVER:
            return document(_since(first, None))
        gone.wait(_PERIOD)  # a rate needs two points
        return document(_since(self._daemon.containers.stats(id), first))

    def _samples(self, id: str, gone: threading.Event) -> Iterator[Json]:
        previous: Json | None = None
        while not gone.is_set():
            try:
                sample = self._daemon.containers.stats(id)
            except NotFound:
                return
            yield _since(sample, previous)
            previous = sample
            gone.wait(_PERIOD)


def _since(sample: Json, previous: Json | None) -> Json:
    """A sample that carries the one before it, from which clients compute rates."""
    if previous is None:
        return sample
    return sample | {"preread": previous.get("read"), "precpu_stats": previous.get("cpu_stats")}


def _verdict(waiter: Waiter, gone: threading.Event) -> Iterator[Json]:
    code, error = waiter.result()
    if not gone.is_set():
        yield {"Error": {"Message": error} if error else None, "StatusCode": code}


def _raw(frame: Frame) -> bytes:
    return frame.data


def _closer(frames: Iterator[Frame]) -> OnHangup | None:
    """How to end the iteration from another thread; a running generator cannot be."""
    close: Callable[[], None] | None = getattr(frames, "close", None)
    return None if close is None or hasattr(frames, "gi_frame") else lambda stopping: close()


def _tail(text: str) -> int | None:
    """The number of last lines; None for all."""
    if text in ("", "all"):
        return None
    try:
        lines = int(text)
    except ValueError:
        return None  # dockerd reads whatever is no number as all
    return lines if lines >= 0 else None
