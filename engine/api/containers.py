"""The routes of containers, from create to prune, but for their streams (`engine.api.streaming`).

Decodes Docker's bodies and queries, calls `engine.containers`, and encodes by `engine.api.views`. No I/O of its own.
"""

from __future__ import annotations

from collections.abc import Callable

from engine import lifecycle
from engine.api import filters
from engine.api.announcements import tell_pruned
from engine.api.backend import Daemon
from engine.api.decode import object_of
from engine.api.exec import dimensions
from engine.api.reply import Reply, document, empty
from engine.api.request import Request
from engine.api.router import Route
from engine.api.scenes import Scenes
from engine.api.shapes import CONTAINER, UPDATE, checked
from engine.api.views import containers as views
from engine.api.views.containers import Scene
from netpy.errors import InvalidArgument

_OWN = frozenset({"HostConfig", "NetworkingConfig"})


class Containers:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._scenes = Scenes(daemon)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/containers/json", self.list),
            Route("POST", "/containers/create", self.create),
            Route("POST", "/containers/prune", self.prune),
            Route("GET", "/containers/{id}/json", self.inspect),
            Route("POST", "/containers/{id}/start", self.start),
            Route("POST", "/containers/{id}/stop", self.stop),
            Route("POST", "/containers/{id}/restart", self.restart),
            Route("POST", "/containers/{id}/kill", self.kill),
            Route("POST", "/containers/{id}/pause", self.pause),
            Route("POST", "/containers/{id}/unpause", self.unpause),
            Route("POST", "/containers/{id}/rename", self.rename),
            Route("POST", "/containers/{id}/update", self.update),
            Route("POST", "/containers/{id}/resize", self.resize),
            Route("GET", "/containers/{id}/top", self.top),
            Route("DELETE", "/containers/{id...}", self.remove),
        ]

    def list(self, request: Request) -> Reply:
        """Equivalent: `docker ps`."""
        query = request.query
        wanted = query.filters()
        for name in ("before", "since"):  # once parameters of their own
            if query.text(name):
                wanted[name] = [query.text(name)]
        test = filters.container_filter(wanted, self._daemon.containers.get)
        limit = query.number("limit") or 0
        everything = query.flag("all") or limit > 0 or bool(wanted.get("status"))

        def passes(scene: Scene) -> bool:
            shown = everything or lifecycle.is_alive(scene.container.state.status)
            return shown and (not wanted or test(self._scenes.candidate(scene)))

        found = list(self._scenes.summaries(request.version, sized=query.flag("size"), passes=passes))
        return document(found[:limit] if limit > 0 else found)

    def inspect(self, request: Request) -> Reply:
        """Equivalent: `docker container inspect`."""
        scene = self._scenes.of(self._daemon.containers.get(request.params["id"]), request.version)
        return document(views.inspect(self._scenes.sized(scene) if request.query.flag("size") else scene))

    def create(self, request: Request) -> Reply:
        """Equivalent: `docker create`. With `dryrun`, the plan of its network and nothing else."""
        body = checked(request.json(), CONTAINER)
        arguments = {
            "config": {key: value for key, value in body.items() if key not in _OWN},
            "host_config": object_of(body, "HostConfig"),
            "networks": object_of(object_of(body, "NetworkingConfig"), "EndpointsConfig"),
        }
        name = request.query.text("name").removeprefix("/")
        if request.query.flag("dryrun"):
            return document({"Plan": self._daemon.containers.plan(name=name, **arguments)})
        id, warnings = self._daemon.containers.create(name=name, platform=request.query.text("platform"), **arguments)
        return document({"Id": id, "Warnings": warnings}, status=201)

    def start(self, request: Request) -> Reply:
        """Equivalent: `docker start`. 304 if it runs already."""
        return self._unless_idle(request, "start") or self._done(self._daemon.containers.start, request)

    def stop(self, request: Request) -> Reply:
        """Equivalent: `docker stop`. 304 if it does not run."""
        idle = self._unless_idle(request, "stop")
        if idle:
            return idle
        timeout, signal = request.query.number("t"), request.query.text("signal")
        self._daemon.containers.stop(request.params["id"], timeout=timeout, signal=signal)
        return empty(204)

    def restart(self, request: Request) -> Reply:
        """Equivalent: `docker restart`."""
        timeout, signal = request.query.number("t"), request.query.text("signal")
        self._daemon.containers.restart(request.params["id"], timeout=timeout, signal=signal)
        return empty(204)

    def kill(self, request: Request) -> Reply:
        """Equivalent: `docker kill`."""
        self._daemon.containers.kill(request.params["id"], request.query.text("signal") or "KILL")
        return empty(204)

    def pause(self, request: Request) -> Reply:
        """Equivalent: `docker pause`."""
        return self._done(self._daemon.containers.pause, request)

    def unpause(self, request: Request) -> Reply:
        """Equivalent: `docker unpause`."""
        return self._done(self._daemon.containers.unpause, request)

    def update(self, request: Request) -> Reply:
        """Equivalent: `docker update`."""
        change = checked(request.json(), UPDATE)
        return document({"Warnings": self._daemon.containers.update(request.params["id"], change) or None})

    def rename(self, request: Request) -> Reply:
        """Equivalent: `docker rename`."""
        name = request.query.text("name").removeprefix("/")
        if not name:
            raise InvalidArgument("new name cannot be empty")
        self._daemon.containers.rename(request.params["id"], name)
        return empty(204)

    def resize(self, request: Request) -> Reply:
        """The client's terminal has a new size."""
        rows, cols = dimensions(request)
        self._daemon.containers.resize(request.params["id"], rows, cols)
        return empty()

    def top(self, request: Request) -> Reply:
        """Equivalent: `docker top`."""
        return document(self._daemon.containers.top(request.params["id"], request.query.text("ps_args") or "-ef"))

    def remove(self, request: Request) -> Reply:
        """Equivalent: `docker rm`."""
        query = request.query
        if query.flag("link"):
            self._daemon.containers.remove_link(request.params["id"])
            return empty(204)
        self._daemon.containers.remove(request.params["id"], force=query.flag("force"), volumes=query.flag("v"))
        return empty(204)

    def prune(self, request: Request) -> Reply:
        """Equivalent: `docker container prune`."""
        wanted = request.query.filters()
        filters.check(wanted, filters.PRUNE_KEYS)
        pruned = self._daemon.containers.prune(wanted)
        tell_pruned(self._daemon, "container", pruned["SpaceReclaimed"])
        return document(pruned)

    def _unless_idle(self, request: Request, event: lifecycle.Event) -> Reply | None:
        """304 where the container already is as it is asked to be."""
        status = self._daemon.containers.get(request.params["id"]).state.status
        return empty(304) if lifecycle.is_idle(status, event) else None

    def _done(self, action: Callable[[str], None], request: Request) -> Reply:
        action(request.params["id"])
        return empty(204)
