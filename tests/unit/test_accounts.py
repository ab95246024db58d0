"""Who --user means, and that an image cannot make us read the host's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.oci.spec import User
from engine.runtime import accounts
from netpy.errors import InvalidArgument

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
www:x:33:34:www:/var/www:/bin/false
1000:x:7:8::/seven:
broken:line
nohome:x:12:13
"""
GROUP = "root:x:0:\nwww:x:34:\nmedia:x:50:other,www\ndisk:x:6:root,www\nbad:x:nan:www\n"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("", User(uid=0, gid=0, groups=(6,), home="/root")),
        ("www", User(uid=33, gid=34, groups=(50, 6), home="/var/www")),
        ("33", User(uid=33, gid=34, groups=(50, 6), home="/var/www")),
        ("www:media", User(uid=33, gid=50, home="/var/www")),
        ("www:77", User(uid=33, gid=77, home="/var/www")),
        ("4711", User(uid=4711, gid=0, home="/")),
        ("4711:disk", User(uid=4711, gid=6, home="/")),
        ("1000", User(uid=7, gid=8, home="/seven")),
        (":media", User(uid=0, gid=50, home="/root")),
        ("nohome", User(uid=12, gid=13, home="/")),
    ],
)
def test_users(asked: str, expected: User) -> None:
    assert accounts.account(PASSWD, GROUP, asked) == expected


def test_more_groups() -> None:
    assert accounts.account(PASSWD, GROUP, "www", ["media", "99"]).groups == (50, 6, 99)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("x", "unable to find user x: no matching entries in passwd file"),
        ("www:x", "Unable to find group x: no matching entries in group file"),
        ("99999999999", "uids and gids must be in range"),
        ("-1", "unable to find user -1"),
    ],
)
def test_unknown(asked: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        accounts.account(PASSWD, GROUP, asked)


def test_an_image_without_files(tmp_path: Path) -> None:
    assert accounts.resolve(tmp_path, "5:6") == User(uid=5, gid=6, home="/")
    assert accounts.resolve(tmp_path, "") == User(uid=0, gid=0, home="/")


def test_links_stay_inside(tmp_path: Path) -> None:
    rootfs = tmp_path / "a" / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    (tmp_path / "a" / "secret").write_text("evil:x:666:666::/:\n")
    (rootfs / "secret").write_text("good:x:1:1::/:\n")
    (rootfs / "etc" / "passwd").symlink_to("../../secret")
    assert accounts.resolve(rootfs, "good").uid == 1
    with pytest.raises(InvalidArgument):
        accounts.resolve(rootfs, "evil")
    (rootfs / "etc" / "group").symlink_to(tmp_path / "a" / "secret")
    with pytest.raises(InvalidArgument):
        accounts.resolve(rootfs, "good:evil")


def test_what_is_no_file_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc" / "passwd")
    (tmp_path / "etc" / "group").mkdir()
    assert accounts.resolve(tmp_path, "5").uid == 5
    (tmp_path / "loop").symlink_to("loop")
    assert accounts.read_text(tmp_path, "loop") == ""
