"""What is held: records (index.py) and layers on disk (layers.py), changed together and kept in step.

Layers are moved into place before the records that need them are written, and out of it after the records are gone.
So a crash leaves at worst a layer that nobody needs, which the next start removes. All of that happens under `lock`,
which a caller also holds while it decides on what it then changes; unpacking and the removal of files happen outside
of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.images import records
from engine.images.index import Edit, Index
from engine.images.layers import Layers
from engine.images.records import ImageRecord, LayerRecord
from engine.images.references import Reference
from engine.images.removal import Removal
from engine.images.unpacking import Unpacked
from netpy.errors import Conflict, InvalidArgument

Json = dict[str, Any]
Users = Callable[[str], list[str]]


class Holdings:
    """Images and their layers. What `retire` and `sweep` return must be given to `layers.dispose` after the lock."""

    def __init__(self, index: Index, layers: Layers) -> None:
        self.lock = threading.RLock()
        self._index = index
        self._layers = layers
        needed = {layer for image in index.images() for layer in image.layers}
        layers.sweep(needed)

    def add(
        self, image: ImageRecord, parts: Sequence[Unpacked | str], names: Sequence[Reference], now: str
    ) -> ImageRecord:
        """Keep an image with its layers, the lowest first (diff ids for those we have), and point names at it.

        InvalidArgument when the layers are not those of its configuration. Conflict when one was removed meanwhile.
        """
        found = tuple(part if isinstance(part, str) else part.diff_id for part in parts)
        if found != image.layers:
            raise InvalidArgument(f"image {image.short_id}: its layers are not those that its configuration names")
        with self.lock:
            present = self._index.layers()
            for part in parts:
                if isinstance(part, str) and part not in present:
                    raise Conflict(f"layer {records.short(part)} was removed while it was needed: try again")
            layers = {part.diff_id: _merged(part, present) for part in parts if not isinstance(part, str)}
            for part in parts:
                if not isinstance(part, str):
                    self._layers.keep(part)
            old = self._index.image(image.id)
            tagged = now if names else (old.tagged if old else "")
            size = sum((layers.get(layer) or present[layer]).size for layer in image.layers)
            parent = image.parent or (old.parent if old else "")
            kept = replace(image, size=size, tagged=tagged, deleted=False, parent=parent)
            self._index.write(Edit(images=(kept,), layers=tuple(layers.values()), names=dict.fromkeys(names, image.id)))
            return kept

    def learn(self, packed: Mapping[str, Mapping[str, int]], names: Mapping[Reference, str] | None = None) -> None:
        """Remember layers' compressed digests with their sizes, by diff id, and point `names` at images.

        What was removed meanwhile is passed over.
        """
        with self.lock:
            present = self._index.layers()
            layers = tuple(
                replace(old, blobs=tuple(dict.fromkeys((*old.blobs, *found))), packed={**old.packed, **found})
                for diff_id, found in packed.items()
                if (old := present.get(diff_id)) and not found.items() <= old.packed.items()
            )
            kept = {name: id for name, id in (names or {}).items() if self._index.image(id)}
            if layers or kept:
                self._index.write(Edit(layers=layers, names=kept))

    def packed(self) -> dict[str, Mapping[str, int]]:
        """The compressed forms of all layers, by diff id: digests and sizes."""
        return {layer.diff_id: layer.packed for layer in self._index.layers().values()}

    def retire(self, image: ImageRecord, removal: Removal, *, keep: bool) -> tuple[list[Json], list[Path]]:
        """Carry out a removal: what was done, as Docker lists it, and what is to be disposed of.

        With `keep`, an image that goes only loses its names and its place in lists: containers still need its layers.
        """
        rows: list[Json] = [{"Untagged": name.familiar} for name in removal.names]
        if not removal.image:
            self._index.write(Edit(drop_names=removal.names))
            return rows, []
        rows.append({"Deleted": image.id})
        if keep:
            self._index.write(Edit(images=(replace(image, deleted=True),), drop_names=removal.names))
            return rows, []
        gone = self._unneeded_without({image.id})
        chain = dict(zip(image.layers, records.chain_ids(image.layers), strict=True))
        rows += [{"Deleted": chain[layer]} for layer in reversed(chain) if layer in gone]
        return rows, self._drop({image.id}, gone, removal.names)

    def sweep(self, used_by: Users) -> list[Path]:
        """Drop the deleted images that no container needs any more."""
        gone = {image.id for image in self._index.images() if image.deleted and not used_by(image.id)}
        return self._drop(gone, self._unneeded_without(gone), ()) if gone else []

    def blobs(self) -> dict[str, str]:
        """The diff ids of all layers, by every digest under which they are known."""
        known: dict[str, str] = {}
        for layer in self._index.layers().values():
            known.update(dict.fromkeys((layer.diff_id, *layer.blobs), layer.diff_id))
        return known

    def disk_usage(self) -> int:
        """Bytes of all layers, each counted once."""
        return sum(layer.size for layer in self._index.layers().values())

    def _unneeded_without(self, gone: set[str]) -> set[str]:
        needed = {layer for image in self._index.images() if image.id not in gone for layer in image.layers}
        return set(self._index.layers()) - needed

    def _drop(self, images: set[str], layers: set[str], names: tuple[Reference, ...]) -> list[Path]:
        self._index.write(Edit(drop_images=tuple(images), drop_layers=tuple(layers), drop_names=names))
        return [self._layers.retire(layer) for layer in layers]


def _merged(part: Unpacked, present: dict[str, LayerRecord]) -> LayerRecord:
    old = present.get(part.diff_id)
    blobs = dict.fromkeys((*(old.blobs if old else ()), part.blob))
    return LayerRecord(
        diff_id=part.diff_id,
        size=part.size,
        tar_size=part.tar_size,
        blobs=tuple(blobs),
        packed=old.packed if old else {},
    )
