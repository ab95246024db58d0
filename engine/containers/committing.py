"""An image from a container: `docker commit`. Decides what its configuration says; engine/images makes the image.

A running container is paused meanwhile unless the client says otherwise, and goes on whatever happens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass

from engine.containers import merging
from engine.containers.archive import check
from engine.containers.ending import Endings
from engine.containers.parts import Parts, announce
from engine.containers.records import Entry
from engine.images import Commit
from engine.images.changes import apply
from engine.model import Container, Json
from netpy.errors import Conflict, KernelError


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """What a client asks for. `config` is a Config document instead of the container's, `changes` are instructions."""

    reference: str = ""
    author: str = ""
    comment: str = ""
    changes: tuple[str, ...] = ()
    config: Json | None = None
    pause: bool = True


def commit(parts: Parts, endings: Endings, entry: Entry, request: CommitRequest) -> str:
    """Make the image; its id. InvalidArgument for a bad name or change."""
    check(entry, "commit")
    container = entry.container
    config = _config(container, request)
    with _still(parts, endings, entry) if request.pause else contextlib.nullcontext():
        image = parts.images.commit(
            Commit(
                parent=container.image_id,
                upper=parts.paths.layer(container.id) / "upper",
                config=config,
                created_by=" ".join(container.config.get("Cmd") or []),
                author=request.author,
                comment=request.comment,
                container=container.id,
                container_config=container.config,
                references=(request.reference,) if request.reference else (),
                ran=True,
            )
        )
        announce(parts, container, "commit", comment=request.comment, imageID=image, imageRef=request.reference)
    return image


def _config(container: Container, request: CommitRequest) -> Json:
    asked = apply(request.config or container.config, request.changes)
    merged = merging.config(asked, container.config, container.id)
    return merged | {"Hostname": asked.get("Hostname") or ""}


@contextlib.contextmanager
def _still(parts: Parts, endings: Endings, entry: Entry) -> Generator[None]:
    """Nothing runs in the container for the time of the block."""
    if entry.container.state.status != "running":
        yield
        return
    try:
        endings.pause(entry)
    except (Conflict, KernelError):
        if entry.container.state.status == "running" and parts.runtime_of(entry.container).alive(entry.id):
            raise
        yield  # it has ended, or somebody else has paused it
        return
    try:
        yield
    finally:
        with contextlib.suppress(Conflict):  # it was killed meanwhile
            endings.unpause(entry)
