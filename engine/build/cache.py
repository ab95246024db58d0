"""The build cache: which image a step led to, when it was last made from the same image in the same way.

A step is told by the image below it and by the configuration of the container that made it, its command among it;
files that were copied are in that command by their digest. So equal steps have equal keys, and there is nothing to
compare. Entries name images, which Docker's rules keep and prune; an entry whose image has gone is worth nothing and
goes when it is met. I/O is the store's.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Protocol

from engine.images.catalogue import Images
from netpy.errors import NotFound

Json = dict[str, Any]
KIND = "build"
# What differs from container to container without making the step another one.
_INDIFFERENT = ("Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout", "AttachStderr")


class Store(Protocol):
    """netpy.store.Store, as far as it is used here."""

    def get(self, kind: str, id: str) -> Json | None: ...
    def all(self, kind: str) -> list[tuple[str, Json]]: ...
    def transaction(self) -> Any: ...


def key(parent: str, container_config: Json) -> str:
    """What tells a step from others."""
    relevant = {name: value for name, value in container_config.items() if name not in _INDIFFERENT and value}
    text = json.dumps([parent, relevant], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class Cache:
    """The entries in a store. Safe to use from several threads: the last one to make a step wins."""

    def __init__(self, store: Store, images: Images) -> None:
        self._store = store
        self._images = images

    def find(self, wanted: str, sources: frozenset[str] | None) -> str:
        """The image a step led to, or the empty string. With `sources`, only one of these will do."""
        entry = self._store.get(KIND, wanted)
        if entry is None or (sources is not None and entry["image"] not in sources):
            return ""
        if self._exists(entry["image"]):
            return str(entry["image"])
        self._drop([wanted])
        return ""

    def remember(self, wanted: str, image: str) -> None:
        """The step led to this image."""
        with self._store.transaction() as transaction:
            transaction.put(KIND, wanted, {"image": image})

    def prune(self) -> None:
        """Forget what led to images that have gone."""
        self._drop([id for id, entry in self._store.all(KIND) if not self._exists(entry["image"])])

    def lineage(self, refs: tuple[str, ...]) -> frozenset[str] | None:
        """The images that `--cache-from` allows: those named and what they were made from; None without any."""
        if not refs:
            return None
        found: set[str] = set()
        for ref in refs:
            try:
                image = self._images.resolve(ref)
                while image.id not in found:
                    found.add(image.id)
                    image = self._images.resolve(image.parent) if image.parent else image
            except NotFound:
                continue
        return frozenset(found)

    def _exists(self, image: str) -> bool:
        try:
            self._images.resolve(image)
        except NotFound:
            return False
        return True

    def _drop(self, keys: list[str]) -> None:
        if keys:
            with self._store.transaction() as transaction:
                for each in keys:
                    transaction.delete(KIND, each)
