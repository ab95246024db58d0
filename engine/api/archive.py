"""The routes of files that move in and out of containers: archives, changes, export, commit.

Decodes and encodes; `engine.containers` does the work. Tars pass through as they come. No I/O of its own.
"""

from __future__ import annotations

import base64
import json

from engine.api.backend import Daemon
from engine.api.decode import as_object, loads
from engine.api.reply import Reply, document, empty
from engine.api.request import Request
from engine.api.router import Route
from engine.containers.archive import Target
from engine.containers.committing import CommitRequest
from engine.model import Json
from netpy.errors import InvalidArgument

TAR = "application/x-tar"


class Archive:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("HEAD", "/containers/{id}/archive", self.status),
            Route("GET", "/containers/{id}/archive", self.fetch),
            Route("PUT", "/containers/{id}/archive", self.extract),
            Route("GET", "/containers/{id}/changes", self.changes),
            Route("GET", "/containers/{id}/export", self.export),
            Route("POST", "/commit", self.commit),
        ]

    def status(self, request: Request) -> Reply:
        """What is at a path, in a header; `docker cp` asks before it copies."""
        found = self._daemon.containers.path_status(request.params["id"], _path(request))
        return Reply(headers=(_stat(found),))

    def fetch(self, request: Request) -> Reply:
        """Equivalent: `docker cp CONTAINER:PATH -`."""
        found, tar = self._daemon.containers.fetch(request.params["id"], _path(request))
        return Reply(content_type=TAR, headers=(_stat(found),), stream=tar)

    def extract(self, request: Request) -> Reply:
        """Equivalent: `docker cp - CONTAINER:PATH`."""
        query = request.query
        target = Target(
            path=_path(request), keep_kinds=query.flag("noOverwriteDirNonDir"), copy_owner=query.flag("copyUIDGID")
        )
        self._daemon.containers.extract(request.params["id"], target, request.stream())
        return empty()

    def changes(self, request: Request) -> Reply:
        """Equivalent: `docker diff`. Docker says null where nothing has changed."""
        return document(self._daemon.containers.changes(request.params["id"]) or None)

    def export(self, request: Request) -> Reply:
        """Equivalent: `docker export`."""
        return Reply(
            content_type="application/octet-stream", stream=self._daemon.containers.export(request.params["id"])
        )

    def commit(self, request: Request) -> Reply:
        """Equivalent: `docker commit`. Old clients call the comment `m`."""
        query = request.query
        reference = _reference(query.text("repo"), query.text("tag"))
        wanted = CommitRequest(
            reference=reference,
            author=query.text("author"),
            comment=query.text("comment") or query.text("m"),
            changes=tuple(query.texts("changes")),
            config=_config(request),
            pause=query.flag("pause", True) if query.text("pause") else True,
        )
        image = self._daemon.containers.commit(query.text("container"), wanted)
        if reference:
            self._daemon.events.publish("image", "tag", image, {"name": reference})
        return document({"Id": image}, status=201)


def _path(request: Request) -> str:
    path = request.query.text("path")
    if not path:
        raise InvalidArgument("bad parameter: path cannot be empty")
    return path


def _stat(found: Json) -> tuple[str, str]:
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")
    return "X-Docker-Container-Path-Stat", base64.b64encode(text).decode()


def _config(request: Request) -> Json | None:
    """The body: a Config document, null or nothing."""
    content = request.content()
    found = loads(content) if content.strip() else None
    return None if found is None else as_object(found)


def _reference(repository: str, tag: str) -> str:
    return f"{repository}:{tag}" if repository and tag else repository
