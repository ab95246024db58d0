"""Pushing to a real registry (Debian's docker-registry), which lives in a network namespace of its own."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.images import Images
from engine.images.complaints import Unauthorized
from engine.images.references import parse
from engine.images.transports import Skopeo
from netpy.errors import NotFound
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
    return store(tmp_path / "a", registry)


def store(root: Path, registry: lab.Registry) -> Images:
    root.mkdir()
    return Images(root / "images", Store(root / "db"), skopeo=Skopeo(str(registry.skopeo)))


def loaded(images: Images, *names: str) -> str:
    """The id of an image of two layers under these names."""
    layers = {f"{number}/layer.tar": layer for number, layer in enumerate((BASE, TOP))}
    list(images.load(lab.stream(lab.docker_archive(lab.config(BASE, TOP), layers, list(names)))))
    return images.resolve(names[0]).id


def push(images: Images, name: str, **auth: str) -> list[dict[str, Any]]:
    transfer = images.registry.push(parse(name), auth=auth or None)
    try:
        return list(transfer)
    finally:
        transfer.close()


def words(lines: list[dict[str, Any]]) -> list[str]:
    return [line["status"] for line in lines if line.get("status") not in (None, "Pushing")]


def test_a_push_and_a_pull_elsewhere(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    id = loaded(images, f"{NAME}:v1")
    lines = push(images, f"{NAME}:v1")
    manifest = registry.manifest("team/app:v1")
    digest = lab.digest(manifest)
    assert words(lines) == [
        f"The push refers to repository [{NAME}]", *["Preparing"] * 2, *["Pushed"] * 2,
        f"v1: digest: {digest} size: {len(manifest)}",
    ]  # fmt: skip
    assert lines[-1] == {"progressDetail": {}, "aux": {"Tag": "v1", "Digest": digest, "Size": len(manifest)}}
    assert {line["id"] for line in lines if "id" in line} == {lab.digest(layer)[7:19] for layer in (BASE, TOP)}
    assert images.inspect(id)["RepoDigests"] == [f"{NAME}@{digest}"]
    other = store(tmp_path / "b", registry)
    list(other.pull(NAME, tag="v1"))
    assert (other.resolve(f"{NAME}:v1").id, other.inspect(id)["RepoDigests"]) == (id, [f"{NAME}@{digest}"])
    list(other.pull(f"{NAME}@{digest}"))
    assert not list((tmp_path / "a/images/tmp").iterdir())


def test_what_the_registry_has_is_neither_packed_nor_sent(images: Images, registry: lab.Registry) -> None:
    loaded(images, f"{NAME}:v1", f"{NAME}:v2")
    push(images, f"{NAME}:v1")
    lines = push(images, NAME)
    assert words(lines).count("Layer already exists") == 4
    assert [line["aux"]["Tag"] for line in lines if "aux" in line] == ["v1", "v2"]
    assert registry.manifest("team/app:v1") == registry.manifest("team/app:v2")


def test_a_pulled_image_goes_back_under_the_digest_it_came_with(images: Images, registry: lab.Registry) -> None:
    loaded(images, f"{NAME}:v1")
    push(images, f"{NAME}:v1")
    images.remove(f"{NAME}:v1")
    list(images.pull(f"{NAME}:v1"))
    images.tag(f"{NAME}:v1", f"{NAME}:again")
    assert words(push(images, f"{NAME}:again")).count("Layer already exists") == 2
    assert registry.manifest("team/app:v1") == registry.manifest("team/app:again")


def test_a_layer_that_the_registry_has_lost_is_sent_again(
    images: Images, registry: lab.Registry, tmp_path: Path
) -> None:
    loaded(images, f"{NAME}:v1", f"{lab.ADDRESS}/elsewhere:v1")
    push(images, f"{NAME}:v1")
    blob = json.loads(registry.manifest("team/app:v1"))["layers"][0]["digest"][7:]
    shutil.rmtree(tmp_path / "registry/docker/registry/v2/repositories")
    shutil.rmtree(tmp_path / "registry/docker/registry/v2/blobs/sha256" / blob[:2] / blob)
    push(images, f"{lab.ADDRESS}/elsewhere:v1")
    other = store(tmp_path / "b", registry)
    list(other.pull(f"{lab.ADDRESS}/elsewhere:v1"))
    assert other.resolve(f"{lab.ADDRESS}/elsewhere:v1").layers == (lab.digest(BASE), lab.digest(TOP))


def test_what_is_not_there_cannot_be_pushed(images: Images) -> None:
    loaded(images, f"{NAME}:v1")
    with pytest.raises(NotFound, match=f"^tag does not exist: {NAME}:v2$"):
        push(images, f"{NAME}:v2")
    with pytest.raises(NotFound, match=f"^An image does not exist locally with the tag: {lab.ADDRESS}/nope$"):
        push(images, f"{lab.ADDRESS}/nope:v1")


def test_a_password_is_needed_checked_and_used(namespace: str, tmp_path: Path) -> None:
    with lab.registry(tmp_path, namespace, password=True) as registry:
        images = store(tmp_path / "a", registry)
        loaded(images, f"{NAME}:v1")
        for auth in ({}, {"username": "alice", "password": "wrong"}):
            with pytest.raises(Unauthorized, match=r"^unauthorized: authentication required$"):
                push(images, f"{NAME}:v1", **auth)
        good = {"username": "alice", "password": "secret"}
        push(images, f"{NAME}:v1", **good)
        server = {"serveraddress": lab.ADDRESS}
        assert images.registry.login({**good, **server}) == {"IdentityToken": "", "Status": "Login Succeeded"}
        with pytest.raises(Unauthorized, match=f"login attempt to http://{lab.ADDRESS}/v2/ failed with status: 401"):
            images.registry.login({**good, **server, "password": "wrong"})
        found = images.registry.inspect(f"{NAME}:v1", auth=good)
        assert found["Platforms"] == [{"architecture": "amd64", "os": "linux"}]
        assert found["Descriptor"]["digest"] == lab.digest(registry.manifest("team/app:v1", "--creds=alice:secret"))
        tags = images.registry.pull(parse(NAME), auth=good, all_tags=True)
        assert list(tags)[-1] == {"status": f"Status: Image is up to date for {NAME}"}
        tags.close()


def test_a_push_that_is_given_up_leaves_nothing(images: Images, registry: lab.Registry, tmp_path: Path) -> None:
    loaded(images, f"{NAME}:v1")
    transfer = images.registry.push(parse(f"{NAME}:v1"))
    next(transfer)
    next(transfer)
    transfer.close()
    assert not list((tmp_path / "a/images/tmp").iterdir())
    assert images.inspect(f"{NAME}:v1")["RepoDigests"] == []
