"""Registries that stall, lie, break off or refuse: a clear error each time, and nothing half-stored."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from engine.images import Images
from engine.images.complaints import Unauthorized
from engine.images.endpoints import Registries
from engine.images.progress import Cancelled
from engine.images.references import parse
from engine.images.transports import Skopeo
from netpy.errors import InvalidArgument, KernelError, NetpyError, NotFound
from netpy.store import Store
from tests.integration import hostile
from tests.integration import image_lab as lab
from tests.integration.hostile import ADDRESS, Handler, Hostile, Reply

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("skopeo"), reason="needs skopeo"),
]
NAME = f"{ADDRESS}/x:1"


@pytest.fixture
def registry(namespace: str) -> Iterator[Hostile]:
    with hostile.registry(namespace) as server:
        yield server


@pytest.fixture
def images(namespace: str, tmp_path: Path) -> Images:
    program = str(lab.wrapped_skopeo(tmp_path, namespace))
    return Images(tmp_path / "images", Store(tmp_path / "db"), skopeo=Skopeo(program, patience=2))


def nothing_is_left(images: Images, tmp_path: Path) -> bool:
    return images.summaries() == [] and not list((tmp_path / "images/tmp").iterdir())


def answer(reply: Reply) -> hostile.Rule:
    return lambda handler, _: handler.answer(reply)


def spoilt(handler: Handler, reply: Reply) -> None:
    handler.answer(replace(reply, body=reply.body[:-1] + bytes([reply.body[-1] ^ 1])))


def redirected(where: str) -> hostile.Rule:
    return lambda handler, reply: handler.answer(Reply(status=307, headers={"Location": where}))


def failing(code: str, message: str, status: int) -> hostile.Rule:
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return answer(Reply(status=status, body=body, kind="application/json"))


def bearer(handler: Handler, reply: Reply) -> None:
    challenge = f'Bearer realm="http://{ADDRESS}/token",service="x",scope="repository:x:pull"'
    handler.answer(Reply(status=401, headers={"WWW-Authenticate": challenge}))


def test_the_registry_is_good_when_it_wants_to(images: Images, registry: Hostile) -> None:
    registry.rules = {"GET .*/blobs/": lambda handler, reply: handler.answer(reply)}
    list(images.pull(NAME))
    assert images.resolve(NAME).id == lab.digest(registry.config)


@pytest.mark.parametrize(
    ("rules", "kind", "text"),
    [
        ({"/manifests/": failing("X", "x", 500)}, KernelError, "500 Internal Server Error"),
        ({"/manifests/": answer(Reply(body=b"<html>no", kind="text/html"))}, NetpyError, "pulling|manifest"),
        ({"/manifests/": answer(Reply(body=b"{}" + b" " * 9_000_000, kind=hostile.MANIFEST))}, KernelError, "exceeded"),
        ({"/manifests/": answer(Reply(body=b'{"schemaVersion": 2, "layers": 5}', kind=hostile.MANIFEST))},
         InvalidArgument, "manifest has no list of layers"),
        ({"/manifests/": redirected(f"http://{ADDRESS}/v2/x/manifests/1")}, KernelError, "stopped after 10 redirects"),
        ({"/manifests/": failing("DENIED", "no", 403)}, NotFound, "pull access denied"),
        ({"/v2/": bearer, "/token": failing("X", "x", 500)}, KernelError, "500"),
        ({"/v2/": bearer, "/token": answer(Reply(body=b"no json"))}, KernelError, "pulling|token"),
        ({"/v2/$": Handler.mute}, KernelError, r"Client\.Timeout exceeded while awaiting headers"),
        ({"/manifests/": Handler.stalled}, KernelError, r"Client\.Timeout exceeded while awaiting headers"),
    ],
)  # fmt: skip
def test_what_fails_at_once(
    images: Images, registry: Hostile, tmp_path: Path, rules: dict[str, hostile.Rule], kind: type[Exception], text: str
) -> None:
    registry.rules = {"/token": rules.get("/token", Handler.answer), **rules}
    with pytest.raises(kind, match=text):
        images.pull(NAME)
    assert nothing_is_left(images, tmp_path)


@pytest.mark.parametrize(
    ("rule", "kind", "text"),
    [
        (spoilt, InvalidArgument, "filesystem layer verification failed for digest sha256:"),
        (failing("X", "x", 404), KernelError, "404"),
        (redirected("http://127.0.0.1:5999/"), KernelError, "connection refused"),
        (Handler.truncated, KernelError, "unexpected EOF"),
    ],
)
def test_what_fails_at_a_layer(
    images: Images, registry: Hostile, tmp_path: Path, rule: hostile.Rule, kind: type[Exception], text: str
) -> None:
    registry.rules = {f"GET .*/blobs/{lab.digest(registry.layer)}": rule}
    with pytest.raises(kind, match=text):
        list(images.pull(NAME))
    assert nothing_is_left(images, tmp_path)


def test_a_broken_connection_is_tried_again(images: Images, registry: Hostile) -> None:
    def once(handler: Handler, reply: Reply) -> None:
        registry.rules = {}
        handler.truncated(reply)

    registry.rules = {f"GET .*/blobs/{lab.digest(registry.layer)}": once}
    lines = list(images.pull(NAME))
    assert "Retrying in 1 second" in [line["status"] for line in lines]
    assert images.resolve(NAME).id == lab.digest(registry.config)


def test_a_digest_is_not_believed(images: Images, registry: Hostile, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="manifest verification failed for digest sha256:aaaa"):
        images.pull(f"{ADDRESS}/x@sha256:{'a' * 64}")
    registry.rules = {f"GET .*/blobs/{lab.digest(registry.config)}": spoilt}
    with pytest.raises(NetpyError):
        list(images.pull(NAME))
    assert nothing_is_left(images, tmp_path)


def test_a_silent_registry_is_given_up(images: Images, registry: Hostile, tmp_path: Path) -> None:
    registry.rules = {f"GET .*/blobs/{lab.digest(registry.layer)}": Handler.stalled}
    impatient = replace(images.registry, patience=0.5)
    with pytest.raises(KernelError, match=r"pulling .*: the registry has sent nothing for 0\.5 seconds"):
        list(impatient.pull(parse(NAME)))
    assert nothing_is_left(images, tmp_path)


def test_a_pull_is_cancelled_while_the_registry_is_silent(images: Images, registry: Hostile, tmp_path: Path) -> None:
    registry.rules = {f"GET .*/blobs/{lab.digest(registry.layer)}": Handler.stalled}
    transfer = images.registry.pull(parse(NAME))

    def leave() -> None:
        registry.stalling.wait(20)
        transfer.cancel()

    leaver = threading.Thread(target=leave)
    leaver.start()
    with pytest.raises(Cancelled):
        list(transfer)
    transfer.close()
    leaver.join()
    assert nothing_is_left(images, tmp_path)


@pytest.mark.parametrize(
    ("rules", "kind", "text"),
    [
        ({"POST .*/uploads": failing("DENIED", "requested access to the resource is denied", 403)},
         Unauthorized, "denied: requested access to the resource is denied"),
        ({"POST .*/uploads": failing("UNAUTHORIZED", "authentication required", 401)},
         Unauthorized, "unauthorized: authentication required"),
        ({"POST .*/uploads": failing("X", "x", 500)}, KernelError, "pushing .*500 Internal Server Error"),
        ({"POST .*/uploads": answer(Reply(status=202, headers={"Location": "http://127.0.0.1:5999/u"}))},
         KernelError, "connection refused"),
    ],
)  # fmt: skip
def test_a_push_that_fails(
    images: Images, registry: Hostile, tmp_path: Path, rules: dict[str, hostile.Rule], kind: type[Exception], text: str
) -> None:
    images.import_rootfs(lab.stream(lab.tar(lab.entry("f"))), reference=NAME)
    registry.rules = rules
    with pytest.raises(kind, match=text):
        list(images.registry.push(parse(NAME)))
    assert images.inspect(NAME)["RepoDigests"] == []
    assert not list((tmp_path / "images/tmp").iterdir())


def test_a_mirror_that_fails_is_passed_over(namespace: str, registry: Hostile, tmp_path: Path) -> None:
    registry.rules = {"/manifests/": failing("X", "x", 500)}
    program = str(lab.wrapped_skopeo(tmp_path, namespace))
    skopeo = Skopeo(program, Registries(mirrors=(f"http://{ADDRESS}",)), patience=5)
    images = Images(tmp_path / "images", Store(tmp_path / "db"), skopeo=skopeo)
    with pytest.raises(KernelError, match=r'Get "https://registry-1\.docker\.io/v2/"'):
        images.pull("x")
    assert "GET /v2/library/x/manifests/latest" in registry.seen
