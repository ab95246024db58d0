"""The routes of exec: create in a container, start with a hijacked stream or detached, resize, inspect.

Decodes, calls `engine.containers`, and hands streams to `engine.api.hijack`. No I/O of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.api import hijack
from engine.api.backend import Daemon
from engine.api.decode import flag_of, object_of, text_of
from engine.api.errors import message_of
from engine.api.reply import Reply, document, empty
from engine.api.request import Request
from engine.api.router import Route
from engine.api.shapes import EXEC, checked
from engine.containers.documents import console_size
from engine.streams import STDOUT, Frame, Session
from netpy.errors import InvalidArgument

MULTIPLEXED_SINCE = (1, 42)


class Exec:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/containers/{id}/exec", self.create),
            Route("POST", "/exec/{id}/start", self.start),
            Route("POST", "/exec/{id}/resize", self.resize),
            Route("GET", "/exec/{id}/json", self.inspect),
        ]

    def create(self, request: Request) -> Reply:
        """Equivalent: the first half of `docker exec`."""
        body = checked(request.json(), EXEC)
        if not body.get("Cmd"):
            raise InvalidArgument("no exec command specified")
        return document({"Id": self._daemon.containers.exec_create(request.params["id"], body)}, status=201)

    def start(self, request: Request) -> Reply:
        """Equivalent: the second half of `docker exec`. Detached: an empty answer; else the stream."""
        body = request.json_or_empty()
        id = request.params["id"]
        known = self._daemon.containers.exec_inspect(id)
        keys = hijack.parse_keys(text_of(known, "DetachKeys"))
        if body.get("ConsoleSize") and flag_of(body, "Tty"):
            self._daemon.containers.exec_resize(id, *console_size(body))
        tty = flag_of(body, "Tty")
        if flag_of(body, "Detach"):
            self._daemon.containers.exec_start(id, tty=tty, detach=True)
            return empty()
        self._daemon.containers.exec_check(id)
        # What frames the stream is this request's Tty; whether there is a terminal, the one of the exec's making too.
        terminal = tty or flag_of(object_of(known, "ProcessConfig"), "tty")
        terms = hijack.Terms(
            stdin=flag_of(known, "OpenStdin"),
            framed=not tty,
            close_input=not terminal,
            keys=keys if terminal else b"",
        )
        return taken_over(request, lambda: self._begun(id, tty=tty), terms)

    def _begun(self, id: str, *, tty: bool) -> Session:
        """The session of a process started now. The status has gone out: what stops it is told in its own stream."""
        try:
            session = self._daemon.containers.exec_start(id, tty=tty, detach=False)
        except Exception as error:
            return Obituary(message_of(error))
        return session or Obituary("")

    def resize(self, request: Request) -> Reply:
        """The client's terminal has a new size."""
        rows, cols = dimensions(request)
        self._daemon.containers.exec_resize(request.params["id"], rows, cols)
        return empty()

    def inspect(self, request: Request) -> Reply:
        """How it ended, for the client's exit code."""
        return document(self._daemon.containers.exec_inspect(request.params["id"]))


class Obituary:
    """A `Session` that says what went wrong, and ends."""

    tty = False

    def __init__(self, message: str) -> None:
        self._frames = [Frame(STDOUT, f"{message}\r\n".encode())] if message else []

    def read(self) -> Frame | None:
        return self._frames.pop() if self._frames else None

    def write(self, data: bytes) -> None: ...

    def close_input(self) -> None: ...

    def close(self) -> None: ...


def taken_over(request: Request, begin: Callable[[], Session], terms: hijack.Terms) -> Reply:
    """The answer that joins the client's connection with the session that `begin` gives.

    It is begun when the head of the answer has gone out. Output that came with the head would be lost on clients that
    read the head by a buffered file and the stream from the bare socket (docker-py).
    """
    framed = terms.framed and request.version >= MULTIPLEXED_SINCE
    joint = hijack.Joint(begin, terms)
    return Reply(content_type=hijack.MULTIPLEXED if framed else hijack.RAW, takeover=joint.run, on_hangup=joint.leave)


def dimensions(request: Request) -> tuple[int, int]:
    """The `h` and `w` of a resize: rows and columns."""
    sizes = [request.query.number("h"), request.query.number("w")]
    if any(size is None or not 0 <= size <= 0xFFFF for size in sizes):
        raise InvalidArgument("invalid terminal size: h and w must be numbers of rows and columns")
    return sizes[0] or 0, sizes[1] or 0
