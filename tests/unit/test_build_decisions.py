"""What a build decides without doing anything: ignored paths, arguments, configurations and their history, cache keys."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.build import cache, history, ignore, metadata, trees
from engine.build.arguments import Arguments
from engine.build.dockerfile import parse
from engine.build.metadata import Setting
from engine.build.trees import Missing, Tree
from engine.images import lineage
from engine.images.records import ImageRecord
from netpy.errors import InvalidArgument


@pytest.mark.parametrize(
    ("patterns", "excluded", "kept"),
    [
        ("a\n# x\n\n b/c \n", ["a", "a/deep/er", "b/c"], ["b", "b/d", "aa", "x/a"]),
        ("*.o\nsub/*/x", ["m.o", "sub/1/x"], ["sub/m.o", "sub/1/2/x"]),
        ("**/*.o", ["m.o", "a/b/m.o"], ["m.c"]),
        ("**/tmp/**", ["tmp/x", "a/tmp/x/y"], ["tmp", "a/tmp"]),
        ("/a/\n./b", ["a", "a/x", "b"], ["c"]),
        ("*\n!keep\n!dir/x", ["z", "dir", "dir/y"], ["keep", "keep/all", "dir/x"]),
        ("a\n!a/b\na/b/c", ["a/x", "a/b/c"], ["a/b", "a/b/d"]),
        ("f?le[0-9]\n[^a]z", ["file1", "bz"], ["filex", "az", "f/le1"]),
        ("a\\*b", ["a*b"], ["axb"]),
    ],
)
def test_patterns_keep_paths_out(patterns: str, excluded: list[str], kept: list[str]) -> None:
    rules = ignore.read(patterns)
    assert [path for path in [*excluded, *kept] if rules.excludes(path)] == excluded


@pytest.mark.parametrize("pattern", ["[", "a[", "[]", "a\\", "!", "[?--]", "[]a]", "[a-"])
def test_a_malformed_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidArgument, match=r"syntax error in pattern|illegal exclusion"):
        ignore.read(pattern)


def test_classes_are_those_of_go() -> None:
    assert ignore.read("[a-c]").excludes("b") and not ignore.read("[a-c]").excludes("d")
    assert ignore.read("[^a-c]").excludes("d") and ignore.read(r"[\-\]]").excludes("]")
    assert not ignore.read("[c-a]").excludes("b")


@given(st.text("ab/*?[]!^-\\.", max_size=12), st.text("ab/.", min_size=1, max_size=8))
def test_any_pattern_is_read_or_refused(pattern: str, path: str) -> None:
    try:
        rules = ignore.read(pattern)
    except InvalidArgument as refusal:
        assert str(refusal)
    else:
        rules.excludes(posixpath.normpath(path))


def test_arguments_are_seen_from_their_declaration_on() -> None:
    given = Arguments({"A": "given", "HTTP_PROXY": "p", "LOST": "x", "NONE": None})
    given.declare_global("A", "one")
    given.declare_global("B", "two")
    assert given.for_from == {"A": "given", "B": "two"}
    given.begin_stage()
    assert given.visible() == {"HTTP_PROXY": "p"}
    given.declare("A", None)
    given.declare("B", None)
    given.declare("C", "three")
    given.declare("D", None)
    assert given.visible() == {"A": "given", "B": "two", "C": "three", "HTTP_PROXY": "p"}
    assert given.for_run({"C": "hidden"}) == {"A": "given", "B": "two", "HTTP_PROXY": "p"}
    assert given.for_cache({}) == {"A": "given", "B": "two", "C": "three"}
    given.declare("HTTP_PROXY", None)
    assert given.for_cache({})["HTTP_PROXY"] == "p"
    given.begin_stage()
    assert given.visible() == {"HTTP_PROXY": "p"}
    assert given.unconsumed() == ["LOST", "NONE"]


def changed(line: str, config: dict[str, Any] | None = None, **given: str) -> tuple[dict[str, Any], str]:
    arguments = Arguments(given)
    for name in given:
        arguments.declare(name, None)
    setting = Setting(config=config or {}, arguments=arguments, escape="\\")
    return metadata.changed(parse(f"FROM a\n{line}\n".encode()).instructions[1], setting)


@pytest.mark.parametrize(
    ("line", "comment"),
    [
        ('ENV X=$v Y="a b"', "ENV X=2 Y=a b"),
        ("ENV old form  kept $v", "ENV old=form  kept 2"),
        ("LABEL 'k k'=v n=${v:-1}${w:-0}${v:+p}", "LABEL k k=v n=20p"),
        ("CMD echo $v", 'CMD ["/bin/sh" "-c" "echo $v"]'),
        ('ENTRYPOINT ["a", "b\\"c"]', 'ENTRYPOINT ["a" "b\\"c"]'),
        ("EXPOSE 90/udp 80-82 $v", "EXPOSE 2 80-82 90/udp"),
        ('VOLUME ["/a", "/b"]', "VOLUME [/a /b]"),
        ("VOLUME /a $v", "VOLUME [/a 2]"),
        ("USER u$v", "USER u2"),
        ("STOPSIGNAL SIGINT", "STOPSIGNAL SIGINT"),
        ('SHELL ["/bin/ash", "-ec"]', "SHELL [/bin/ash -ec]"),
        ("ONBUILD RUN x $v", "ONBUILD RUN x $v"),
        ("MAINTAINER me <a@b>", "MAINTAINER me <a@b>"),
        (
            "HEALTHCHECK --interval=90s --retries=3 CMD echo ok",
            'HEALTHCHECK &{["CMD-SHELL" "echo ok"] "1m30s" "0s" "0s" \'\\x03\'}',
        ),
        ("HEALTHCHECK NONE", 'HEALTHCHECK &{["NONE"] "0s" "0s" "0s" \'\\x00\'}'),
    ],
)
def test_the_history_has_dockers_words(line: str, comment: str) -> None:
    assert changed(line, v="2")[1] == comment


def test_the_environment_hides_an_argument() -> None:
    after, _ = changed("ENV b=$a c=$x", {"Env": ["a=env"]}, a="arg", x="1")
    assert after["Env"] == ["a=env", "b=env", "c=1"]


def test_commands_of_history() -> None:
    assert history.marked({}, "USER x") == ["/bin/sh", "-c", "#(nop) ", "USER x"]
    assert history.marked_files({"Shell": ["ash"]}, "WORKDIR /x") == ["ash", "#(nop) WORKDIR /x"]
    assert history.run(["sh"], {"b": "1", "a": "2"}) == ["|2", "a=2", "b=1", "sh"]


def test_cache_keys_tell_steps_apart() -> None:
    one = cache.key("p", {"Cmd": ["a"], "Env": ["x=1"], "Hostname": "h1", "User": ""})
    assert one == cache.key("p", {"Env": ["x=1"], "Cmd": ["a"], "Hostname": "h2"})
    others = [("q", {"Cmd": ["a"], "Env": ["x=1"]}), ("p", {"Cmd": ["b"], "Env": ["x=1"]}), ("p", {"Cmd": ["a"]})]
    assert len({one, *(cache.key(parent, config) for parent, config in others)}) == 4


def test_sources_stay_within_their_tree(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("inside")
    (root / "abs").symlink_to("/etc/passwd")
    (root / "up").symlink_to("../../../../etc")
    (root / "loop").symlink_to("loop")
    tree = Tree(root=root)
    for word in ("abs", "up/passwd", "/etc/passwd", "etc/../etc/passwd"):
        assert [source.path for source in trees.find(tree, word)] == [root / "etc" / "passwd"]
    assert [source.name for source in trees.find(tree, "a?[^x]")] == ["abs"]
    with pytest.raises(InvalidArgument, match="forbidden path outside the build context"):
        trees.find(tree, "../x")
    with pytest.raises(InvalidArgument, match="too many levels"):
        trees.find(tree, "loop")
    with pytest.raises(Missing, match="stat nope: file does not exist"):
        trees.find(tree, "nope")


def test_digests_look_at_content_and_mode_alone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    file = tmp_path / "d" / "f"
    file.write_text("1")
    first = trees.find(Tree(root=tmp_path), "d")[0].digest
    os.utime(file, (1, 1))
    assert trees.find(Tree(root=tmp_path), "d")[0].digest == first
    file.chmod(0o755)
    second = trees.find(Tree(root=tmp_path), "d")[0].digest
    file.write_text("2")
    assert len({first, second, trees.find(Tree(root=tmp_path), "d")[0].digest}) == 3


def _image(id: str, parent: str = "", named: bool = False) -> ImageRecord:
    from engine.images.references import parse as reference

    names = (reference(f"x:{id}"),) if named else ()
    return ImageRecord(id=id, raw=b"", config={}, layers=(), references=names, parent=parent)


def test_ancestors_go_with_the_last_that_needs_them() -> None:
    images = [
        _image("a", named=True),
        _image("b", "a"),
        _image("c", "b"),
        _image("d", "c", named=True),
        _image("e", "b"),
    ]
    assert [lineage.is_intermediate(each, lineage.parents(images)) for each in images] == [
        False,
        True,
        True,
        False,
        False,
    ]
    assert [each.id for each in lineage.unneeded(images[3], images, lambda _: [])] == ["c"]
    rest = [each for each in images if each.id not in ("c", "d")]
    assert [each.id for each in lineage.unneeded(rest[2], rest, lambda _: [])] == ["b"]
    assert lineage.unneeded(images[3], images, lambda image: ["used"] if image == "c" else []) == []
