"""The routes of registries: pull, push, log in, look at what is there, search.

Decodes, calls `engine.images`' exchange, and turns its progress into streams that end when the client goes. No I/O of
its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.api import credentials
from engine.api.backend import Daemon, Transfer
from engine.api.progress import progress
from engine.api.reply import Reply, document
from engine.api.request import Request
from engine.api.router import Route
from engine.images import references
from engine.images.references import Reference
from engine.model import Json
from netpy.errors import InvalidArgument

_LIMIT = 25


class Registry:
    """Handlers over one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/auth", self.login),
            Route("GET", "/images/search", self.search),
            Route("POST", "/images/{name...}/push", self.push),
            Route("GET", "/distribution/{name...}/json", self.inspect),
        ]

    def login(self, request: Request) -> Reply:
        """Equivalent: `docker login`."""
        return document(self._daemon.images.registry.login(request.json()))

    def search(self, request: Request) -> Reply:
        """Equivalent: `docker search`."""
        query = request.query
        limit = query.number("limit")
        found = self._daemon.images.registry.search(
            query.text("term"), limit=_LIMIT if limit is None else limit, filters=query.filters()
        )
        return document(found)

    def inspect(self, request: Request) -> Reply:
        """Equivalent: `docker manifest inspect`, and what `docker service create` asks."""
        auth = credentials.of_registry(request)
        return document(self._daemon.images.registry.inspect(request.params["name"], auth=auth))

    def push(self, request: Request) -> Reply:
        """Equivalent: `docker push`; without a tag, all tags of the repository."""
        name = _named(request.params["name"], request.query.text("tag"))
        transfer = self._daemon.images.registry.push(name, auth=credentials.of_registry(request))
        return _told(self._daemon, "push", name, transfer)


def pull(daemon: Daemon, request: Request) -> Reply:
    """Equivalent: `docker pull`; without a tag, all tags of the repository."""
    query = request.query
    name = _named(query.text("fromImage"), query.text("tag"))
    transfer = daemon.images.registry.pull(
        name,
        auth=credentials.of_registry(request),
        platform=query.text("platform"),
        all_tags=not (name.tag or name.digest),
    )
    return _told(daemon, "pull", name, transfer)


def _told(daemon: Daemon, action: str, name: Reference, transfer: Transfer) -> Reply:
    """The transfer's progress as an answer, with the event that Docker publishes when it has gone well."""

    def events() -> Iterator[Json]:
        yield from transfer
        attributes = {"name": name.familiar_name}
        daemon.events.publish("image", action, name.familiar, attributes)

    def on_hangup(*, stopping: bool) -> None:
        del stopping
        transfer.cancel()

    return replace(progress(events(), close=transfer.close), on_hangup=on_hangup)


def _named(text: str, tag: str) -> Reference:
    """A name as the API passes it: with its tag, or with the tag beside it, which then counts."""
    name = references.parse(text)
    if not tag:
        return name
    plain = replace(name, tag="", digest="")
    try:
        return references.parse(references.with_tag(str(plain), tag))
    except InvalidArgument:
        raise InvalidArgument("invalid tag format") from None
