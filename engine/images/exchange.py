"""A daemon's dealings with registries: pull, push, inspect what is there, log in. The room's second front.

It brings the parts together: endpoints.py says whom to ask, transports.py asks, pulling.py and pushing.py move blobs,
and holdings.py keeps what came and what was learned. Nothing is recorded before it is whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from engine.images import complaints, manifests, pulling, records, references
from engine.images.endpoints import HUB, Endpoint, Registries
from engine.images.holdings import Holdings
from engine.images.index import Index
from engine.images.layers import Layers
from engine.images.manifests import Platform
from engine.images.progress import Cancellation, Transfer
from engine.images.pulling import Order, Pull
from engine.images.pushing import Push
from engine.images.records import ImageRecord
from engine.images.references import Reference
from engine.images.transports import Skopeo
from engine.naming import DEFAULT_DOMAIN
from netpy.errors import InvalidArgument, NotFound

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Pulls into and pushes from these holdings. `now` gives the time as RFC 3339; `patience` is that of pulling.py."""

    index: Index
    layers: Layers
    holdings: Holdings
    skopeo: Skopeo
    platform: Platform
    now: Callable[[], str]
    patience: float = pulling.STALL

    def pull(
        self, reference: Reference, *, auth: Json | None = None, platform: str = "", all_tags: bool = False
    ) -> Transfer:
        """Fetch an image, or all that a repository has tags for; yields Docker's progress objects.

        `auth` is the decoded X-Registry-Auth header; `platform` is such as `linux/arm64`. What the registry says to
        the first name is known at once: NotFound (no such manifest, no access), KernelError (unreachable), Unsupported
        (no skopeo).
        """
        wanted = manifests.parse_platform(platform, self.platform)
        names = self._all_tags(reference, auth) if all_tags else [reference.tagged()]
        shown = replace(reference, tag="", digest="") if all_tags else names[0]

        def ordered(name: Reference) -> Order:
            order = pulling.order(self.skopeo, name, auth, wanted)
            return replace(order, patience=self.patience)

        first = ordered(names[0])

        def work(cancellation: Cancellation) -> Iterator[Json]:
            fresh = False
            for name in names:
                fresh |= yield from self._pulled(first if name == names[0] else ordered(name), cancellation)
            outcome = "Downloaded newer image" if fresh else "Image is up to date"
            yield {"status": f"Status: {outcome} for {shown.familiar}"}

        return Transfer(work)

    def push(self, reference: Reference, *, auth: Json | None = None) -> Transfer:
        """Send an image, or all tags of a repository when the name has none; yields Docker's progress objects.

        Afterwards the image is also known by the digest that the registry has it under.
        """
        if reference.digest:
            raise InvalidArgument("cannot push a digest reference")

        def work(cancellation: Cancellation) -> Iterator[Json]:
            repository = replace(reference, tag="")
            yield {"status": f"The push refers to repository [{repository}]"}
            endpoint = self.skopeo.registries.home(reference.domain)
            for name, image in self._to_push(reference):
                yield from self._pushed(name, image, endpoint, (auth, cancellation))

        return Transfer(work)

    def inspect(self, text: str, *, auth: Json | None = None) -> Json:
        """The body of GET /distribution/{name}/json: what the registry has under a name, and for which platforms."""
        reference = references.parse(text).tagged()

        def ask(endpoint: Endpoint) -> Json:
            with self.skopeo.access(endpoint, auth) as access:
                found = pulling.find(self.skopeo, reference, access)
                if manifests.is_index(found.document):
                    platforms: list[Json] = [entry.get("platform") or {} for entry in manifests.entries(found.document)]
                else:
                    platforms = [_platform(self.skopeo.config(reference.pinned(found.digest), access))]
            media_type = manifests.media_type(found.document)
            descriptor = {"mediaType": media_type, "digest": found.digest, "size": len(found.raw)}
            return {"Descriptor": descriptor, "Platforms": platforms}

        try:
            return pulling.ask_in_turn(self.skopeo, reference.domain, ask)
        except NotFound as failure:
            if str(failure).startswith("manifest for"):
                raise NotFound("manifest unknown: manifest unknown") from failure
            raise complaints.Unauthorized(str(failure)) from failure

    def login(self, auth: Json) -> Json:
        """The body of POST /auth: have a registry look at credentials. Unauthorized when it does not take them."""
        domain = _domain(str(auth.get("serveraddress") or HUB))
        endpoint = self.skopeo.registries.home(domain)
        if auth.get("identitytoken"):
            raise InvalidArgument("identity tokens are not checked: log in with a user name and a password")
        username, password = str(auth.get("username") or ""), str(auth.get("password") or "")
        if not username or not password:
            raise complaints.Unauthorized(f'Get "{endpoint.base}": no basic auth credentials')
        with self.skopeo.access(endpoint, None) as access:
            self.skopeo.login(access, username, password)
        return {"IdentityToken": "", "Status": "Login Succeeded"}

    def search(self, term: str, *, limit: int, filters: Mapping[str, Sequence[str]]) -> list[Json]:
        """The body of GET /images/search: what an index finds. Equivalent: `docker search`."""
        from engine.images import hub  # with TLS, 2 MB of memory that few daemons need

        return hub.search(self.skopeo.registries, term, limit, filters)

    def configure(self, registries: Registries) -> None:
        """From now on these mirrors and insecure registries count."""
        self.skopeo.registries = registries

    def document(self) -> Json:
        """`RegistryConfig` of GET /info."""
        return self.skopeo.registries.document()

    def _all_tags(self, reference: Reference, auth: Json | None) -> list[Reference]:
        def ask(endpoint: Endpoint) -> list[str]:
            with self.skopeo.access(endpoint, auth) as access:
                return self.skopeo.tags(reference, access)

        tags: Sequence[str] = pulling.ask_in_turn(self.skopeo, reference.domain, ask)
        if not tags:
            raise NotFound(f"repository {reference.familiar_name} not found: it has no tags")
        return [replace(reference, tag=tag) for tag in tags]

    def _pulled(self, order: Order, cancellation: Cancellation) -> Generator[Json, None, bool]:
        name = order.reference
        yield {"status": f"Pulling from {name.path}", "id": name.tag or name.digest}
        known = self.holdings.blobs()
        pull = Pull(order, self.layers, lambda digest: known.get(digest, ""))
        image = self.index.image(order.manifest.config.digest)
        before = self.index.named(name)
        try:
            if not image or not pull.complete:
                with closing(pull.events(self.skopeo, cancellation)) as events:
                    yield from events
                image = records.image(pull.config)
            cancellation.check()
            names = [name.pinned(order.digest), *([name] if not name.digest else [])]
            self.holdings.add(image, pull.layers, names, self.now())
            self.holdings.learn(pull.packed)
        finally:
            pull.discard()
        yield {"status": f"Digest: {order.digest}"}
        return before is None or before.id != image.id

    def _pushed(
        self, name: Reference, image: ImageRecord, endpoint: Endpoint, way: tuple[Json | None, Cancellation]
    ) -> Iterator[Json]:
        push = Push(image, name, self.layers, self.holdings.packed())
        try:
            with closing(push.events(self.skopeo, endpoint, *way)) as events:
                for event in events:
                    if "aux" in event:
                        self._learn(push, {name.pinned(push.digest): image.id})
                    yield event
        finally:
            self._learn(push, {})

    def _learn(self, push: Push, names: Mapping[Reference, str]) -> None:
        packed = {layer: {found.digest: found.size} for layer, found in push.packed.items()}
        self.holdings.learn(packed, names)

    def _to_push(self, reference: Reference) -> list[tuple[Reference, ImageRecord]]:
        repository = [
            (name, image)
            for image in self.index.images()
            for name in image.references
            if name.name == reference.name and not name.digest and not image.deleted
        ]
        if not repository:
            raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
        chosen = [pair for pair in repository if reference.tag in ("", pair[0].tag)]
        if not chosen:
            raise NotFound(f"tag does not exist: {reference.familiar}")
        return sorted(chosen, key=lambda pair: pair[0].tag)


def _platform(config: bytes) -> Json:
    """What an image's configuration says it runs on, in the API's words."""
    document = records.document(config, "image configuration")
    keys = ("architecture", "os", "os.version", "os.features", "variant")
    return {key: document[key] for key in keys if document.get(key)}


def _domain(server: str) -> str:
    """The registry of a server address as clients keep it: `https://index.docker.io/v1/`, `localhost:5000`."""
    if server == HUB:
        return DEFAULT_DOMAIN
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if not references.is_domain(host):
        raise InvalidArgument(f'unable to parse server address: parse "{server}": invalid host name')
    return DEFAULT_DOMAIN if host in ("docker.io", "index.docker.io", "registry-1.docker.io") else host
