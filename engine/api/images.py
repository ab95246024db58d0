"""The routes of images: list, inspect, pull, import, load, save, tag, remove, prune.

Decodes, calls `engine.images`, and turns its progress into streams of JSON lines. No I/O of its own.
"""

from __future__ import annotations

from contextlib import nullcontext

from engine import lifecycle
from engine.api import registry
from engine.api.announcements import ImageNews, tell_pruned
from engine.api.backend import Daemon
from engine.api.progress import told_within
from engine.api.reply import Reply, document, documents, empty
from engine.api.request import Request
from engine.api.router import Route
from engine.api.views.images import shown
from netpy.errors import InvalidArgument, NotFound


class Images:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._news = ImageNews(daemon)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/images/json", self.list),
            Route("POST", "/images/create", self.create),
            Route("POST", "/images/load", self.load),
            Route("POST", "/images/prune", self.prune),
            Route("GET", "/images/get", self.save),
            Route("GET", "/images/{name...}/get", self.save),
            Route("GET", "/images/{name...}/json", self.inspect),
            Route("GET", "/images/{name...}/history", self.history),
            Route("POST", "/images/{name...}/tag", self.tag),
            Route("DELETE", "/images/{name...}", self.remove),
        ]

    def list(self, request: Request) -> Reply:
        """Equivalent: `docker images`."""
        wanted = request.query.filters()
        old = request.query.text("filter")  # before API 1.25: a name, alone
        if old:
            wanted["reference"] = [*wanted.get("reference", []), old]
        found = self._daemon.images.summaries(
            all=request.query.flag("all"), filters=wanted, shared=request.query.flag("shared-size")
        )
        return document([shown(image, request.version) for image in found])

    def inspect(self, request: Request) -> Reply:
        """Equivalent: `docker image inspect`."""
        name = request.params["name"]
        try:
            return document(shown(self._daemon.images.inspect(name), request.version))
        except NotFound as error:
            raise NotFound(f"no such image: {name}: {error}") from error

    def history(self, request: Request) -> Reply:
        """Equivalent: `docker history`."""
        return document(self._daemon.images.history(request.params["name"]))

    def create(self, request: Request) -> Reply:
        """Equivalent: `docker pull` (`fromImage`) and `docker import` (`fromSrc`)."""
        query = request.query
        if query.text("fromImage"):
            return registry.pull(self._daemon, request)
        source, reference = query.text("fromSrc"), _reference(query.text("repo"), query.text("tag"))
        from engine.images import remote

        url = "" if source == "-" else remote.address(source)
        with remote.opened(url) if url else nullcontext(request.stream()) as stream:
            image = self._daemon.images.import_rootfs(
                stream,
                reference=reference,
                message=query.text("message") or f"Imported from {url or '-'}",
                changes=query.texts("changes"),
                platform=query.text("platform"),
            )
        self._news.imported(image, reference)
        return documents([*([{"status": f"Downloading from {url}"}] if url else []), {"status": image}])

    def load(self, request: Request) -> Reply:
        """Equivalent: `docker load`."""
        return told_within(self._news.loading(self._daemon.images.load(request.stream())))

    def save(self, request: Request) -> Reply:
        """Equivalent: `docker save`."""
        refs = [request.params["name"]] if "name" in request.params else request.query.texts("names")
        if not refs:
            raise InvalidArgument("no image to save: names is empty")
        stream = self._daemon.images.save(refs)
        self._news.saved(refs)
        return Reply(content_type="application/x-tar", stream=stream)

    def tag(self, request: Request) -> Reply:
        """Equivalent: `docker tag`."""
        target = _reference(request.query.text("repo"), request.query.text("tag"))
        self._daemon.images.tag(request.params["name"], target)
        self._news.tagged(target)
        return empty(201)

    def remove(self, request: Request) -> Reply:
        """Equivalent: `docker rmi`."""
        name, force, noprune = request.params["name"], request.query.flag("force"), request.query.flag("noprune")
        image, labels = self._daemon.images.resolve(name).id, self._news.labels(name)
        removed = self._daemon.images.remove(
            name, force=force, noprune=noprune, used_by=self._used_by, running=self._runs
        )
        self._news.removed(removed, image, labels)
        return document(removed)

    def prune(self, request: Request) -> Reply:
        """Equivalent: `docker image prune`; with `dangling=false` everything that no container uses goes."""
        pruned = self._daemon.images.prune(request.query.filters(), used_by=self._used_by)
        self._news.removed(pruned["ImagesDeleted"] or [], labels={})
        tell_pruned(self._daemon, "image", pruned["SpaceReclaimed"])
        return document(pruned)

    def _used_by(self, image_id: str) -> list[str]:
        return [c.id for c in self._daemon.containers.all() if c.image_id == image_id]

    def _runs(self, container_id: str) -> bool:
        try:
            return lifecycle.is_alive(self._daemon.containers.get(container_id).state.status)
        except NotFound:
            return False


def _reference(repository: str, tag: str) -> str:
    if not repository or not tag:
        return repository
    return f"{repository}@{tag}" if ":" in tag else f"{repository}:{tag}"
