"""What belongs to swarm mode, to managed plugins and to BuildKit: routes that are there, to say that these are not.

Clients ask them to find out where they are (`docker info`, Portainer, `docker inspect` of a name that could be a
plugin), so each answers as a Docker does that is in no swarm and has no plugin installed. What would change that is
refused with 501, since no later try can succeed. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.api import filters
from engine.api.backend import Daemon
from engine.api.reply import Reply, document
from engine.api.request import Request
from engine.api.router import Route
from netpy.errors import NotFound, Unsupported

_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" '
    "to connect this node to swarm and try again."
)
_PLUGIN_KEYS = frozenset({"enabled", "capability"})
_MANAGED = ("nodes", "services", "tasks", "secrets", "configs")


class Swarm:
    """Handlers that need no daemon."""

    def __init__(self, daemon: Daemon) -> None:
        del daemon

    def routes(self) -> list[Route]:
        return [*_swarm(), *_plugins(), *_buildkit()]


def _swarm() -> list[Route]:
    routes = [
        Route("GET", "/swarm", no_manager),
        Route("POST", "/swarm/init", refusal("swarm mode is not supported: this engine runs on one machine")),
        Route("POST", "/swarm/join", refusal("swarm mode is not supported: this engine runs on one machine")),
        Route("POST", "/swarm/leave", no_member),
        Route("POST", "/swarm/update", no_manager),
        Route("POST", "/swarm/unlock", no_manager),
        Route("GET", "/swarm/unlockkey", no_manager),
    ]
    for noun in _MANAGED:
        routes += [Route("GET", f"/{noun}", no_manager), Route("GET", f"/{noun}/{{id}}", no_manager)]
        if noun != "tasks":
            routes.append(Route("DELETE", f"/{noun}/{{id}}", no_manager))
            routes.append(Route("POST", f"/{noun}/{{id}}/update", no_manager))
        if noun in ("services", "secrets", "configs"):
            routes.append(Route("POST", f"/{noun}/create", no_manager))
        if noun in ("services", "tasks"):
            routes.append(Route("GET", f"/{noun}/{{id}}/logs", no_manager))
    return routes


def _plugins() -> list[Route]:
    new = refusal("managed plugins are not supported: network drivers are installed as Python packages")
    return [
        Route("GET", "/plugins", plugins),
        Route("GET", "/plugins/privileges", new),
        Route("POST", "/plugins/pull", new),
        Route("POST", "/plugins/create", new),
        Route("GET", "/plugins/{name...}/json", no_plugin),
        Route("POST", "/plugins/{name...}/enable", no_plugin),
        Route("POST", "/plugins/{name...}/disable", no_plugin),
        Route("POST", "/plugins/{name...}/upgrade", no_plugin),
        Route("POST", "/plugins/{name...}/push", no_plugin),
        Route("POST", "/plugins/{name...}/set", no_plugin),
        Route("DELETE", "/plugins/{name...}", no_plugin),
    ]


def _buildkit() -> list[Route]:
    no = refusal("BuildKit is not supported: build with DOCKER_BUILDKIT=0, or with netpy build")
    return [Route("POST", "/session", no), Route("POST", "/grpc", no)]


def no_manager(request: Request) -> Reply:
    """Only a swarm manager could answer."""
    return document({"message": _NO_MANAGER}, status=503)


def no_member(request: Request) -> Reply:
    """Only a member of a swarm can leave it."""
    return document({"message": "This node is not part of a swarm"}, status=503)


def plugins(request: Request) -> Reply:
    """Equivalent: `docker plugin ls`. There are none."""
    filters.check(request.query.filters(), _PLUGIN_KEYS)
    return document([])


def no_plugin(request: Request) -> Reply:
    """A plugin that is not installed."""
    raise NotFound(f'plugin "{request.params["name"]}" not found')


def refusal(message: str) -> Callable[[Request], Reply]:
    """A handler for what no try can make work."""

    def refuse(request: Request) -> Reply:
        """Not supported."""
        raise Unsupported(message)

    return refuse
