"""What is known of an image, as values: the record, its configuration, the ids that follow from it.

An image *is* its configuration: the id is the sha256 of the configuration's bytes, and the configuration names the
layers by the digests of their tars (diff ids). Therefore the bytes are kept as they came. No I/O.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from engine.images.references import Reference, check_digest
from engine.model import EMPTY_CONFIG
from netpy.errors import InvalidArgument

Json = dict[str, Any]
NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord:
    """An image. `config` is the whole configuration document; the container part is `config["config"]`.

    `layers` are diff ids, the lowest first. `size` is the bytes of all files in them. `created` is RFC 3339 as the
    image has it. `tagged` is when a name was last given here, or empty. `deleted` images have no names, are not
    listed, and only stay until the last container that uses them has gone. `parent` is the id of the image that it
    was made from here, if it was.
    """

    id: str
    raw: bytes
    config: Json
    layers: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    size: int = 0
    tagged: str = ""
    deleted: bool = False
    parent: str = ""

    @property
    def created(self) -> str:
        return self.config.get("created") or NEVER

    @property
    def tags(self) -> tuple[str, ...]:
        """Names with tags, as a user writes them."""
        return tuple(reference.familiar for reference in sorted(self.references, key=str) if not reference.digest)

    @property
    def digests(self) -> tuple[str, ...]:
        """Names with digests, as a user writes them."""
        return tuple(reference.familiar for reference in sorted(self.references, key=str) if reference.digest)

    @property
    def short_id(self) -> str:
        return short(self.id)

    @property
    def labels(self) -> dict[str, str]:
        container: Json = self.config.get("config") or {}
        return container.get("Labels") or {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """A layer in its place. Sizes in bytes; `blobs` are the digests under which registries and archives had it.

    `packed` are those of them that are gzip, with their sizes, the latest last.
    """

    diff_id: str
    size: int
    tar_size: int
    blobs: tuple[str, ...] = ()
    packed: Mapping[str, int] = field(default_factory=dict[str, int])


def short(digest: str) -> str:
    """The twelve digits that people see."""
    return digest.removeprefix("sha256:")[:12]


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def document(data: bytes, what: str) -> Json:
    """The JSON object in `data`. InvalidArgument says that `what` is broken."""
    try:
        value: object = json.loads(data.decode())
    except (ValueError, RecursionError) as failure:
        raise InvalidArgument(f"{what} is not valid JSON: {failure}") from None
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} is not a JSON object")
    return cast(Json, value)


def image(raw: bytes) -> ImageRecord:
    """The image whose configuration is `raw`, without names. InvalidArgument when that is not one we can run."""
    config = document(raw, "image configuration")
    _check_types(config)
    if config.get("os", "linux") not in ("linux", ""):
        raise InvalidArgument(f"image operating system {config['os']!r} cannot be used on this platform")
    diff_ids: list[str] = config["rootfs"].get("diff_ids") or []
    layers = tuple(check_digest(item) for item in diff_ids)
    return ImageRecord(id=digest_of(raw), raw=raw, config=config, layers=layers)


def _check_types(config: Json) -> None:
    """InvalidArgument where a field that is used here or by the engine has a type that would break us later."""
    rootfs: object = config.get("rootfs")
    container: object = config.get("config") or {}
    if not isinstance(rootfs, dict) or not isinstance(container, dict):
        raise InvalidArgument("image configuration: rootfs or config is not an object")
    layers = cast(Json, rootfs)
    fields = cast(Json, container)
    for holder, name, kind, inner in (
        (layers, "diff_ids", list, str),
        (config, "history", list, dict),
        (fields, "Env", list, str),
        (fields, "Cmd", list, str),
        (fields, "Entrypoint", list, str),
        (fields, "Labels", dict, str),
        (fields, "ExposedPorts", dict, str),
        (fields, "Volumes", dict, str),
        (fields, "User", str, str),
        (fields, "WorkingDir", str, str),
        (config, "created", str, str),
        (config, "os", str, str),
        (config, "comment", str, str),
        *((step, name, str, str) for step in _steps(config) for name in ("created", "created_by", "comment")),
    ):
        value: object = holder.get(name)
        items = cast(Iterable[object], value) if isinstance(value, kind) else [object()]
        if value is not None and not all(isinstance(item, inner) for item in items):
            raise InvalidArgument(f"image configuration: {name} has the wrong type")


def _steps(config: Json) -> list[Json]:
    """The steps of its history, where that is what it should be."""
    history: object = config.get("history")
    found = cast(list[object], history) if isinstance(history, list) else []
    return [cast(Json, step) for step in found if isinstance(step, dict)]


def chain_ids(layers: Sequence[str]) -> list[str]:
    """The OCI chain ids of a stack of layers, lowest first: each names a layer with all that is below it."""
    chain: list[str] = []
    for diff_id in layers:
        chain.append(digest_of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


def imported_config(*, layer: str, created: str, architecture: str, comment: str, config: Json) -> bytes:
    """The configuration of an image made of one root file system, as `docker import` writes it."""
    body: Json = {
        "architecture": architecture,
        "comment": comment,
        "config": {**EMPTY_CONFIG, **config},
        "container_config": EMPTY_CONFIG,
        "created": created,
        "history": [{"created": created, "comment": comment}],
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [layer]},
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
