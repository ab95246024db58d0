"""Debian's docker-registry for end-to-end tests: as the image `registry:2`, and as a program on the world's host."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.world import World, eventually
from tests.integration.image_lab import HTPASSWD

PROGRAM = shutil.which("docker-registry") or ""
CONFIG = {
    "version": 0.1,
    "log": {"level": "error"},
    "storage": {"filesystem": {"rootdirectory": "/var/lib/registry"}},
    "http": {"addr": ":5000"},
}
CHANGES = (
    'ENTRYPOINT ["/bin/docker-registry"]',
    'CMD ["serve", "/etc/docker/registry/config.yml"]',
    "EXPOSE 5000",
    "VOLUME /var/lib/registry",
)


def rootfs() -> bytes:
    """A root file system with the program, the libraries it is linked with, and its configuration."""
    linked = subprocess.run(["ldd", PROGRAM], check=True, capture_output=True, text=True).stdout
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", dereference=True) as tar:
        tar.add(PROGRAM, "bin/docker-registry")
        for library in re.findall(r"(/\S+) \(", linked):
            tar.add(library, library.lstrip("/"))
        text = json.dumps(CONFIG).encode()
        entry = tarfile.TarInfo("etc/docker/registry/config.yml")
        entry.size = len(text)
        tar.addfile(entry, io.BytesIO(text))
        for name in ("tmp", "var/lib/registry"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
    return out.getvalue()


def certificates(directory: Path, address: str) -> None:
    """ca.crt, and server.crt and client.cert with their keys, signed by it; by openssl."""
    directory.mkdir(parents=True, exist_ok=True)

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=directory)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=private", "-days", "2")
    for name, certificate, purpose in (
        ("server", "server.crt", f"subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth"),
        ("client", "client.cert", "extendedKeyUsage=clientAuth"),
    ):
        (directory / f"{name}.ext").write_text(purpose)
        openssl("req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        signing = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", certificate, *signing)


@contextmanager
def guarded(world: World, address: str, directory: Path) -> Iterator[None]:
    """A registry at an address of the host: TLS, which asks for a client's certificate, and alice's password (secret)."""
    host, _, _ = address.partition(":")
    certificates(directory, host)
    (directory / "htpasswd").write_text(HTPASSWD)
    tls = {"certificate": "server.crt", "key": "server.key", "clientcas": ["ca.crt"]}
    settings: dict[str, Any] = {
        **CONFIG,
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": address, "tls": {name: _within(directory, file) for name, file in tls.items()}},
        "auth": {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}},
    }
    (directory / "config.yml").write_text(json.dumps(settings))
    command = ["nsenter", f"--net={world.host}", PROGRAM, "serve", str(directory / "config.yml")]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        eventually(lambda: f"{address.rpartition(':')[2]}" in world.at(world.host, "ss", "-ltn").stdout, "it listens")
        yield
    finally:
        process.kill()
        process.wait()


def _within(directory: Path, file: str | list[str]) -> Any:
    return [str(directory / name) for name in file] if isinstance(file, list) else str(directory / file)
