"""Pulling an image: which manifest, from which of a registry's endpoints, which blobs, and again after a break.

First the manifest is asked for, because it says at once whether there is such an image for this platform, which layers
we have, and how large the others are. Then skopeo copies into a directory of ours, where an empty file stands for
each layer that need not be fetched again; what happens there is arrivals.py's. When the connection breaks, layers that
came are kept and the rest is asked for once more. The events are those of Docker's POST /images/create.

Recording the image is done by the exchange, after `Pull.events` has ended.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.images import manifests, records
from engine.images.arrivals import Stalled, Work
from engine.images.endpoints import Endpoint
from engine.images.layers import Layers
from engine.images.manifests import Blob, Manifest, Platform
from engine.images.progress import Cancellation, event
from engine.images.references import Reference
from engine.images.transports import Access, Skopeo
from engine.images.unpacking import Unpacked
from netpy.errors import InvalidArgument, KernelError, NetpyError

Json = dict[str, Any]
PAUSES = (1, 3)  # seconds before the second and third attempt
STALL = 60.0
_BROKEN = ("unexpected eof", "connection reset", "received unexpected http status: 5", ": eof", "broken pipe")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An image to be pulled: where from, with what credentials, and its manifest, which has been fetched.

    `digest` is that of the document the name points to: the index, when there is one. `patience` is how many seconds
    the registry may be silent.
    """

    reference: Reference
    auth: Json | None
    endpoint: Endpoint
    digest: str
    source: Reference
    manifest: Manifest
    patience: float = STALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an endpoint has under a name: the document itself, its bytes and digest."""

    endpoint: Endpoint
    raw: bytes
    digest: str
    document: Json


def ask_in_turn(skopeo: Skopeo, domain: str, ask: Callable[[Endpoint], Any]) -> Any:
    """The first answer of a domain's endpoints. A mirror's failure is passed over: the registry has the last word."""
    *mirrors, home = skopeo.registries.endpoints(domain)
    for mirror in mirrors:
        try:
            return ask(mirror)
        except (NetpyError, ValueError):
            continue
    return ask(home)


def find(skopeo: Skopeo, reference: Reference, access: Access) -> Found:
    """The manifest or index that a name points to."""
    asked = reference.pinned(reference.digest) if reference.digest else reference
    raw = skopeo.manifest(asked, access)
    digest = records.digest_of(raw)
    if reference.digest and digest != reference.digest:
        raise InvalidArgument(f"manifest verification failed for digest {reference.digest}")
    document = records.document(raw, f"manifest of {reference.familiar}")
    return Found(endpoint=access.endpoint, raw=raw, digest=digest, document=document)


def order(skopeo: Skopeo, reference: Reference, auth: Json | None, platform: Platform) -> Order:
    """Ask for a manifest. NotFound when there is none for the name, or none for the platform."""

    def ask(endpoint: Endpoint) -> Order:
        with skopeo.access(endpoint, auth) as access:
            found = find(skopeo, reference, access)
            source, document = reference.pinned(found.digest), found.document
            if manifests.is_index(document):
                source = reference.pinned(manifests.blob(manifests.choose(document, platform)).digest)
                document = find(skopeo, source, access).document
        manifest = manifests.manifest(document)
        return Order(
            reference=reference, auth=auth, endpoint=endpoint, digest=found.digest, source=source, manifest=manifest
        )

    return ask_in_turn(skopeo, reference.domain, ask)


class Pull:
    """One pull under way. After `events` has ended, `config` and `layers` (lowest first) are what came."""

    def __init__(self, order: Order, layers: Layers, known: Callable[[str], str]) -> None:
        """`known` gives the diff id of a blob that we have, by its digest, or the empty string."""
        self.config = b""
        self._order = order
        self._layers = layers
        self._have = {layer.digest: known(layer.digest) for layer in order.manifest.layers}
        self._new: dict[str, Unpacked] = {}

    @property
    def complete(self) -> bool:
        """Whether all layers were there from the beginning."""
        return all(self._have.values())

    @property
    def layers(self) -> list[Unpacked | str]:
        """The layers, the lowest first; diff ids stand for those we had."""
        return [self._new.get(blob.digest) or self._have[blob.digest] for blob in self._order.manifest.layers]

    @property
    def packed(self) -> dict[str, dict[str, int]]:
        """The digests and sizes under which the registry has the layers that are gzip, by diff id."""
        ids = [part if isinstance(part, str) else part.diff_id for part in self.layers]
        pairs = zip(ids, self._order.manifest.layers, strict=True)
        return {diff_id: {blob.digest: blob.size} for diff_id, blob in pairs if blob.media_type.endswith("gzip")}

    def events(self, skopeo: Skopeo, cancellation: Cancellation) -> Generator[Json]:
        """Fetch and unpack; yields progress. When it is ended early, `discard` removes what is left."""
        for blob in self._blobs().values():
            yield event("Already exists" if self._have[blob.digest] else "Pulling fs layer", blob.digest)
        for pause in PAUSES:
            try:
                yield from self._attempt(skopeo, cancellation)
                break
            except NetpyError as failure:
                if not _broke_off(failure):
                    raise
            yield from self._retrying(pause, cancellation)
        else:
            yield from self._attempt(skopeo, cancellation)
        if records.digest_of(self.config) != self._order.manifest.config.digest:
            raise InvalidArgument(f"pulling {self._order.reference.familiar}: image configuration is damaged")

    def discard(self) -> None:
        """Remove the layers that nobody kept."""
        for unpacked in self._new.values():
            self._layers.discard(unpacked)

    def _attempt(self, skopeo: Skopeo, cancellation: Cancellation) -> Iterator[Json]:
        order = self._order
        with ExitStack() as stack:
            directory: Path = stack.enter_context(self._layers.scratch())
            access = stack.enter_context(skopeo.access(order.endpoint, order.auth))
            there = [blob for blob in self._blobs().values() if self._is_here(blob)]
            missing = self._missing()
            work = Work(directory, skopeo.fetch(order.source, directory, access), self._layers, missing, self._new)
            stack.callback(work.cancel)
            work.offer(there)
            while work.busy:
                try:
                    work.wait(cancellation, order.patience)
                except Stalled as stalled:
                    raise KernelError(f"pulling {order.reference.familiar}: {stalled}") from None
                yield from work.events()
            self.config = (directory / order.manifest.config.digest[7:]).read_bytes()

    def _retrying(self, seconds: int, cancellation: Cancellation) -> Iterator[Json]:
        poll = select.poll()
        poll.register(cancellation, select.POLLIN)
        for left in range(seconds, 0, -1):
            for blob in self._missing():
                yield event(f"Retrying in {left} second{'s' if left > 1 else ''}", blob.digest)
            poll.poll(1000)
            cancellation.check()

    def _missing(self) -> list[Blob]:
        return [blob for blob in self._blobs().values() if not self._is_here(blob)]

    def _is_here(self, blob: Blob) -> bool:
        return bool(self._have[blob.digest]) or blob.digest in self._new

    def _blobs(self) -> dict[str, Blob]:
        return {blob.digest: blob for blob in self._order.manifest.layers}


def _broke_off(failure: NetpyError) -> bool:
    """Whether this is of the connection rather than of the image, so that another attempt may do."""
    return isinstance(failure, KernelError) and any(word in str(failure).lower() for word in _BROKEN)
