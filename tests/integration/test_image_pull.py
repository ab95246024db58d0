"""Pulling from a real registry (Debian's docker-registry), which lives in a network namespace of its own."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.images import Images
from engine.images.transports import Skopeo
from netpy.errors import KernelError, NetpyError, NotFound, Unsupported
from netpy.store import Store
from tests.integration import image_lab as lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("docker-registry"), reason="needs a registry: apt install docker-registry"),
    pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo"),
]
NAME = f"{lab.ADDRESS}/team/app"
BASE = lab.tar(lab.entry("base", data=os.urandom(300_000)))
TOP = lab.tar(lab.entry("top", data=b"t" * 10), lab.entry(".wh.base"))


@pytest.fixture
def registry(namespace: str, tmp_path: Path) -> Iterator[lab.Registry]:
    with lab.registry(tmp_path, namespace) as running:
        yield running


@pytest.fixture
def images(registry: lab.Registry, tmp_path: Path) -> Images:
    return Images(tmp_path / "images", Store(tmp_path / "db"), skopeo=Skopeo(str(registry.skopeo)))


def archive(tmp_path: Path, config: bytes, *layers: bytes) -> Path:
    path = tmp_path / "push.tar"
    path.write_bytes(lab.docker_archive(config, {f"{i}/layer.tar": layer for i, layer in enumerate(layers)}, ["x:1"]))
    return path


def statuses(lines: list[dict[str, Any]]) -> list[str]:
    return [line["status"] for line in lines]


def test_a_pull_brings_the_image_with_its_ids(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    config = lab.config(BASE, TOP)
    registry.push(archive(tmp_path, config, BASE, TOP), "team/app:v1")
    lines = list(images.pull(NAME, tag="v1"))
    digest = lab.digest(registry.manifest("team/app:v1"))
    assert lines[0] == {"status": "Pulling from team/app", "id": "v1"}
    assert statuses(lines)[1:3] == ["Pulling fs layer"] * 2
    assert statuses(lines)[-2:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {NAME}:v1"]
    for layer in {line["id"] for line in lines[1:3]}:
        seen = list(dict.fromkeys(line["status"] for line in lines if line.get("id") == layer))
        assert [status for status in seen if status != "Downloading"] == [
            "Pulling fs layer", "Verifying Checksum", "Download complete", "Extracting", "Pull complete"
        ]  # fmt: skip
    image = images.resolve(f"{NAME}:v1")
    assert image.id == lab.digest(config)
    assert images.inspect(image.id)["RepoDigests"] == [f"{NAME}@{digest}"]
    assert images.resolve(f"{NAME}@{digest}").id == image.id
    top, base = images.layers(image.id)
    assert (base / "base").stat().st_size == 300_000
    assert (top / "base").is_char_device()
    assert not list((tmp_path / "images" / "tmp").iterdir())


def test_what_we_have_is_not_fetched_again(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    registry.push(archive(tmp_path, lab.config(BASE), BASE), "team/app:base")
    registry.push(archive(tmp_path, lab.config(BASE, TOP), BASE, TOP), "team/app:top")
    list(images.pull(f"{NAME}:base"))
    lines = list(images.pull(f"{NAME}:top"))
    assert sorted(statuses(lines)[1:3]) == ["Already exists", "Pulling fs layer"]
    assert images.resolve(f"{NAME}:top").layers == (lab.digest(BASE), lab.digest(TOP))
    again = statuses(list(images.pull(f"{NAME}:top")))
    assert again[1].startswith("Digest: ")
    assert again[-1] == f"Status: Image is up to date for {NAME}:top"


def test_a_layer_we_have_need_not_even_be_there(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    registry.push(archive(tmp_path, lab.config(BASE), BASE), "team/app:base")
    registry.push(archive(tmp_path, lab.config(BASE, TOP), BASE, TOP), "team/app:top")
    list(images.pull(f"{NAME}:base"))
    blob = json.loads(registry.manifest("team/app:base"))["layers"][0]["digest"][7:]
    shutil.rmtree(tmp_path / "registry/docker/registry/v2/blobs/sha256" / blob[:2] / blob)
    for attempt in range(5):  # skopeo may, rarely, look for the layer before we have told it that we have it.
        try:
            list(images.pull(f"{NAME}:top"))
            break
        except NetpyError:
            assert attempt < 4
    assert images.resolve(f"{NAME}:top").layers == (lab.digest(BASE), lab.digest(TOP))


def test_by_digest(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    registry.push(archive(tmp_path, lab.config(TOP), TOP), "team/app:v1")
    digest = lab.digest(registry.manifest("team/app:v1"))
    assert statuses(list(images.pull(NAME, tag=digest)))[-1].endswith(f"{NAME}@{digest}")
    (image,) = images.summaries()
    assert (image["RepoTags"], image["RepoDigests"]) == ([], [f"{NAME}@{digest}"])


def test_a_platform_is_chosen_from_an_index(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    listed: list[dict[str, Any]] = []
    for architecture in ("amd64", "arm64"):
        registry.push(archive(tmp_path, lab.config(TOP, architecture=architecture), TOP), f"team/app:{architecture}")
        data = registry.manifest(f"team/app:{architecture}")
        listed.append(
            {
                "mediaType": json.loads(data)["mediaType"],
                "digest": lab.digest(data),
                "size": len(data),
                "platform": {"os": "linux", "architecture": architecture},
            }
        )
    kind = "application/vnd.docker.distribution.manifest.list.v2+json"
    index = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": listed}).encode()
    registry.put_manifest("team/app", "multi", kind, index)
    lines = list(images.pull(NAME, tag="multi", platform="linux/arm64/v8"))
    assert {"status": f"Digest: {lab.digest(index)}"} in lines
    assert images.inspect(f"{NAME}:multi")["Architecture"] == "arm64"
    with pytest.raises(NotFound, match="no matching manifest for linux/s390x in the manifest list entries"):
        images.pull(NAME, tag="multi", platform="linux/s390x")


def test_what_the_registry_refuses_is_said_at_once(images: Images, registry: lab.Registry) -> None:
    text = f"manifest for {lab.ADDRESS}/nope:v1 not found: manifest unknown: manifest unknown"
    with pytest.raises(NotFound, match=text):
        images.pull(f"{lab.ADDRESS}/nope:v1")
    with pytest.raises(KernelError, match=r'^Get "https?://127.0.0.1:5999/v2/": dial tcp .*connection refused'):
        images.pull("127.0.0.1:5999/x")


def test_a_password_is_needed_and_used(namespace: str, tmp_path: Path) -> None:
    with lab.registry(tmp_path, namespace, password=True) as registry:
        images = Images(tmp_path / "images", Store(":memory:"), skopeo=Skopeo(str(registry.skopeo)))
        registry.push(archive(tmp_path, lab.config(TOP), TOP), "team/app:v1", "--dest-creds=alice:secret")
        for auth in (None, {"username": "alice", "password": "wrong"}):
            with pytest.raises(NotFound, match=f"pull access denied for {NAME}, repository does not exist or may"):
                images.pull(NAME, tag="v1", auth=auth)
        list(images.pull(NAME, tag="v1", auth={"username": "alice", "password": "secret"}))
        assert images.resolve(f"{NAME}:v1").id == lab.digest(lab.config(TOP))


def test_a_pull_that_is_given_up_leaves_nothing(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    registry.push(archive(tmp_path, lab.config(BASE, TOP), BASE, TOP), "team/app:v1")
    events = images.pull(NAME, tag="v1")
    for event in events:
        if event["status"] == "Extracting":
            break
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert not list((tmp_path / "images" / "tmp").iterdir())
    assert images.summaries() == []


def test_a_layer_that_is_no_tar_is_refused(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    bad = b"not a tar at all" * 100
    registry.push(archive(tmp_path, lab.config(bad), bad), "team/app:bad")
    with pytest.raises(Exception, match="unpacking a layer"):
        list(images.pull(NAME, tag="bad"))
    assert not list((tmp_path / "images" / "tmp").iterdir())
    assert images.summaries() == []


def test_without_skopeo_the_package_is_named(tmp_path: Path) -> None:
    images = Images(tmp_path / "images", Store(":memory:"), skopeo=Skopeo("/nowhere/skopeo"))
    with pytest.raises(Unsupported, match="registries need the package skopeo"):
        images.pull("busybox")
    assert images.import_rootfs(io.BytesIO(lab.tar(lab.entry("d", tarfile.DIRTYPE))))
