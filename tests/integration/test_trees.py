"""Images made of what was written, and trees worked on by processes of their own: on the real kernel."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.images import Commit, Images
from engine.images.workspace import workspace
from engine.runtime import rootfs
from engine.runtime.views import Views
from engine.trees import child
from engine.trees.filling import fill
from netpy.errors import InvalidArgument, NotFound
from netpy.store import Store
from tests.integration import image_lab as lab

pytestmark = pytest.mark.root


class Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, size: int) -> bytes:
        piece, self._data = self._data[:size], self._data[size:]
        return piece


@pytest.fixture
def root() -> Iterator[Path]:
    """On a disk: overlayfs takes no tmpfs for its writable layer everywhere."""
    made = Path(f"/var/tmp/netpy-test-trees-{os.getpid()}")
    made.mkdir()
    yield made
    shutil.rmtree(made)


@pytest.fixture
def images(root: Path) -> Images:
    return Images(root / "images", Store(root / "netpy.db"))


@pytest.fixture
def base(images: Images) -> str:
    rootfs = lab.tar(
        lab.entry("etc", b"5"), lab.entry("etc/a", data=b"a"), lab.entry("dir", b"5"), lab.entry("dir/old", data=b"o")
    )
    return images.import_rootfs(Bytes(rootfs), reference="base")


def test_a_commit_holds_what_was_written(images: Images, base: str) -> None:
    with workspace(images, base) as space:
        (space.root / "etc" / "a").unlink()
        shutil.rmtree(space.root / "dir")
        (space.root / "dir").mkdir()
        (space.root / "dir" / "new").write_text("new")
        os.link(space.root / "dir" / "new", space.root / "twin")
        first = images.commit(Commit(parent=base, upper=space.upper, config={"Cmd": ["a"]}, created_by="one"))
        again = images.commit(Commit(parent=base, upper=space.upper, config={"Cmd": ["b"]}, references=("made:1",)))
    layers = [images.inspect(image)["RootFS"]["Layers"] for image in (first, again)]
    assert layers[0] == layers[1] and len(layers[0]) == 2, "what is the same is stored once"
    assert images.inspect("made:1")["Parent"] == base and images.history(first)[0]["CreatedBy"] == "one"
    with workspace(images, first) as space:
        assert sorted(path.name for path in (space.root / "dir").iterdir()) == ["new"]
        assert not (space.root / "etc" / "a").exists()
        assert (space.root / "twin").stat().st_ino == (space.root / "dir" / "new").stat().st_ino
        empty = images.commit(Commit(parent=first, upper=space.upper, config={}, created_by="nothing"))
    assert images.inspect(empty)["RootFS"]["Layers"] == layers[0] and images.history(empty)[0]["Size"] == 0


def test_a_workspace_can_stand_on_nothing(images: Images) -> None:
    with workspace(images, "") as space:
        (space.root / "file").write_text("x")
        made = images.commit(Commit(upper=space.upper, config={}))
        place = space.root
    assert len(images.inspect(made)["RootFS"]["Layers"]) == 1 and not place.exists()
    with pytest.raises(NotFound), workspace(images, "sha256:" + "0" * 64):
        pass


def test_filling_stays_below_its_root(root: Path) -> None:
    inside = root / "inside"
    inside.mkdir()
    (inside / "way").symlink_to("/etc")
    fill(inside, "/way/deep", Bytes(lab.tar(lab.entry("file", data=b"x"))), owner=(7, 8))
    assert (inside / "etc" / "deep" / "file").stat().st_uid == 7
    for name in ("../out", "a/../../out"):
        with pytest.raises(InvalidArgument, match="is outside of"):
            fill(inside, "/sub", Bytes(lab.tar(lab.entry(name, data=b"x"))))
    with pytest.raises(InvalidArgument, match="unexpected EOF"):
        fill(inside, "/", Bytes(lab.tar(lab.entry("file", data=b"x" * 2000))[:1500]))


def test_a_file_system_is_never_mounted_twice(root: Path) -> None:
    (root / "low").mkdir()
    (root / "low" / "file").write_text("low")
    (root / "data").mkdir()
    views, box, target = Views(), root / "box", root / "target"

    def status(descriptor: int, path: str) -> object:
        mounts = [{"source": str(root / "data"), "destination": "/made/data", "writable": False}]
        view = {"root": descriptor, "place": str(box), "mounts": mounts, "tmpfs": [], "namespace": -1, "writable": True}
        order = {"verb": "status", "view": view, "path": path}
        with child.working(order, descriptors=(descriptor,)) as worker:
            return worker.report()

    (root / "data" / "inner").write_text("12345")
    with views.view([root / "low"], box / "upper", box / "work", target) as first:
        views.mount([root / "low"], box / "upper", box / "work", target)
        (target / "written").write_text("x")
        with views.view([root / "low"], box / "upper", box / "work", target) as second:
            assert os.fstat(first).st_dev == os.fstat(second).st_dev == target.stat().st_dev
            found = status(second, "/made/data/inner")
            assert isinstance(found, dict) and found["size"] == 5
        assert isinstance(status(first, "/written"), dict)
    rootfs.unmount(target)
    assert str(root) not in Path("/proc/self/mounts").read_text()
    assert sorted(path.name for path in box.iterdir()) == ["upper", "work"]
