"""What may be removed, what is shown, and what filters let through."""

from __future__ import annotations

import json
from typing import Any

import pytest

from engine.images import documents, filters, records, removal
from engine.images.records import ImageRecord
from engine.images.references import parse
from engine.images.removal import Use
from netpy.errors import Conflict, InvalidArgument

DIGEST = "sha256:" + "a" * 64
CONTAINER = "c" * 64


def image(*names: str, **fields: Any) -> ImageRecord:
    body = {"rootfs": {"type": "layers", "diff_ids": []}, "created": "2026-11-21T10:00:00.123456789Z", **fields}
    bare = records.image(json.dumps(body).encode())
    return ImageRecord(id=bare.id, raw=bare.raw, config=bare.config, layers=(), references=tuple(map(parse, names)))


def test_by_name_only_the_name_goes_until_it_is_the_last() -> None:
    two = image("a:1", "a:2")
    assert removal.by_name(two, "a:1", parse("a:1"), force=False, uses=[Use(CONTAINER, True)]).image is False
    assert removal.by_name(image("a:1"), "a:1", parse("a:1"), force=False, uses=[]).image is True


def test_digests_go_with_the_last_tag_of_their_repository() -> None:
    pulled = image("a:1", f"a@{DIGEST}", "b:1")
    wanted = removal.by_name(pulled, "a:1", parse("a:1"), force=False, uses=[])
    assert [name.familiar for name in wanted.names] == ["a:1", f"a@{DIGEST}"]
    assert wanted.image is False
    assert removal.by_name(image("a:1", f"a@{DIGEST}"), "a:1", parse("a:1"), force=False, uses=[]).image is True


def test_the_last_name_of_an_image_in_use_needs_force() -> None:
    used = image("a:1")
    with pytest.raises(Conflict) as caught:
        removal.by_name(used, "a:1", parse("a:1"), force=False, uses=[Use(CONTAINER, False)])
    assert str(caught.value) == (
        'conflict: unable to remove repository reference "a:1" (must force) - '
        f"container cccccccccccc is using its referenced image {used.short_id}"
    )
    assert removal.by_name(used, "a:1", parse("a:1"), force=True, uses=[Use(CONTAINER, False)]).image is True
    assert removal.by_name(used, "a:1", parse("a:1"), force=True, uses=[Use(CONTAINER, True)]).image is False


@pytest.mark.parametrize(
    ("names", "running", "force", "reason"),
    [
        (["a:1"], True, True, "(cannot be forced) - image is being used by running container cccccccccccc"),
        (["a:1"], False, False, "(must be forced) - image is being used by stopped container cccccccccccc"),
        (["a:1", "b:1"], None, False, "(must be forced) - image is referenced in multiple repositories"),
        (["a:1", "a:2"], None, False, "(must be forced) - image is referenced in multiple repositories"),
    ],
)
def test_by_id_what_keeps_it_is_said(names: list[str], running: bool | None, force: bool, reason: str) -> None:
    kept = image(*names)
    with pytest.raises(Conflict) as caught:
        removal.by_id(kept, force=force, uses=[] if running is None else [Use(CONTAINER, running)])
    assert str(caught.value) == f"conflict: unable to delete {kept.short_id} {reason}"


def test_by_id_everything_goes() -> None:
    for names, force in ((["a:1", f"a@{DIGEST}"], False), ([], False), (["a:1", "b:1"], True)):
        wanted = removal.by_id(image(*names), force=force, uses=[])
        assert ([name.familiar for name in wanted.names], wanted.image) == (names, True)


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("app", True),
        ("app:1", True),
        ("ap*", True),
        ("a?p:[0-9]", True),
        ("*", True),
        ("team/*", False),
        ("app:2", False),
        ("a.p", False),
    ],
)
def test_reference_patterns(pattern: str, fits: bool) -> None:
    assert filters.fits(parse("app:1"), pattern) is fits


def test_a_star_does_not_cross_a_slash() -> None:
    assert not filters.fits(parse("127.0.0.1:5000/team/app:1"), "127.0.0.1:5000/*")
    assert filters.fits(parse("127.0.0.1:5000/team/app:1"), "127.0.0.1:5000/*/*")


def test_labels_and_times() -> None:
    labels = {"a": "1", "b": "2"}
    assert filters.labels_match(labels, {"label": ["a", "b=2"]})
    assert not filters.labels_match(labels, {"label": ["a=2"]})
    assert not filters.labels_match(labels, {"label!": ["b"]})
    record = image()
    created = documents.instant(record.created)
    for wanted, expected in (({"until": ["1h"]}, True), ({"until": ["3h"]}, False), ({"since": ["x"]}, False)):
        assert filters.times_match(record, wanted, now=created + 7200, resolve=lambda _: record) is expected
    assert filters.moment("2026-11-21T10:00:00Z", 0) == 1795255200
    with pytest.raises(InvalidArgument, match="invalid time 'soon'"):
        filters.moment("soon", 0)


def test_unknown_filters_and_values_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'nope'"):
        filters.check({"nope": ["x"]}, filters.LISTING)
    with pytest.raises(InvalidArgument, match=r"invalid filter 'dangling=\[maybe\]'"):
        filters.check({"dangling": ["maybe"]}, filters.LISTING)


def test_the_list_document() -> None:
    assert documents.summary(image("a:1", f"a@{DIGEST}", config={"Labels": {"x": "y"}})) == {
        "Containers": -1,
        "Created": 1795255200,
        "Id": image("a:1", config={"Labels": {"x": "y"}}).id,
        "Labels": {"x": "y"},
        "ParentId": "",
        "RepoDigests": [f"a@{DIGEST}"],
        "RepoTags": ["a:1"],
        "SharedSize": -1,
        "Size": 0,
        "VirtualSize": 0,
    }


def test_history_gives_each_layer_to_the_step_that_made_it() -> None:
    body = {
        "rootfs": {"diff_ids": [DIGEST, DIGEST[:-1] + "b"]},
        "history": [{"created_by": "one"}, {"created_by": "env", "empty_layer": True}],
    }
    record = records.image(json.dumps(body).encode())
    rows = documents.history(record, {DIGEST: 5, DIGEST[:-1] + "b": 7})
    assert [(row["CreatedBy"], row["Size"]) for row in rows] == [("", 7), ("env", 0), ("one", 5)]
    assert [row["Id"] for row in rows] == [record.id, "<missing>", "<missing>"]
