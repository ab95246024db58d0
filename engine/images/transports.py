"""Registries, reached through skopeo: manifests fetched, images copied into and out of directories, logins tried.

skopeo knows every registry's quirks: tokens, redirects, proxies, certificates, and what /etc/containers/registries.conf
says. Its `dir:` transport keeps manifests and digests as they are, which `oci:` does not. Credentials go through a
file that only we can read, never through the arguments, which everybody sees. This module runs the program; what to
fetch is decided in pulling.py, what to send in pushing.py, what a failure means in complaints.py.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.images import complaints
from engine.images.endpoints import Endpoint, Registries
from engine.images.references import Reference
from netpy.errors import InvalidArgument, NetpyError, Unsupported

Json = dict[str, Any]
Complaint = Callable[[Reference, Endpoint, str], NetpyError]
PATIENCE = 30.0
"""Seconds that a registry gets for a manifest, a list of tags or a login."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to speak to one registry: options of skopeo, some of which come before the names they concern."""

    endpoint: Endpoint
    authfile: Path | None = None
    certificates: Path | None = None

    def options(self, prefix: str = "") -> list[str]:
        """The options; for copying they begin with `src-` or `dest-`."""
        credentials = [f"--{prefix}no-creds"] if self.authfile is None else [f"--{prefix}authfile", str(self.authfile)]
        trusted = [f"--{prefix}cert-dir", str(self.certificates)] if self.certificates else []
        return [f"--{prefix}tls-verify={'true' if self.endpoint.secure else 'false'}", *trusted, *credentials]

    def url(self, reference: Reference) -> str:
        """The name of an image at this endpoint, for skopeo."""
        return f"docker://{replace(reference, domain=self.endpoint.host)}"


class Copying:
    """skopeo at work. `fileno` becomes readable when it has done."""

    def __init__(self, process: subprocess.Popen[bytes], failure: Callable[[str], NetpyError]) -> None:
        self.pid = process.pid
        self._process = process
        self._failure = failure
        self._pidfd = os.pidfd_open(process.pid)

    def fileno(self) -> int:
        return self._pidfd

    def result(self) -> None:
        """Wait for the end. Raises what complaints.py makes of skopeo's last words."""
        _, complaint = self._process.communicate()
        os.close(self._pidfd)
        if self._process.returncode:
            raise self._failure(complaint.decode(errors="replace"))

    def cancel(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._pidfd)


class Skopeo:
    """The program `skopeo`, and the registries as they are configured, which may change while it is in use.

    `certificates` are directories that hold one directory per `host:port` with ca.crt, client.cert and client.key,
    beside /etc/docker/certs.d, which skopeo knows itself.
    """

    def __init__(
        self,
        program: str = "skopeo",
        registries: Registries | None = None,
        *,
        certificates: tuple[Path, ...] = (),
        patience: float = PATIENCE,
    ) -> None:
        self.registries = registries or Registries()
        self._program = program
        self._certificates = certificates
        self._patience = patience

    @contextmanager
    def access(self, endpoint: Endpoint, auth: Json | None) -> Generator[Access]:
        """The way to a registry. `auth` is the decoded X-Registry-Auth header: username, password or identitytoken.

        A mirror gets no credentials: they are its upstream's.
        """
        entry = {} if endpoint.mirror else _credentials(auth or {})
        access = Access(endpoint=endpoint, certificates=self._trusted(endpoint.host))
        if not entry:
            yield access
            return
        with tempfile.TemporaryDirectory(prefix="netpy-auth-") as directory:
            path = Path(directory) / "auth.json"
            path.touch(mode=0o600)
            path.write_text(json.dumps({"auths": {endpoint.host: entry}}))
            yield replace(access, authfile=path)

    def manifest(self, reference: Reference, access: Access) -> bytes:
        """The manifest or index of a name, as the registry has it. Equivalent: `skopeo inspect --raw docker://NAME`."""
        return self._asked(["inspect", "--raw", *access.options(), access.url(reference)], reference, access)

    def config(self, reference: Reference, access: Access) -> bytes:
        """The configuration of an image. Equivalent: `skopeo inspect --config --raw docker://NAME`."""
        words = ["inspect", "--config", "--raw", *access.options(), access.url(reference)]
        return self._asked(words, reference, access)

    def tags(self, reference: Reference, access: Access) -> list[str]:
        """The tags of a repository. Equivalent: `skopeo list-tags docker://NAME`."""
        url = access.url(replace(reference, tag="", digest=""))
        text = self._asked(["list-tags", *access.options(), url], reference, access, complaints.listing)
        found: list[str] = json.loads(text).get("Tags") or []
        return found

    def login(self, access: Access, username: str, password: str) -> None:
        """Have the registry look at credentials. Equivalent: `skopeo login`. Unauthorized when it refuses them."""
        endpoint = access.endpoint
        with tempfile.TemporaryDirectory(prefix="netpy-auth-") as directory:
            verify = f"--tls-verify={'true' if endpoint.secure else 'false'}"
            trusted = ["--cert-dir", str(access.certificates)] if access.certificates else []
            words = ["login", verify, *trusted, "--authfile", f"{directory}/auth.json", "--username", username]
            process = self._start([*self._limited(words), "--password-stdin", endpoint.host], stdin=subprocess.PIPE)
            _, complaint = process.communicate(password.encode())
        if process.returncode:
            raise complaints.login(endpoint, complaint.decode(errors="replace"))

    def fetch(self, reference: Reference, target: Path, access: Access) -> Copying:
        """Begin to copy an image into a directory. Blobs whose file is there already are not fetched.

        Equivalent: `skopeo copy --preserve-digests docker://NAME dir:TARGET`.
        """
        words = ["copy", "--quiet", "--preserve-digests", *access.options("src-"), access.url(reference)]
        return self._copying([*words, f"dir:{target}"], reference, access, complaints.pulling)

    def send(self, source: Path, reference: Reference, access: Access) -> Copying:
        """Begin to copy an image out of a directory. Blobs that the registry has are not read.

        Equivalent: `skopeo copy --preserve-digests dir:SOURCE docker://NAME`.
        """
        words = ["copy", "--quiet", "--preserve-digests", *access.options("dest-"), f"dir:{source}"]
        return self._copying([*words, access.url(reference)], reference, access, complaints.pushing)

    def _copying(self, words: list[str], reference: Reference, access: Access, failure: Complaint) -> Copying:
        return Copying(self._start(words), lambda complaint: failure(reference, access.endpoint, complaint))

    def _asked(
        self, words: list[str], reference: Reference, access: Access, failure: Complaint = complaints.pulling
    ) -> bytes:
        process = self._start(self._limited(words))
        output, complaint = process.communicate()
        if process.returncode:
            raise failure(reference, access.endpoint, complaint.decode(errors="replace"))
        return output

    def _limited(self, words: list[str]) -> list[str]:
        return ["--command-timeout", f"{self._patience}s", *words]

    def _trusted(self, host: str) -> Path | None:
        return next((path for root in self._certificates if (path := root / host).is_dir()), None)

    def _start(self, arguments: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [self._program, *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise Unsupported(f"{self._program} is not installed: registries need the package skopeo") from None


def _credentials(auth: Json) -> Json:
    if auth.get("registrytoken"):
        raise InvalidArgument("registry tokens are not supported: log in with a user name and a password")
    if auth.get("identitytoken"):
        pair = f"{auth.get('username') or '<token>'}:"
        return {"auth": base64.b64encode(pair.encode()).decode(), "identitytoken": auth["identitytoken"]}
    if auth.get("username"):
        pair = f"{auth['username']}:{auth.get('password', '')}"
        return {"auth": base64.b64encode(pair.encode()).decode()}
    return {"auth": auth["auth"]} if auth.get("auth") else {}
