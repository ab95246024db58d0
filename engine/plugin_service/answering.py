"""Requests of dockerd to the calls that they name, and what comes of them to answers.

Errors are answers as well, status 200: `Err` from a network driver, `Error` from an IPAM driver. A call that does not
exist is 404, which dockerd takes for "does without". No I/O but the request's body.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, cast

from engine.api.reply import Reply
from engine.api.request import Request
from netpy.errors import InvalidArgument, NetpyError

Json = dict[str, Any]
KIND = "application/vnd.docker.plugins.v1.2+json"
ERROR = {"NetworkDriver": "Err", "IpamDriver": "Error"}
logger = logging.getLogger(__name__)


class Answering:
    """A handler for `engine.api.server.Server`. `parts` are objects whose methods are the calls of NAME.Call."""

    def __init__(self, parts: Mapping[str, object]) -> None:
        self._parts = parts

    def __call__(self, request: Request) -> Reply:
        path = request.path.lstrip("/")
        if path == "Plugin.Activate":
            return _reply({"Implements": list(self._parts)})
        part, _, method = path.partition(".")
        call: Callable[[Json], Json] | None = (
            getattr(self._parts.get(part), method, None) if method[:1].isupper() else None
        )
        if request.method != "POST" or call is None:
            return _reply({"Err": f"unknown call: {request.method} /{path}"}, 404)
        try:
            return _reply(call(_body(request)))
        except NetpyError as error:
            return _failed(part, path, str(error))
        except ExceptionGroup as group:
            return _failed(part, path, "; ".join(map(str, group.exceptions)))
        except Exception as error:
            logger.exception("%s failed", path)
            return _failed(part, path, f"{type(error).__name__}: {error}")


def _body(request: Request) -> Json:
    content = request.content() or b"{}"
    try:
        body: object = json.loads(content)
    except ValueError as error:
        raise InvalidArgument(f"the request's body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidArgument("the request's body is not a JSON object")
    return cast(Json, body)


def _failed(part: str, path: str, message: str) -> Reply:
    logger.warning("%s: %s", path, message)
    return _reply({ERROR.get(part, "Err"): message})


def _reply(document: Json, status: int = 200) -> Reply:
    return Reply(status=status, content_type=KIND, body=json.dumps(document).encode() + b"\n")
