"""The one table from errors to HTTP status codes, and the text that a client gets to see.

It decides status and message of every failure, expected or not, and leaves the sending to `engine.api.connection`.
It does no I/O, save that an unexpected exception is logged with its traceback: the daemon lives on.
"""

from __future__ import annotations

import json
import logging
from typing import cast

from engine.api.reply import Reply, document
from engine.images.complaints import Unauthorized
from netpy.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    InvalidArgument,
    KernelError,
    NetpyError,
    NotFound,
    PortTaken,
    Unsupported,
)

log = logging.getLogger("netpy.api")

STATUS: tuple[tuple[type[Exception], int], ...] = (
    (InvalidArgument, 400),
    (Unauthorized, 401),
    (Forbidden, 403),
    (NotFound, 404),
    (PortTaken, 500),
    (Conflict, 409),
    (Exhausted, 500),
    (KernelError, 500),
    (NetpyError, 500),
)


class BadRequest(InvalidArgument):
    """The bytes on the connection are not a request that can be served. `status` is 400 or nearer to the point."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def reply_to(error: Exception) -> Reply:
    """The answer that tells a client of a failure."""
    return document({"message": message_of(error)}, status=status_of(error))


def status_of(error: BaseException) -> int:
    match error:
        case BadRequest():
            return error.status
        case Unsupported():
            return 501
        case ExceptionGroup():
            return max(status_of(part) for part in parts(error))
        case _:
            return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def message_of(error: BaseException) -> str:
    """What went wrong, in words for the user; logs what nobody foresaw.

    Of a group: what was being done, and everything that failed at it, gravest first. It was done as far as it goes.
    """
    match error:
        case ExceptionGroup():
            causes = sorted(parts(error), key=status_of, reverse=True)
            return f"{error.message}: {'; '.join(dict.fromkeys(map(message_of, causes)))}"
        case NetpyError():
            return str(error)
        case OSError(errno=int(), strerror=str(reason), filename=place):  # the machine lacks something: disk, files
            log.warning("%s", error)
            return f"{place}: {reason.lower()}" if place else f"the operating system refused: {reason.lower()}"
        case _:
            log.error("unexpected error while serving a request", exc_info=error)
            return f"internal error: {type(error).__name__}: {error}"


def parts(group: BaseException) -> list[BaseException]:
    """The single exceptions of a group, however deep."""
    if not isinstance(group, BaseExceptionGroup):
        return [group]
    inner = cast("BaseExceptionGroup[BaseException]", group)
    return [leaf for part in inner.exceptions for leaf in parts(part)]


def json_error(error: ValueError | RecursionError, text: bytes) -> InvalidArgument:
    """A JSON document that cannot be read, told in the way of Docker: what, where, and why."""
    if not text.strip():
        return InvalidArgument("invalid JSON: got EOF while reading request body")
    if not isinstance(error, json.JSONDecodeError):
        return InvalidArgument(f"invalid JSON: {error}")
    where = f"line {error.lineno}, column {error.colno}"
    if error.pos >= len(error.doc.rstrip()):
        return InvalidArgument(f"invalid JSON: unexpected end of input at {where}")
    reason = error.msg[0].lower() + error.msg[1:]
    return InvalidArgument(f"invalid JSON: invalid character {error.doc[error.pos]!r} at {where}: {reason}")
