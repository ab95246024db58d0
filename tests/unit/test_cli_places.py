"""The two ends of a `cp`: Docker's rules for slashes, `/.`, links and what exists already."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.cli import places
from engine.cli.command import CommandError
from engine.cli.places import Place


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("c1:/a", ("c1", "/a")),
        ("c1:", ("c1", "")),
        ("./c1:a", ("", "./c1:a")),
        ("/c1:a", ("", "/c1:a")),
        ("plain", ("", "plain")),
        ("c1:a:b", ("c1", "a:b")),
        ("-", ("", "-")),
    ],
)
def test_arguments_are_cut_at_the_first_colon(argument: str, expected: tuple[str, str]) -> None:
    assert places.cut(argument) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", ("/a", "b")),
        ("/a/b/", ("/a", "b")),
        ("/a/b/.", ("/a/b", ".")),
        ("/", ("/", "/")),
        ("/a", ("/", "a")),
        ("a", (".", "a")),
        ("", (".", ".")),
    ],
)
def test_paths_are_split_as_go_does(path: str, expected: tuple[str, str]) -> None:
    assert places.split(path) == expected


FILE, DIRECTORY = Place(path="/src/one"), Place(path="/src", directory=True)


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        (FILE, Place(path="/tmp", directory=True), ("/tmp", "")),
        (FILE, Place(path="/tmp/new", exists=False), ("/tmp", "new")),
        (FILE, Place(path="/tmp/old"), ("/tmp", "old")),
        (DIRECTORY, Place(path="/tmp/", directory=True), ("/tmp/", "")),
        (DIRECTORY, Place(path="/tmp/new/", exists=False), ("/tmp", "new")),
    ],
)
def test_where_a_copy_goes_and_what_it_is_called(source: Place, destination: Place, expected: tuple[str, str]) -> None:
    assert places.prepared(source, destination) == expected


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        (DIRECTORY, Place(path="/tmp/old"), "cannot copy directory"),
        (FILE, Place(path="/tmp/new/", exists=False), "no such directory"),
        (FILE, Place(path="", exists=False), "no such directory"),
    ],
)
def test_what_cannot_be_copied(source: Place, destination: Place, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        places.prepared(source, destination)


def test_local_sources_follow_links_only_where_they_are_to(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to("dir")
    link = str(tmp_path / "link")
    assert places.local_source(link, follow=False) == Place(path=link)
    followed = places.local_source(link, follow=True)
    assert followed == Place(path=str(tmp_path / "dir"), directory=True, rename="link")
    with pytest.raises(CommandError, match="no such file or directory"):
        places.local_source(str(tmp_path / "missing"), follow=False)


def test_local_destinations_follow_links_to_what_may_not_exist_yet(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    assert places.local_destination(str(tmp_path / "link")) == Place(path=str(tmp_path / "new"), exists=False)
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CommandError, match="too many symlinks"):
        places.local_destination(str(tmp_path / "loop"))
    with pytest.raises(CommandError, match="does not exist"):
        places.check_output(str(tmp_path / "nowhere" / "x"))
    with pytest.raises(CommandError, match="got a device"):
        places.check_output("/dev/null")
