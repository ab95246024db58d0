"""An image as Docker's API shows it: inspect, list and history documents. Pure. Sizes are in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.images.records import NEVER, ImageRecord
from engine.model import EMPTY_CONFIG

Json = dict[str, Any]


def inspect(image: ImageRecord, trees: Sequence[str]) -> Json:
    """The body of GET /images/{name}/json. `trees` are the layers' directories, the lowest first."""
    config = image.config
    body: Json = {
        "Id": image.id,
        "RepoTags": list(image.tags),
        "RepoDigests": list(image.digests),
        "Parent": image.parent,
        "Comment": _comment(config),
        "Created": image.created,
        "Container": config.get("container", ""),
        "ContainerConfig": {**EMPTY_CONFIG, **(config.get("container_config") or {})},
        "DockerVersion": config.get("docker_version", ""),
        "Author": config.get("author", ""),
        "Config": {**EMPTY_CONFIG, **(config.get("config") or {})},
        "Architecture": config.get("architecture", ""),
        "Os": config.get("os") or "linux",
        "Size": image.size,
        "VirtualSize": image.size,
        "GraphDriver": {"Data": _graph(trees), "Name": "overlay2"},
        "RootFS": {"Type": "layers", "Layers": list(image.layers)},
        "Metadata": {"LastTagTime": image.tagged or NEVER},
    }
    if config.get("variant"):
        body["Variant"] = config["variant"]
    return body


def summary(image: ImageRecord) -> Json:
    """One element of GET /images/json."""
    return {
        "Containers": -1,
        "Created": unix_time(image.created),
        "Id": image.id,
        "Labels": image.labels or None,
        "ParentId": image.parent,
        "RepoDigests": list(image.digests),
        "RepoTags": list(image.tags),
        "SharedSize": -1,
        "Size": image.size,
        "VirtualSize": image.size,
    }


def shared_sizes(images: Sequence[ImageRecord], sizes: Mapping[str, int]) -> list[int]:
    """How many bytes of each image are layers that another of the images has, too. `sizes` are bytes by diff id."""
    users = Counter(layer for image in images for layer in set(image.layers))
    return [sum(sizes.get(layer, 0) for layer in image.layers if users[layer] > 1) for image in images]


def history(image: ImageRecord, sizes: Mapping[str, int], ancestors: Sequence[ImageRecord] = ()) -> list[Json]:
    """The body of GET /images/{name}/history, newest first. `sizes` are bytes by diff id.

    `ancestors` are the images it was made from, the nearest first: each step is the image that it led to.
    """
    layers = iter(image.layers)
    rows: list[Json] = []
    steps: list[Json] = image.config.get("history") or []
    for entry in steps:
        layer = "" if entry.get("empty_layer") else next(layers, "")
        rows.append(_step(entry, sizes.get(layer, 0)))
    # A configuration need not tell its history; its layers are there all the same.
    rows += [_step({}, sizes.get(layer, 0)) for layer in layers]
    rows.reverse()
    for row, led_to in zip(rows, (image, *ancestors), strict=False):
        row.update(Id=led_to.id, Tags=list(led_to.tags) or None)
    return rows


def unix_time(text: str) -> int:
    """Seconds since 1970 of an RFC 3339 time, 0 when it is none."""
    return int(instant(text))


def instant(text: str) -> float:
    """Seconds since 1970, with the fraction, of an RFC 3339 time, 0 when it is none."""
    try:
        return max(datetime.fromisoformat(text).timestamp(), 0.0)
    except (ValueError, OverflowError):
        return 0.0


def _comment(config: Json) -> str:
    steps: list[Json] = config.get("history") or []
    return config.get("comment") or (steps[-1].get("comment") if steps else "") or ""


def _graph(trees: Sequence[str]) -> Json | None:
    if not trees:
        return None
    top = trees[-1].removesuffix("/diff")
    data = {"MergedDir": f"{top}/merged", "UpperDir": trees[-1], "WorkDir": f"{top}/work"}
    lower = ":".join(reversed(trees[:-1]))
    return {"LowerDir": lower, **data} if lower else data


def _step(entry: Json, size: int) -> Json:
    """A row of the history; null in a document means what a missing field does."""
    return {
        "Comment": entry.get("comment") or "",
        "Created": unix_time(entry.get("created") or ""),
        "CreatedBy": entry.get("created_by") or "",
        "Id": "<missing>",
        "Size": size,
        "Tags": None,
    }
