"""What the image tests play with: tars of all kinds, and a real registry in a namespace of its own."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import json
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from netpy.kernel import netns

ADDRESS = "127.0.0.1:5000"
# The bcrypt hash of the password "secret".
HTPASSWD = "alice:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    """One entry of a tar, with what it contains; `fields` are set on the header."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(data)
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tar(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """The tar of these entries, names as they are."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def config(*layers: bytes, **fields: Any) -> bytes:
    """An image configuration that names these layers."""
    body = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        "history": [{"created_by": f"step {number}"} for number in range(len(layers))],
    }
    return json.dumps({**body, **fields}).encode()


def docker_archive(config: bytes, layers: Mapping[str, bytes], tags: list[str]) -> bytes:
    """What `docker save` wrote before version 25: layers first, manifest.json last."""
    manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": list(layers)}]
    files = [entry(name, data=data) for name, data in layers.items()]
    files += [entry("config.json", data=config), entry("manifest.json", data=json.dumps(manifest).encode())]
    return tar(*files)


def oci_blob(media_type: str, data: bytes, **fields: Any) -> tuple[dict[str, Any], tuple[tarfile.TarInfo, bytes]]:
    """A descriptor, and the archive entry it points to."""
    name = f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **fields}, entry(name, data=data)


def oci_image(
    config: bytes, *layers: bytes, **fields: Any
) -> tuple[dict[str, Any], list[tuple[tarfile.TarInfo, bytes]]]:
    """The descriptor of an image with gzipped layers, and all its entries; `fields` go into the descriptor."""
    described = [oci_blob("application/vnd.oci.image.layer.v1.tar+gzip", gzip.compress(layer)) for layer in layers]
    about, stored = oci_blob("application/vnd.oci.image.config.v1+json", config)
    body = {"schemaVersion": 2, "config": about, "layers": [descriptor for descriptor, _ in described]}
    descriptor, manifest = oci_blob("application/vnd.oci.image.manifest.v1+json", json.dumps(body).encode(), **fields)
    return descriptor, [stored, *(file for _, file in described), manifest]


def tree(root: Path) -> dict[str, tuple[Any, ...]]:
    """Everything about a tree that an unpacker must get right, by path."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content: Any = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        when = 0 if path.is_dir() else status.st_mtime_ns
        found[str(path.relative_to(root))] = (
            status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_rdev, when, content
        )  # fmt: skip
    return found


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry at 127.0.0.1:5000 of its own namespace, and a skopeo that lives there too."""

    namespace: str
    skopeo: Path

    def push(self, archive: Path, name: str, *options: str) -> None:
        """Push the only image of a docker-archive."""
        command = [str(self.skopeo), "copy", "-q", "--dest-tls-verify=false", *options, f"docker-archive:{archive}"]
        subprocess.run([*command, f"docker://{ADDRESS}/{name}"], check=True, capture_output=True)

    def manifest(self, name: str, *options: str) -> bytes:
        command = [str(self.skopeo), "inspect", "--raw", "--tls-verify=false", *options, f"docker://{ADDRESS}/{name}"]
        return subprocess.run(command, check=True, capture_output=True).stdout

    def put_manifest(self, repository: str, tag: str, media_type: str, body: bytes) -> None:
        """Push a manifest by hand, which skopeo cannot."""

        def put() -> int:
            connection = http.client.HTTPConnection(ADDRESS, timeout=10)
            try:
                connection.request("PUT", f"/v2/{repository}/manifests/{tag}", body, {"Content-Type": media_type})
                return connection.getresponse().status
            finally:
                connection.close()

        assert netns.run_in(self.namespace, put) == 201


def stream(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)


def wrapped_skopeo(directory: Path, namespace: str) -> Path:
    """A skopeo that lives in a namespace."""
    wrapper = directory / "skopeo"
    wrapper.write_text(f'#!/bin/sh\nexec nsenter --net={namespace} {shutil.which("skopeo")} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


@contextmanager
def registry(directory: Path, namespace: str, *, password: bool = False) -> Iterator[Registry]:
    """A running registry, whose data are below `directory`; with `password`, only alice (secret) may use it."""
    wrapper = wrapped_skopeo(directory, namespace)
    settings: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "registry")}},
        "http": {"addr": ADDRESS},
    }
    if password:
        (directory / "htpasswd").write_text(HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}}
    (directory / "registry.yml").write_text(json.dumps(settings))
    log = (directory / "registry.log").open("wb")
    command = ["nsenter", f"--net={namespace}", "docker-registry", "serve", str(directory / "registry.yml")]
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        _await_answer(namespace, process)
        yield Registry(namespace, wrapper)
    finally:
        process.kill()
        process.wait()
        log.close()


def _await_answer(namespace: str, process: subprocess.Popen[bytes]) -> None:
    def ask() -> bool:
        connection = http.client.HTTPConnection(ADDRESS, timeout=5)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        except OSError:
            return False
        finally:
            connection.close()

    deadline = time.monotonic() + 20
    while not netns.run_in(namespace, ask):
        assert process.poll() is None, "the registry has ended"
        assert time.monotonic() < deadline, "the registry does not answer"
