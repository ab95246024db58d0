"""Paths as clients name them, modes as Go has them, and what a comparison of two trees calls a change."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from engine.trees import paths
from engine.trees.changes import Comparison
from engine.trees.placeholders import Placeholders


@pytest.mark.parametrize(
    ("given", "absolute", "base"),
    [
        ("/", "/", "/"),
        ("", "/", "/"),
        (".", "/.", "."),
        ("/.", "/.", "."),
        ("a/b", "/a/b", "b"),
        ("/a/b/", "/a/b/", "b"),
        ("/a/b/.", "/a/b/.", "."),
        ("../../a", "/a", "a"),
        ("/a/../b", "/b", "b"),
        ("//a", "/a", "a"),
    ],
)
def test_paths_keep_the_end_that_means_something(given: str, absolute: str, base: str) -> None:
    assert (paths.absolute(given), paths.base(absolute)) == (absolute, base)


def test_a_link_at_the_end_is_not_followed_but_with_a_slash(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    assert paths.resolved(f"{tmp_path}/link") == f"{tmp_path}/link"
    assert paths.resolved(f"{tmp_path}/link/") == f"{tmp_path}/dir/"
    found = paths.status(f"{tmp_path}/link")
    assert found["linkTarget"] == f"{tmp_path}/dir" and found["mode"] >> 27 & 1 and found["name"] == "link"


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (stat.S_IFREG | 0o644, 0o644),
        (stat.S_IFDIR | 0o1777, 0o777 | 1 << 31 | 1 << 20),
        (stat.S_IFREG | 0o6755, 0o755 | 1 << 23 | 1 << 22),
        (stat.S_IFCHR | 0o666, 0o666 | 1 << 26 | 1 << 21),
        (stat.S_IFIFO | 0o600, 0o600 | 1 << 25),
    ],
)
def test_modes_are_go_s(mode: int, expected: int) -> None:
    assert paths.go_mode(mode) == expected


def compared(upper: Path, lower: Path) -> list[tuple[int, str]]:
    descriptor = os.open(lower, os.O_RDONLY)
    try:
        return list(Comparison(str(upper), descriptor, Placeholders({"etc/hosts": None})).changes())
    finally:
        os.close(descriptor)


def test_changes_are_told_as_docker_tells_them(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for root in (upper, lower):
        (root / "etc").mkdir(parents=True)
        (root / "dir").mkdir()
        (root / "dir" / "same").write_text("x")
        os.utime(root / "dir" / "same", (1, 1))
    assert compared(upper, lower) == []
    (upper / "etc" / "hosts").touch()
    assert compared(upper, lower) == [], "what is mounted over is no change"
    (upper / "new" / "deep").mkdir(parents=True)
    (upper / "dir" / "same").write_text("longer")
    (upper / "dir" / "added").touch()
    assert compared(upper, lower) == [
        (0, "/dir"),
        (1, "/dir/added"),
        (0, "/dir/same"),
        (1, "/new"),
        (1, "/new/deep"),
    ]


@pytest.mark.root
def test_deletions_and_replaced_directories(tmp_path: Path) -> None:
    upper, lower = tmp_path / "upper", tmp_path / "lower"
    for name in ("gone", "remade"):
        (lower / name).mkdir(parents=True)
        (lower / name / "old").touch()
    (upper / "remade").mkdir(parents=True)
    os.setxattr(upper / "remade", "trusted.overlay.opaque", b"y")
    (upper / "remade" / "new").touch()
    for name in ("gone", "never"):
        os.mknod(upper / name, 0o020000, os.makedev(0, 0))
    assert compared(upper, lower) == [(2, "/gone"), (0, "/remade"), (1, "/remade/new"), (2, "/remade/old")]
