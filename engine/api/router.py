"""From method and path to a route, with the version check of Docker's API.

It decides which handler serves a request and turns whatever goes wrong in it into an answer, by `engine.api.errors`.
It does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from engine.api.errors import reply_to
from engine.api.reply import Reply, document, empty
from engine.api.request import Request
from netpy.errors import InvalidArgument

MINIMUM = (1, 24)
CURRENT = (1, 47)
_VERSION = re.compile(r"/v(\d{1,4})\.(\d{1,4})(/.*)")
_PARAMETER = re.compile(r"\{(\w+)(\.\.\.)?\}")


def version_text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path pattern. `{id}` stands for one segment, `{name...}` for several (images have slashes)."""

    method: str
    pattern: str
    handler: Callable[[Request], Reply]

    def compiled(self) -> re.Pattern[str]:
        parts: list[str] = []
        end = 0
        for found in _PARAMETER.finditer(self.pattern):
            parts += [re.escape(self.pattern[end : found.start()]), f"(?P<{found[1]}>{'.+' if found[2] else '[^/]+'})"]
            end = found.end()
        return re.compile("".join([*parts, re.escape(self.pattern[end:])]))


class Router:
    """Finds the first route that fits, and serves. Never raises: failures are answers too."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._routes = [(route, route.compiled()) for route in self.routes]

    def __call__(self, request: Request) -> Reply:
        try:
            request = _versioned(request)
            route, params = self._find(request)
            return route.handler(replace(request, params=params)) if route else _missing(request)
        except Exception as error:
            return reply_to(error)

    def _find(self, request: Request) -> tuple[Route | None, dict[str, str]]:
        methods = {request.method, "GET" if request.method == "HEAD" else request.method}
        for route, pattern in self._routes:
            if route.method in methods and (match := pattern.fullmatch(request.path)):
                return route, match.groupdict()
        return None, {}


def _missing(request: Request) -> Reply:
    """Docker's word for both a path and a method that it does not know; a browser's OPTIONS it lets pass."""
    if request.method == "OPTIONS":
        return empty()
    return document({"message": "page not found"}, status=404)


def _versioned(request: Request) -> Request:
    """The request without its version prefix; without one, it means the current version."""
    match = _VERSION.fullmatch(request.path)
    if match is None:
        return replace(request, version=CURRENT)
    version = (int(match[1]), int(match[2]))
    asked = version_text(version)
    if version > CURRENT:
        raise InvalidArgument(
            f"client version {asked} is too new. Maximum supported API version is {version_text(CURRENT)}"
        )
    if version < MINIMUM:
        raise InvalidArgument(
            f"client version {asked} is too old. Minimum supported API version is {version_text(MINIMUM)}, "
            "please upgrade your client to a newer version"
        )
    return replace(request, path=match[3], version=version)
