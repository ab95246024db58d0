"""Image names, as Docker reads and shows them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.images import references
from netpy.errors import InvalidArgument

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox", "busybox"),
        ("docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("user/app:v1", "docker.io/user/app:v1", "user/app:v1"),
        ("library/a/b", "docker.io/library/a/b", "library/a/b"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app", "localhost:5000/app", "localhost:5000/app"),
        ("127.0.0.1:5000/a/b_c/d--e:x.Y_z-1", "127.0.0.1:5000/a/b_c/d--e:x.Y_z-1", "127.0.0.1:5000/a/b_c/d--e:x.Y_z-1"),
        ("[::1]:5000/app", "[::1]:5000/app", "[::1]:5000/app"),
        ("Upper/app", "Upper/app", "Upper/app"),
        (f"app@{DIGEST}", f"docker.io/library/app@{DIGEST}", f"app@{DIGEST}"),
        (f"app:v1@{DIGEST}", f"docker.io/library/app:v1@{DIGEST}", f"app:v1@{DIGEST}"),
        (HEX[:63], f"docker.io/library/{HEX[:63]}", HEX[:63]),
    ],
)
def test_names_are_completed_and_shortened(text: str, full: str, familiar: str) -> None:
    reference = references.parse(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert references.parse(full) == references.parse(familiar) == reference


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        (":tag", "invalid reference format"),
        ("a b", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a:", "invalid reference format"),
        ("a:-x", "invalid reference format"),
        ("a:" + "x" * 129, "invalid reference format"),
        ("a@sha256:12", "invalid reference format"),
        ("a\n", "invalid reference format"),
        ("Busybox", "invalid reference format: repository name (library/Busybox) must be lowercase"),
        ("127.0.0.1:5000/A", "invalid reference format: repository name (A) must be lowercase"),
        ("a" * 256, "repository name must not be more than 255 characters"),
        (HEX, f"invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        (f"a@sha256:{HEX[:40]}", "invalid checksum digest format"),
        (f"a@md5:{HEX}", f"unsupported digest algorithm in 'md5:{HEX}'"),
    ],
)
def test_what_is_no_name_is_refused_in_dockers_words(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        references.parse(text)
    assert str(caught.value) == message


def test_the_tag_latest_is_added_only_where_nothing_else_is_said() -> None:
    assert references.parse("a").tagged().familiar == "a:latest"
    assert references.parse("a:1").tagged().familiar == "a:1"
    assert references.parse(f"a@{DIGEST}").tagged().familiar == f"a@{DIGEST}"
    assert references.parse("a:1").pinned(DIGEST).familiar == f"a@{DIGEST}"


def test_a_tag_passed_apart_may_be_a_digest() -> None:
    assert references.with_tag("a", "") == "a"
    assert references.with_tag("a", "1") == "a:1"
    assert references.with_tag("a", DIGEST) == f"a@{DIGEST}"


def test_ids_and_their_beginnings() -> None:
    assert references.id_prefix("sha256:0a") == references.id_prefix("0a") == "0a"
    assert references.id_prefix("busybox") == references.id_prefix(HEX + "0") == references.id_prefix("sha256:") == ""
    assert references.is_image_id(DIGEST) and references.is_image_id(HEX) and not references.is_image_id(HEX[:12])


@given(st.text(max_size=80))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        reference = references.parse(text)
    except InvalidArgument:
        return
    assert references.parse(reference.familiar) == references.parse(str(reference)) == reference
