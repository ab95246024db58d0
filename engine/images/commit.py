"""A new image from an older one and what was written on top of it: `docker commit`, and each step of a builder.

It decides what the new configuration says: its layers, its history, its parent. The layer itself is written by
engine/trees and unpacked like any that comes from outside, so that it is shared when we have it already, and a tree
in which somebody still works is read but once. What is kept is changed by holdings.py.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.images import records, references
from engine.images.holdings import Holdings
from engine.images.layers import Layers
from engine.images.records import ImageRecord
from engine.images.references import Reference
from engine.images.unpacking import Unpacked
from engine.model import EMPTY_CONFIG
from engine.trees import placeholders
from netpy.errors import InvalidArgument

Json = dict[str, Any]
EMPTY = f"sha256:{hashlib.sha256(bytes(1024)).hexdigest()}"
"""The diff id of a tar without entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What an image is to be made of.

    `parent` is the id of an image, or empty for none. `upper` is the writable directory of an overlay on top of it;
    without one, or when it is empty, the image gets an entry in its history but no layer. `config` is Docker's Config
    document of the new image, `container_config` that of the container it comes from. `references` are the names it
    gets, taken from whoever has them. `ran` says that a container ran on `upper`: then the empty files that
    are there to be mounted over are left out.
    """

    parent: str = ""
    upper: Path | None = None
    config: Json
    created_by: str = ""
    author: str = ""
    comment: str = ""
    container: str = ""
    container_config: Json | None = None
    references: tuple[str, ...] = ()
    ran: bool = False


def commit(request: Commit, parent: ImageRecord | None, holdings: Holdings, layers: Layers, facts: Json) -> ImageRecord:
    """Make the image and keep it. `facts` is what an image without a parent is: created, architecture, os.

    InvalidArgument for a bad name, Conflict when the parent was removed meanwhile, KernelError when the disk fails.
    """
    names = [_name(text) for text in request.references]
    layer = _snapshot(request, parent, layers)
    try:
        kept = layer if layer and layer.diff_id != EMPTY else None
        image = replace(records.image(_document(request, parent, kept, facts)), parent=request.parent)
        below = parent.layers if parent else ()
        return holdings.add(image, [*below, *([kept] if kept else [])], names, facts["created"])
    finally:
        if layer:
            layers.discard(layer)


def _snapshot(request: Commit, parent: ImageRecord | None, layers: Layers) -> Unpacked | None:
    if request.upper is None or is_empty(request.upper):
        return None
    below = [layers.diff(layer) for layer in reversed(parent.layers)] if parent else []
    return layers.snapshot(request.upper, placeholders.known(below) if request.ran else {})


def is_empty(directory: Path) -> bool:
    """Whether nothing was written."""
    with os.scandir(directory) as entries:
        return next(entries, None) is None


def _document(request: Commit, parent: ImageRecord | None, layer: Unpacked | None, facts: Json) -> bytes:
    inherited = parent.config if parent else {}
    step: Json = {"created": facts["created"]}
    step |= {"author": request.author} if request.author else {}
    step |= {"created_by": request.created_by} if request.created_by else {}
    step |= {"comment": request.comment} if request.comment else {}
    step |= {} if layer else {"empty_layer": True}
    below = list(parent.layers) if parent else []
    body: Json = {
        "architecture": inherited.get("architecture") or facts["architecture"],
        "author": request.author,
        "comment": request.comment,
        "config": {**EMPTY_CONFIG, **request.config},
        "container": request.container,
        "container_config": {**EMPTY_CONFIG, **(request.container_config or request.config)},
        "created": facts["created"],
        "history": [*(inherited.get("history") or []), step],
        "os": inherited.get("os") or facts["os"],
        "rootfs": {"type": "layers", "diff_ids": [*below, *([layer.diff_id] if layer else [])]},
    }
    kept = {key: value for key, value in body.items() if value not in ("", None)}
    kept |= {"variant": inherited["variant"]} if inherited.get("variant") else {}
    return json.dumps(kept, separators=(",", ":"), ensure_ascii=False).encode()


def _name(text: str) -> Reference:
    name = references.parse(text).tagged()
    if name.digest:
        raise InvalidArgument("refusing to create a tag with a digest reference")
    return name
