"""What the documents inside an image archive mean, and the documents that we put into ours. Pure.

Two layouts are read: docker-archive (`manifest.json`) and OCI (`index.json`, with indexes inside indexes and a choice
of platform). When an archive is both, as Docker's and ours are, the former counts: it alone has all the names.
Nothing an archive claims is believed before its digest was compared.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from engine.images import manifests, records
from engine.images.manifests import Blob, Platform
from engine.images.records import ImageRecord
from engine.images.references import Reference, parse
from netpy.errors import InvalidArgument

Json = dict[str, Any]
BLOBS = "blobs/sha256/"
_DEEPEST = 8
_REF_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One image in an archive: its record without names, the names it had there, and the entries of its layers.

    `blobs` are the digests that the entries must have, where the archive tells them.
    """

    image: ImageRecord
    names: tuple[Reference, ...]
    entries: tuple[str, ...]
    blobs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """An image to be written to an archive, under these names. `sizes` are the bytes of the layers' tars by diff id."""

    image: ImageRecord
    names: tuple[Reference, ...]
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])


def found(documents: Mapping[str, bytes], links: Mapping[str, str], platform: Platform) -> list[Found]:
    """The images of an archive. InvalidArgument when it holds none, or contradicts itself."""
    if "manifest.json" in documents:
        return _docker_images(documents, links)
    if "index.json" in documents:
        return _oci_images(documents, platform)
    raise InvalidArgument("not an image archive: it holds neither manifest.json nor index.json")


def blob_name(digest: str) -> str:
    return BLOBS + digest.removeprefix("sha256:")


def documents(saved: Sequence[Saved]) -> dict[str, bytes]:
    """All entries of an archive of these images, save for the layers themselves, by name."""
    entries: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    index: list[Json] = []
    docker: list[Json] = []
    repositories: dict[str, dict[str, str]] = {}
    for item in saved:
        manifest = _packed(_manifest(item))
        entries[blob_name(item.image.id)] = item.image.raw
        entries[blob_name(records.digest_of(manifest))] = manifest
        index += _descriptors(item, manifest)
        docker.append(
            {
                "Config": blob_name(item.image.id),
                "RepoTags": [name.familiar for name in item.names] or None,
                "Layers": [blob_name(layer) for layer in item.image.layers],
            }
        )
        for name in item.names:
            top = item.image.layers[-1] if item.image.layers else item.image.id
            repositories.setdefault(name.familiar_name, {})[name.tag] = top.removeprefix("sha256:")
    entries["index.json"] = _packed({"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": index})
    entries["manifest.json"] = _packed(docker)
    if repositories:
        entries["repositories"] = _packed(repositories)
    return entries


def _docker_images(documents: Mapping[str, bytes], links: Mapping[str, str]) -> list[Found]:
    try:
        rows: object = json.loads(documents["manifest.json"])
    except ValueError as failure:
        raise InvalidArgument(f"manifest.json is not valid JSON: {failure}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast(list[object], rows)):
        raise InvalidArgument("manifest.json is not a list of images")
    return [_docker_image(row, documents, links) for row in cast(list[Json], rows)]


def _docker_image(row: Json, documents: Mapping[str, bytes], links: Mapping[str, str]) -> Found:
    config: object = row.get("Config")
    layers: object = row.get("Layers") or []
    tags: object = row.get("RepoTags") or []
    if not isinstance(config, str) or not isinstance(layers, list) or not isinstance(tags, list):
        raise InvalidArgument("manifest.json: Config, Layers or RepoTags is missing or of the wrong type")
    name = _entry(config)
    if name not in documents:
        raise InvalidArgument(f"image archive has no {config}, which manifest.json names")
    return Found(
        image=records.image(documents[name]),
        names=tuple(parse(str(tag)).tagged() for tag in cast(list[object], tags)),
        entries=tuple(links.get(_entry(str(layer)), _entry(str(layer))) for layer in cast(list[object], layers)),
    )


def _oci_images(documents: Mapping[str, bytes], platform: Platform) -> list[Found]:
    groups: dict[str, list[Json]] = {}
    for descriptor in manifests.entries(records.document(documents["index.json"], "index.json")):
        groups.setdefault(_ref_name(descriptor), []).append(descriptor)
    images: list[Found] = []
    for name, descriptors in groups.items():
        if name and len(descriptors) > 1:
            descriptors = [manifests.best(descriptors, platform)]  # one image, made for several platforms
        names = (parse(name).tagged(),) if name else ()
        images += [_oci_image(item, names, documents, platform) for item in descriptors]
    if not images:
        raise InvalidArgument("image archive is empty: index.json names no image")
    return images


def _oci_image(
    descriptor: Json, names: tuple[Reference, ...], documents: Mapping[str, bytes], platform: Platform
) -> Found:
    for _ in range(_DEEPEST):
        document = records.document(_document(manifests.blob(descriptor), documents), "image manifest")
        if not manifests.is_index(document):
            manifest = manifests.manifest(document)
            return Found(
                image=records.image(_document(manifest.config, documents)),
                names=names,
                entries=tuple(blob_name(layer.digest) for layer in manifest.layers),
                blobs=tuple(layer.digest for layer in manifest.layers),
            )
        descriptor = manifests.choose(document, platform)
    raise InvalidArgument("image archive: indexes are nested too deeply")


def _document(blob: Blob, documents: Mapping[str, bytes]) -> bytes:
    data = documents.get(blob_name(blob.digest))
    if data is None:
        raise InvalidArgument(f"image archive has no blob {blob.digest}")
    if records.digest_of(data) != blob.digest:
        raise InvalidArgument(f"image archive: blob {blob.digest} is damaged")
    return data


def _ref_name(descriptor: Json) -> str:
    """The name of an OCI image. A bare tag, as some tools write, names nothing."""
    annotations = descriptor.get("annotations")
    for key in _REF_NAMES if isinstance(annotations, dict) else ():
        name = str(cast(Json, annotations).get(key) or "")
        if ":" in name or "/" in name:
            return name
    return ""


def _entry(name: str) -> str:
    return posixpath.normpath("/" + name.lstrip("/"))[1:]


def _packed(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _manifest(item: Saved) -> Json:
    layers = [
        {"mediaType": manifests.OCI_LAYER, "digest": layer, "size": item.sizes[layer]} for layer in item.image.layers
    ]
    config = {"mediaType": manifests.OCI_CONFIG, "digest": item.image.id, "size": len(item.image.raw)}
    return {"schemaVersion": 2, "mediaType": manifests.OCI_MANIFEST, "config": config, "layers": layers}


def _descriptors(item: Saved, manifest: bytes) -> list[Json]:
    descriptor: Json = {
        "mediaType": manifests.OCI_MANIFEST,
        "digest": records.digest_of(manifest),
        "size": len(manifest),
    }
    named = [
        {**descriptor, "annotations": dict(zip(_REF_NAMES, (str(name), name.familiar), strict=True))}
        for name in item.names
    ]
    return named or [descriptor]
