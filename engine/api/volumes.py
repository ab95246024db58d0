"""The routes of volumes. Decodes and encodes; `engine.containers.volumes` decides. No I/O of its own."""

from __future__ import annotations

import secrets
from pathlib import Path

from engine.api import filters
from engine.api.backend import Daemon
from engine.api.decode import strings_of, text_of
from engine.api.disk import usage
from engine.api.reply import Reply, document, empty
from engine.api.request import Request
from engine.api.router import Route
from engine.containers.volumes import ANONYMOUS
from engine.model import Json

_PRUNE_KEYS = frozenset({"all", "label", "label!"})
ALL_SINCE = (1, 42)


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
        used = {str(m.get("Name")) for container in self._daemon.containers.all() for m in container.mounts}
        passes = filters.volume_filter(wanted, used)
        return document({"Volumes": [v for v in self._daemon.containers.volumes.all() if passes(v)], "Warnings": None})

    def create(self, request: Request) -> Reply:
        """Equivalent: `docker volume create`. Without a name, the volume gets a random one."""
        body = request.json_or_empty()
        name = text_of(body, "Name")
        labels = strings_of(body, "Labels") if body.get("Labels") is not None else None
        volume = self._daemon.containers.volumes.create(
            name or secrets.token_hex(32),
            driver=text_of(body, "Driver"),
            labels=labels if name else {**(labels or {}), ANONYMOUS: ""},
            options=strings_of(body, "DriverOpts") if body.get("DriverOpts") is not None else None,
        )
        return document(volume, status=201)

    def inspect(self, request: Request) -> Reply:
        """Equivalent: `docker volume inspect`."""
        return document(self._daemon.containers.volumes.get(request.params["name"]))

    def remove(self, request: Request) -> Reply:
        """Equivalent: `docker volume rm`."""
        self._daemon.containers.volumes.remove(request.params["name"], force=request.query.flag("force"))
        return empty(204)

    def prune(self, request: Request) -> Reply:
        """Equivalent: `docker volume prune`; before API 1.42 it took named volumes too."""
        wanted = request.query.filters()
        filters.check(wanted, _PRUNE_KEYS if request.version >= ALL_SINCE else _PRUNE_KEYS - {"all"})
        everything = request.version < ALL_SINCE or filters.truth(wanted, "all")
        sizes: dict[str, int] = {}

        def chosen(volume: Json) -> bool:
            labels: Json = volume.get("Labels") or {}
            if not (everything or ANONYMOUS in labels) or not filters.has_labels(labels, wanted.get("label", ())):
                return False
            if not filters.is_unlabelled(labels, wanted.get("label!", ())):
                return False
            sizes[volume["Name"]] = usage(Path(volume["Mountpoint"]))
            return True

        removed = self._daemon.containers.volumes.prune(chosen)
        reclaimed = sum(sizes[name] for name in removed)
        self._daemon.events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return document({"VolumesDeleted": removed or None, "SpaceReclaimed": reclaimed})
