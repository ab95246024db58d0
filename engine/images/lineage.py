"""Which image was made from which: what intermediate images are, and which go along with the last that needed them.

A build makes an image of every step, each with the one before as its parent. Such an image without a name is there for
the next build alone: it is not listed while another stands on it, and goes when the last of those goes, unless a
container uses it. The rules are Docker's. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.images.records import ImageRecord


def parents(images: Iterable[ImageRecord]) -> frozenset[str]:
    """The ids of the images that others were made from."""
    return frozenset(image.parent for image in images if image.parent and not image.deleted)


def ancestors(image: ImageRecord, find: Callable[[str], ImageRecord | None]) -> list[ImageRecord]:
    """The images that this one was made from, the nearest first, as far as they are still there."""
    found: list[ImageRecord] = []
    while image.parent and (parent := find(image.parent)) is not None and parent not in found:
        found.append(parent)
        image = parent
    return found


def is_intermediate(image: ImageRecord, parents: frozenset[str]) -> bool:
    """Whether an image is there for others alone."""
    return not image.references and image.id in parents


def unneeded(
    gone: ImageRecord, images: Iterable[ImageRecord], used_by: Callable[[str], list[str]]
) -> list[ImageRecord]:
    """The images above `gone` that nobody needs once it has gone, the nearest first."""
    present = {image.id: image for image in images if not image.deleted and image.id != gone.id}
    found: list[ImageRecord] = []
    parent = present.get(gone.parent)
    while parent is not None and not parent.references and not used_by(parent.id):
        del present[parent.id]
        if parent.id in parents(present.values()):
            break
        found.append(parent)
        parent = present.get(parent.parent)
    return found
