"""The routes of registries: what comes in headers and queries, and where failures are told."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client import ApiError, Client

from .fake_daemon import FakeDaemon, served
from .test_api_nouns import ask, status


@pytest.fixture
def daemon(tmp_path: Path) -> FakeDaemon:
    return FakeDaemon(tmp_path)


@pytest.fixture
def client(daemon: FakeDaemon, tmp_path: Path) -> Iterator[Client]:
    with served(daemon, tmp_path / "s") as host:
        client = Client(host)
        yield client
        client.close()


def test_pull(client: Client, daemon: FakeDaemon) -> None:
    auth = base64.urlsafe_b64encode(json.dumps({"username": "u"}).encode()).decode()
    query = {"fromImage": "docker.io/library/busybox", "tag": "1", "platform": "linux/arm64"}
    with client.request("POST", "/images/create", query, None, {"X-Registry-Auth": auth}) as r:
        assert next(iter(r.objects())) == {"status": "Pulling from library/busybox", "id": "1"}
    assert daemon.images.registry.asked == [("busybox:1", {"username": "u"}, "linux/arm64", False)]
    answer = status(client, "POST", "/images/create", fromImage="nope")
    assert answer == (404, "manifest for nope:latest not found: manifest unknown")
    assert daemon.images.registry.asked[-1] == ("nope", None, "", True)
    with pytest.raises(ApiError, match="X-Registry-Auth"):
        client.request("POST", "/images/create", {"fromImage": "busybox"}, None, {"X-Registry-Auth": "%%%"})
    assert status(client, "POST", "/images/create", fromImage="x", tag="a b") == (400, "invalid tag format")


def test_push_tells_failures_in_its_stream(client: Client) -> None:
    with client.request("POST", "/images/r:5000/a/b/push", {"tag": "1"}) as response:
        assert list(response.objects()) == [
            {"status": "The push refers to repository [r:5000/a/b]"},
            {"errorDetail": {"message": "no such tag"}, "error": "no such tag"},
        ]


def test_registries(client: Client) -> None:
    assert ask(client, "GET", "/distribution/r:5000/a/b:1/json")["Descriptor"] == {"digest": "r:5000/a/b:1"}
    found = ask(client, "GET", "/images/search", term="x", filters={"stars": {"3": True}})
    assert found == [{"name": "x", "star_count": 25, "filters": {"stars": ["3"]}}]
    assert ask(client, "GET", "/info")["RegistryConfig"] == {"Mirrors": ["https://mirror/"]}
    good = {"username": "u", "password": "secret", "serveraddress": "r"}
    assert client.request("POST", "/auth", None, good).json() == {"IdentityToken": "", "Status": "Login Succeeded"}
    with pytest.raises(ApiError) as caught:
        client.request("POST", "/auth", None, good | {"password": "x"})
    assert caught.value.status == 401
