"""`--squash`: what a build added to its base, as one layer.

The layers are laid over the base one after the other, as overlayfs would, and what then differs is committed.
"""

from __future__ import annotations

import os
from typing import Any

from engine.images.catalogue import Images
from engine.images.commit import Commit
from engine.images.workspace import workspace
from engine.trees import child
from netpy.errors import KernelError

Json = dict[str, Any]


def squashed(images: Images, base: str, image: str) -> str:
    """The id of an image that is `image`, with all its layers above those of `base` made one. `base` may be empty."""
    record = images.resolve(image)
    below = len(images.resolve(base).layers) if base else 0
    added = images.layers(image)[: len(record.layers) - below]
    if len(added) < 2:
        return image
    with workspace(images, base) as space:
        for layer in reversed(added):
            descriptor = os.open(layer, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                order: Json = {
                    "verb": "plant",
                    "root": str(space.root),
                    "tree": descriptor,
                    "sources": [["", ""]],
                    "destination": "/",
                    "into": True,
                    "owner": None,
                    "mode": None,
                    "overlay": True,
                }
                failure = child.carry_out(order, descriptors=(descriptor,))
            finally:
                os.close(descriptor)
            if failure is not None:
                raise KernelError(f"squashing the layers of {record.short_id}: {failure.text}")
        return images.commit(
            Commit(
                parent=base,
                upper=space.upper,
                config=record.config.get("config") or {},
                author=record.config.get("author") or "",
                comment=f"merge {image} to {base}" if base else f"create new from {image}",
            )
        )
