"""The records of images, names and layers in the store: kinds `image`, `tag` and `layer`.

A name is a record of its own, from the full reference to an image id, so that moving it is one write. The layers'
records say nothing of who needs them: that follows from the images. Everything an operation changes is one `Edit`,
written in one transaction. I/O is the store's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from engine.images import records
from engine.images.records import ImageRecord, LayerRecord
from engine.images.references import Reference, parse
from netpy.errors import InvalidArgument

Json = dict[str, Any]


class Writer(Protocol):
    def put(self, kind: str, id: str, body: Json) -> None: ...
    def delete(self, kind: str, id: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Changes that belong together. Names in `names` move when they exist."""

    images: tuple[ImageRecord, ...] = ()
    layers: tuple[LayerRecord, ...] = ()
    names: Mapping[Reference, str] = field(default_factory=dict[Reference, str])
    drop_images: tuple[str, ...] = ()
    drop_layers: tuple[str, ...] = ()
    drop_names: tuple[Reference, ...] = ()


class Index:
    """What is recorded in a store (a netpy.store.Store)."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def images(self) -> list[ImageRecord]:
        """All images with their names, in the order in which they came, deleted ones included."""
        names = self._names()
        return [replace(image, references=names.get(id, ())) for id, image in self._store.load("image", image_of)]

    def image(self, id: str) -> ImageRecord | None:
        body = self._store.get("image", id)
        return replace(image_of(body), references=self._names().get(id, ())) if body else None

    def named(self, reference: Reference) -> ImageRecord | None:
        """The image a full reference, with tag or digest, points to."""
        if reference.digest:
            reference = reference.pinned(reference.digest)
        body = self._store.get("tag", str(reference))
        return self.image(body["image"]) if body else None

    def beginning_with(self, digits: str) -> list[ImageRecord]:
        """The images that are not deleted and whose id begins with these hex digits; at most two are looked up."""
        ids = [id for id, body in self._store.all("image") if id[7:].startswith(digits) and not body["deleted"]]
        found = (self.image(id) for id in ids[:2])
        return [image for image in found if image]

    def layers(self) -> dict[str, LayerRecord]:
        """All layers by diff id."""
        return {id: replace(layer, diff_id=id) for id, layer in self._store.load("layer", layer_of)}

    def write(self, edit: Edit) -> None:
        """Make the changes of `edit`, all or none."""
        with self._store.transaction() as transaction:
            _write(transaction, edit)

    def _names(self) -> dict[str, tuple[Reference, ...]]:
        names: dict[str, tuple[Reference, ...]] = {}
        for text, body in self._store.all("tag"):
            names[body["image"]] = (*names.get(body["image"], ()), parse(text))
        return names


def _write(writer: Writer, edit: Edit) -> None:
    for layer in edit.layers:
        body: Json = {"size": layer.size, "tar_size": layer.tar_size, "blobs": list(layer.blobs)}
        if layer.packed:
            body["packed"] = dict(layer.packed)
        writer.put("layer", layer.diff_id, body)
    for image in edit.images:
        writer.put("image", image.id, _stored(image))
    for reference, id in edit.names.items():
        writer.put("tag", str(reference), {"image": id})
    _delete(writer, "tag", map(str, edit.drop_names))
    _delete(writer, "image", edit.drop_images)
    _delete(writer, "layer", edit.drop_layers)


def _delete(writer: Writer, kind: str, ids: Iterable[str]) -> None:
    for id in ids:
        writer.delete(kind, id)


def _stored(image: ImageRecord) -> Json:
    body: Json = {"raw": image.raw.decode(), "size": image.size, "tagged": image.tagged, "deleted": image.deleted}
    return body | {"parent": image.parent} if image.parent else body


def image_of(body: Json) -> ImageRecord:
    """The record of an image, without its names."""
    try:
        bare = records.image(body["raw"].encode())
    except InvalidArgument as failure:
        raise InvalidArgument(f"reading the image records: {failure}") from failure
    return replace(
        bare,
        size=body["size"],
        tagged=body["tagged"],
        deleted=body["deleted"],
        parent=body.get("parent", ""),
    )


def layer_of(body: Json) -> LayerRecord:
    """The record of a layer, without its digest."""
    return LayerRecord(
        diff_id="",
        size=body["size"],
        tar_size=body["tar_size"],
        blobs=tuple(body["blobs"]),
        packed=body.get("packed") or {},
    )
