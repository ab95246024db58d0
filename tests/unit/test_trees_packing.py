"""Trees as tars: what an entry says, what an overlay's own marks become, what is left out."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from engine.trees import packing
from engine.trees.placeholders import Placeholders


def entries(chunks: object) -> dict[str, tarfile.TarInfo]:
    data = b"".join(chunks)  # type: ignore[arg-type]
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive}


def content(chunks: object, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:  # type: ignore[arg-type]
        found = archive.extractfile(name)
        assert found
        return found.read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "b" / "inner").mkdir(parents=True)
    (tmp_path / "b" / "file").write_text("content")
    (tmp_path / "b" / "file").chmod(0o4751)
    os.link(tmp_path / "b" / "file", tmp_path / "b" / "other")
    (tmp_path / "a").symlink_to("b/file")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_entries_are_sorted_and_say_what_files_are(tree: Path) -> None:
    found = entries(packing.plain(str(tree), ""))
    assert list(found) == ["a", "b", "b/file", "b/inner", "b/other", "pipe"]
    assert found["a"].issym() and found["a"].linkname == "b/file"
    assert found["b/file"].mode == 0o4751 and found["b/file"].size == 7
    assert found["b/other"].islnk() and found["b/other"].linkname == "b/file"
    assert found["pipe"].isfifo()


def test_the_same_tree_gives_the_same_tar(tree: Path) -> None:
    os.utime(tree / "b" / "file", ns=(1, 1_000_000_000_900_000_000))
    first = b"".join(packing.plain(str(tree), ""))
    assert first == b"".join(packing.plain(str(tree), ""))
    assert entries([first])["b/file"].mtime == 1_000_000_000


@pytest.mark.parametrize(
    ("path", "name", "expected"),
    [
        ("b", "b", ["b", "b/file", "b/inner", "b/other"]),
        ("b", "new", ["new", "new/file", "new/inner", "new/other"]),
        ("b/.", ".", [".", "./file", "./inner", "./other"]),
        ("b/file", "x", ["x"]),
        ("a", "a", ["a"]),
    ],
)
def test_a_path_bears_the_name_it_is_given(tree: Path, path: str, name: str, expected: list[str]) -> None:
    assert list(entries(packing.plain(str(tree / path), name))) == expected


def test_nothing_there_is_an_error_at_once(tree: Path) -> None:
    with pytest.raises(FileNotFoundError):
        next(packing.plain(str(tree / "missing"), "missing"))


def test_long_names_and_odd_bytes_survive(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (tmp_path / ("x" * 200)).write_text("long")
    (tmp_path / odd).write_text("odd")
    data = b"".join(packing.plain(str(tmp_path), ""))
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as archive:
        assert set(archive.getnames()) == {"x" * 200, odd}


def test_attributes_go_along_but_not_overlayfs_own(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("")
    try:
        os.setxattr(target, "user.color", b"blue\xff")
    except OSError:
        pytest.skip("this file system has no user attributes")
    found = entries(packing.plain(str(tmp_path), ""))["file"].pax_headers
    assert found["SCHILY.xattr.user.color"].encode("utf-8", "surrogateescape") == b"blue\xff"


def test_a_file_that_shrinks_is_filled_up(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"x" * 3000)
    chunks = packing.plain(str(target), "file")
    first = next(chunks)
    os.truncate(target, 1000)
    assert content([first, *chunks], "file") == b"x" * 1000 + bytes(2000)


def test_sockets_are_left_out(tmp_path: Path) -> None:
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        assert not entries(packing.plain(str(tmp_path), ""))


@pytest.mark.root
def test_whiteouts_and_opaque_directories_become_oci_marks(tmp_path: Path) -> None:
    (tmp_path / "kept" / "deep").mkdir(parents=True)
    os.mknod(tmp_path / "kept" / "gone", 0o020000, os.makedev(0, 0))
    os.mknod(tmp_path / "null", 0o020666, os.makedev(1, 3))
    os.setxattr(tmp_path / "kept" / "deep", packing.OPAQUE, b"y")
    os.setxattr(tmp_path / "kept", "trusted.overlay.origin", b"somewhere")
    found = entries(packing.layer(str(tmp_path)))
    assert list(found) == ["kept", "kept/deep", "kept/deep/.wh..wh..opq", "kept/.wh.gone", "null"]
    assert found["kept/.wh.gone"].isreg() and found["kept/.wh.gone"].size == 0
    assert (found["null"].devmajor, found["null"].devminor) == (1, 3)
    assert not any("overlay" in key for info in found.values() for key in info.pax_headers)


def test_what_is_there_to_be_mounted_over_is_left_out(tmp_path: Path) -> None:
    for name in ("etc", "proc", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc" / "hosts").touch()
    status = (tmp_path / "etc").lstat()
    known = {"etc/hosts": None, "proc": None, "etc": [status.st_mode, status.st_uid, status.st_gid]}
    assert list(entries(packing.layer(str(tmp_path), Placeholders(known, str(tmp_path))))) == ["data"]
    (tmp_path / "etc" / "mine").touch()
    assert list(entries(packing.layer(str(tmp_path), Placeholders(known, str(tmp_path))))) == [
        "data",
        "etc",
        "etc/mine",
    ]
    (tmp_path / "etc" / "hosts").write_text("mine as well")
    assert "etc/hosts" in entries(packing.layer(str(tmp_path), Placeholders(known, str(tmp_path))))
