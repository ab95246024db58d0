"""Whom to ask for an image, how far to trust him, and what his refusals mean."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from engine.images import complaints, endpoints, hub, packing, progress
from engine.images.complaints import Unauthorized
from engine.images.endpoints import Endpoint, Registries
from engine.images.packing import Packed, Packing
from engine.images.references import parse
from netpy.errors import InvalidArgument, KernelError, NotFound

HOME = Endpoint(host="r")
DENIED = (
    "pull access denied for x, repository does not exist or may require 'docker login': "
    "denied: requested access to the resource is denied"
)


@pytest.mark.parametrize(
    ("complaint", "kind", "text"),
    [
        (
            'level=fatal msg="initializing source docker://x:y: pinging container registry r: '
            'Get \\"https://r/v2/\\": dial tcp 10.0.0.1:443: i/o timeout"',
            KernelError,
            'Get "https://r/v2/": dial tcp 10.0.0.1:443: i/o timeout',
        ),
        (
            'level=fatal msg="initializing source: reading manifest y in r/x: manifest unknown: manifest unknown"',
            NotFound,
            "manifest for x:y not found: manifest unknown: manifest unknown",
        ),
        ('level=fatal msg="reading manifest: requested access to the resource is denied"', NotFound, DENIED),
        (
            'level=fatal msg="Error parsing image name \\"docker://r/x:y\\": reading manifest y in r/x: '
            'received unexpected HTTP status: 500 Internal Server Error"',
            KernelError,
            "pulling x:y: received unexpected HTTP status: 500 Internal Server Error",
        ),
        (
            'level=fatal msg="copying system image from manifest list: writing blob: '
            f'Digest did not match, expected sha256:{"a" * 64}, got sha256:{"b" * 64}"',
            InvalidArgument,
            f"filesystem layer verification failed for digest sha256:{'a' * 64}",
        ),
        (
            'level=fatal msg="context deadline exceeded"',
            KernelError,
            'Get "https://r/v2/": net/http: request canceled while waiting for connection '
            "(Client.Timeout exceeded while awaiting headers)",
        ),
        ("something else\n", KernelError, "pulling x:y: something else"),
        ("", KernelError, "pulling x:y: skopeo failed"),
    ],
)
def test_skopeos_complaints_in_dockers_words(complaint: str, kind: type[Exception], text: str) -> None:
    error = complaints.pulling(parse("x:y"), HOME, complaint)
    assert (type(error), str(error)) == (kind, text)


def test_complaints_of_other_verbs() -> None:
    denied = complaints.pushing(
        parse("x:y"), HOME, 'level=fatal msg="writing blob: denied: requested access is denied"'
    )
    assert (type(denied), str(denied)) == (Unauthorized, "denied: requested access is denied")
    login = complaints.login(HOME, 'level=fatal msg="logging into \\"r\\": invalid username/password"')
    assert str(login) == "login attempt to https://r/v2/ failed with status: 401 Unauthorized"
    tags = complaints.listing(
        parse("r:1/x"), HOME, 'level=fatal msg="fetching tags list: invalid status code from registry 404 (Not Found)"'
    )
    assert str(tags) == "repository r:1/x not found: name unknown: repository name not known to registry"


def test_loopback_registries_need_no_tls() -> None:
    registries = Registries()
    for domain in ("127.0.0.1:5000", "127.9.9.9", "localhost", "localhost:5000", "[::1]:5000"):
        assert not registries.is_secure(domain)
    for domain in ("docker.io", "10.0.0.1:5000", "localhost.evil.org", "128.0.0.1"):
        assert registries.is_secure(domain)


def test_insecure_registries_by_name_and_by_network() -> None:
    registries = Registries(
        insecure=("reg.example:5000", "bare.example", "10.1.0.0/16"),
        addresses=lambda name: ["10.1.2.3"] if name == "inside.example" else ["192.0.2.1", "no address"],
    )
    for domain in ("reg.example:5000", "bare.example:81", "10.1.255.1:5000", "inside.example:5000"):
        assert not registries.is_secure(domain)
    for domain in ("reg.example:5001", "10.2.0.1", "outside.example"):
        assert registries.is_secure(domain)


def test_names_are_looked_up_only_to_compare_them_with_networks() -> None:
    asked: list[str] = []

    def look_up(name: str) -> list[str]:
        asked.append(name)
        return []

    Registries(insecure=("reg.example",), addresses=look_up).is_secure("other.example")
    assert asked == []
    Registries(insecure=("10.0.0.0/8",), addresses=look_up).is_secure("other.example:5000")
    assert asked == ["other.example"]


def test_mirrors_are_asked_first_and_only_for_docker_hub() -> None:
    registries = Registries(mirrors=("http://127.0.0.1:5000", "https://mirror.example/"))
    assert registries.endpoints("docker.io") == (
        Endpoint(host="127.0.0.1:5000", secure=False, mirror=True),
        Endpoint(host="mirror.example", secure=True, mirror=True),
        Endpoint(host="docker.io"),
    )
    assert registries.endpoints("quay.io") == (Endpoint(host="quay.io"),)
    assert registries.home("docker.io").base == "https://registry-1.docker.io/v2/"


def test_what_info_says_of_registries() -> None:
    found = Registries(insecure=("r:5000", "10.1.0.0/16"), mirrors=("http://m",)).document()
    assert found["InsecureRegistryCIDRs"] == ["10.1.0.0/16", "127.0.0.0/8"]
    assert found["Mirrors"] == ["http://m/"]
    assert found["IndexConfigs"]["docker.io"]["Mirrors"] == ["http://m/"]
    assert found["IndexConfigs"]["r:5000"] == {"Name": "r:5000", "Mirrors": [], "Secure": False, "Official": False}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("127.0.0.1:5000", 'invalid mirror: "127.0.0.1:5000" is not a valid URI'),
        ("ftp://m", "is not a valid URI"),
        (5, "is not a valid URI"),
        ("http://m/x", 'path, query, or fragment at end of the URI "http://m/x"'),
        ("http://m?x=1", "path, query, or fragment"),
        ("http://u:p@m", "username/password not allowed"),
    ],
)
def test_bad_mirrors(value: object, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        endpoints.mirror(value)
    assert text in str(caught.value)


def test_insecure_registries_are_checked() -> None:
    assert endpoints.insecure("http://foo:5000/") == "foo:5000"
    assert endpoints.insecure("10.1.2.3/16") == "10.1.0.0/16"
    for bad in ("-foo", "a b", "", 5):
        with pytest.raises(ValueError, match=r"invalid index name|not valid|must be a string"):
            endpoints.insecure(bad)


def test_progress_has_its_bar_drawn() -> None:
    assert progress.event("Downloading", "sha256:" + "a" * 64, 43520, 1986224) == {
        "status": "Downloading",
        "progressDetail": {"current": 43520, "total": 1986224},
        "progress": "[=>                                                 ]  43.52kB/1.986MB",
        "id": "a" * 12,
    }
    assert progress.bar(269, 269) == f"[{'=' * 50}>]     269B/269B"
    assert progress.event("Pushed", "b" * 64) == {"status": "Pushed", "progressDetail": {}, "id": "b" * 12}


def test_a_transfer_is_cancelled_from_outside() -> None:
    def work(cancellation: progress.Cancellation):
        yield {"status": "one"}
        cancellation.check()
        yield {"status": "two"}

    transfer = progress.Transfer(work)
    assert next(transfer) == {"status": "one"}
    transfer.cancel()
    with pytest.raises(progress.Cancelled):
        next(transfer)
    transfer.close()
    transfer.cancel()


def test_the_same_layer_is_packed_to_the_same_bytes(tmp_path: Path) -> None:
    chunks = [b"a" * 1000, b"b" * 5000]
    first, second = Packing(chunks, tmp_path / "1"), Packing([b"".join(chunks)], tmp_path / "2")
    assert list(first) == [1000, 6000]
    assert list(second) == [6000]
    assert first.packed == second.packed
    assert gzip.decompress((tmp_path / "1").read_bytes()) == b"".join(chunks)
    assert (tmp_path / "1").stat().st_size == first.packed.size


def test_a_manifest_is_written_as_docker_writes_it() -> None:
    text = packing.manifest(Packed(digest="sha256:c", size=1), [Packed(digest="sha256:l", size=2)])
    assert text.startswith(b'{\n   "schemaVersion": 2,\n   "mediaType": ')
    assert json.loads(text)["layers"] == [{"mediaType": packing.LAYER, "size": 2, "digest": "sha256:l"}]


def test_searches_are_checked_before_anything_is_asked() -> None:
    for limit in (0, 101):
        with pytest.raises(InvalidArgument, match=rf"Limit {limit} is outside the range of \[1, 100\]"):
            hub.search(Registries(), "x", limit, {})
    with pytest.raises(InvalidArgument, match="Invalid filter 'bad'"):
        hub.search(Registries(), "x", 25, {"bad": ["x"]})
    with pytest.raises(InvalidArgument, match="Invalid filter 'stars=x'"):
        hub.search(Registries(), "x", 25, {"stars": ["x"]})
    with pytest.raises(InvalidArgument, match="Invalid filter 'is-official=maybe'"):
        hub.search(Registries(), "x", 25, {"is-official": ["maybe"]})
    with pytest.raises(InvalidArgument, match="should not have a scheme"):
        hub.search(Registries(), "https://x/y", 25, {})
