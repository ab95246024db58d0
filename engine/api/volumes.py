"""The routes of volumes. Decodes and encodes; `engine.containers.volumes` decides. No I/O of its own."""

from __future__ import annotations

import secrets

from engine.api import filters
from engine.api.backend import Daemon
from engine.api.decode import strings_of, text_of
from engine.api.reply import Reply, document, empty
from engine.api.request import Request
from engine.api.router import Route
from engine.containers.volumes import ANONYMOUS
from engine.model import Json

_LIST_KEYS = frozenset({"dangling", "driver", "label", "name"})
_PRUNE_KEYS = frozenset({"all", "label", "label!"})


class Volumes:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/volumes", self.list),
            Route("POST", "/volumes/create", self.create),
            Route("POST", "/volumes/prune", self.prune),
            Route("GET", "/volumes/{name}", self.inspect),
            Route("DELETE", "/volumes/{name}", self.remove),
        ]

    def list(self, request: Request) -> Reply:
        """Equivalent: `docker volume ls`."""
        wanted = request.query.filters()
        filters.check(wanted, _LIST_KEYS)
        used = {str(m.get("Name")) for container in self._daemon.containers.all() for m in container.mounts}

        def passes(volume: Json) -> bool:
            dangling = "true" if volume["Name"] not in used else "false"
            exact = {"driver": volume["Driver"], "dangling": dangling}
            if any(wanted.get(key) and value not in wanted[key] for key, value in exact.items()):
                return False
            if wanted.get("name") and not filters.matches_pattern(wanted["name"], volume["Name"]):
                return False
            return filters.has_labels(volume.get("Labels") or {}, wanted.get("label", ()))

        return document({"Volumes": [v for v in self._daemon.containers.volumes.all() if passes(v)], "Warnings": None})

    def create(self, request: Request) -> Reply:
        """Equivalent: `docker volume create`. Without a name, the volume gets a random one."""
        body = request.json_or_empty()
        name = text_of(body, "Name")
        volume = self._daemon.containers.volumes.create(
            name or secrets.token_hex(32),
            driver=text_of(body, "Driver"),
            labels=strings_of(body, "Labels") | ({} if name else {ANONYMOUS: ""}),
            options=strings_of(body, "DriverOpts"),
        )
        self._daemon.events.publish("volume", "create", volume["Name"], {"driver": volume["Driver"]})
        return document(volume, status=201)

    def inspect(self, request: Request) -> Reply:
        """Equivalent: `docker volume inspect`."""
        return document(self._daemon.containers.volumes.get(request.params["name"]))

    def remove(self, request: Request) -> Reply:
        """Equivalent: `docker volume rm`."""
        name = request.params["name"]
        self._daemon.containers.volumes.remove(name, force=request.query.flag("force"))
        self._daemon.events.publish("volume", "destroy", name, {"driver": "local"})
        return empty(204)

    def prune(self, request: Request) -> Reply:
        """Equivalent: `docker volume prune`; before API 1.42 it took named volumes too."""
        wanted = request.query.filters()
        filters.check(wanted, _PRUNE_KEYS)
        everything = request.version < (1, 42) or any(v in ("1", "true") for v in wanted.get("all", ()))
        removed = self._daemon.containers.volumes.prune(everything=everything)
        for name in removed:
            self._daemon.events.publish("volume", "destroy", name, {"driver": "local"})
        return document({"VolumesDeleted": removed, "SpaceReclaimed": 0})
