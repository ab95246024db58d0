"""Manifests and platforms; archives' documents read and written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.images import layout, manifests, records
from engine.images.layout import Saved
from engine.images.manifests import Platform
from engine.images.references import parse
from netpy.errors import InvalidArgument, NotFound, Unsupported

AMD64 = Platform(architecture="amd64")
LAYER = "sha256:" + "a" * 64


def listed(*platforms: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for text in platforms:
        os, architecture, *variant = text.split("/")
        found.append(
            {"digest": text, "platform": {"os": os, "architecture": architecture, "variant": "".join(variant)}}
        )
    return {"manifests": found}


@pytest.mark.parametrize(
    ("offered", "wanted", "chosen"),
    [
        (["linux/arm64/v8", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/amd64/v3", "linux/amd64"], "linux/amd64", "linux/amd64"),
        (["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"], "linux/arm/v6", "linux/arm/v6"),
        (["linux/arm/v5", "linux/arm/v6"], "linux/arm/v7", "linux/arm/v6"),
        (["linux/arm64"], "linux/arm64/v8", "linux/arm64"),
        (["unknown/unknown", "linux/s390x"], "linux/s390x", "linux/s390x"),
    ],
)
def test_the_best_platform_is_chosen(offered: list[str], wanted: str, chosen: str) -> None:
    assert manifests.choose(listed(*offered), manifests.parse_platform(wanted, AMD64))["digest"] == chosen


def test_no_suitable_platform() -> None:
    with pytest.raises(NotFound, match=r"no matching manifest for linux/arm/v6 in the manifest list entries"):
        manifests.choose(listed("linux/arm/v7", "windows/arm/v6"), Platform(architecture="arm", variant="v6"))


def test_platforms_are_read_with_their_nicknames() -> None:
    assert manifests.parse_platform("", AMD64) == manifests.parse_platform("linux/x86_64", AMD64) == AMD64
    assert str(manifests.parse_platform("aarch64", AMD64)) == "linux/arm64/v8"
    assert manifests.parse_platform("linux", AMD64) == AMD64
    for text in ("foobar", "windows/amd64", "a/b/c/d", "linux/", "linux/../x"):
        with pytest.raises(InvalidArgument, match="invalid platform"):
            manifests.parse_platform(text, AMD64)


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ({"schemaVersion": 1}, Unsupported),
        ({}, InvalidArgument),
        ({"layers": [], "config": "x"}, InvalidArgument),
        ({"layers": ["x"], "config": {"digest": LAYER, "size": 1}}, InvalidArgument),
        ({"layers": [], "config": {"digest": "../../etc", "size": 1}}, InvalidArgument),
        ({"layers": [], "config": {"digest": LAYER, "size": -1}}, InvalidArgument),
    ],
)
def test_a_malformed_manifest_is_refused(document: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        manifests.manifest(document)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b"{}",
        b'{"rootfs": {"diff_ids": "x"}}',
        b'{"rootfs": {"diff_ids": ["sha256:../../../x"]}}',
        b'{"rootfs": {"diff_ids": []}, "config": [1]}',
        b'{"rootfs": {"diff_ids": []}, "config": {"Labels": ["x"]}}',
        b'{"rootfs": {"diff_ids": []}, "config": {"Env": [1]}}',
        b'{"rootfs": {"diff_ids": []}, "created": 5}',
        b'{"rootfs": {"diff_ids": []}, "history": [1]}',
        b'{"rootfs": {"diff_ids": []}, "os": "plan9"}',
    ],
)
def test_a_malformed_configuration_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidArgument):
        records.image(raw)


def image(*layers: str) -> records.ImageRecord:
    return records.image(json.dumps({"rootfs": {"type": "layers", "diff_ids": layers}}).encode())


def test_what_we_write_is_read_back_through_either_layout() -> None:
    saved = Saved(image=image(LAYER), names=(parse("app:1"), parse("127.0.0.1:5000/x:2")), sizes={LAYER: 10})
    documents = layout.documents([saved])
    (docker,) = layout.found(documents, {}, AMD64)
    assert (docker.image.id, docker.names, docker.entries) == (
        saved.image.id,
        saved.names,
        (layout.blob_name(LAYER),),
    )
    oci = layout.found({name: data for name, data in documents.items() if name != "manifest.json"}, {}, AMD64)
    assert [item.names[0] for item in oci] == list(saved.names)
    assert {(item.image.id, item.entries, item.blobs) for item in oci} == {
        (saved.image.id, (layout.blob_name(LAYER),), (LAYER,))
    }


def test_a_damaged_blob_of_an_oci_layout_is_refused() -> None:
    documents = layout.documents([Saved(image=image(), names=())])
    del documents["manifest.json"]
    name = layout.blob_name(image().id)
    for changed in ({**documents, name: b"{}"}, {key: data for key, data in documents.items() if key != name}):
        with pytest.raises(InvalidArgument, match=r"is damaged|has no blob"):
            layout.found(changed, {}, AMD64)


def test_chain_ids() -> None:
    first, second = records.chain_ids([LAYER, LAYER])
    assert first == LAYER
    assert second == records.digest_of(f"{LAYER} {LAYER}".encode())
