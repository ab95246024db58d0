"""Images in corners, on a real disk: an opaque root, garbage to load and to import."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from engine.images import Images
from engine.runtime import rootfs
from netpy.errors import InvalidArgument
from netpy.store import Store
from tests.integration import image_lab as lab

pytestmark = pytest.mark.root


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images", Store(tmp_path / "db"))


def assert_untouched(images: Images, tmp_path: Path) -> None:
    assert images.summaries() == []
    assert list((tmp_path / "images" / "tmp").iterdir()) == []
    assert list((tmp_path / "images" / "layers").iterdir()) == []
    assert images.disk_usage() == 0


def three_layers(name: str) -> tuple[bytes, bytes, bytes]:
    """A bottom layer, one that hides everything below its root, and a top."""
    return (
        lab.tar(lab.entry("old", data=b"old"), lab.entry("etc/old", data=b"old")),
        lab.tar(lab.entry(name), lab.entry("new", data=b"new"), lab.entry("etc/new", data=b"new")),
        lab.tar(lab.entry("top", data=b"top")),
    )


@pytest.mark.parametrize("name", [".wh..wh..opq", "./.wh..wh..opq", "/.wh..wh..opq"])
def test_an_opaque_root_hides_every_layer_below_it(images: Images, tmp_path: Path, name: str) -> None:
    layers = three_layers(name)
    named = {f"{number}.tar": layer for number, layer in enumerate(layers)}
    list(images.load(io.BytesIO(lab.docker_archive(lab.config(*layers), named, ["app:1"]))))
    record = images.resolve("app:1")
    lowers = images.layers(record.id)
    assert len(lowers) == 2
    assert len(images.inspect("app:1")["RootFS"]["Layers"]) == 3
    places = [tmp_path / place for place in ("upper", "work", "target")]
    for place in places:
        place.mkdir()
    rootfs.mount(lowers, *places)
    try:
        found = {str(path.relative_to(places[2])) for path in places[2].rglob("*")}
    finally:
        rootfs.unmount(places[2])
    assert found == {"new", "etc", "etc/new", "top"}
    saved = b"".join(images.save(["app:1"]))
    again = Images(tmp_path / "again", Store(":memory:"))
    assert list(again.load(io.BytesIO(saved)))[-1] == {"stream": "Loaded image: app:1\n"}
    assert again.resolve("app:1").id == record.id
    assert len(again.layers(record.id)) == 2


def test_an_imported_opaque_root_is_an_image_like_any_other(images: Images) -> None:
    data = lab.tar(lab.entry(".wh..wh..opq"), lab.entry("f", data=b"f"))
    (lower,) = images.layers(images.import_rootfs(io.BytesIO(data)))
    assert [path.name for path in lower.iterdir()] == ["f"]


GARBAGE = {
    "nothing": b"",
    "text": b"this is not an archive\n" * 100,
    "zeros": bytes(10240),
    "noise": os.urandom(20_000),
    "gzipped noise": gzip.compress(os.urandom(20_000)),
    "half a gzip": gzip.compress(lab.tar(lab.entry("a", data=os.urandom(50_000))))[:30_000],
    "zstd magic": b"\x28\xb5\x2f\xfd" + os.urandom(500),
    "xz magic": b"\xfd7zXZ\0" + os.urandom(500),
    "a plain rootfs": lab.tar(lab.entry("bin/sh", data=b"x"), lab.entry("etc", tarfile.DIRTYPE)),
    "a manifest that is no JSON": lab.tar(lab.entry("manifest.json", data=b"{")),
    "a manifest of the wrong kind": lab.tar(lab.entry("manifest.json", data=b'{"Config": 1}')),
    "a manifest of nulls": lab.tar(lab.entry("manifest.json", data=b"[null]")),
    "no layers": lab.docker_archive(lab.config(b"x"), {}, ["bad:1"]),
    "a layer of noise": lab.docker_archive(lab.config(b"y" * 600), {"layer.tar": os.urandom(600)}, ["bad:1"]),
    "half an archive": lab.docker_archive(lab.config(b"z" * 9000), {"layer.tar": b"z" * 9000}, ["bad:1"])[:6000],
    "a bad name": lab.docker_archive(
        lab.config(lab.tar(lab.entry("f"))), {"l.tar": lab.tar(lab.entry("f"))}, ["Bad Name:1"]
    ),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_not_loaded_and_leaves_nothing(images: Images, tmp_path: Path, what: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        list(images.load(io.BytesIO(GARBAGE[what])))
    text = str(caught.value)
    assert 0 < len(text) < 400, text
    assert "Traceback" not in text
    assert str(tmp_path) not in text
    assert_untouched(images, tmp_path)


@pytest.mark.parametrize("what", [what for what in list(GARBAGE)[:8] if what != "zeros"])
def test_garbage_is_not_imported_and_leaves_nothing(images: Images, tmp_path: Path, what: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        images.import_rootfs(io.BytesIO(GARBAGE[what]), reference="bad:1")
    assert "Traceback" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert_untouched(images, tmp_path)


def test_a_bad_name_or_change_is_refused_before_anything_is_read(images: Images, tmp_path: Path) -> None:
    class Unread:
        def read(self, size: int, /) -> bytes:
            raise AssertionError("the upload was read")

    for more in ({"reference": "Bad Name"}, {"reference": "a@sha256:" + "0" * 64}, {"changes": ["NONSENSE x"]}):
        with pytest.raises(InvalidArgument):
            images.import_rootfs(Unread(), **more)
    assert_untouched(images, tmp_path)
