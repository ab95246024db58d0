"""Layers unpacked for real: faithful to the tar, and never outside of their directory."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from engine.images import Images
from netpy.errors import InvalidArgument, NotFound
from netpy.store import Store
from tests.integration import image_lab as lab

pytestmark = pytest.mark.root


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path / "images", Store(tmp_path / "db"))


def left_over(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "images" / "tmp").iterdir())


@pytest.mark.parametrize("packer", [["gzip"], ["bzip2"], ["xz"], ["zstd"]], ids=lambda item: item[0])
def test_a_compressed_rootfs_is_unpacked_on_the_way(images: Images, packer: list[str]) -> None:
    rootfs = lab.tar(lab.entry("f", data=bytes(100_000)))
    packed = subprocess.run([*packer, "-c"], input=rootfs, stdout=subprocess.PIPE, check=True).stdout
    id = images.import_rootfs(io.BytesIO(packed))
    assert images.resolve(id).layers == (lab.digest(rootfs),)


def test_a_layer_is_as_gnu_tar_would_unpack_it(images: Images, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep" / "er").mkdir(parents=True)
    (source / "deep" / "er" / "file").write_bytes(b"content" * 5000)
    (source / "setuid").write_bytes(b"#!")
    (source / "setuid").chmod(0o6755)
    (source / "hard").hardlink_to(source / "setuid")
    (source / "soft").symlink_to("/nowhere/at/all")
    (source / ("long" * 40)).write_bytes(b"")
    subprocess.run(["mknod", str(source / "null"), "c", "1", "3"], check=True)
    subprocess.run(["mkfifo", str(source / "fifo")], check=True)
    subprocess.run(["chown", "-h", "1234:4321", str(source / "soft"), str(source / "deep")], check=True)
    with (source / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 20)
        sparse.seek(300_000)
        sparse.write(b"island")
    packed = subprocess.run(["tar", "-C", str(source), "-S", "-c", "."], stdout=subprocess.PIPE, check=True).stdout
    expected = tmp_path / "expected"
    expected.mkdir()
    subprocess.run(["tar", "-C", str(expected), "-xp", "--same-owner"], input=packed, check=True)
    (lower,) = images.layers(images.import_rootfs(io.BytesIO(packed)))
    assert lab.tree(lower) == lab.tree(expected)


def test_extended_attributes_are_kept_but_overlay_ones_are_not(images: Images) -> None:
    pax = {"SCHILY.xattr.user.note": "hello", "SCHILY.xattr.trusted.overlay.redirect": "/elsewhere"}
    data = lab.tar(lab.entry("file", data=b"x", pax_headers=pax), lab.entry("dir", tarfile.DIRTYPE, pax_headers=pax))
    (lower,) = images.layers(images.import_rootfs(io.BytesIO(data)))
    assert os.listxattr(lower / "file") == ["user.note"]
    assert os.getxattr(lower / "dir", "user.note") == b"hello"
    assert os.listxattr(lower / "dir") == ["user.note"]


def test_whiteouts_become_those_of_overlayfs(images: Images) -> None:
    data = lab.tar(
        lab.entry("a/.wh.gone"),
        lab.entry("b/new", data=b"1"),
        lab.entry("b/.wh..wh..opq"),
        lab.entry(".wh..wh.plnk/x"),
        lab.entry(".wh.again"),
        lab.entry("again", tarfile.DIRTYPE),
        lab.entry("kept", data=b"2"),
        lab.entry(".wh.kept"),
    )
    (lower,) = images.layers(images.import_rootfs(io.BytesIO(data)))
    gone = (lower / "a" / "gone").lstat()
    assert (gone.st_mode & 0o170000, gone.st_rdev) == (0o020000, 0)
    assert os.getxattr(lower / "b", "trusted.overlay.opaque") == b"y"
    # A whiteout speaks of lower layers only: what this layer has beside it stays, and hides them wholly.
    assert os.getxattr(lower / "again", "trusted.overlay.opaque") == b"y"
    assert (lower / "kept").read_bytes() == b"2"
    assert sorted(path.name for path in lower.rglob("*")) == ["a", "again", "b", "gone", "kept", "new"]


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.mkdir()
    (path / "file").write_bytes(b"precious")
    return path


def test_no_entry_leaves_the_rootfs(images: Images, victim: Path, tmp_path: Path) -> None:
    before = lab.tree(victim)
    outside = str(victim)
    data = lab.tar(
        lab.entry("../../../../../../../../.." + outside + "/dots", data=b"1"),
        lab.entry(outside + "/absolute", data=b"2"),
        lab.entry("link", tarfile.SYMTYPE, linkname=outside),
        lab.entry("link/through", data=b"3"),
        lab.entry("up", tarfile.SYMTYPE, linkname="../../../../../../../../../../.." + outside),
        lab.entry("up/through2", data=b"4"),
        lab.entry("over", tarfile.SYMTYPE, linkname=outside + "/file"),
        lab.entry("over", data=b"5"),
        lab.entry("disk", tarfile.BLKTYPE, devmajor=254, devminor=0),
        lab.entry("disk", data=b"6"),
    )
    (lower,) = images.layers(images.import_rootfs(io.BytesIO(data), reference="hostile"))
    assert lab.tree(victim) == before
    inside = lower / outside.lstrip("/")
    assert sorted(path.name for path in inside.iterdir()) == ["absolute", "dots", "through", "through2"]
    assert (lower / "over").read_bytes() == b"5" and not (lower / "over").is_symlink()
    assert (lower / "disk").read_bytes() == b"6" and (lower / "disk").is_file()
    archive = b"".join(images.save(["hostile"]))  # The recipe must find every file again, links or not.
    with tarfile.open(fileobj=io.BytesIO(archive)) as saved:
        stored = saved.extractfile(f"blobs/sha256/{lab.digest(data)[7:]}")
        assert stored is not None and stored.read() == data


@pytest.mark.parametrize("target", ["/etc/hostname", "../../../../../../../../etc/hostname"])
def test_a_hard_link_cannot_reach_outside(images: Images, target: str, tmp_path: Path) -> None:
    data = lab.tar(lab.entry("stolen", tarfile.LNKTYPE, linkname=target))
    with pytest.raises(InvalidArgument, match="archive entry 'stolen': No such file or directory"):
        images.import_rootfs(io.BytesIO(data))
    assert not left_over(tmp_path)
    assert images.summaries() == []


def test_content_that_was_replaced_within_a_layer_is_saved_all_the_same(images: Images) -> None:
    data = lab.tar(
        lab.entry("twice", data=b"first" * 300),
        lab.entry("alias", tarfile.LNKTYPE, linkname="twice"),
        lab.entry("twice", data=b"second"),
        lab.entry("alias", data=b"third"),
        lab.entry("dir", tarfile.DIRTYPE),
        lab.entry("dir/inner", data=b"inner"),
        lab.entry("dir", data=b"now a file"),
    )
    id = images.import_rootfs(io.BytesIO(data), reference="r")
    (lower,) = images.layers(id)
    assert {path.name: path.read_bytes() for path in lower.iterdir()} == {
        "twice": b"second",
        "alias": b"third",
        "dir": b"now a file",
    }
    archive = b"".join(images.save(["r"]))
    assert images.remove("r")
    assert {"stream": "Loaded image: r:latest\n"} in list(images.load(io.BytesIO(archive)))
    assert images.resolve("r").id == id


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"this is not a tar" * 100, "unpacking a layer"),
        (lab.tar(lab.entry("a", data=b"x" * 5000))[:3000], "archive entry 'a': unexpected end of archive"),
        (gzip.compress(lab.tar(lab.entry("a", data=b"x" * 5000)))[:-20], "unexpected end of compressed data"),
        (lab.tar(lab.entry("a", data=b"x"))[:1024] + b"garbage!" * 64, "archive entry 'a': damaged header"),
        (lab.tar(lab.entry("a", data=b"x"), lab.entry("a/b", data=b"y")), "archive entry 'a/b'"),
        (lab.tar(lab.entry("d/.wh...")), "a whiteout must name a file"),
        (b"\x28\xb5\x2f\xfd garbage", "unpacking a layer|zstd"),
    ],
)
def test_a_bad_tar_is_refused_and_leaves_nothing(images: Images, tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        images.import_rootfs(io.BytesIO(data), reference="bad")
    assert not left_over(tmp_path)
    with pytest.raises(NotFound, match="No such image: bad:latest"):
        images.resolve("bad")


def test_the_root_stays_open_to_all_whatever_the_tar_says(images: Images) -> None:
    data = lab.tar(lab.entry("./", tarfile.DIRTYPE, mode=0o700, uid=7), lab.entry("./f", data=b"f"))
    (lower,) = images.layers(images.import_rootfs(io.BytesIO(data)))
    assert (lower.stat().st_mode & 0o7777, lower.stat().st_uid) == (0o755, 0)
