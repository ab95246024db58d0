"""A place to work on top of an image: its merged tree, mounted, and the directory that takes what is written there.

What a builder needs for the steps that run nothing (COPY, ADD, WORKDIR). Both directories are gone at the end, whatever
happened; a crash leaves a mount that the next start of the daemon takes away. Mounts and unmounts; writes nothing
itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from engine.images.catalogue import Images
from engine.images.layers import MERGED
from engine.runtime import rootfs


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """`root` is the image's tree, to be read and written; `upper` has what was written, as overlayfs keeps it."""

    root: Path
    upper: Path


@contextlib.contextmanager
def workspace(images: Images, image_id: str) -> Generator[Workspace]:
    """A workspace on top of the image, or of nothing if the id is empty. NotFound when there is no such image."""
    layers = images.layers(image_id) if image_id else [images.nothing]
    with images.scratch() as directory:
        space = Workspace(root=directory / MERGED, upper=directory / "upper")
        rootfs.mount(layers, space.upper, directory / "work", space.root)
        try:
            yield space
        finally:
            rootfs.unmount(space.root)
